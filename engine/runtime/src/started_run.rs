//! A handle on a run that was started.

use std::sync::{Arc, Mutex};

use heddle_kernel::RunId;

use crate::{engine::Engine, errors::StopReason, live_run::LiveRun, results::RunView};

/// A handle on a run that was started.
pub struct StartedRun {
    /// The run's id.
    pub id: RunId,
    /// Whether an earlier request with the same idempotency key started the run.
    pub replayed: bool,
    engine: Engine,
    /// Set for a run that started just now, until it is unloaded: its driver reports the run's end without reading the
    /// journal. A std mutex: nothing awaits while it is held.
    live: Mutex<Option<Arc<LiveRun>>>,
}

impl StartedRun {
    pub(crate) fn new(engine: &Engine, id: RunId, live: Option<Arc<LiveRun>>) -> Self {
        Self {
            id,
            replayed: false,
            engine: engine.clone(),
            live: Mutex::new(live),
        }
    }

    fn live(&self) -> Option<Arc<LiveRun>> {
        self.live.lock().expect("no panic under this lock").clone()
    }

    /// The run of an earlier request with the same idempotency key.
    pub(crate) fn replayed(engine: &Engine, id: RunId) -> Self {
        Self {
            replayed: true,
            ..Self::new(engine, id, None)
        }
    }

    /// The run's current durable state. `None` if the run cannot be read.
    pub async fn view(&self) -> Option<RunView> {
        if let Some(live) = self.live().filter(|live| !live.is_stopped()) {
            let view = live.read(RunView::of);
            if live.durable_to(view.last_seq).await.is_ok() {
                return self.engine.as_listed(view).await.ok();
            }
        }
        self.engine.run(self.id).await.ok().flatten()
    }

    /// Waits until the run ends, or this engine stops driving it. [`Self::view`] shows which.
    pub async fn over(&self) {
        if let Some(live) = self.live() {
            match live.over().await {
                // The run must not stay in memory for those who wait for its end.
                Err(StopReason::Unloaded) => *self.live.lock().expect("no panic under this lock") = None,
                Ok(()) | Err(_) => return,
            }
        }
        self.engine.core.over(self.id).await;
    }
}
