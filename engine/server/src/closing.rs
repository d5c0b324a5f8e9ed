//! The server's end: everyone who holds something open listens for it, and it waits for them.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells that the server stops, and waits for whoever listens.
#[derive(Clone)]
pub(crate) struct Closing(Arc<watch::Sender<bool>>);

/// Is told that the server stops; as long as it lives, the server waits.
pub(crate) struct Listener(watch::Receiver<bool>);

impl Closing {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(crate) fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }

    /// The server stops.
    pub(crate) fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Waits until nobody listens any more.
    pub(crate) async fn done(&self) {
        self.0.closed().await;
    }

    pub(crate) fn has_begun(&self) -> bool {
        *self.0.borrow()
    }
}

impl Listener {
    /// Waits until the server stops.
    pub(crate) async fn begun(&mut self) {
        // An error means that the server is gone altogether.
        let _ = self.0.wait_for(|begun| *begun).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_waits_for_everyone_who_listens() {
        let closing = Closing::new();
        let mut listener = closing.listen();
        let holder = tokio::spawn(async move {
            listener.begun().await;
            tokio::task::yield_now().await;
        });
        assert!(!closing.has_begun());
        closing.begin();
        closing.done().await;
        holder.await.expect("it does not panic");
        // Who comes too late is told at once.
        closing.listen().begun().await;
    }
}
