//! What is sent to a run that is under way: signals, and the wish that it ends.

use axum::{Json, extract::State, http::StatusCode};
use heddle_kernel::object::json;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    App,
    extract::{JsonText, RunPath},
    problem::{Problem, ProblemBody},
};

/// The longest reason for cancelling a run, in bytes.
const MAX_REASON: usize = 4 << 10;

/// A signal.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Signal, example = json!({"name": "approval", "payload": {"approved": true}}))]
pub(crate) struct SignalBody<'b> {
    /// Its name, as the graph's `wait` has it.
    name: String,
    /// What comes with it: any JSON that fits the wait's schema; null where it is left out.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Value>)]
    payload: Option<&'b RawValue>,
}

/// Why a run is cancelled.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Cancel, example = json!({"reason": "it is no longer needed"}))]
pub(crate) struct CancelBody {
    /// In your words, for whoever reads the run's events; at most 4 KiB.
    #[serde(default)]
    reason: String,
}

/// That something was sent to a run.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"seq": 12}))]
pub(crate) struct Sent {
    /// The number of the last event that it led to at once: it is durable, and what follows comes after it.
    seq: u64,
}

/// Send a signal to a run
///
/// A wait for it goes on; where none waits yet, the signal is kept for the next one. Each signal is taken
/// by one wait. Answers once it is durable. `waits` of `GET /v1/runs/{run_id}` shows what a run waits for.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/signal", tag = "runs", operation_id = "signal_run",
    params(("run_id" = String, Path, description = "The run")),
    request_body = SignalBody,
    responses(
        (status = 202, description = "The run has it", body = Sent),
        (status = 404, description = "There is no such run, or nothing in it takes such a signal", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The run is over or ending", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The payload does not fit", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "The run keeps too many signals that nothing has taken", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "It was not taken: send it again later", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn signal(
    State(app): State<App>,
    RunPath(run): RunPath,
    body: JsonText,
) -> Result<(StatusCode, Json<Sent>), Problem> {
    let request: SignalBody<'_> = body.parse()?;
    let payload = request.payload.map_or("null", RawValue::get);
    let payload = json(payload).expect("a part of JSON is JSON");
    let seq = app.engine.signal(run, &request.name, payload, None).await?;
    Ok((StatusCode::ACCEPTED, Json(Sent { seq })))
}

/// Cancel a run
///
/// What it does is given up, and what can be undone (`compensate`) is undone before it is over. Answers
/// once that is durable.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/cancel", tag = "runs", operation_id = "cancel_run",
    params(("run_id" = String, Path, description = "The run")),
    request_body = CancelBody,
    responses(
        (status = 202, description = "The run ends", body = Sent),
        (status = 404, description = "There is no such run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The run is over or ending", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "It was not taken: send it again later", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    RunPath(run): RunPath,
    body: JsonText,
) -> Result<(StatusCode, Json<Sent>), Problem> {
    let request: CancelBody = body.parse()?;
    let size = request.reason.len();
    if size > MAX_REASON {
        let message = format!("the reason takes {size} bytes, more than its limit of {MAX_REASON}");
        return Err(Problem::invalid_at("/reason", message));
    }
    let seq = app.engine.cancel(run, &request.reason, None).await?;
    Ok((StatusCode::ACCEPTED, Json(Sent { seq })))
}
