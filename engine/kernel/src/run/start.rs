//! The start of a run. Its first step starts in the same decision as the run, unless the run is queued.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::Object;

use super::{ROOT, Run, decide::Events, fold::Graphs};
use crate::{
    event::{Event, EventRecord, FunctionRef},
    graph::Graph,
    ids::{RunId, Timestamp},
};

/// A run with its first event. The caller decides by the [group](Run::group) and the size of `run` whether it
/// starts at once or is queued.
#[derive(Debug)]
pub struct UnstartedRun {
    /// The run after its first event. The caller may set its limits.
    pub run: Run,
    events: Vec<Arc<EventRecord>>,
}

impl Run {
    /// Creates a run. `graphs` and `functions` are those that the graph and its inner graphs name.
    pub fn create(
        id: RunId,
        graph: Arc<Graph>,
        graphs: Arc<Graphs>,
        state: Object,
        functions: BTreeMap<Arc<str>, FunctionRef>,
        now: Timestamp,
    ) -> UnstartedRun {
        let mut run = Self::empty(id, graph, graphs, now);
        let mut events = Events::new(&mut run, now);
        let started = Event::RunStarted {
            graph: events.run.graph.id.clone(),
            state,
            functions,
            graphs: events.run.graph_ids(),
        };
        events.push(started);
        let events = events.into_records();
        UnstartedRun { run, events }
    }
}

impl UnstartedRun {
    /// Starts the first step. Returns the run with all its events, already applied.
    pub fn start(self) -> (Run, Vec<Arc<EventRecord>>) {
        let Self { mut run, events } = self;
        let now = run.started_at;
        let mut events = Events::with_records(&mut run, now, events);
        events.queue_execution(ROOT);
        events.advance();
        events.check_memory();
        let events = events.into_records();
        (run, events)
    }

    /// Starts no step until [`Input::Activate`](super::Input::Activate). Returns the queued run with its first
    /// event.
    pub fn queue(self) -> (Run, Vec<Arc<EventRecord>>) {
        (self.run, self.events)
    }
}
