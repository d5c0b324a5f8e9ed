//! The threads that parse and check graph definitions.
//!
//! A check takes time in proportion to the definition's length; the longest definition takes seconds. So checks do not run
//! on the threads that serve requests, and their number is limited. Short checks do not wait for long ones.

use std::time::Duration;

use tokio::sync::Semaphore;

/// Definitions without patterns up to this length are checked on the current thread: a check of them takes less time than
/// a thread switch.
const QUICK_BYTES: usize = 4 << 10;
/// The length in bytes from which on a check counts as long.
const LONG_BYTES: usize = 64 << 10;
/// How many short checks run at the same time.
const SHORT_AT_ONCE: usize = 4;
/// How many long checks run at the same time.
const LONG_AT_ONCE: usize = 1;
/// How long a client's check waits for a thread.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// The threads that check graphs.
pub(crate) struct CheckThreads {
    short: Semaphore,
    long: Semaphore,
}

/// A check found no free thread in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "{at_once} graphs are being checked, the limit (checks_at_once), and this check waited for {waited_s} s: try again \
     in {retry_after_s} s"
)]
pub struct ChecksBusy {
    /// The limit on checks at the same time.
    pub at_once: usize,
    /// How long the check waited, in seconds.
    pub waited_s: u64,
    /// When to try again, in seconds.
    pub retry_after_s: u32,
}

impl Default for CheckThreads {
    fn default() -> Self {
        Self {
            short: Semaphore::new(SHORT_AT_ONCE),
            long: Semaphore::new(LONG_AT_ONCE),
        }
    }
}

impl CheckThreads {
    /// Runs `work` on a client's definition.
    ///
    /// # Errors
    /// If no thread becomes free in time.
    pub(crate) async fn on_request<T: Send + 'static>(
        &self,
        definition: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ChecksBusy> {
        if is_quick(definition) {
            return Ok(work());
        }
        let (lane, at_once) = self.lane(definition.len());
        let permit = tokio::time::timeout(MAX_WAIT, lane.acquire()).await;
        let _permit = permit.map_err(|_| ChecksBusy {
            at_once,
            waited_s: MAX_WAIT.as_secs(),
            retry_after_s: 10,
        })?;
        Ok(on_blocking_thread(work).await)
    }

    /// Runs `work` on a definition that a run needs, however long it waits for a thread.
    pub(crate) async fn of_run<T: Send + 'static>(
        &self,
        definition: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if is_quick(definition) {
            return work();
        }
        let (lane, _) = self.lane(definition.len());
        let _permit = lane.acquire().await;
        on_blocking_thread(work).await
    }

    fn lane(&self, len: usize) -> (&Semaphore, usize) {
        match len < LONG_BYTES {
            true => (&self.short, SHORT_AT_ONCE),
            false => (&self.long, LONG_AT_ONCE),
        }
    }
}

fn is_quick(definition: &str) -> bool {
    definition.len() <= QUICK_BYTES && !definition.contains("attern")
}

async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|failed| match failed.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => unreachable!("a blocking task that has started is not cancelled"),
    })
}
