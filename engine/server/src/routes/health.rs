//! `/healthz` and `/readyz`: probes for supervisors, monitors and load balancers.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    response::problem::{Problem, ProblemKind},
};

/// The answer of a live process.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    status: HealthStatus,
}

/// The status of a live process.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum HealthStatus {
    Ok,
}

/// The status of a server that accepts work.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ReadinessStatus {
    Ready,
}

/// The answer of a server that accepts work.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Always `ready`.
    status: ReadinessStatus,
    /// The number of active runs.
    runs_in_flight: usize,
    /// The number of queued runs.
    runs_queued: usize,
}

/// Check that the process is alive
#[utoipa::path(
    get, path = "/healthz", tag = "Health", operation_id = "healthz",
    responses((status = 200, description = "The process is alive", body = Health))
)]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health {
        status: HealthStatus::Ok,
    })
}

/// Check that the server accepts work
///
/// The server does not accept work while the engine starts, while the store accepts no writes, and during shutdown.
#[utoipa::path(
    get, path = "/readyz", tag = "Health", operation_id = "readyz",
    responses(
        (status = 200, description = "The server accepts work", body = Readiness),
        (status = 503, description = "The server does not accept work; the problem says why"),
    )
)]
pub(crate) async fn readyz(State(app): State<App>) -> Result<Json<Readiness>, Problem> {
    if app.shutdown.has_begun() || app.engine.is_draining() {
        return Err(Problem::new(
            ProblemKind::STOPPING,
            "the engine is stopping and starts no more runs",
        ));
    }
    app.engine.health()?;
    let stats = app.engine.stats();
    Ok(Json(Readiness {
        status: ReadinessStatus::Ready,
        runs_in_flight: stats.runs_in_flight,
        runs_queued: stats.runs_queued,
    }))
}
