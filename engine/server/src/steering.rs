//! How a run is steered: cancelled, paused, retried, upgraded, forked. Each is allowed only in the states
//! of a run in which it makes sense, and is an event of the run.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    App,
    extract::{JsonOrNothing, RunPath, span, state_at},
    idempotency::Keyed,
    problem::{Problem, ProblemBody},
    runs,
    signals::Sent,
    view::RunBody,
};

/// The longest reason, in bytes.
const MAX_REASON: usize = 4 << 10;
/// The longest time that calls under way may be given when their run is cancelled.
const MAX_GRACE: Duration = Duration::from_secs(3600);

type Answer = Result<(StatusCode, Json<Sent>), Problem>;

fn sent(seq: u64) -> Answer {
    Ok((StatusCode::ACCEPTED, Json(Sent { seq })))
}

/// The reason at `/reason` of a body; empty where it is left out.
fn reason(given: Option<String>) -> Result<String, Problem> {
    let reason = given.unwrap_or_default();
    let size = reason.len();
    if size > MAX_REASON {
        let message = format!("the reason takes {size} bytes, more than its limit of {MAX_REASON}");
        return Err(Problem::invalid_at("/reason", message));
    }
    Ok(reason)
}

/// Why a run is cancelled, and how fast.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Cancel, example = json!({"reason": "it is no longer needed", "grace": "10s"}))]
pub(crate) struct CancelBody {
    /// In your words, for whoever reads the run's events; at most 4 KiB.
    #[schema(max_length = 4096)]
    reason: Option<String>,
    /// How long calls under way may still take: `0s`, `500ms`, `10s`, at most `60m`; 5 s where it is left out.
    #[serde(default, deserialize_with = "span")]
    #[schema(value_type = Option<String>, pattern = "^\\s*([0-9]+(ms|s|m|h|d|w)\\s*)+$")]
    grace: Option<Duration>,
}

/// Cancel a run
///
/// No further step begins. Calls under way may answer within `grace` and are given up then; what can be undone
/// (`compensate`) is undone before the run is over. Answers once that is durable.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/cancel", tag = "steering", operation_id = "cancel_run",
    params(("run_id" = String, Path, format = "uuid", description = "The run")),
    request_body(content = Option<CancelBody>, description = "May be left out"),
    responses(
        (status = 202, description = "The run ends", body = Sent),
        (status = 404, description = "There is no such run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The run is over or ending", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "It was not taken: send it again later", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn cancel(State(app): State<App>, RunPath(run): RunPath, body: JsonOrNothing) -> Answer {
    let CancelBody { reason: given, grace } = body.parse()?;
    let reason = reason(given)?;
    if grace.is_some_and(|grace| grace > MAX_GRACE) {
        return Err(Problem::invalid_at("/grace", "the grace is at most `60m`"));
    }
    sent(app.engine.cancel(run, &reason, grace).await?)
}

/// Why a run is paused.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Pause, example = json!({"reason": "the supplier is down"}))]
pub(crate) struct PauseBody {
    /// In your words, for whoever reads the run's events; at most 4 KiB.
    #[schema(max_length = 4096)]
    reason: Option<String>,
}

/// Pause a run
///
/// No step begins and no time counts until it is resumed. Calls under way may finish and what they answer is
/// kept; so are signals that come.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/pause", tag = "steering", operation_id = "pause_run",
    params(("run_id" = String, Path, format = "uuid", description = "The run")),
    request_body(content = Option<PauseBody>, description = "May be left out"),
    responses(
        (status = 202, description = "The run stands still", body = Sent),
        (status = 404, description = "There is no such run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The run is over, ending, queued or paused", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "It was not taken: send it again later", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn pause(State(app): State<App>, RunPath(run): RunPath, body: JsonOrNothing) -> Answer {
    let PauseBody { reason: given } = body.parse()?;
    let reason = reason(given)?;
    sent(app.engine.pause(run, &reason).await?)
}

/// Nothing to say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub(crate) struct Nothing {}

/// Resume a run that is paused
///
/// A run that was imported is paused, and goes on here with this.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/resume", tag = "steering", operation_id = "resume_run",
    params(("run_id" = String, Path, format = "uuid", description = "The run")),
    request_body(content = Option<Nothing>, description = "`{}`, or left out"),
    responses(
        (status = 202, description = "The run goes on", body = Sent),
        (status = 404, description = "There is no such run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The run is not paused", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "It was not taken: send it again later", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn resume(State(app): State<App>, RunPath(run): RunPath, body: JsonOrNothing) -> Answer {
    let Nothing {} = body.parse()?;
    sent(app.engine.resume(run).await?)
}

/// Retry a run that failed
///
/// From where it failed: the steps that failed, and those that were under way, are made again, with all their
/// attempts before them. Not where what the run did was undone: fork it from a step instead.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/retry", tag = "steering", operation_id = "retry_run",
    params(("run_id" = String, Path, format = "uuid", description = "The run")),
    request_body(content = Option<Nothing>, description = "`{}`, or left out"),
    responses(
        (status = 202, description = "The run goes on", body = Sent),
        (status = 404, description = "There is no such run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The run did not fail, or what it did was undone", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "It was not taken: send it again later", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn retry(State(app): State<App>, RunPath(run): RunPath, body: JsonOrNothing) -> Answer {
    let Nothing {} = body.parse()?;
    sent(app.engine.retry(run).await?)
}

/// What a run is to keep to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Upgrade, example = json!({"graph": "starter"}))]
pub(crate) struct UpgradeBody {
    /// Another version of the run's graph: its id, or its name for the newest. The graph stays as it is where
    /// this is left out.
    graph: Option<String>,
}

/// Upgrade a run
///
/// From here on it keeps to the newest registered versions of its plugins, and to `graph` where one is given.
/// A run that failed stays so until it is retried.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/upgrade", tag = "steering", operation_id = "upgrade_run",
    params(("run_id" = String, Path, format = "uuid", description = "The run")),
    request_body(content = Option<UpgradeBody>, description = "May be left out"),
    responses(
        (status = 202, description = "The run keeps to the new versions", body = Sent),
        (status = 404, description = "There is no such run or graph", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The run neither waits nor is paused nor failed, or is at a place that the graph does not have", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "It was not taken: send it again later", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn upgrade(State(app): State<App>, RunPath(run): RunPath, body: JsonOrNothing) -> Answer {
    let UpgradeBody { graph } = body.parse()?;
    sent(app.engine.upgrade(run, graph.as_deref()).await?)
}

/// From where a run is forked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Fork, example = json!({"step": 1, "state": {"input": "other data"}}))]
pub(crate) struct ForkBody<'b> {
    /// The step right after which the new run goes on: one that is over; 0 for the run's beginning.
    step: u64,
    /// The keys of the state that are to be other than they were.
    #[serde(borrow, default)]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    state: Option<&'b RawValue>,
}

/// Fork a run
///
/// Starts a new run that begins as this one was right after a step, whatever this one does or did. It keeps
/// to the same graph and plugins, and has nothing to do with this one from then on.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/fork", tag = "steering", operation_id = "fork_run",
    params(
        ("run_id" = String, Path, format = "uuid", description = "The run"),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]{1,255}$", description = "1 to 255 visible ASCII characters: sent again with it, the request answers the same run"),
    ),
    request_body = ForkBody,
    responses(
        (status = 202, description = "The new run goes on in the background", body = RunBody, headers(("location" = String, description = "Where it is"), ("idempotency-replayed" = String, description = "`true` where the run was started by the same request before"))),
        (status = 404, description = "There is no such run or step", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "A request with the key is being carried out", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The body does not have the right form, or the key was used for another request", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many runs are queued", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn fork(
    State(app): State<App>,
    RunPath(run): RunPath,
    Keyed { body, key }: Keyed,
) -> Result<Response, Problem> {
    let ForkBody { step, state } = body.parse()?;
    let edits = state.map(|state| state_at("/state", state)).transpose()?;
    let fork = {
        // The other run is read for it.
        let _turn = app.large.turn().await;
        app.engine.fork(run, step, edits.unwrap_or_default(), key).await?
    };
    runs::tell_started(&app, &fork, None).await
}
