//! A handle on a run that was started.

use heddle_kernel::RunId;

use crate::{engine::Engine, live_run::LiveRunGuard, results::RunView};

/// A handle on a run that was started. A run that started just now stays in memory while the handle exists.
pub struct StartedRun {
    /// The run's id.
    pub id: RunId,
    /// Whether an earlier request with the same idempotency key started the run.
    pub replayed: bool,
    engine: Engine,
    /// Set for a run that started just now: its driver reports the run's end without reading the journal.
    live: Option<LiveRunGuard>,
}

impl StartedRun {
    pub(crate) fn new(engine: &Engine, id: RunId, live: Option<LiveRunGuard>) -> Self {
        Self {
            id,
            replayed: false,
            engine: engine.clone(),
            live,
        }
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
        if let Some(live) = &self.live {
            let view = live.read(RunView::of);
            if live.durable_to(view.last_seq).await.is_ok() {
                return self.engine.as_listed(view).await.ok();
            }
        }
        self.engine.run(self.id).await.ok().flatten()
    }

    /// Waits until the run ends, or this engine stops driving it. [`Self::view`] shows which.
    pub async fn over(&self) {
        let _ = match &self.live {
            Some(live) => live.over().await,
            None => match self.engine.guard(self.id).await {
                Ok(Some(live)) => live.over().await,
                // The run has ended or cannot be read.
                Ok(None) | Err(_) => Ok(()),
            },
        };
    }
}
