//! The events that a driver has decided and not yet appended to the journal.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use heddle_kernel::{EventRecord, Run, Status};

use crate::{
    live_run::LiveRun,
    ports::{Append, EngineId, Journal, NewRun, Request, RunDisposition, RunEnd, RunSnapshot, RunWait},
    snapshot_policy::SnapshotPolicy,
};

/// Collects a run's events, in order, for the next append.
#[derive(Default)]
pub(crate) struct AppendBuffer {
    /// The row of a new run, for the run's first append.
    begins: Option<NewRun>,
    /// Whether the next append changes an ended run.
    reopens: bool,
    events: Vec<Arc<EventRecord>>,
    /// The requests whose results are stored with these events.
    requests: Vec<Request>,
    /// When the first of the events was added.
    since: Option<Instant>,
    /// The bytes of the events since the driver last waited for the disk.
    ahead: usize,
    /// Whether the last append left the run queued, waiting or paused, so that it can be unloaded.
    is_at_rest: bool,
    snapshot_policy: SnapshotPolicy,
}

impl AppendBuffer {
    /// The buffer of a new run, with its first events and the start request that they are the result of.
    pub(crate) fn for_new_run(
        begins: NewRun,
        events: Vec<Arc<EventRecord>>,
        request: Option<Request>,
    ) -> Self {
        let mut buffer = Self {
            begins: Some(begins),
            requests: request.into_iter().collect(),
            ..Self::default()
        };
        buffer.add(events);
        buffer
    }

    /// The buffer of a run that was loaded from the journal.
    pub(crate) fn for_loaded_run(run: &Run, snapshot_policy: SnapshotPolicy) -> Self {
        Self {
            reopens: run.status.is_over(),
            is_at_rest: is_at_rest(run.shown_status()),
            snapshot_policy,
            ..Self::default()
        }
    }

    /// Adds events.
    pub(crate) fn add(&mut self, events: Vec<Arc<EventRecord>>) {
        if !events.is_empty() {
            self.since.get_or_insert_with(Instant::now);
            for event in &events {
                self.ahead += self.snapshot_policy.count(&event.event);
            }
            self.events.extend(events);
        }
    }

    /// Adds a request whose result is the events that were just added.
    pub(crate) fn add_request(&mut self, request: Request) {
        self.requests.push(request);
    }

    /// How long the first event has been in the buffer.
    pub(crate) fn held_for(&self) -> Duration {
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// The bytes of the events since [`Self::caught_up`].
    pub(crate) fn ahead(&self) -> usize {
        self.ahead
    }

    /// The driver waits until all events are durable.
    pub(crate) fn caught_up(&mut self) {
        self.ahead = 0;
    }

    /// Whether the last append left the run queued, waiting or paused.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_at_rest
    }

    /// Appends the events to the journal, with a snapshot if one is due.
    pub(crate) fn flush(&mut self, journal: &dyn Journal, live: &Arc<LiveRun>) {
        self.since = None;
        if self.events.is_empty() {
            return;
        }
        let (disposition, to_snapshot) = live.read(|run| {
            let is_due = self.snapshot_policy.is_due() && !run.status.is_over();
            // The snapshot is written from a copy outside of the lock. The copy shares its values with the run.
            (disposition(run), is_due.then(|| run.clone()))
        });
        self.is_at_rest = is_at_rest(disposition.status());
        let snapshot = to_snapshot.map(|run| RunSnapshot {
            seq: run.seq,
            body: run.snapshot(),
        });
        if let Some(snapshot) = &snapshot {
            self.snapshot_policy = SnapshotPolicy::after_snapshot(snapshot.body.get().len());
        }
        journal.append(Append {
            run: live.id,
            owner: EngineId::EXCLUSIVE,
            begins: self.begins.take(),
            reopens: std::mem::take(&mut self.reopens),
            events: std::mem::take(&mut self.events),
            disposition,
            requests: std::mem::take(&mut self.requests),
            commands: Vec::new(),
            snapshot,
            ack: live.clone(),
        });
    }
}

/// The disposition of a run for its next append.
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

fn is_at_rest(status: Status) -> bool {
    matches!(status, Status::Queued | Status::Waiting | Status::Paused)
}
