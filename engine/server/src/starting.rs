//! The time between binding the address and serving the engine: plugins are compiled, runs are loaded.
//!
//! Meanwhile `/healthz` answers as ever, and everything else, `/readyz` included, answers 503 `starting` with
//! `Retry-After`, once the [guard](crate::guard) has let it in.

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

use crate::{
    App,
    problem::{Kind, Problem},
};

/// When to try again.
const RETRY_AFTER_S: u32 = 1;

/// The engine, once it has started. Handlers run only then, so they use it as if it were always there.
#[derive(Clone, Default)]
pub(crate) struct Started(Arc<OnceLock<Engine>>);

impl Started {
    /// The engine has started: requests are answered from here on.
    pub(crate) fn begin(&self, engine: Engine) {
        // Only one start is under way.
        let _ = self.0.set(engine);
    }

    fn has_begun(&self) -> bool {
        self.0.get().is_some()
    }
}

impl Deref for Started {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.0
            .get()
            .expect("requests are let in once the engine has started")
    }
}

/// Answers for an engine that has not started.
pub(crate) async fn wait(State(app): State<App>, request: Request, next: Next) -> Response {
    if app.engine.has_begun() || request.uri().path() == "/healthz" {
        return next.run(request).await;
    }
    let detail = format!(
        "the engine is starting: plugins are registered and runs are loaded; try again in {RETRY_AFTER_S} s, and \
         /readyz says when it is done"
    );
    Problem::new(Kind::STARTING, detail)
        .retry_after(RETRY_AFTER_S)
        .into_response()
}
