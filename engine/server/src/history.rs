//! What a run did, step by step: the list of its steps, its state after each, and what is other between two.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use heddle_json::{Json, Object, object::to_json};
use heddle_kernel::{
    RunId,
    run::{ActiveWait, StepInput},
};
use heddle_runtime::StepView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    App,
    changes::{self, Change, Patch},
    extract::{Params, Parted, RunPath, count, run_id},
    item_places::ItemPlaces,
    problem::{Problem, ProblemBody},
    runs,
    steps::{self, StepStatus, StepSummary},
    view::{FailureView, FunctionRefView, Moment, WaitItem},
};

/// How many steps a page has where nothing is said.
const DEFAULT_STEPS: usize = 100;
/// How many it may have.
const MAX_STEPS: usize = 1_000;

/// Which steps.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StepParams {
    /// Only steps with a number above this one.
    after: Option<u64>,
    /// How many at most: 1 to 1,000; 100 where it is left out.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// Steps of a run, in the order in which they began.
#[derive(Serialize, ToSchema)]
pub(crate) struct StepList {
    /// The steps.
    steps: Vec<StepSummary>,
    /// What to give as `after` to go on: the number of the last step here. Null where no step follows yet.
    #[schema(required)]
    next_after: Option<u64>,
}

/// List a run's steps
///
/// In the order in which they began. A run that was forked has only the steps since then.
#[utoipa::path(
    get, path = "/v1/runs/{run_id}/steps", tag = "history", operation_id = "list_steps",
    params(("run_id" = String, Path, format = "uuid", description = "The run"), StepParams),
    responses(
        (status = 200, description = "A page of steps", body = StepList),
        (status = 404, description = "There is no such run", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    RunPath(id): RunPath,
    Params(params): Params<StepParams>,
) -> Result<Response, Problem> {
    let limit = count("limit", params.limit, DEFAULT_STEPS, MAX_STEPS)?;
    let run = runs::find(&app, id).await?;
    let _turn = app.large.turn().await;
    let steps = steps::read(&app.engine, &run, params.after.unwrap_or_default(), limit).await?;
    let last = steps.last().map(StepSummary::number);
    let next_after = last.filter(|last| steps.len() == limit && *last < run.steps);
    app.large.json(&StepList { steps, next_after })
}

/// A run after one of its steps.
#[derive(Serialize, ToSchema)]
#[schema(as = RunAtStep)]
pub(crate) struct StepBody {
    /// The run.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The step; 0 for the run's beginning.
    step: u64,
    /// Its node; empty for the run's beginning.
    #[schema(value_type = String)]
    node: Arc<str>,
    /// The items of maps that it is for or within, the outermost first; empty where it is within none.
    items: Vec<WaitItem>,
    /// What it does, or how it ended.
    status: StepStatus,
    /// How many attempts there were.
    attempts: u32,
    /// When its first attempt began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Moment,
    /// When it was over; null while it is under way.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    finished_at: Option<Moment>,
    /// The number of the event by which it was over; of a step under way, of the run's last one.
    seq: u64,
    /// What its last attempt was given: what the function was called with (the state, or what the node's `input` made of
    /// it), the items of a map, the state that a subgraph began with, or what a wait or a sleep waited for. Null for the
    /// run's beginning, and where an expression of the node had no value.
    #[schema(value_type = Option<Value>, required)]
    input: Option<Json>,
    /// The function that was called, where one was.
    #[schema(required)]
    function: Option<FunctionRefView>,
    /// The node's `config`, which the function was given besides.
    #[schema(value_type = Option<Value>, required)]
    config: Option<Json>,
    /// How its last attempt failed, where it did.
    #[schema(required)]
    failure: Option<FailureView>,
    /// The keys of the state that it changed.
    #[schema(value_type = BTreeMap<String, Value>)]
    update: Object,
    /// The run's state right after it, or as it is now while the step is under way.
    #[schema(value_type = BTreeMap<String, Value>)]
    state: Object,
}

impl StepBody {
    fn of(run: RunId, step: StepView, items: Vec<WaitItem>) -> Self {
        let (input, called) = match step.given {
            Some(StepInput::Call {
                function,
                input,
                config,
            }) => (Some(to_json(&input)), Some((function, config))),
            Some(StepInput::Map(items)) => (Some(items), None),
            Some(StepInput::Graph(state)) => (Some(to_json(&state)), None),
            Some(StepInput::Wait(wait)) => (Some(to_json(&WaitInput::from(*wait))), None),
            Some(StepInput::Sleep { until }) => (
                Some(to_json(&SleepInput {
                    until: until.map(Moment),
                })),
                None,
            ),
            None => (None, None),
        };
        Self {
            run_id: run,
            step: step.step,
            node: step.node,
            items,
            status: match step.finished_at {
                None => StepStatus::Running,
                Some(_) if step.finished => StepStatus::Finished,
                Some(_) => StepStatus::Failed,
            },
            attempts: step.attempts,
            started_at: Moment(step.started_at),
            finished_at: step.finished_at.map(Moment),
            seq: step.seq,
            input,
            function: called.as_ref().map(|(function, _)| function.into()),
            config: called.map(|(_, config)| config),
            failure: step.failure.as_ref().map(FailureView::from),
            update: step.update,
            state: step.state,
        }
    }
}

/// What a wait waited for.
#[derive(Serialize)]
struct WaitInput {
    signal: Option<Arc<str>>,
    prompt: Option<Arc<str>>,
    until: Option<Moment>,
}

impl From<ActiveWait> for WaitInput {
    fn from(wait: ActiveWait) -> Self {
        Self {
            signal: wait.signal,
            prompt: wait.prompt,
            until: wait.until.map(Moment),
        }
    }
}

/// What a sleep waited for.
#[derive(Serialize)]
struct SleepInput {
    until: Option<Moment>,
}

/// Get a run as it was after a step
///
/// What the step was given, what it changed, and the run's state right after the step was over. Step 0 is the run's
/// beginning.
#[utoipa::path(
    get, path = "/v1/runs/{run_id}/steps/{step}", tag = "history", operation_id = "get_step",
    params(
        ("run_id" = String, Path, format = "uuid", description = "The run"),
        ("step" = u64, Path, description = "The number of a step; 0 for the run's beginning"),
    ),
    responses(
        (status = 200, description = "The run after the step", body = StepBody),
        (status = 404, description = "There is no such run, or no such step", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn step(
    State(app): State<App>,
    Parted((run, step)): Parted<(String, u64)>,
) -> Result<Response, Problem> {
    let run = run_id(&run)?;
    let _turn = app.large.turn().await;
    let view = app.engine.step(run, step).await?;
    let mut places = ItemPlaces::new(&app.engine, run, view.seq);
    let items = match step {
        0 => Vec::new(),
        step => places.of(&[step]).await?.pop().unwrap_or_default(),
    };
    app.large.json(&StepBody::of(run, view, items))
}

/// Between which steps.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DiffParams {
    /// The step after which the state is the one to begin with; 0 for the run's beginning.
    from: u64,
    /// The step after which it is the one to come to.
    to: u64,
}

/// What is other between two steps.
#[derive(Serialize, ToSchema)]
pub(crate) struct Diff<'s> {
    /// The run.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The step to begin with.
    from: u64,
    /// The step to come to.
    to: u64,
    /// The keys of the state that are other.
    changes: Vec<Change>,
    /// The same in depth: a JSON Patch (RFC 6902) that makes the one state of the other.
    patch: Vec<Patch<'s>>,
}

/// Compare a run after two of its steps
///
/// The state after the step `from` with the one after the step `to`, whichever of them came first.
#[utoipa::path(
    get, path = "/v1/runs/{run_id}/diff", tag = "history", operation_id = "diff_steps",
    params(("run_id" = String, Path, format = "uuid", description = "The run"), DiffParams),
    responses(
        (status = 200, description = "What is other", body = Diff),
        (status = 404, description = "There is no such run, or no such step that is over", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn diff(
    State(app): State<App>,
    RunPath(run): RunPath,
    Params(DiffParams { from, to }): Params<DiffParams>,
) -> Result<Response, Problem> {
    let _turn = app.large.turn().await;
    let before = app.engine.state_after(run, from).await?;
    let after = app.engine.state_after(run, to).await?;
    let diff = Diff {
        run_id: run,
        from,
        to,
        changes: changes::by_key(&before, &after),
        patch: changes::in_depth(&before, &after),
    };
    app.large.json(&diff)
}
