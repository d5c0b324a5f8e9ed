//! The state that all handlers share.

use std::sync::Arc;

use heddle_runtime::Engine;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    blocking::BlockingWork,
    connections::{body_budget::BodyBudget, shutdown::Shutdown},
    response::{
        budget::ResponseBudget,
        problem::{Problem, ProblemKind},
    },
    settings::ServerSettings,
    startup::StartingEngine,
};

/// The state that all handlers share. A clone refers to the same state.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) engine: StartingEngine,
    pub(crate) settings: Arc<ServerSettings>,
    pub(crate) shutdown: Shutdown,
    pub(crate) responses: ResponseBudget,
    pub(crate) bodies: BodyBudget,
    pub(crate) blocking: BlockingWork,
    /// One permit for each concurrent import of a run.
    pub(crate) imports: Arc<Semaphore>,
    /// One permit for each client that watches a run or waits for its end.
    watchers: Arc<Semaphore>,
}

impl App {
    /// Creates the state for an engine that has started.
    pub(crate) fn new(engine: Engine, settings: ServerSettings) -> Self {
        let app = Self::starting(settings);
        app.engine.set(engine);
        app
    }

    /// Creates the state for an engine that has not started yet.
    pub(crate) fn starting(settings: ServerSettings) -> Self {
        Self {
            engine: StartingEngine::default(),
            shutdown: Shutdown::new(),
            responses: ResponseBudget::new(settings.max_reads_at_once, settings.max_answer_bytes),
            bodies: BodyBudget::new(settings.max_bodies_bytes),
            blocking: BlockingWork::new(),
            imports: Arc::new(Semaphore::new(settings.max_imports.max(1))),
            watchers: Arc::new(Semaphore::new(settings.max_watchers.min(Semaphore::MAX_PERMITS))),
            settings: Arc::new(settings),
        }
    }

    /// Takes one of the `max_watchers` permits.
    ///
    /// # Errors
    /// `overloaded` if none is left.
    pub(crate) fn acquire_watcher(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.watchers.clone().try_acquire_owned().map_err(|_| {
            let detail = format!(
                "{} clients are watching runs, which is the limit (max_watchers): try again later",
                self.settings.max_watchers
            );
            Problem::new(ProblemKind::OVERLOADED, detail).retry_after(5)
        })
    }
}
