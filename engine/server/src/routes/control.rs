//! Control of runs: signal, cancel, pause, resume, retry, upgrade and fork.
//!
//! All of them have one shape: read the run's id and the body, call the engine, and answer 202 once the resulting event
//! is durable. The kernel decides in which statuses of a run each is allowed.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoResponses, ToSchema};

use super::runs::started_response;
use crate::{
    app::App,
    request::{
        body::{EmptyBody, OptionalJson, parse_state},
        idempotency::{IdempotencyKey, KeyedJson},
        path::{RunIdParam, RunPath},
        query::optional_duration,
    },
    response::problem::Problem,
    view::run::RunBody,
};

/// The longest reason, in bytes.
const MAX_REASON: usize = 4 << 10;
/// The longest time for which active calls can continue after a cancellation.
const MAX_GRACE: Duration = Duration::from_secs(3600);

/// The answer to a control request that was accepted.
#[derive(Serialize, ToSchema)]
#[schema(as = Sent, example = json!({"seq": 12}))]
pub(crate) struct AcceptedBody {
    /// The number of the last event that the request caused directly. It is durable; later effects have higher numbers.
    seq: u64,
}

/// The errors that all control requests have in common.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it only describes the responses")]
enum ControlErrors {
    #[response(status = 404, description = "There is no such run")]
    NoSuchRun,
    #[response(status = 503, description = "The request was not accepted: retry later")]
    NotAccepted,
}

type Accepted = Result<(StatusCode, Json<AcceptedBody>), Problem>;

fn accepted(seq: u64) -> Accepted {
    Ok((StatusCode::ACCEPTED, Json(AcceptedBody { seq })))
}

/// Returns the reason at `/reason` of a body; empty by default.
fn checked_reason(reason: Option<String>) -> Result<String, Problem> {
    let reason = reason.unwrap_or_default();
    let size = reason.len();
    if size > MAX_REASON {
        let message = format!("the reason has {size} bytes, more than the limit of {MAX_REASON}");
        return Err(Problem::invalid_at("/reason", message));
    }
    Ok(reason)
}

/// A signal to a run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Signal, example = json!({"name": "approval", "payload": {"approved": true}}))]
pub(crate) struct SignalBody<'b> {
    /// The signal's name, as in the `wait` of the graph.
    name: String,
    /// Any JSON that matches the schema of the wait; default null.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Value>)]
    payload: Option<&'b RawValue>,
    /// The `id` of one of the run's `waits`. Default: the oldest wait for this signal whose schema matches the payload.
    #[serde(default)]
    wait: Option<u64>,
}

/// Send a signal to a run
///
/// Ends one wait for the signal: the one that `wait` names, else the oldest. If no step waits for the signal yet, the run
/// keeps it for the next wait. Each signal ends one wait. `GET /v1/runs/{run_id}` lists the run's `waits`.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/signal", tag = "Control", operation_id = "signal_run",
    params(RunIdParam, IdempotencyKey),
    request_body = SignalBody,
    responses(
        ControlErrors,
        (status = 202, description = "The signal is recorded", body = AcceptedBody),
        (status = 404, description = "There is no such run, the graph has no wait for this signal, or there is no such wait"),
        (status = 409, description = "The run is over or ending, the wait is over, or a request with the key is in progress"),
        (status = 422, description = "The payload does not match the schema, or the key was used for another request"),
        (status = 429, description = "The run holds too many unreceived signals, or too many bytes of them"),
    )
)]
pub(crate) async fn signal(
    State(app): State<App>,
    RunPath(run): RunPath,
    KeyedJson { body, key }: KeyedJson,
) -> Accepted {
    let SignalBody { name, payload, wait } = body.parse()?;
    let payload = payload.unwrap_or(RawValue::NULL).to_owned().into();
    accepted(app.engine.signal_wait(run, &name, payload, wait, key).await?)
}

/// Options of a cancellation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Cancel, example = json!({"reason": "no longer needed", "grace": "10s"}))]
pub(crate) struct CancelBody {
    /// The reason, which the run's events show; at most 4 KiB.
    #[schema(max_length = 4096)]
    reason: Option<String>,
    /// The time for which active calls can continue: `0s`, `500ms`, `10s`, at most `60m`; default `5s`.
    #[serde(default, deserialize_with = "optional_duration")]
    #[schema(value_type = Option<String>, pattern = "^\\s*([0-9]+(ms|s|m|h|d|w)\\s*)+$")]
    grace: Option<Duration>,
}

/// Cancel a run
///
/// Starts no further steps, stops active calls after `grace`, and runs the compensations (`compensate`) of completed steps
/// before the run ends.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/cancel", tag = "Control", operation_id = "cancel_run",
    params(RunIdParam),
    request_body(content = Option<CancelBody>, description = "Optional"),
    responses(
        ControlErrors,
        (status = 202, description = "The cancellation is recorded", body = AcceptedBody),
        (status = 409, description = "The run is over or ending"),
    )
)]
pub(crate) async fn cancel(State(app): State<App>, RunPath(run): RunPath, body: OptionalJson) -> Accepted {
    let CancelBody { reason, grace } = body.parse()?;
    let reason = checked_reason(reason)?;
    if grace.is_some_and(|grace| grace > MAX_GRACE) {
        return Err(Problem::invalid_at("/grace", "the limit of `grace` is `60m`"));
    }
    accepted(app.engine.cancel(run, &reason, grace).await?)
}

/// Options of a pause.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Pause, example = json!({"reason": "the supplier is down"}))]
pub(crate) struct PauseBody {
    /// The reason, which the run's events show; at most 4 KiB.
    #[schema(max_length = 4096)]
    reason: Option<String>,
}

/// Pause a run
///
/// Until the run is resumed, no step starts and timers stop. Active calls can finish and their results are kept. Signals are
/// kept, too.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/pause", tag = "Control", operation_id = "pause_run",
    params(RunIdParam),
    request_body(content = Option<PauseBody>, description = "Optional"),
    responses(
        ControlErrors,
        (status = 202, description = "The run is paused", body = AcceptedBody),
        (status = 409, description = "The run is over, ending, queued or paused"),
    )
)]
pub(crate) async fn pause(State(app): State<App>, RunPath(run): RunPath, body: OptionalJson) -> Accepted {
    let PauseBody { reason } = body.parse()?;
    accepted(app.engine.pause(run, &checked_reason(reason)?).await?)
}

/// Resume a paused run
///
/// Imported runs that are not over are paused, too.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/resume", tag = "Control", operation_id = "resume_run",
    params(RunIdParam),
    request_body(content = Option<EmptyBody>, description = "Optional: `{}`"),
    responses(
        ControlErrors,
        (status = 202, description = "The run is resumed", body = AcceptedBody),
        (status = 409, description = "The run is not paused"),
    )
)]
pub(crate) async fn resume(State(app): State<App>, RunPath(run): RunPath, body: OptionalJson) -> Accepted {
    let EmptyBody {} = body.parse()?;
    accepted(app.engine.resume(run).await?)
}

/// Retry a failed run
///
/// Continues the run from its failure: failed steps and steps that were active at the failure run again with a fresh retry
/// budget. A run whose compensations have run cannot be retried: fork it from a step instead.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/retry", tag = "Control", operation_id = "retry_run",
    params(RunIdParam),
    request_body(content = Option<EmptyBody>, description = "Optional: `{}`"),
    responses(
        ControlErrors,
        (status = 202, description = "The run continues", body = AcceptedBody),
        (status = 409, description = "The run has not failed, or its compensations have run"),
    )
)]
pub(crate) async fn retry(State(app): State<App>, RunPath(run): RunPath, body: OptionalJson) -> Accepted {
    let EmptyBody {} = body.parse()?;
    accepted(app.engine.retry(run).await?)
}

/// Options of an upgrade.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Upgrade, example = json!({"graph": "starter"}))]
pub(crate) struct UpgradeBody {
    /// Another version of the run's graph: an id, or a name for the newest graph with it. Default: the graph stays.
    graph: Option<String>,
}

/// Upgrade a run
///
/// From now on the run uses the newest registered versions of its plugins, and `graph` if given. A failed run stays failed
/// until it is retried.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/upgrade", tag = "Control", operation_id = "upgrade_run",
    params(RunIdParam),
    request_body(content = Option<UpgradeBody>, description = "Optional"),
    responses(
        ControlErrors,
        (status = 202, description = "The run uses the new versions", body = AcceptedBody),
        (status = 404, description = "There is no such run or graph"),
        (status = 409, description = "The run is not waiting, paused or failed, or the graph does not have the run's current nodes"),
    )
)]
pub(crate) async fn upgrade(State(app): State<App>, RunPath(run): RunPath, body: OptionalJson) -> Accepted {
    let UpgradeBody { graph } = body.parse()?;
    accepted(app.engine.upgrade(run, graph.as_deref()).await?)
}

/// The start of a fork.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Fork, example = json!({"step": 1, "state": {"input": "other data"}}))]
pub(crate) struct ForkBody<'b> {
    /// The completed step after which the new run starts; 0 for the initial state.
    step: u64,
    /// State overrides: keys with new values.
    #[serde(borrow, default)]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    state: Option<&'b RawValue>,
}

/// Fork a run
///
/// Starts a new run from the state of this run after a step. The new run uses the same graph and plugins. This run is not
/// affected, and its status does not matter.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/fork", tag = "Control", operation_id = "fork_run",
    params(RunIdParam, IdempotencyKey),
    request_body = ForkBody,
    responses(
        (status = 202, description = "The new run is started", body = RunBody, headers(("location" = String, description = "The path of the run"), ("idempotency-replayed" = String, description = "`true` if an earlier request with the key started the run"))),
        (status = 404, description = "There is no such run or step"),
        (status = 409, description = "A request with the key is in progress"),
        (status = 422, description = "The body is invalid, or the key was used for another request"),
        (status = 429, description = "Too many runs are queued"),
    )
)]
pub(crate) async fn fork(
    State(app): State<App>,
    RunPath(run): RunPath,
    KeyedJson { body, key }: KeyedJson,
) -> Result<Response, Problem> {
    let ForkBody { step, state } = body.parse()?;
    let overrides = state.map(|state| parse_state("/state", state)).transpose()?;
    let fork = {
        // Forking reads the history of this run.
        let _permit = app.responses.read_permit().await;
        app.engine
            .fork(run, step, overrides.unwrap_or_default(), key)
            .await?
    };
    started_response(&app, &fork, None).await
}
