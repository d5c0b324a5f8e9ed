//! Work that takes a moment and needs no engine: drawing large graphs, comparing large states.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::problem::{Kind, Problem};

/// How much of it goes on at once.
const AT_ONCE: usize = 2;
/// How long it waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// The threads for such work.
#[derive(Clone)]
pub(crate) struct LongWork(Arc<Semaphore>);

impl LongWork {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// Does work on a thread of its own, once it is its turn.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = tokio::time::timeout(LONGEST_WAIT, self.0.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| {
            let detail = format!(
                "{AT_ONCE} drawings and comparisons are being made, the limit (long_work_at_once): try again in 10 s"
            );
            Problem::new(Kind::OVERLOADED, detail).retry_after(10)
        })?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        Ok(done.await.expect("the work does not panic and is not cancelled"))
    }
}
