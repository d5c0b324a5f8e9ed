//! Heddle's HTTP, WebSocket and server-sent-event interface, its API documentation and its console.
//!
//! The server is a thin layer over [`heddle_runtime::Engine`]. A request passes through these layers:
//!
//! 1. `connections` accepts the connection and enforces its limits and timeouts.
//! 2. [`guard`] checks the host and the origin.
//! 3. `startup` answers 503 until the engine has started.
//! 4. `request::query_check` refuses unknown query parameters.
//! 5. A handler in `routes` reads the request with the extractors in `request`, calls the engine, and converts the
//!    result with the types in `view`. Errors become a `response::problem` (RFC 9457).
//!
//! | Route | File |
//! |---|---|
//! | `/graph/*` (original engine) | `routes/original.rs` |
//! | `/ws/logs/{run_id}` | `routes/run_socket.rs` |
//! | `/v1/graphs*`, `/v1/graph.schema.json` | `routes/graphs.rs` |
//! | `/v1/runs`, `/v1/runs/{run_id}`, `…/events` | `routes/runs.rs`, `routes/event_stream.rs` |
//! | `…/cancel`, `…/pause`, `…/resume`, `…/retry`, `…/upgrade`, `…/fork`, `…/signal` | `routes/control.rs` |
//! | `…/steps`, `…/steps/{step}`, `…/diff` | `routes/history.rs` |
//! | `…/export`, `/v1/runs:import` | `routes/export.rs` |
//! | `/v1/schedules*` | `routes/schedules.rs` |
//! | `/v1/plugins*` | `routes/plugins.rs`, `routes/plugin_versions.rs`, `routes/policies.rs` |
//! | `/v1/tools*` | `routes/tools.rs` |
//! | `/healthz`, `/readyz` | `routes/health.rs` |
//! | `/openapi.json`, `/docs` | `docs` |
//! | `/` and its files | `console.rs` (sources in `ui/`) |
//!
//! To add a route, write its handler in `routes`, with its `utoipa::path` description, and add it to `routes::api`.
//!
//! The server never decides anything about graphs or runs, never accesses a database or a wasm runtime, and keeps no
//! data between requests.

mod app;
mod blocking;
mod connections;
mod console;
mod docs;
mod guard;
mod request;
mod response;
mod routes;
mod settings;
mod startup;
#[cfg(test)]
mod tests;
mod view;

use std::{any::Any, io};

use axum::{
    Router,
    extract::Request,
    middleware,
    response::{IntoResponse, Response},
};
use heddle_runtime::Engine;
use tokio::{net::TcpListener, task::JoinSet};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    app::App,
    connections::serve::{Connections, accept},
    request::query_check::{self, DeclaredParameters},
    response::problem::{Problem, ProblemKind},
};
pub use crate::{guard::LocalAddress, settings::ServerSettings};

/// Serves the engine on a listener until `shutdown` completes.
///
/// At shutdown the server stops accepting connections, finishes active requests, closes WebSockets with 1012 and ends
/// event streams, all within `settings.shutdown_timeout`. The engine keeps running: drain it afterwards.
///
/// The local address of a connection is an allowed host for its requests.
///
/// # Errors
/// If the listener has no address.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    settings: ServerSettings,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.local_addr()?;
    serve_app(listener, &App::new(engine, settings), shutdown).await;
    Ok(())
}

/// Serves on a listener like [`serve`], but from before the engine has started.
///
/// Until `start` returns the engine, `/healthz` answers 200 and every other route answers 503 `starting`. Then
/// `ready` is called. `start` runs as a task, which is cancelled if `shutdown` completes first.
///
/// # Errors
/// The error of `start`.
pub async fn serve_from_start<E: From<tokio::task::JoinError> + Send + 'static>(
    listener: TcpListener,
    settings: ServerSettings,
    start: impl Future<Output = Result<Engine, E>> + Send + 'static,
    ready: impl FnOnce(),
    shutdown: impl Future<Output = ()>,
) -> Result<(), E> {
    let app = App::starting(settings);
    let mut starting = JoinSet::new();
    starting.spawn(start);
    let mut failed = None;
    let until = async {
        let started = async {
            match starting.join_next().await {
                Some(Ok(Ok(engine))) => {
                    app.engine.set(engine);
                    ready();
                }
                Some(Ok(Err(error))) => return Some(error),
                Some(Err(error)) => return Some(error.into()),
                None => {}
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = shutdown => {}
            error = started => failed = error,
        }
    };
    serve_app(listener, &app, until).await;
    starting.shutdown().await;
    failed.map_or(Ok(()), Err)
}

/// Returns all routes as a router, for tests or to embed in another server, which must add a [`LocalAddress`] to each
/// request.
pub fn router(engine: Engine, settings: ServerSettings) -> Router {
    make_router(App::new(engine, settings))
}

/// Returns the OpenAPI 3.1 document as JSON.
pub fn openapi() -> String {
    let (_, api) = routes::api().split_for_parts();
    docs::to_text(api)
}

async fn serve_app(listener: TcpListener, app: &App, shutdown: impl Future<Output = ()>) {
    let connections = Connections::new(app.settings.clone(), app.shutdown.clone());
    accept(listener, make_router(app.clone()), connections, shutdown).await;
}

fn make_router(app: App) -> Router {
    let (router, api) = routes::api().split_for_parts();
    let guard = guard::Guard::new(app.settings.clone(), &api);
    let declared = DeclaredParameters::new(&api);
    router
        .route_layer(middleware::from_fn_with_state(declared, query_check::check))
        .merge(docs::routes(docs::to_text(api)))
        .merge(console::routes())
        .fallback(async |request: Request| {
            let path = request.uri().path();
            Problem::new(
                ProblemKind::NO_SUCH_PATH,
                format!("there is no route `{path}`: see /docs for all routes"),
            )
        })
        .method_not_allowed_fallback(async |request: Request| {
            let (method, path) = (request.method(), request.uri().path());
            Problem::new(
                ProblemKind::WRONG_METHOD,
                format!("`{path}` does not support {method}: the `Allow` header lists the supported methods"),
            )
        })
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(middleware::from_fn_with_state(
            app.engine.clone(),
            startup::refuse_until_started,
        ))
        .layer(middleware::from_fn_with_state(guard, guard::guard))
        .with_state(app)
}

/// Answers a request whose handler panicked. The panic message goes to the log only.
fn after_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no message)");
    tracing::error!(panic = text, "a request handler panicked: please report this bug");
    Problem::new(
        ProblemKind::INTERNAL,
        "the server failed because of a bug: see its log",
    )
    .into_response()
}
