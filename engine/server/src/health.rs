//! `/healthz` and `/readyz`: for whoever starts, watches and routes to the server.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    App,
    problem::{Kind, Problem, ProblemBody},
};

/// That the process answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    status: Answering,
}

/// How a process is that answers.
#[derive(Serialize, ToSchema)]
#[schema(as = HealthStatus)]
#[serde(rename_all = "snake_case")]
enum Answering {
    Ok,
}

/// How a server is that can do its work.
#[derive(Serialize, ToSchema)]
#[schema(as = ReadinessStatus)]
#[serde(rename_all = "snake_case")]
enum Working {
    Ready,
}

/// That the server can do its work.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Always `ready`.
    status: Working,
    /// How many runs are under way.
    runs_in_flight: usize,
    /// How many wait for their turn.
    runs_queued: usize,
}

/// Is the process there?
#[utoipa::path(
    get, path = "/healthz", tag = "health", operation_id = "healthz",
    responses((status = 200, description = "It is", body = Health))
)]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health {
        status: Answering::Ok,
    })
}

/// Can it take work?
///
/// Not while the engine starts, not while the store takes no writes, and not once the server stops.
#[utoipa::path(
    get, path = "/readyz", tag = "health", operation_id = "readyz",
    responses(
        (status = 200, description = "It can", body = Readiness),
        (status = 503, description = "It cannot, and why", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn readyz(State(app): State<App>) -> Result<Json<Readiness>, Problem> {
    if app.closing.has_begun() || app.engine.is_draining() {
        return Err(Problem::new(
            Kind::STOPPING,
            "the engine is stopping and starts no more runs",
        ));
    }
    app.engine.health()?;
    let stats = app.engine.stats();
    Ok(Json(Readiness {
        status: Working::Ready,
        runs_in_flight: stats.runs_in_flight,
        runs_queued: stats.runs_queued,
    }))
}
