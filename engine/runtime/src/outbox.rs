//! Events on their way to the journal.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use heddle_kernel::{Event, Recorded};

use crate::{
    drive::end_of,
    inner::Inner,
    live::LiveRun,
    ports::{Append, Leaves, NewRun, RunWait},
};

/// Events that were decided and not handed over, in order.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Set for the events that begin a run.
    begins: Option<NewRun>,
    events: Vec<Arc<Recorded>>,
    /// When the first of them was put in.
    since: Option<Instant>,
    /// How many bytes were handed over since the run last waited for the disk.
    ahead: usize,
    /// Whether the journal was told last that the run waits.
    waits: bool,
}

impl Outbox {
    /// What begins a run.
    pub(crate) fn of_start(begins: NewRun, events: Vec<Arc<Recorded>>) -> Self {
        Self {
            begins: Some(begins),
            events,
            since: Some(Instant::now()),
            ..Self::default()
        }
    }

    /// That of a run which the journal has as one that waits.
    pub(crate) fn of_waiting() -> Self {
        Self {
            waits: true,
            ..Self::default()
        }
    }

    pub(crate) fn put(&mut self, events: Vec<Arc<Recorded>>) {
        if !events.is_empty() {
            self.since.get_or_insert_with(Instant::now);
            self.events.extend(events);
        }
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

    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Hands everything to the journal.
    pub(crate) fn send(&mut self, engine: &Inner, live: &Arc<LiveRun>) {
        let (begins, events) = (self.begins.take(), std::mem::take(&mut self.events));
        self.since = None;
        let Some(last) = events.last() else { return };
        let waits = live.read(|run| run.is_waiting().then(|| RunWait { until: run.due() }));
        self.waits = waits.is_some();
        let leaves = match (end_of(last), waits) {
            (Some(end), _) => Leaves::Over(end),
            (None, Some(wait)) => Leaves::Waiting(wait),
            (None, None) => Leaves::Running,
        };
        self.ahead += events.iter().map(|event| size(&event.event)).sum::<usize>();
        engine.ports.journal.append(Append {
            run: live.id,
            begins,
            reopens: false,
            events,
            leaves,
            requests: Vec::new(),
            snapshot: None,
            ack: live.clone(),
        });
    }
}

/// About how many bytes an event takes.
fn size(event: &Event) -> usize {
    const FIXED: usize = 160;
    FIXED
        + match event {
            Event::RunStarted { state, functions, .. } => state.size() + functions.len() * FIXED,
            Event::StepFinished { update, .. } => update.size(),
            Event::GraphStarted { state, .. } => state.size(),
            Event::MapStarted { items, .. } => items.get().len(),
            Event::ItemFinished { result, .. } => result.as_ref().map_or(0, |result| result.get().len()),
            Event::SignalReceived { payload, .. } => payload.get().len(),
            Event::Log { message, .. } => message.len(),
            Event::StepFailed { failure, .. } => failure.message.len(),
            Event::RunForked { run, .. } => run.get().len(),
            Event::RunUpgraded { functions, .. } => functions.len() * FIXED,
            Event::StepStarted { .. }
            | Event::RunPaused { .. }
            | Event::RunResumed
            | Event::RunRetried
            | Event::CancelRequested { .. }
            | Event::UndoStarted { .. }
            | Event::RunFinished
            | Event::RunFailed { .. }
            | Event::RunCancelled { .. } => 0,
        }
}
