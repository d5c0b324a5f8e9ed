//! A run that was started.

use super::*;

/// A run that was started, in the hands of who started it.
pub struct StartedRun {
    /// Its id.
    pub id: RunId,
    /// Whether it was started by the same request before.
    pub replayed: bool,
    pub(crate) engine: Engine,
    /// Set where it began just now: whoever waits for the run's end is told by the driver that has it.
    pub(crate) hold: Option<Hold>,
}

impl StartedRun {
    /// The run as it is now; what it tells is durable. `None` where it cannot be read.
    pub async fn view(&self) -> Option<RunView> {
        if let Some(Hold(live)) = &self.hold {
            let view = live.read(RunView::of);
            if live.durable_to(view.last_seq).await.is_ok() {
                return Some(view);
            }
        }
        self.engine.run(self.id).await.ok().flatten()
    }

    /// Waits until the run is over, or this engine drives it no longer.
    pub async fn over(&self) {
        // Either way there is nothing more to wait for; `view` tells which it was.
        let _ = match &self.hold {
            Some(Hold(live)) => live.over().await,
            None => match self.engine.held(self.id).await {
                Ok(Some(hold)) => hold.0.over().await,
                // It is over, or cannot be read.
                Ok(None) | Err(_) => Ok(()),
            },
        };
    }
}
