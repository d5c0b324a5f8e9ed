//! Runs CPU-bound work that can take seconds, such as drawing a large graph, on blocking threads.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::response::problem::{Problem, ProblemKind};

/// The number of concurrent jobs.
const AT_ONCE: usize = 2;
/// The longest time that a job waits for a thread.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// A limited number of blocking threads.
#[derive(Clone)]
pub(crate) struct BlockingWork(Arc<Semaphore>);

impl BlockingWork {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// Runs `work` on a blocking thread.
    ///
    /// # Errors
    /// `overloaded` if no thread was free for 20 s.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = tokio::time::timeout(MAX_WAIT, self.0.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| {
            let detail = format!(
                "{AT_ONCE} graphs are being drawn, which is the limit (long_work_at_once): try again in 10 s"
            );
            Problem::new(ProblemKind::OVERLOADED, detail).retry_after(10)
        })?;
        Ok(run_with(permit.expect("this semaphore is never closed"), work).await)
    }
}

/// Runs `work` on a blocking thread, and holds the permit until it ends, even if the caller stops waiting.
pub(crate) async fn run_with<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let work = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    work.await.expect("the work does not panic and is not cancelled")
}
