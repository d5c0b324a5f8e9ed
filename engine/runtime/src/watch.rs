//! Watching a run: every event from the beginning, then new events as they become durable, at the watcher's own pace.
//!
//! A watcher gets only durable events. A watcher that keeps up reads the run's latest events from memory; a slower one
//! reads the journal. So no watcher misses an event, and none slows the run down.
//!
//! The chunks that functions emit come between the events: after all events that the run had when the chunk was emitted,
//! and before any later event. Chunks are not stored. A slow watcher misses some, and learns how many.

use std::{collections::VecDeque, sync::Arc};

use heddle_kernel::{EventRecord, RunId};
use tokio::sync::{
    Notify,
    broadcast::{
        self,
        error::{RecvError, TryRecvError},
    },
    watch,
};

use crate::{
    chunks::{Chunk, ChunkSlot},
    errors::StopReason,
    live_run::{LiveRunGuard, Progress},
    page_budget::{PageBudget, PagePermit},
    ports::{Journal, StoreError},
};

/// An item of a watch.
#[derive(Clone, Debug)]
pub enum WatchItem {
    /// The next durable event of the run.
    Event(Arc<EventRecord>),
    /// A chunk that a function has emitted.
    Chunk(Chunk),
    /// The number of chunks that the watcher missed because it was too slow.
    Missed(u64),
}

/// A watch on one run.
pub struct Watch {
    journal: Arc<dyn Journal>,
    run: RunId,
    /// The number of the last event that was returned.
    after: u64,
    /// Events that were read and not returned yet.
    read: VecDeque<Arc<EventRecord>>,
    pages: Arc<PageBudget>,
    /// Held while events of a page are in `read`.
    page: Option<PagePermit>,
    /// Closes the watcher's connection if it holds a page for too long.
    close: Option<Arc<Notify>>,
    /// The number of the run's last event, if the run has ended.
    last: Option<u64>,
    is_over: bool,
    live: Option<Live>,
}

/// The watched run while it is in memory.
struct Live {
    progress: watch::Receiver<Progress>,
    chunks: broadcast::Receiver<Arc<ChunkSlot>>,
    /// The next chunk, if it was received already.
    chunk: Option<Chunk>,
    run: LiveRunGuard,
}

impl Live {
    /// The next chunk, if it was emitted before any event after `after`.
    fn chunk(&mut self, after: u64) -> Option<WatchItem> {
        if self.chunk.is_none() {
            match self.chunks.try_recv() {
                Ok(slot) => match slot.get() {
                    Some(chunk) => self.chunk = Some(chunk),
                    None => return Some(WatchItem::Missed(1)),
                },
                Err(TryRecvError::Lagged(missed)) => return Some(WatchItem::Missed(missed)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => {}
            }
        }
        self.chunk
            .take_if(|chunk| chunk.after <= after)
            .map(WatchItem::Chunk)
    }
}

impl Watch {
    /// A watch on a run, starting after the event `after`. Without `live`, it ends with the last event in the journal.
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        pages: Arc<PageBudget>,
        run: RunId,
        after: u64,
        live: Option<LiveRunGuard>,
    ) -> Self {
        let live = live.map(|run| Live {
            progress: run.progress(),
            chunks: run.chunks(),
            chunk: None,
            run,
        });
        Self {
            journal,
            run,
            after,
            read: VecDeque::new(),
            pages,
            page: None,
            close: None,
            last: None,
            is_over: false,
            live,
        }
    }

    /// The same watch. `close` is notified if its client reads so slowly that other watchers wait for it; the caller then
    /// drops the watch.
    #[must_use]
    pub fn closed_by(self, close: Arc<Notify>) -> Self {
        Self {
            close: Some(close),
            ..self
        }
    }

    /// The same watch, ending with the event `last`.
    pub(crate) fn until(self, last: u64) -> Self {
        Self {
            last: Some(last),
            ..self
        }
    }

    /// Reads the next page of events from the journal, when the budget allows.
    async fn read_page(&mut self) -> Result<(), StoreError> {
        self.page = None;
        let (journal, run, after) = (&self.journal, self.run, self.after);
        let close = self.close.as_ref();
        let read = self.pages.read(close, |len| journal.events(run, after, len));
        let (events, page) = read.await?;
        (self.read, self.page) = (events.into(), Some(page));
        Ok(())
    }

    /// The next item; waits until there is one. `None` once the run has ended and everything was returned. Dropping the
    /// future and calling this again loses nothing.
    ///
    /// # Errors
    /// If the journal cannot be read, or this engine stops driving the unfinished run.
    pub async fn next(&mut self) -> Option<Result<WatchItem, StoreError>> {
        loop {
            let after = self.after;
            if let Some(chunk) = self.live.as_mut().and_then(|live| live.chunk(after)) {
                return Some(Ok(chunk));
            }
            // An event that ends the run does not end the watch: the failed run may have been retried.
            if let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                self.is_over |= self.last.is_some_and(|last| event.seq >= last);
                return Some(Ok(WatchItem::Event(event)));
            }
            if self.is_over {
                return None;
            }
            // All events of the page were returned.
            self.page = None;
            let Some(live) = &mut self.live else {
                if let Err(error) = self.read_page().await {
                    return Some(Err(error));
                }
                self.is_over |= self.read.is_empty();
                continue;
            };
            let progress = live.progress.borrow_and_update().clone();
            if progress.seq > self.after {
                match live.run.tail(self.after, progress.seq) {
                    Some(events) => self.read = events.into(),
                    None => {
                        if let Err(error) = self.read_page().await {
                            return Some(Err(error));
                        }
                    }
                }
                continue;
            }
            if live
                .run
                .read(|run| run.status.is_over() && run.seq <= progress.seq)
            {
                self.is_over = true;
                continue;
            }
            if let Some(stopped) = progress.stopped {
                self.is_over = true;
                return Some(Err(stopped_watch(stopped)));
            }
            tokio::select! {
                biased;
                changed = live.progress.changed() => changed.expect("the watch holds the run that sends"),
                // A chunk that was received already waits for an event that is not durable yet.
                chunk = live.chunks.recv(), if live.chunk.is_none() => match chunk {
                    Ok(slot) => match slot.get() {
                        Some(chunk) => live.chunk = Some(chunk),
                        None => return Some(Ok(WatchItem::Missed(1))),
                    },
                    Err(RecvError::Lagged(missed)) => return Some(Ok(WatchItem::Missed(missed))),
                    // Unreachable: the run holds the sender, and the watch the run.
                    Err(RecvError::Closed) => {}
                },
            }
        }
    }
}

/// The error of a watch on a run that this engine no longer drives.
fn stopped_watch(stopped: StopReason) -> StoreError {
    StoreError::Unavailable(match stopped {
        StopReason::AppendFailed(error) => error.to_string(),
        StopReason::Draining => "the engine is stopping; watch again after its restart".to_owned(),
        // A guarded run is not unloaded, unless the guard came at the last moment.
        StopReason::Unloaded => "the run was unloaded; watch again".to_owned(),
    })
}
