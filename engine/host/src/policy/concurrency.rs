//! How many calls of a plugin or a node are active at once.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Limits how many calls are active at once; the default does not limit them.
#[derive(Debug, Default)]
pub(crate) struct Concurrency(Option<Semaphore>);

impl Concurrency {
    /// At most `at_once` calls, if given.
    pub(super) fn new(at_once: Option<usize>) -> Self {
        Self(at_once.map(Semaphore::new))
    }

    /// Waits until one more call may start, in the order of arrival. Dropping the permit lets the next call start.
    pub(crate) async fn acquire(&self) -> Option<SemaphorePermit<'_>> {
        let permit = self.0.as_ref()?.acquire().await;
        Some(permit.expect("this semaphore is never closed"))
    }
}
