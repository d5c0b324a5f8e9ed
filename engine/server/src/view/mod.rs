//! How the engine's things look from outside: the one place where kernel types become the
//! JSON that clients read.

mod chunk;
mod event;
mod names;

use std::{fmt, sync::Arc};

use heddle_json::{Json, Object};
use heddle_kernel::{
    Failure, FailureKind, Level, RunError, RunId, Status, Timestamp,
    run::{ActiveWait, BranchStatus, BranchView, MapItem},
};
use heddle_runtime::{RunView, ports::RunRow};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

pub(crate) use self::{
    chunk::{ChunkView, MissedView},
    event::{EventView, FunctionRefView, ItemView},
    names::{
        BytesDoc, CatchUpDoc, FailureKindDoc, FunctionKindDoc, LevelDoc, OverlapDoc, SeverityDoc, StatusDoc,
    },
};

/// A moment, written as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = if self.0.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        };
        let moment = jiff::Timestamp::from_millisecond(self.0.0).unwrap_or(ends);
        write!(f, "{moment:.3}")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a call gave no outcome.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Failure)]
pub(crate) struct FailureView {
    /// What sort of failure it was.
    #[schema(value_type = FailureKindDoc)]
    kind: FailureKind,
    /// What was wrong.
    #[schema(value_type = String)]
    message: Arc<str>,
    /// What the function added for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    data: Option<Json>,
}

impl From<&Failure> for FailureView {
    fn from(failure: &Failure) -> Self {
        Self {
            kind: failure.kind,
            message: failure.message.clone(),
            data: failure.data.clone(),
        }
    }
}

/// Why a run failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RunError)]
pub(crate) struct ErrorView {
    /// For programs: the kind of the failure.
    #[schema(value_type = FailureKindDoc)]
    code: FailureKind,
    /// What was wrong.
    #[schema(value_type = String)]
    message: Arc<str>,
    /// The node at which the run failed.
    #[schema(value_type = String)]
    node: Arc<str>,
    /// The step.
    step: u64,
    /// The attempt.
    attempt: u32,
    /// What the function added for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    data: Option<Json>,
}

impl From<&RunError> for ErrorView {
    fn from(error: &RunError) -> Self {
        Self {
            code: error.kind,
            message: error.message.clone(),
            node: error.node.clone(),
            step: error.step,
            attempt: error.attempt,
            data: error.data.clone(),
        }
    }
}

/// One line of a function's log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogLine {
    /// How much it matters.
    #[schema(value_type = LevelDoc)]
    level: Level,
    /// The line.
    #[schema(value_type = String)]
    message: Arc<str>,
}

/// Lines of a function's log, as clients see them.
pub(crate) fn log_lines(logs: &[(Level, Arc<str>)]) -> Vec<LogLine> {
    let line = |(level, message): &(Level, Arc<str>)| LogLine {
        level: *level,
        message: message.clone(),
    };
    logs.iter().map(line).collect()
}

/// A run with its state.
#[derive(Serialize, ToSchema)]
#[schema(as = Run)]
pub(crate) struct RunBody {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// Its graph.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    graph_id: Arc<str>,
    /// The name of its graph; null where the graph has none.
    #[schema(value_type = Option<String>, required)]
    graph_name: Option<Arc<str>>,
    /// What it does, or how it ended.
    #[schema(value_type = StatusDoc)]
    status: Status,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Moment,
    /// When it was over.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    finished_at: Option<Moment>,
    /// How many steps were begun.
    steps: u64,
    /// The nodes that it is at.
    #[schema(value_type = Vec<String>)]
    nodes: Vec<Arc<str>>,
    /// The number of its last event.
    last_seq: u64,
    /// What it waits for, where it waits for a signal or for time to pass.
    waits: Vec<WaitView>,
    /// The state, as of that event. While there are several branches, it is what all of them agree on: the state when
    /// they parted, with what they changed since and what merges. A key whose changes do not merge has the value
    /// that it had when they parted.
    #[schema(value_type = BTreeMap<String, Value>)]
    state: Object,
    /// The branches, where a graph that the run runs has several; once it is over, those that there were then.
    branches: Vec<BranchBody>,
    /// What the graph declares as its output, of the state at the end: where it declares one and the run has
    /// finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    output: Option<Object>,
    /// Why it failed. Here a message of more than 16 KiB is cut, and `data` of more is left out; the run itself has them.
    #[schema(required)]
    error: Option<ErrorView>,
    /// What it was started with.
    #[serde(flatten)]
    beginning: Beginning,
}

/// How a run came to be.
#[derive(Serialize, ToSchema)]
pub(crate) struct Beginning {
    /// Which of the queued runs is taken up first: the one with the highest.
    #[schema(minimum = -100, maximum = 100)]
    priority: i32,
    /// The group that it counts in, by its graph's `limits.group`.
    #[schema(value_type = Option<String>, required)]
    group: Option<Arc<str>>,
    /// What started it, where that was no request of its own: `fork:RUN`, `schedule:NAME` or `import`.
    #[schema(value_type = Option<String>, required)]
    origin: Option<Arc<str>>,
}

impl From<&RunRow> for Beginning {
    fn from(row: &RunRow) -> Self {
        Self {
            priority: row.priority,
            group: row.group.clone(),
            origin: row.origin.clone(),
        }
    }
}

impl RunBody {
    /// The run as it is told, with what its row tells of its start.
    pub(crate) fn of(run: RunView, row: &RunRow) -> Self {
        Self {
            beginning: row.into(),
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

/// One of several branches of a graph that a run runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Branch)]
pub(crate) struct BranchBody {
    /// Its number in the run.
    branch: u32,
    /// The step of the node that runs the branch's graph; null in the run's own graph.
    #[schema(required)]
    within: Option<u64>,
    /// `at`: it takes a step at `node`. `before`: it has come to `node`, where other branches may come first. `ended`:
    /// it has ended.
    place: PlaceView,
    /// The node that it is at, or before; null where it has ended.
    #[schema(value_type = Option<String>, required)]
    node: Option<Arc<str>>,
    /// The step that it takes.
    #[schema(required)]
    step: Option<u64>,
    /// The keys of the state that it changed since the branches parted, with their values in this branch.
    #[schema(value_type = BTreeMap<String, Value>)]
    changed: Object,
    /// How many keys that it changed are left out of `changed`, which has at most 1 MiB for all branches together.
    left_out: usize,
}

/// Where a branch is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BranchPlace)]
pub(crate) enum PlaceView {
    At,
    Before,
    Ended,
}

impl From<BranchStatus> for PlaceView {
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

/// One item of a map that a wait or a step is within.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = WaitItem)]
pub(crate) struct WaitItem {
    /// The node of the map.
    #[schema(value_type = String)]
    node: Arc<str>,
    /// The step of the map.
    of: u64,
    /// The item's place among the items, from 0.
    index: u32,
    /// The item's key, where the map goes over an object.
    #[schema(value_type = Option<String>, required)]
    key: Option<Arc<str>>,
}

impl WaitItem {
    /// An item by the node and the step of its map, its place and its key.
    pub(crate) fn new(node: Arc<str>, of: u64, index: u32, key: Option<Arc<str>>) -> Self {
        Self { node, of, index, key }
    }
}

impl From<MapItem> for WaitItem {
    fn from(item: MapItem) -> Self {
        Self {
            node: item.node,
            of: item.of,
            index: item.index,
            key: item.key,
        }
    }
}

/// A step that waits for a signal or for time to pass.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Wait)]
pub(crate) struct WaitView {
    /// The wait's id, by which a signal can name it: the number of its step.
    id: u64,
    /// The step.
    step: u64,
    /// The items of maps that it is within, the outermost first; empty where it is within none.
    items: Vec<WaitItem>,
    /// The last of `items`: null where there is none.
    #[schema(required)]
    item: Option<WaitItem>,
    /// The others of `items`, the outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outer_items: Vec<WaitItem>,
    /// When it began to wait.
    #[schema(value_type = String, format = DateTime)]
    since: Moment,
    /// The node.
    #[schema(value_type = String)]
    node: Arc<str>,
    /// The signal that it waits for: `POST /v1/runs/{run_id}/signal` sends it. Null where only time has to pass.
    #[schema(value_type = Option<String>, required)]
    signal: Option<Arc<str>>,
    /// What a person is asked.
    #[schema(value_type = Option<String>, required)]
    prompt: Option<Arc<str>>,
    /// JSON Schema of the signal's payload.
    #[schema(value_type = Option<Value>, required)]
    schema: Option<Json>,
    /// Until when, where there is such a time.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    until: Option<Moment>,
}

impl From<ActiveWait> for WaitView {
    fn from(waiting: ActiveWait) -> Self {
        let items: Vec<WaitItem> = waiting.items.into_iter().map(WaitItem::from).collect();
        let mut outer_items = items.clone();
        let item = outer_items.pop();
        Self {
            id: waiting.step,
            step: waiting.step,
            items,
            item,
            outer_items,
            since: Moment(waiting.since),
            node: waiting.node,
            signal: waiting.signal,
            prompt: waiting.prompt,
            schema: waiting.schema,
            until: waiting.until.map(Moment),
        }
    }
}

/// A run in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunSummary {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// Its graph.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    graph_id: Arc<str>,
    /// The name of its graph; null where the graph has none.
    #[schema(value_type = Option<String>, required)]
    graph_name: Option<Arc<str>>,
    /// What it does, or how it ended.
    #[schema(value_type = StatusDoc)]
    status: Status,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Moment,
    /// When it was over.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    finished_at: Option<Moment>,
    /// The number of its last event.
    last_seq: u64,
    /// Why it failed.
    #[schema(required)]
    error: Option<ErrorView>,
    /// What it was started with.
    #[serde(flatten)]
    beginning: Beginning,
}

impl From<RunRow> for RunSummary {
    fn from(run: RunRow) -> Self {
        Self {
            beginning: Beginning::from(&run),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_milliseconds_and_stay_in_the_calendar() {
        let text = |ms| serde_json::to_string(&Moment(Timestamp(ms))).expect("a string");
        assert_eq!(text(0), r#""1970-01-01T00:00:00.000Z""#);
        assert_eq!(text(1_795_375_980_007), r#""2026-11-22T19:33:00.007Z""#);
        assert_eq!(text(i64::MAX), r#""9999-12-30T22:00:00.999Z""#);
    }
}
