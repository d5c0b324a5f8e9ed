//! Heddle's HTTP and WebSocket interface, its docs and its page.
//!
//! A thin skin over [`heddle_runtime::Engine`]: it reads requests, asks the engine and shows
//! what it answers. It decides nothing about graphs or runs, and nothing here names a database
//! or a wasm runtime. [`guard`] decides who may call; [`problem`] is how every error looks;
//! [`view`] is how everything else does.

mod bodies;
mod changes;
mod closing;
mod connections;
mod docs;
mod export;
mod extract;
mod fields;
mod forget;
mod graphs;
mod guard;
mod health;
mod history;
mod idempotency;
mod item_places;
mod large;
mod long;
mod original;
mod page;
mod page_token;
mod plugins;
mod policies;
mod problem;
mod queries;
mod run_filter;
mod runs;
mod schedules;
mod settings;
mod signals;
mod socket;
mod sse;
mod starting;
mod steering;
mod steps;
mod streamed;
#[cfg(test)]
mod tests;
mod versions;
mod view;

use std::{any::Any, io, sync::Arc};

use axum::{
    Router,
    extract::Request,
    middleware,
    response::{IntoResponse, Response},
};
use heddle_runtime::Engine;
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    bodies::Bodies,
    closing::Closing,
    connections::OpenConnections,
    large::LargeAnswers,
    long::LongWork,
    problem::{Kind, Problem},
    starting::Started,
};
pub use crate::{guard::LocalAddress, settings::ServerSettings};

/// What every handler has at hand.
#[derive(Clone)]
pub(crate) struct App {
    engine: Started,
    settings: Arc<ServerSettings>,
    closing: Closing,
    large: LargeAnswers,
    /// How many runs may be imported at once.
    imports: Arc<Semaphore>,
    long_work: LongWork,
    open: Arc<OpenConnections>,
    bodies: Bodies,
    /// How many may watch runs, or wait for their ends.
    watchers: Arc<Semaphore>,
}

/// Serves the engine on a listener until `shutdown` is ready.
///
/// Then nothing more is accepted, requests under way are finished, WebSockets are closed with
/// 1012 and event streams end, all within `settings.shutdown_timeout`. The engine itself is
/// left as it is: drain it afterwards.
///
/// The address that a connection arrived on is an allowed host for its requests.
///
/// # Errors
/// Where the listener has no address.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    settings: ServerSettings,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.local_addr()?;
    let app = App::new(engine, settings);
    connections::serve(listener, make_router(app.clone()), &app, shutdown).await;
    Ok(())
}

/// Serves on a listener as [`serve`] does, from before the engine has started: until `start` gives it, requests are
/// answered with 503 `starting`, and `/healthz` with 200. What starts the engine is a task of its own, which ends with
/// this where `shutdown` is ready first. Calls `ready` once requests are answered.
///
/// # Errors
/// That of `start`.
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
                    app.engine.begin(engine);
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
    connections::serve(listener, make_router(app.clone()), &app, until).await;
    starting.shutdown().await;
    failed.map_or(Ok(()), Err)
}

/// Everything that the server answers, as a router: for tests, or to be put into another server, which adds a
/// [`LocalAddress`] to each request.
pub fn router(engine: Engine, settings: ServerSettings) -> Router {
    make_router(App::new(engine, settings))
}

/// The description of the interface (OpenAPI 3.1), as JSON.
pub fn openapi() -> String {
    let (_, api) = api().split_for_parts();
    docs::text(api)
}

impl App {
    fn new(engine: Engine, settings: ServerSettings) -> Self {
        let app = Self::starting(settings);
        app.engine.begin(engine);
        app
    }

    /// For an engine that has not started.
    fn starting(settings: ServerSettings) -> Self {
        Self {
            engine: Started::default(),
            large: LargeAnswers::new(settings.max_reads_at_once, settings.max_answer_bytes),
            imports: Arc::new(Semaphore::new(settings.max_imports.max(1))),
            open: OpenConnections::new(settings.max_connections, settings.max_connections_per_address),
            bodies: Bodies::new(settings.max_bodies_bytes),
            watchers: Arc::new(Semaphore::new(settings.max_watchers.min(Semaphore::MAX_PERMITS))),
            settings: Arc::new(settings),
            closing: Closing::new(),
            long_work: LongWork::new(),
        }
    }
}

impl App {
    /// A place to watch a run.
    fn watcher(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.watchers.clone().try_acquire_owned().map_err(|_| {
            let detail = format!(
                "{} clients watch runs, the limit (max_watchers): try again in a moment",
                self.settings.max_watchers
            );
            Problem::new(Kind::OVERLOADED, detail).retry_after(5)
        })
    }
}

/// The routes that are described in the docs.
fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(docs::head())
        .routes(routes!(original::create))
        .routes(routes!(original::run))
        .routes(routes!(original::state))
        .routes(routes!(socket::logs))
        .routes(routes!(graphs::create, graphs::list))
        .routes(routes!(graphs::check))
        .routes(routes!(graphs::schema))
        .routes(routes!(graphs::get, graphs::delete))
        .routes(routes!(graphs::picture))
        .routes(routes!(runs::start, runs::list))
        .routes(routes!(runs::get, forget::forget))
        .routes(routes!(runs::events))
        .routes(routes!(signals::signal))
        .routes(routes!(steering::cancel))
        .routes(routes!(steering::pause))
        .routes(routes!(steering::resume))
        .routes(routes!(steering::retry))
        .routes(routes!(steering::upgrade))
        .routes(routes!(steering::fork))
        .routes(routes!(history::list))
        .routes(routes!(history::step))
        .routes(routes!(history::diff))
        .routes(routes!(export::export))
        .routes(routes!(export::import))
        .routes(routes!(schedules::put, schedules::list))
        .routes(routes!(schedules::get, schedules::delete))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(schedules::run))
        .routes(routes!(plugins::list, plugins::register))
        .routes(routes!(plugins::inspect))
        .routes(routes!(plugins::get, versions::remove_all))
        .routes(routes!(plugins::grants))
        .routes(routes!(policies::get, policies::put, policies::delete))
        .routes(routes!(versions::get, versions::remove_one))
        .routes(routes!(plugins::tools))
        .routes(routes!(plugins::tool))
        .routes(routes!(plugins::call))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
}

fn make_router(app: App) -> Router {
    let (router, api) = api().split_for_parts();
    let guard = guard::Guard::new(app.clone(), &api);
    let queries = queries::Queries::new(&api);
    router
        .route_layer(middleware::from_fn_with_state(queries, queries::check))
        .merge(docs::routes(docs::text(api)))
        .merge(page::routes())
        .fallback(async |request: Request| {
            let path = request.uri().path();
            Problem::new(
                Kind::NO_SUCH_PATH,
                format!("there is nothing at `{path}`; /docs shows what there is"),
            )
        })
        .method_not_allowed_fallback(async |request: Request| {
            let (method, path) = (request.method(), request.uri().path());
            Problem::new(
                Kind::WRONG_METHOD,
                format!("`{path}` does not take {method}; `Allow` says what it takes"),
            )
        })
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(middleware::from_fn_with_state(app.clone(), starting::wait))
        .layer(middleware::from_fn_with_state(guard, guard::guard))
        .with_state(app)
}

/// What a client is told of a bug: nothing of its insides, which the log has.
fn after_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no message)");
    tracing::error!(panic = text, "a handler panicked: this is a bug");
    Problem::new(
        Kind::INTERNAL,
        "the server met a bug in itself; its log says more",
    )
    .into_response()
}
