//! The history of a run: its steps, its state after each step, and the differences between two steps.

mod item_paths;
mod state_diff;
mod step_search;
mod steps;

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

use self::{
    item_paths::ItemPaths,
    state_diff::{Change, Patch},
    steps::{StepStatus, StepSummary},
};
use super::runs::find_run;
use crate::{
    app::App,
    request::{
        path::{PathParams, RunIdParam, RunPath, run_id},
        query::{QueryParams, item_count},
    },
    response::problem::Problem,
    view::{event::FunctionRefView, failure::FailureView, moment::Moment, wait::WaitItem},
};

/// The default number of steps on a page.
const DEFAULT_STEPS: usize = 100;
/// The largest number of steps on a page.
const MAX_STEPS: usize = 1_000;

/// The parameters of a list of steps.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StepParams {
    /// Only steps after the one with this number.
    after: Option<u64>,
    /// The largest number of steps on the page: 1 to 1,000, default 100.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// A page of steps, in the order of their start.
#[derive(Serialize, ToSchema)]
pub(crate) struct StepList {
    /// The steps of this page.
    steps: Vec<StepSummary>,
    /// The `after` of the next page: the number of the last step on this page; null if no step follows yet.
    #[schema(required)]
    next_after: Option<u64>,
}

/// List a run's steps
///
/// In the order of their start. A forked run has only the steps since the fork, and their `items` only the maps that started
/// since then.
#[utoipa::path(
    get, path = "/v1/runs/{run_id}/steps", tag = "History", operation_id = "list_steps",
    params(RunIdParam, StepParams),
    responses(
        (status = 200, description = "A page of steps", body = StepList),
        (status = 404, description = "There is no such run"),
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    RunPath(id): RunPath,
    QueryParams(params): QueryParams<StepParams>,
) -> Result<Response, Problem> {
    let limit = item_count("limit", params.limit, DEFAULT_STEPS, MAX_STEPS)?;
    let run = find_run(&app, id).await?;
    let _permit = app.responses.read_permit().await;
    let steps = steps::read(&app.engine, &run, params.after.unwrap_or_default(), limit).await?;
    let last = steps.last().map(StepSummary::number);
    let next_after = last.filter(|last| steps.len() == limit && *last < run.steps);
    app.responses.json(&StepList { steps, next_after })
}

/// A step, with the state after it.
#[derive(Serialize, ToSchema)]
#[schema(as = RunAtStep)]
pub(crate) struct StepBody {
    /// The run's id.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The number of the step; 0 for the initial state.
    step: u64,
    /// The node of the step; empty for the initial state.
    #[schema(value_type = String)]
    node: Arc<str>,
    /// The map items that contain the step, outermost first; empty outside of maps.
    items: Vec<WaitItem>,
    /// The step's status at the time of the request.
    status: StepStatus,
    /// The number of attempts.
    attempts: u32,
    /// When the first attempt started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Moment,
    /// When the step ended; null while it is active.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    finished_at: Option<Moment>,
    /// The number of the event that ended the step; for an active step, of the run's last event.
    seq: u64,
    /// The input of the last attempt: the state or the value of the node's `input` for a function, the items for a map, the
    /// initial state for a subgraph, or the signal and times for a wait or a sleep. Null for the initial state, and if an
    /// expression of the node failed.
    #[schema(value_type = Option<Value>, required)]
    input: Option<Json>,
    /// The function that was called; null for other kinds of nodes.
    #[schema(required)]
    function: Option<FunctionRefView>,
    /// The node's `config`, which was passed to the function.
    #[schema(value_type = Option<Value>, required)]
    config: Option<Json>,
    /// Why the last attempt failed; null if it did not.
    #[schema(required)]
    failure: Option<FailureView>,
    /// The state keys that the step changed, with their new values.
    #[schema(value_type = BTreeMap<String, Value>)]
    update: Object,
    /// The run's state after the step; for an active step, the current state.
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

/// The input of a wait.
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

/// The input of a sleep.
#[derive(Serialize)]
struct SleepInput {
    until: Option<Moment>,
}

/// Get a step and the state after it
///
/// The step's input, the state keys that it changed, and the run's state after the step. Step 0 is the initial state.
#[utoipa::path(
    get, path = "/v1/runs/{run_id}/steps/{step}", tag = "History", operation_id = "get_step",
    params(
        RunIdParam,
        ("step" = u64, Path, description = "The number of the step; 0 for the initial state"),
    ),
    responses(
        (status = 200, description = "The step and the state", body = StepBody),
        (status = 404, description = "There is no such run or step"),
    )
)]
pub(crate) async fn step(
    State(app): State<App>,
    PathParams((run, step)): PathParams<(String, u64)>,
) -> Result<Response, Problem> {
    let run = run_id(&run)?;
    let _permit = app.responses.read_permit().await;
    let view = app.engine.step(run, step).await?;
    let mut paths = ItemPaths::new(&app.engine, run, view.seq);
    let items = match step {
        0 => Vec::new(),
        step => paths.of(&[step]).await?.pop().unwrap_or_default(),
    };
    app.responses.json(&StepBody::of(run, view, items))
}

/// The parameters of a comparison.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DiffParams {
    /// The step with the first state; 0 for the initial state.
    from: u64,
    /// The step with the second state; 0 for the initial state.
    to: u64,
}

/// The differences between the states after two steps.
#[derive(Serialize, ToSchema)]
pub(crate) struct Diff<'s> {
    /// The run's id.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The step with the first state.
    from: u64,
    /// The step with the second state.
    to: u64,
    /// The state keys that differ.
    changes: Vec<Change>,
    /// A JSON Patch (RFC 6902) from the first state to the second.
    patch: Vec<Patch<'s>>,
}

/// Compare the states after two steps
///
/// The differences from the state after step `from` to the state after step `to`. The steps can be in any order.
#[utoipa::path(
    get, path = "/v1/runs/{run_id}/diff", tag = "History", operation_id = "diff_steps",
    params(RunIdParam, DiffParams),
    responses(
        (status = 200, description = "The differences", body = Diff),
        (status = 404, description = "There is no such run, or no such completed step"),
    )
)]
pub(crate) async fn diff(
    State(app): State<App>,
    RunPath(run): RunPath,
    QueryParams(DiffParams { from, to }): QueryParams<DiffParams>,
) -> Result<Response, Problem> {
    let _permit = app.responses.read_permit().await;
    let before = app.engine.state_after(run, from).await?;
    let after = app.engine.state_after(run, to).await?;
    let diff = Diff {
        run_id: run,
        from,
        to,
        changes: state_diff::by_key(&before, &after),
        patch: state_diff::json_patch(&before, &after),
    };
    app.responses.json(&diff)
}
