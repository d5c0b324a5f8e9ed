//! Where definitions of graphs are read and checked: on threads of their own, of which few are busy at once.
//!
//! A check takes time in proportion to the definition's length, and the longest definition takes seconds. So a check
//! never runs on a thread that serves others. Long ones take turns, and short ones do not wait for them.

use std::time::Duration;

use tokio::sync::Semaphore;

/// Up to this length a definition without patterns is checked at once: it takes less than the change to another thread
/// is worth.
const QUICK_BYTES: usize = 4 << 10;
/// From this length on a check is a long one.
const LONG_BYTES: usize = 64 << 10;
/// How many short checks run at once.
const SHORT_AT_ONCE: usize = 4;
/// How many long checks run at once.
const LONG_AT_ONCE: usize = 1;
/// How long a check waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// The threads that check graphs.
pub(crate) struct Checks {
    short: Semaphore,
    long: Semaphore,
}

/// A check did not get its turn in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "{at_once} checks of graphs are under way, the limit (checks_at_once), and this one waited for {waited_s} s: try again \
     in {retry_after_s} s"
)]
pub struct ChecksBusy {
    /// The limit.
    pub at_once: usize,
    /// How long it waited, in seconds.
    pub waited_s: u64,
    /// When to try again, in seconds.
    pub retry_after_s: u32,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            short: Semaphore::new(SHORT_AT_ONCE),
            long: Semaphore::new(LONG_AT_ONCE),
        }
    }
}

impl Checks {
    /// Does work on a definition of a caller.
    ///
    /// # Errors
    /// Where it does not get its turn in time.
    pub(crate) async fn on_request<T: Send + 'static>(
        &self,
        definition: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ChecksBusy> {
        if is_quick(definition) {
            return Ok(work());
        }
        let (lane, at_once) = self.lane(definition.len());
        let turn = tokio::time::timeout(LONGEST_WAIT, lane.acquire()).await;
        let _turn = turn.map_err(|_| ChecksBusy {
            at_once,
            waited_s: LONGEST_WAIT.as_secs(),
            retry_after_s: 10,
        })?;
        Ok(elsewhere(work).await)
    }

    /// Does work on a definition that a run or a start needs, however long it waits for its turn.
    pub(crate) async fn of_run<T: Send + 'static>(
        &self,
        definition: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if is_quick(definition) {
            return work();
        }
        let (lane, _) = self.lane(definition.len());
        let _turn = lane.acquire().await;
        elsewhere(work).await
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

async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|failed| match failed.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => unreachable!("work that has begun is not cancelled"),
    })
}
