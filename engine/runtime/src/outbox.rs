//! Events on their way to the journal.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use heddle_kernel::{Event, EventRecord, Run, Status};

use crate::{
    inner::Inner,
    live::LiveRun,
    ports::{Append, NewRun, Request, RunDisposition, RunEnd, RunSnapshot, RunWait},
};

/// From how many bytes of events on a run gets a snapshot. Fewer are folded as fast as one is read.
const SNAPSHOT_FROM: usize = 256 << 10;
/// A run gets its next snapshot when its events since the last one take this many times the room of that
/// one: so snapshots add little to what a run takes, however large its state is.
const SNAPSHOT_EVERY: usize = 8;

/// Events that were decided and not handed over, in order.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Set for the events that begin a run.
    begins: Option<NewRun>,
    /// Set for the events that follow the end of a run that failed.
    reopens: bool,
    events: Vec<Arc<EventRecord>>,
    /// Requests that these events answer.
    requests: Vec<Request>,
    /// When the first of them was put in.
    since: Option<Instant>,
    /// How many bytes were put in since the run last waited for the disk.
    ahead: usize,
    /// Whether the journal was told last that nothing happens to the run by itself, until a time comes.
    rests: bool,
    pace: Pace,
}

impl Outbox {
    /// What begins a run, and answers this request.
    pub(crate) fn of_start(begins: NewRun, events: Vec<Arc<EventRecord>>, request: Option<Request>) -> Self {
        let mut outbox = Self {
            begins: Some(begins),
            requests: request.into_iter().collect(),
            ..Self::default()
        };
        outbox.put(events);
        outbox
    }

    /// That of a run that was read from the journal.
    pub(crate) fn of_loaded(run: &Run, pace: Pace) -> Self {
        Self {
            reopens: run.status.is_over(),
            rests: rests(run.shown_status()),
            pace,
            ..Self::default()
        }
    }

    pub(crate) fn put(&mut self, events: Vec<Arc<EventRecord>>) {
        if !events.is_empty() {
            self.since.get_or_insert_with(Instant::now);
            for event in &events {
                self.ahead += self.pace.count(&event.event);
            }
            self.events.extend(events);
        }
    }

    /// Has a request kept with the events that were put in for it.
    pub(crate) fn answers(&mut self, request: Request) {
        self.requests.push(request);
    }

    /// How long the first event was held back.
    pub(crate) fn held_for(&self) -> Duration {
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    pub(crate) fn ahead(&self) -> usize {
        self.ahead
    }

    pub(crate) fn caught_up(&mut self) {
        self.ahead = 0;
    }

    pub(crate) fn rests(&self) -> bool {
        self.rests
    }

    /// Hands everything to the journal.
    pub(crate) fn send(&mut self, engine: &Inner, live: &Arc<LiveRun>) {
        self.since = None;
        if self.events.is_empty() {
            return;
        }
        let (disposition, due) = live.read(|run| {
            let disposition = disposition(run);
            // A copy shares its values with the run, which must not stand still while they are written.
            let due = self.pace.is_due() && !run.status.is_over();
            (disposition, due.then(|| run.clone()))
        });
        self.rests = rests(disposition.status());
        let snapshot = due.map(|run| RunSnapshot {
            seq: run.seq,
            body: run.snapshot(),
        });
        if let Some(snapshot) = &snapshot {
            self.pace = Pace::after_snapshot(snapshot.body.get().len());
        }
        engine.ports.journal.append(Append {
            run: live.id,
            begins: self.begins.take(),
            reopens: std::mem::take(&mut self.reopens),
            events: std::mem::take(&mut self.events),
            disposition,
            requests: std::mem::take(&mut self.requests),
            snapshot,
            ack: live.clone(),
        });
    }
}

/// How a run is left.
pub(crate) fn disposition(run: &Run) -> RunDisposition {
    match run.shown_status() {
        Status::Queued => RunDisposition::Queued,
        Status::Running => RunDisposition::Running,
        Status::Waiting => RunDisposition::Waiting(RunWait { until: run.due() }),
        Status::Paused => RunDisposition::Paused,
        status @ (Status::Finished | Status::Failed | Status::Cancelled) => RunDisposition::Over(RunEnd {
            status,
            at: run.updated_at,
            error: run.error.clone(),
        }),
    }
}

fn rests(status: Status) -> bool {
    matches!(status, Status::Queued | Status::Waiting | Status::Paused)
}

/// How far a run is from its next snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// About how many bytes of events came since the last one.
    bytes: usize,
    /// How many bytes that one took.
    last: usize,
}

impl Pace {
    /// Right after a snapshot of this many bytes.
    pub(crate) fn after_snapshot(last: usize) -> Self {
        Self { bytes: 0, last }
    }

    /// One more event. Answers about how many bytes it takes.
    pub(crate) fn count(&mut self, event: &Event) -> usize {
        let bytes = event.size();
        match event {
            // It is as good as a snapshot.
            Event::RunForked { run, .. } => *self = Self::after_snapshot(run.get().len()),
            _ => self.bytes += bytes,
        }
        bytes
    }

    /// Whether it is time for a snapshot.
    pub(crate) fn is_due(&self) -> bool {
        self.bytes > SNAPSHOT_FROM.max(SNAPSHOT_EVERY.saturating_mul(self.last))
    }
}
