//! The shutdown signal: every connection and stream listens for it, and the server waits until all listeners are dropped.

use std::sync::Arc;

use tokio::sync::watch;

/// Starts the shutdown and waits for its listeners. A clone refers to the same shutdown.
#[derive(Clone)]
pub(crate) struct Shutdown(Arc<watch::Sender<bool>>);

/// Waits for the shutdown to begin. The server waits until all listeners are dropped.
pub(crate) struct ShutdownListener(watch::Receiver<bool>);

impl Shutdown {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(crate) fn listen(&self) -> ShutdownListener {
        ShutdownListener(self.0.subscribe())
    }

    /// Notifies all listeners.
    pub(crate) fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Waits until all listeners are dropped.
    pub(crate) async fn listeners_gone(&self) {
        self.0.closed().await;
    }

    pub(crate) fn has_begun(&self) -> bool {
        *self.0.borrow()
    }
}

impl ShutdownListener {
    /// Waits until the shutdown begins.
    pub(crate) async fn begun(&mut self) {
        // An error means that the server was dropped, which is a shutdown too.
        let _ = self.0.wait_for(|begun| *begun).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_shutdown_waits_for_all_listeners() {
        let shutdown = Shutdown::new();
        let mut listener = shutdown.listen();
        let holder = tokio::spawn(async move {
            listener.begun().await;
            tokio::task::yield_now().await;
        });
        assert!(!shutdown.has_begun());
        shutdown.begin();
        shutdown.listeners_gone().await;
        holder.await.expect("it does not panic");
        // A listener that is created after the shutdown began is notified at once.
        shutdown.listen().begun().await;
    }
}
