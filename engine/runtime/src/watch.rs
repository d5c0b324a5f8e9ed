//! Watching a run: every event from the beginning, then new events as they become durable, at the watcher's own pace.
//!
//! A watcher gets only durable events. A watcher that keeps up reads the run's latest events from memory; a slower one
//! reads the journal. So no watcher misses an event, and none slows the run down. Watching does not load a run: while the
//! run is not in memory, its watchers wait until something else loads it.
//!
//! The chunks that functions emit come between the events: after all events that the run had when the chunk was emitted,
//! and before any later event. Chunks are not stored. A slow watcher misses some, and learns how many.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

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
    core::Core,
    errors::StopReason,
    live_run::{LiveRun, Progress},
    live_runs::WatchedRun,
    page_budget::PagePermit,
    ports::StoreError,
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

/// A watch on one run. It does not keep the run in memory.
pub struct Watch {
    core: Arc<Core>,
    run: RunId,
    /// The number of the last event that was returned.
    after: u64,
    /// Events that were read and not returned yet.
    read: VecDeque<Arc<EventRecord>>,
    /// Held while events of a page are in `read`.
    page: Option<PagePermit>,
    /// Closes the watcher's connection if it holds a page for too long.
    close: Option<Arc<Notify>>,
    /// The number of the run's last event, if the run had ended when the watch began.
    last: Option<u64>,
    is_over: bool,
    chunks: ChunkReader,
    /// The run as it was loaded last.
    loaded: watch::Receiver<Weak<LiveRun>>,
    live: Option<Live>,
}

/// The watched run while it is in memory.
struct Live {
    progress: watch::Receiver<Progress>,
    run: Arc<LiveRun>,
}

/// Receives the chunks of a run.
struct ChunkReader {
    receiver: broadcast::Receiver<Arc<ChunkSlot>>,
    /// The next chunk, if it was received already.
    next: Option<Chunk>,
    /// Keeps the chunks of the run together while it is not in memory.
    _run: Arc<WatchedRun>,
}

impl ChunkReader {
    /// The next chunk, if it was emitted before any event after `after`.
    fn next(&mut self, after: u64) -> Option<WatchItem> {
        if self.next.is_none() {
            match self.receiver.try_recv() {
                Ok(slot) => match slot.get() {
                    Some(chunk) => self.next = Some(chunk),
                    None => return Some(WatchItem::Missed(1)),
                },
                Err(TryRecvError::Lagged(missed)) => return Some(WatchItem::Missed(missed)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => {}
            }
        }
        self.next
            .take_if(|chunk| chunk.after <= after)
            .map(WatchItem::Chunk)
    }

    /// Waits for a chunk. Returns an item if chunks were missed.
    async fn receive(&mut self) -> Option<WatchItem> {
        match self.receiver.recv().await {
            Ok(slot) => match slot.get() {
                Some(chunk) => self.next = Some(chunk),
                None => return Some(WatchItem::Missed(1)),
            },
            Err(RecvError::Lagged(missed)) => return Some(WatchItem::Missed(missed)),
            // Unreachable: the watched run holds the sender.
            Err(RecvError::Closed) => {}
        }
        None
    }
}

impl Watch {
    /// A watch on a run, starting after the event `after`. It ends with the event `last`, if that is set.
    pub(crate) fn new(core: &Arc<Core>, run: RunId, after: u64, last: Option<u64>) -> Self {
        let watched = core.live_runs.watch(run);
        Self {
            core: core.clone(),
            run,
            after,
            read: VecDeque::new(),
            page: None,
            close: None,
            last,
            is_over: false,
            loaded: watched.loaded(),
            chunks: ChunkReader {
                receiver: watched.chunks().subscribe(),
                next: None,
                _run: watched,
            },
            live: None,
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

    /// Reads the next page of events from the journal, when the budget allows.
    async fn read_page(&mut self) -> Result<(), StoreError> {
        self.page = None;
        let (store, run, after) = (&self.core.ports.store, self.run, self.after);
        let close = self.close.as_ref();
        let read = self.core.pages.read(close, |len| store.events(run, after, len));
        let (events, page) = read.await?;
        (self.read, self.page) = (events.into(), Some(page));
        Ok(())
    }

    /// The next item; waits until there is one. `None` once the run has ended and everything was returned. Dropping the
    /// future and calling this again loses nothing.
    ///
    /// # Errors
    /// If the journal cannot be read, or this engine stops or can no longer store the unfinished run's events.
    pub async fn next(&mut self) -> Option<Result<WatchItem, StoreError>> {
        loop {
            let after = self.after;
            if let Some(chunk) = self.chunks.next(after) {
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
            if self.last.is_none() && self.loaded.has_changed().unwrap_or(false) {
                let run = self.loaded.borrow_and_update().upgrade();
                self.live = run.map(|run| Live {
                    progress: run.progress(),
                    run,
                });
            }
            let next = match self.live.is_some() {
                true => self.follow_memory().await,
                false => self.follow_journal().await,
            };
            match next {
                Ok(None) => {}
                Ok(Some(item)) => return Some(Ok(item)),
                Err(error) => {
                    self.is_over |= matches!(error, Ended::Stopped(_));
                    return Some(Err(error.into()));
                }
            }
        }
    }

    /// Reads the run's new events from memory, or waits for something new.
    async fn follow_memory(&mut self) -> Result<Option<WatchItem>, Ended> {
        let Some(live) = &mut self.live else {
            return Ok(None);
        };
        let progress = live.progress.borrow_and_update().clone();
        if progress.seq > self.after {
            match live.run.tail(self.after, progress.seq) {
                Some(events) => self.read = events.into(),
                None => self.read_page().await?,
            }
            return Ok(None);
        }
        let has_ended = live
            .run
            .read(|run| run.status.is_over() && run.seq <= progress.seq);
        if has_ended {
            self.is_over = true;
            return Ok(None);
        }
        match progress.stopped {
            None => {}
            Some(StopReason::Unloaded) => {
                self.live = None;
                return Ok(None);
            }
            Some(stopped) => return Err(Ended::Stopped(stopped)),
        }
        tokio::select! {
            biased;
            changed = live.progress.changed() => changed.expect("the watch holds the run that sends"),
            // A chunk that was received already waits for an event that is not durable yet.
            missed = self.chunks.receive(), if self.chunks.next.is_none() => return Ok(missed),
        }
        Ok(None)
    }

    /// Reads the new events of a run that is not in memory from the journal, or waits until the run is loaded.
    async fn follow_journal(&mut self) -> Result<Option<WatchItem>, Ended> {
        self.read_page().await?;
        if !self.read.is_empty() {
            return Ok(None);
        }
        let row = self.core.ports.store.run(self.run).await?;
        // A run without a row was deleted.
        let has_ended = row.is_none_or(|row| row.status.is_over() && row.last_seq <= self.after);
        if has_ended || self.last.is_some() {
            self.is_over = true;
            return Ok(None);
        }
        tokio::select! {
            // Fails only if the sender is dropped, which the watch holds.
            _ = self.loaded.changed() => {}
            () = self.core.drains() => return Err(Ended::Stopped(StopReason::Draining)),
        }
        // The next round takes the run.
        self.loaded.mark_changed();
        Ok(None)
    }
}

/// Why a watch returns an error.
enum Ended {
    /// The journal cannot be read.
    Unreadable(StoreError),
    /// This engine no longer drives the run.
    Stopped(StopReason),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Unreadable(error)
    }
}

impl From<Ended> for StoreError {
    fn from(ended: Ended) -> Self {
        let reason = match ended {
            Ended::Unreadable(error) => return error,
            Ended::Stopped(reason) => reason,
        };
        Self::Unavailable(match reason {
            StopReason::AppendFailed(error) => error.to_string(),
            StopReason::Draining => "the engine is stopping; watch again after its restart".to_owned(),
            StopReason::Unloaded => "the run was unloaded; watch again".to_owned(),
        })
    }
}

impl Core {
    /// Waits until a run has ended, or this engine stops driving it or cannot read it. Does not load the run.
    pub(crate) async fn over(&self, run: RunId) {
        let watched = self.live_runs.watch(run);
        let mut loaded = watched.loaded();
        loop {
            let live = loaded.borrow_and_update().upgrade();
            if let Some(live) = live {
                match live.over().await {
                    Err(StopReason::Unloaded) => {}
                    Ok(()) | Err(_) => return,
                }
            }
            match self.ports.store.run(run).await {
                Ok(Some(row)) if !row.status.is_over() => {}
                Ok(_) | Err(_) => return,
            }
            tokio::select! {
                // The engine holds the sender.
                _ = loaded.changed() => {}
                () = self.drains() => return,
            }
        }
    }
}
