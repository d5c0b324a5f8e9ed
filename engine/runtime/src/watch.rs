//! Watching a run: every event from the beginning, then live, at the watcher's own pace.
//!
//! A watcher is told only what is durable. It reads from the run's latest events in memory
//! while it keeps up and from the journal otherwise, so it never misses one and never slows
//! the run.
//!
//! What functions send while they run comes between the events, where it was sent: after all events that the
//! run had by then, and before any that followed. It is not kept, so who is slow may miss some, and is told
//! how much.

use std::{collections::VecDeque, sync::Arc};

use heddle_json::Json;
use heddle_kernel::{EventRecord, RunId};
use tokio::sync::{
    broadcast::{
        self,
        error::{RecvError, TryRecvError},
    },
    watch,
};

use crate::{
    chunks::Slot,
    live::{Hold, LiveRun, Progress, Stopped},
    pages::{Page, Pages},
    ports::{Journal, StoreError},
};

/// What a watcher is told.
#[derive(Clone, Debug)]
pub enum Watched {
    /// The next event.
    Event(Arc<EventRecord>),
    /// Something that a function sends out while it runs.
    Chunk(Chunk),
    /// So many chunks were not told, since the watcher was too slow for them.
    Missed(u64),
}

/// A piece of output that a function sends while it runs: told to who watches, and not kept.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The node that the function runs at.
    pub node: Arc<str>,
    /// The step.
    pub step: u64,
    /// What it sent.
    pub data: Json,
    /// The number of the last event that the run had then.
    pub after: u64,
}

/// A watch on one run.
pub struct Watch {
    journal: Arc<dyn Journal>,
    run: RunId,
    after: u64,
    read: VecDeque<Arc<EventRecord>>,
    pages: Arc<Pages>,
    /// Held while events of a page are in `read`.
    page: Option<Page>,
    /// Set where it is known that no event follows this one.
    last: Option<u64>,
    over: bool,
    live: Option<Live>,
}

struct Live {
    run: Arc<LiveRun>,
    progress: watch::Receiver<Progress>,
    chunks: broadcast::Receiver<Arc<Slot>>,
    /// The next chunk, where it was taken already.
    chunk: Option<Chunk>,
    _hold: Hold,
}

impl Live {
    /// What comes next of the chunks, if its place is after the event `told` and before any that follows.
    fn chunk(&mut self, told: u64) -> Option<Watched> {
        if self.chunk.is_none() {
            match self.chunks.try_recv() {
                Ok(slot) => match slot.get() {
                    Some(chunk) => self.chunk = Some(chunk),
                    None => return Some(Watched::Missed(1)),
                },
                Err(TryRecvError::Lagged(missed)) => return Some(Watched::Missed(missed)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => {}
            }
        }
        self.chunk
            .take_if(|chunk| chunk.after <= told)
            .map(Watched::Chunk)
    }
}

impl Watch {
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        pages: Arc<Pages>,
        run: RunId,
        after: u64,
        live: Option<Hold>,
    ) -> Self {
        let live = live.map(|hold| Live {
            progress: hold.0.progress(),
            chunks: hold.0.chunks(),
            chunk: None,
            run: hold.0.clone(),
            _hold: hold,
        });
        Self {
            journal,
            run,
            after,
            read: VecDeque::new(),
            pages,
            page: None,
            last: None,
            over: false,
            live,
        }
    }

    /// A watch on a run that is over with its event `last`.
    pub(crate) fn of_past(
        journal: Arc<dyn Journal>,
        pages: Arc<Pages>,
        run: RunId,
        after: u64,
        last: u64,
    ) -> Self {
        Self {
            last: Some(last),
            ..Self::new(journal, pages, run, after, None)
        }
    }

    /// Reads the next events from the journal, once there is room for them.
    async fn read_page(&mut self) -> Result<(), StoreError> {
        self.page = None;
        let (journal, run, after) = (&self.journal, self.run, self.after);
        let read = self.pages.read(|len| journal.events(run, after, len));
        let (events, page) = read.await?;
        (self.read, self.page) = (events.into(), Some(page));
        Ok(())
    }

    /// The next thing that happens, waiting where nothing is new. `None` once the run is over
    /// and everything was told. It can be dropped and called again without losing anything.
    ///
    /// # Errors
    /// Where the journal cannot be read, or this engine stopped driving a run that is not over.
    pub async fn next(&mut self) -> Option<Result<Watched, StoreError>> {
        loop {
            let told = self.after;
            if let Some(chunk) = self.live.as_mut().and_then(|live| live.chunk(told)) {
                return Some(Ok(chunk));
            }
            // An event that ends the run does not end the watch: a run that failed may have been retried.
            if let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                self.over |= self.last.is_some_and(|last| event.seq >= last);
                return Some(Ok(Watched::Event(event)));
            }
            if self.over {
                return None;
            }
            // What was read is told.
            self.page = None;
            let Some(live) = &mut self.live else {
                if let Err(error) = self.read_page().await {
                    return Some(Err(error));
                }
                self.over |= self.read.is_empty();
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
                // Everything was told, or was not asked for.
                self.over = true;
                continue;
            }
            if let Some(stopped) = progress.stopped {
                self.over = true;
                return Some(Err(StoreError::Unavailable(match stopped {
                    Stopped::Lost(error) => error.to_string(),
                    Stopped::Draining => "the engine is stopping; watch again after its restart".to_owned(),
                    // A run that is held is not parked, but for a hold that came at the last moment.
                    Stopped::Parked => "the run went to sleep; watch again".to_owned(),
                })));
            }
            tokio::select! {
                biased;
                changed = live.progress.changed() => changed.expect("the watch holds the run that sends"),
                // One that is there already waits for an event that is not durable yet.
                chunk = live.chunks.recv(), if live.chunk.is_none() => match chunk {
                    Ok(slot) => match slot.get() {
                        Some(chunk) => live.chunk = Some(chunk),
                        None => return Some(Ok(Watched::Missed(1))),
                    },
                    Err(RecvError::Lagged(missed)) => return Some(Ok(Watched::Missed(missed))),
                    // The run holds the sender, and the watch the run.
                    Err(RecvError::Closed) => {}
                },
            }
        }
    }
}
