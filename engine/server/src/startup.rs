//! The time between binding the address and the engine's start, while plugins are compiled and runs are loaded.
//!
//! Until the engine has started, `/healthz` answers 200. Every other route, `/readyz` included, answers 503 `starting`
//! with `Retry-After`. The host and origin checks of [`guard`](crate::guard) come first.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use heddle_runtime::Engine;

use crate::response::problem::{Problem, ProblemKind};

/// The value of `Retry-After`, in seconds.
const RETRY_AFTER_S: u32 = 1;

/// The engine, set once it has started. Handlers run only after that, so they dereference it directly.
#[derive(Clone, Default)]
pub(crate) struct StartingEngine(Arc<OnceLock<Engine>>);

impl StartingEngine {
    /// Sets the engine that has started.
    pub(crate) fn set(&self, engine: Engine) {
        // A server starts one engine, so the cell is empty.
        let _ = self.0.set(engine);
    }

    fn has_started(&self) -> bool {
        self.0.get().is_some()
    }
}

impl Deref for StartingEngine {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.0
            .get()
            .expect("`refuse_until_started` lets no request pass before the engine is set")
    }
}

/// Answers 503 `starting` to all routes but `/healthz` until the engine has started.
pub(crate) async fn refuse_until_started(
    State(engine): State<StartingEngine>,
    request: Request,
    next: Next,
) -> Response {
    if engine.has_started() || request.uri().path() == "/healthz" {
        return next.run(request).await;
    }
    let detail = format!(
        "the engine is starting: it registers plugins and loads runs. Try again in {RETRY_AFTER_S} s; /readyz answers \
         200 when the engine has started"
    );
    Problem::new(ProblemKind::STARTING, detail)
        .retry_after(RETRY_AFTER_S)
        .into_response()
}
