//! `DELETE /v1/runs/{run_id}`: a run is forgotten.

use axum::{extract::State, http::StatusCode};
use heddle_runtime::ForgetError;

use crate::{
    App,
    extract::{RunPath, no_such_run},
    problem::{Kind, Problem, ProblemBody},
};

/// Forget a run
///
/// With all that belongs to it, and for good: it must be over. `heddle serve --keep` says how long runs are kept that
/// nobody deletes.
#[utoipa::path(
    delete, path = "/v1/runs/{run_id}", tag = "runs", operation_id = "forget_run",
    params(("run_id" = String, Path, format = "uuid", description = "The run")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The run is not over", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn forget(State(app): State<App>, RunPath(run): RunPath) -> Result<StatusCode, Problem> {
    app.engine.forget(run).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<ForgetError> for Problem {
    fn from(error: ForgetError) -> Self {
        match error {
            ForgetError::NoSuchRun(run) => no_such_run(run),
            ForgetError::NotOver(_) => Self::new(Kind::RUN_NOT_OVER, error.to_string()),
            ForgetError::Store(error) => error.into(),
        }
    }
}
