//! The memory budget for events that watchers have read from the journal and not sent yet.
//!
//! Watchers may be slow, and events large. So only a limited number of watchers hold a page of events at a time, and the
//! bytes of a page beyond its usual size come from a second budget. Other watchers wait; their events stay in the journal.
//! While a watcher waits, the connection of the watcher that has held its page for the longest time is closed: a client
//! that does not read must not keep others from reading.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::future::BoxFuture;
use heddle_kernel::EventRecord;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

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

/// How long a watcher may hold a page while others wait.
const MAX_HOLD: Duration = Duration::from_secs(5);
/// How often a waiting watcher looks for a page that is held for too long.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The budget of all watchers of an engine.
pub(crate) struct PageBudget {
    pages: Arc<Semaphore>,
    large: Arc<Semaphore>,
    held: Arc<Mutex<HeldPages>>,
}

/// The pages of watchers that can be closed, oldest first. A std mutex: nothing awaits while it is held.
#[derive(Default)]
struct HeldPages {
    pages: BTreeMap<u64, HeldPage>,
    next_id: u64,
}

struct HeldPage {
    read_at: Instant,
    is_large: bool,
    /// Closes the watcher's connection.
    close: Arc<Notify>,
}

/// The share of one watcher, returned when it is dropped.
pub(crate) struct PagePermit {
    id: Option<u64>,
    held: Arc<Mutex<HeldPages>>,
    _page: OwnedSemaphorePermit,
    _large: Option<OwnedSemaphorePermit>,
}

impl Drop for PagePermit {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            lock(&self.held).pages.remove(&id);
        }
    }
}

fn lock(held: &Mutex<HeldPages>) -> MutexGuard<'_, HeldPages> {
    held.lock().expect("no panic under this lock")
}

impl Default for PageBudget {
    fn default() -> Self {
        Self {
            pages: Arc::new(Semaphore::new(MAX_PAGES)),
            large: Arc::new(Semaphore::new(MAX_LARGE_BYTES / UNIT)),
            held: Arc::default(),
        }
    }
}

impl PageBudget {
    /// Reads a page of events when the budget allows. `read` reads at most the given number of events. `close` is notified
    /// if the page is held for too long.
    pub(crate) async fn read<'r>(
        &self,
        close: Option<&Arc<Notify>>,
        read: impl Fn(usize) -> BoxFuture<'r, Result<Vec<Arc<EventRecord>>, StoreError>>,
    ) -> Result<(Vec<Arc<EventRecord>>, PagePermit), StoreError> {
        let page = self.acquire(&self.pages, 1, |_| true).await;
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
            large = Some(self.acquire(&self.large, units, |page| page.is_large).await);
            events.extend(read(len).await?);
        }
        let page = PagePermit {
            id: close.map(|close| self.hold(close.clone(), large.is_some())),
            held: self.held.clone(),
            _page: page,
            _large: large,
        };
        Ok((events, page))
    }

    fn hold(&self, close: Arc<Notify>, is_large: bool) -> u64 {
        let mut held = lock(&self.held);
        let id = held.next_id;
        held.next_id += 1;
        let read_at = Instant::now();
        held.pages.insert(
            id,
            HeldPage {
                read_at,
                is_large,
                close,
            },
        );
        id
    }

    /// Waits for a share of a budget. Meanwhile closes watchers that have held such a share for too long.
    async fn acquire(
        &self,
        budget: &Arc<Semaphore>,
        units: u32,
        has_share: impl Fn(&HeldPage) -> bool,
    ) -> OwnedSemaphorePermit {
        let mut permit = std::pin::pin!(budget.clone().acquire_many_owned(units));
        loop {
            tokio::select! {
                biased;
                permit = &mut permit => return permit.expect("this semaphore is never closed"),
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
            let mut held = lock(&self.held);
            let oldest = held.pages.iter().find(|(_, page)| has_share(page));
            let too_long = oldest.filter(|(_, page)| page.read_at.elapsed() >= MAX_HOLD);
            if let Some((&id, _)) = too_long
                && let Some(page) = held.pages.remove(&id)
            {
                page.close.notify_one();
            }
        }
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
            held.push(pages.read(None, event(10)).await.unwrap());
        }
        assert!(pages.read(None, event(10)).now_or_never().is_none());
        held.pop();
        pages.read(None, event(10)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_that_holds_a_page_for_too_long_is_closed_for_a_waiting_one() {
        let pages = PageBudget::default();
        let closes: Vec<Arc<Notify>> = (0..MAX_PAGES).map(|_| Arc::default()).collect();
        let mut held = Vec::new();
        for close in &closes {
            held.push(pages.read(Some(close), event(10)).await.unwrap());
        }
        let mut waiting = Box::pin(pages.read(None, event(10)));
        let early = tokio::time::timeout(MAX_HOLD / 2, &mut waiting).await;
        assert!(early.is_err() && closes[0].notified().now_or_never().is_none());
        // Its connection ends, and its page with it.
        let end = async {
            closes[0].notified().await;
            held.remove(0);
        };
        let ((), page) = tokio::join!(end, waiting);
        assert_eq!(page.unwrap().0.len(), 1);
        // A page that is free needs no closed connection.
        assert!(closes[2].notified().now_or_never().is_none());
    }

    #[tokio::test]
    async fn large_events_wait_for_their_own_budget() {
        let pages = PageBudget::default();
        let large = || event(MAX_LARGE_BYTES / 2);
        let held = pages.read(None, large()).await.unwrap();
        let second = pages.read(None, large()).await.unwrap();
        assert!(pages.read(None, large()).now_or_never().is_none());
        let (events, _page) = pages.read(None, event(10)).await.unwrap();
        assert_eq!(events.len(), 1, "small pages do not wait");
        drop((held, second));
        let (events, _page) = pages.read(None, event(2 * MAX_LARGE_BYTES)).await.unwrap();
        assert_eq!(
            events.len(),
            1,
            "an event that exceeds the whole budget is read alone"
        );
    }
}
