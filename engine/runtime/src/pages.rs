//! The room for events that watchers have read and not been sent yet.
//!
//! A watcher may be slow, and an event large. So only so many watchers hold a page of events from the journal at a time,
//! and events of more than a page take what they are more from a second store of room. The others wait: what they have to
//! be told is in the journal.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use heddle_kernel::EventRecord;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ports::StoreError;

/// How many events are read from the journal at once.
const PAGE_LEN: usize = 256;
/// How many watchers hold a page at a time.
const MAX_PAGES: usize = 64;
/// What a page takes: the journal gives no more than one event beyond it.
const PAGE_BYTES: usize = 2 << 20;
/// How many bytes events that are larger may take together.
const MAX_LARGE_BYTES: usize = 64 << 20;
/// The unit in which those are counted.
const UNIT: usize = 1 << 10;

/// The room for all watchers of an engine.
pub(crate) struct Pages {
    pages: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// The room that one watcher has.
pub(crate) struct Page {
    _page: OwnedSemaphorePermit,
    _large: Option<OwnedSemaphorePermit>,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            pages: Arc::new(Semaphore::new(MAX_PAGES)),
            large: Arc::new(Semaphore::new(MAX_LARGE_BYTES / UNIT)),
        }
    }
}

impl Pages {
    /// Reads events once there is room for them; `read` reads so many at most.
    pub(crate) async fn read<'r>(
        &self,
        read: impl Fn(usize) -> BoxFuture<'r, Result<Vec<Arc<EventRecord>>, StoreError>>,
    ) -> Result<(Vec<Arc<EventRecord>>, Page), StoreError> {
        let closed = "nobody closes this semaphore";
        let page = self.pages.clone().acquire_owned().await.expect(closed);
        let mut events = read(PAGE_LEN).await?;
        let bytes: usize = events.iter().map(|event| event.event.size()).sum();
        let mut large = None;
        if let Some(more) = bytes.checked_sub(PAGE_BYTES) {
            // While it waits, they must not be in memory.
            let len = events.len();
            events = Vec::new();
            // One that is larger than all may be goes alone.
            let units = more.div_ceil(UNIT).min(MAX_LARGE_BYTES / UNIT);
            let units = u32::try_from(units).unwrap_or(u32::MAX);
            large = Some(self.large.clone().acquire_many_owned(units).await.expect(closed));
            events.extend(read(len).await?);
        }
        let page = Page {
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

    /// Reads one event of this size.
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
    async fn only_so_many_watchers_hold_a_page_at_a_time() {
        let pages = Pages::default();
        let mut held = Vec::new();
        for _ in 0..MAX_PAGES {
            held.push(pages.read(event(10)).await.unwrap());
        }
        assert!(pages.read(event(10)).now_or_never().is_none());
        held.pop();
        pages.read(event(10)).await.unwrap();
    }

    #[tokio::test]
    async fn large_events_take_room_of_their_own_and_wait_for_it() {
        let pages = Pages::default();
        let large = || event(MAX_LARGE_BYTES / 2);
        let held = pages.read(large()).await.unwrap();
        let second = pages.read(large()).await.unwrap();
        assert!(pages.read(large()).now_or_never().is_none());
        let (events, _page) = pages.read(event(10)).await.unwrap();
        assert_eq!(events.len(), 1, "small ones go on");
        drop((held, second));
        let (events, _page) = pages.read(event(2 * MAX_LARGE_BYTES)).await.unwrap();
        assert_eq!(events.len(), 1, "one that is larger than all may be goes alone");
    }
}
