//! Runs, with their branches.

use std::sync::Arc;

use heddle_json::Object;
use heddle_kernel::{
    RunId, Status,
    run::{BranchStatus, BranchView},
};
use heddle_runtime::{RunView, ports::RunRow};
use serde::Serialize;
use utoipa::ToSchema;

use super::{failure::ErrorView, moment::Moment, names::StatusDoc, wait::WaitView};

/// A run with its state.
#[derive(Serialize, ToSchema)]
#[schema(as = Run)]
pub(crate) struct RunBody {
    /// The run's id.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The id of the run's graph.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    graph_id: Arc<str>,
    /// The name of the run's graph; null if it has none.
    #[schema(value_type = Option<String>, required)]
    graph_name: Option<Arc<str>>,
    /// The run's status at the time of the request.
    #[schema(value_type = StatusDoc)]
    status: Status,
    /// When the run was started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Moment,
    /// When the run ended; null while it is active.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    finished_at: Option<Moment>,
    /// The number of steps started so far.
    steps: u64,
    /// The nodes of the active steps.
    #[schema(value_type = Vec<String>)]
    nodes: Vec<Arc<str>>,
    /// The number of the last event.
    last_seq: u64,
    /// The steps that wait for a signal or for a time.
    waits: Vec<WaitView>,
    /// The state after the last event. While the run has several branches, it is the state at the fork plus all
    /// changes of the branches that merge. A key whose changes do not merge keeps its value from before the fork.
    #[schema(value_type = BTreeMap<String, Value>)]
    state: Object,
    /// The parallel branches; empty if no graph of the run has several. After the end, the branches at the end.
    branches: Vec<BranchBody>,
    /// The part of the final state that the graph declares as its output. Present after the run has finished, if the
    /// graph declares an output.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    output: Option<Object>,
    /// Why the run failed. A `message` over 16 KiB is cut here, and `data` over 16 KiB is left out; the events have both.
    #[schema(required)]
    error: Option<ErrorView>,
    /// How the run was started.
    #[serde(flatten)]
    start: StartInfo,
}

/// How a run was started.
#[derive(Serialize, ToSchema)]
#[schema(as = Beginning)]
pub(crate) struct StartInfo {
    /// The priority in the queue: runs with a higher priority start first.
    #[schema(minimum = -100, maximum = 100)]
    priority: i32,
    /// The concurrency group, from `limits.group` of the graph.
    #[schema(value_type = Option<String>, required)]
    group: Option<Arc<str>>,
    /// What started the run: `fork:RUN`, `schedule:NAME` or `import`; null for a start request.
    #[schema(value_type = Option<String>, required)]
    origin: Option<Arc<str>>,
}

impl From<&RunRow> for StartInfo {
    fn from(row: &RunRow) -> Self {
        Self {
            priority: row.priority,
            group: row.group.clone(),
            origin: row.origin.clone(),
        }
    }
}

impl RunBody {
    /// Builds the response from the run and its row in the store.
    pub(crate) fn of(run: RunView, row: &RunRow) -> Self {
        Self {
            start: row.into(),
            run_id: run.id,
            graph_id: run.graph.0,
            graph_name: run.graph_name,
            status: run.status,
            started_at: Moment(run.started_at),
            finished_at: run.finished_at.map(Moment),
            steps: run.steps,
            nodes: run.nodes,
            last_seq: run.last_seq,
            waits: run.waits.into_iter().map(WaitView::from).collect(),
            state: run.state,
            branches: run.branches.into_iter().map(BranchBody::from).collect(),
            output: run.output,
            error: run.error.as_ref().map(ErrorView::from),
        }
    }
}

/// One of several parallel branches of a run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Branch)]
pub(crate) struct BranchBody {
    /// The number of the branch in the run.
    branch: u32,
    /// The step that runs the branch's subgraph; null in the run's own graph.
    #[schema(required)]
    within: Option<u64>,
    /// `at`: the branch executes `node`. `before`: the branch waits before `node` for a join with other branches.
    /// `ended`: the branch has ended.
    place: BranchPlaceView,
    /// The node that the branch is at or before; null if it has ended.
    #[schema(value_type = Option<String>, required)]
    node: Option<Arc<str>>,
    /// The active step of the branch.
    #[schema(required)]
    step: Option<u64>,
    /// The state keys that the branch changed since the fork, with their values in this branch.
    #[schema(value_type = BTreeMap<String, Value>)]
    changed: Object,
    /// The number of changed keys left out of `changed`, which is limited to 1 MiB for all branches together.
    left_out: usize,
}

/// The position of a branch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BranchPlace)]
pub(crate) enum BranchPlaceView {
    At,
    Before,
    Ended,
}

impl From<BranchStatus> for BranchPlaceView {
    fn from(place: BranchStatus) -> Self {
        match place {
            BranchStatus::At => Self::At,
            BranchStatus::Before => Self::Before,
            BranchStatus::Ended => Self::Ended,
        }
    }
}

impl From<BranchView> for BranchBody {
    fn from(branch: BranchView) -> Self {
        Self {
            branch: branch.branch,
            within: Some(branch.within).filter(|within| *within != 0),
            place: branch.place.into(),
            node: branch.node,
            step: branch.step,
            changed: branch.changed,
            left_out: branch.left_out,
        }
    }
}

/// A run in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunSummary {
    /// The run's id.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The id of the run's graph.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    graph_id: Arc<str>,
    /// The name of the run's graph; null if it has none.
    #[schema(value_type = Option<String>, required)]
    graph_name: Option<Arc<str>>,
    /// The run's status at the time of the request.
    #[schema(value_type = StatusDoc)]
    status: Status,
    /// When the run was started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Moment,
    /// When the run ended; null while it is active.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    finished_at: Option<Moment>,
    /// The number of the last event.
    last_seq: u64,
    /// Why the run failed.
    #[schema(required)]
    error: Option<ErrorView>,
    /// How the run was started.
    #[serde(flatten)]
    start: StartInfo,
}

impl From<RunRow> for RunSummary {
    fn from(run: RunRow) -> Self {
        Self {
            start: StartInfo::from(&run),
            run_id: run.id,
            graph_id: run.graph.0,
            graph_name: run.graph_name,
            status: run.status,
            started_at: Moment(run.created_at),
            finished_at: run.finished_at.map(Moment),
            last_seq: run.last_seq,
            error: run.error.as_ref().map(ErrorView::from),
        }
    }
}
