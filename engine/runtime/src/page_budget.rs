//! The memory budget for events that watchers have read from the journal and not sent yet.
//!
//! Watchers may be slow, and events large. So only a limited number of watchers hold a page of events at a time, and the
//! bytes of a page beyond its usual size come from a second budget. Other watchers wait; their events stay in the journal.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use heddle_kernel::EventRecord;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ports::StoreError;

/// How many events a page has at most.
const PAGE_LEN: usize = 256;
/// How many watchers hold a page at the same time.
const MAX_PAGES: usize = 64;
/// The usual size of a page in bytes. The journal returns at most one event beyond it.
const PAGE_BYTES: usize = 2 << 20;
/// The maximum number of bytes that all pages may take beyond their usual size.
const MAX_LARGE_BYTES: usize = 64 << 20;
/// The unit of that budget in bytes.
const UNIT: usize = 1 << 10;

/// The budget of all watchers of an engine.
pub(crate) struct PageBudget {
    pages: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// The share of one watcher, returned when it is dropped.
pub(crate) struct PagePermit {
    _page: OwnedSemaphorePermit,
    _large: Option<OwnedSemaphorePermit>,
}

impl Default for PageBudget {
    fn default() -> Self {
        Self {
            pages: Arc::new(Semaphore::new(MAX_PAGES)),
            large: Arc::new(Semaphore::new(MAX_LARGE_BYTES / UNIT)),
        }
    }
}

impl PageBudget {
    /// Reads a page of events when the budget allows. `read` reads at most the given number of events.
    pub(crate) async fn read<'r>(
        &self,
        read: impl Fn(usize) -> BoxFuture<'r, Result<Vec<Arc<EventRecord>>, StoreError>>,
    ) -> Result<(Vec<Arc<EventRecord>>, PagePermit), StoreError> {
        let closed = "this semaphore is never closed";
        let page = self.pages.clone().acquire_owned().await.expect(closed);
        let mut events = read(PAGE_LEN).await?;
        let bytes: usize = events.iter().map(|event| event.event.size()).sum();
        let mut large = None;
        if let Some(more) = bytes.checked_sub(PAGE_BYTES) {
            // The events must not be in memory while this waits.
            let len = events.len();
            events = Vec::new();
            // A page that exceeds the whole budget takes all of it.
            let units = more.div_ceil(UNIT).min(MAX_LARGE_BYTES / UNIT);
            let units = u32::try_from(units).unwrap_or(u32::MAX);
            large = Some(self.large.clone().acquire_many_owned(units).await.expect(closed));
            events.extend(read(len).await?);
        }
        let page = PagePermit {
            _page: page,
            _large: large,
        };
        Ok((events, page))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use heddle_kernel::{Event, Level, Timestamp};

    use super::*;

    /// Reads one event of the given size.
    fn event(
        bytes: usize,
    ) -> impl Fn(usize) -> BoxFuture<'static, Result<Vec<Arc<EventRecord>>, StoreError>> {
        let event = Arc::new(EventRecord {
            seq: 1,
            at: Timestamp(0),
            event: Event::Log {
                step: 1,
                node: "n".into(),
                attempt: 1,
                level: Level::Info,
                message: "x".repeat(bytes).into(),
            },
        });
        move |_| std::future::ready(Ok(vec![event.clone()])).boxed()
    }

    #[tokio::test]
    async fn the_number_of_watchers_with_a_page_is_limited() {
        let pages = PageBudget::default();
        let mut held = Vec::new();
        for _ in 0..MAX_PAGES {
            held.push(pages.read(event(10)).await.unwrap());
        }
        assert!(pages.read(event(10)).now_or_never().is_none());
        held.pop();
        pages.read(event(10)).await.unwrap();
    }

    #[tokio::test]
    async fn large_events_wait_for_their_own_budget() {
        let pages = PageBudget::default();
        let large = || event(MAX_LARGE_BYTES / 2);
        let held = pages.read(large()).await.unwrap();
        let second = pages.read(large()).await.unwrap();
        assert!(pages.read(large()).now_or_never().is_none());
        let (events, _page) = pages.read(event(10)).await.unwrap();
        assert_eq!(events.len(), 1, "small pages do not wait");
        drop((held, second));
        let (events, _page) = pages.read(event(2 * MAX_LARGE_BYTES)).await.unwrap();
        assert_eq!(
            events.len(),
            1,
            "an event that exceeds the whole budget is read alone"
        );
    }
}
