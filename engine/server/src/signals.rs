//! Signals: what a run that waits for something is sent.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    App,
    extract::RunPath,
    idempotency::Keyed,
    problem::{Problem, ProblemBody},
};

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
    /// The wait that it is for: an `id` among the run's `waits`. Where it is left out, the signal goes to the wait for
    /// its name that began first, of those that take the payload.
    #[serde(default)]
    wait: Option<u64>,
}

/// That something was sent to a run.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"seq": 12}))]
pub(crate) struct Sent {
    /// The number of the last event that it led to at once: it is durable, and what follows comes after it.
    pub(crate) seq: u64,
}

/// Send a signal to a run
///
/// A wait for it goes on: the one that `wait` names, or the one that began first. Where none waits yet, the signal is
/// kept for the next one. Each signal is taken by one wait. Answers once it is durable. `waits` of
/// `GET /v1/runs/{run_id}` shows what a run waits for.
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/signal", tag = "runs", operation_id = "signal_run",
    params(
        ("run_id" = String, Path, format = "uuid", description = "The run"),
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]{1,255}$", description = "1 to 255 visible ASCII characters: sent again with it, the signal counts once"),
    ),
    request_body = SignalBody,
    responses(
        (status = 202, description = "The run has it", body = Sent),
        (status = 404, description = "There is no such run, nothing in it takes such a signal, or it has no such wait", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The run is over or ending, the wait takes no signal any more, or a request with the key is being carried out", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The payload does not fit, or the key was used for another request", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "The run keeps too many signals that nothing has taken, or too many bytes of them", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "It was not taken: send it again later", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn signal(
    State(app): State<App>,
    RunPath(run): RunPath,
    Keyed { body, key }: Keyed,
) -> Result<(StatusCode, Json<Sent>), Problem> {
    let request: SignalBody<'_> = body.parse()?;
    let payload = request.payload.unwrap_or(RawValue::NULL);
    let payload = payload.to_owned().into();
    let seq = app
        .engine
        .signal_wait(run, &request.name, payload, request.wait, key)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(Sent { seq })))
}
