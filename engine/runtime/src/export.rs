//! A run as one text: JSON lines, of which the first says what the run is and holds its graphs, and each
//! further one is an event as it is stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use heddle_kernel::{
    Event, Graph, GraphId, Json, Recorded, Run, RunId, Status, Timestamp, graph::Pins, run::Graphs,
};
use serde::{Deserialize, Serialize};

use crate::{
    answer::{ImportError, ReadError, summary},
    engine::Engine,
    live::{LiveRun, Stopped},
    outbox::{Pace, leaves},
    ports::{Append, AppendError, GraphRow, Leaves, NewRun, RunSnapshot, StoreError},
};

/// The version of the form.
const FORM: u32 = 1;
/// How many events are read or checked before others get a turn.
const PAGE_LEN: usize = 1_000;
/// Why an imported run stands still.
const PAUSED: &str = "imported: resume it to go on here";

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    heddle_run: u32,
    run_id: RunId,
    graph_id: GraphId,
    created_at: Timestamp,
    status: Status,
    last_seq: u64,
    priority: i32,
    group: Option<Arc<str>>,
    origin: Option<Arc<str>>,
    graphs: Vec<HeadGraph>,
}

#[derive(Serialize, Deserialize)]
struct HeadGraph {
    id: GraphId,
    name: Option<Arc<str>>,
    definition: Json,
    created_at: Timestamp,
}

impl Engine {
    /// The whole of a run as one text: JSON lines, the first of which says what it is. `None` where there is
    /// no such run.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn export(&self, id: RunId) -> Result<Option<Vec<u8>>, ReadError> {
        let damaged = |message: String| ReadError::Damaged { run: id, message };
        let journal = &self.inner.ports.journal;
        let Some(row) = journal.run(id).await? else {
            return Ok(None);
        };
        let mut graphs: BTreeSet<GraphId> = BTreeSet::new();
        let (mut events, mut after) = (Vec::new(), 0);
        while after < row.last_seq {
            // A page at a time: only its text is kept.
            let page = journal.events(id, after, PAGE_LEN).await?;
            let Some(last) = page.last() else {
                let message = format!("event {after} is followed by none, and it has {}", row.last_seq);
                return Err(damaged(message));
            };
            after = last.seq;
            for event in page.iter().filter(|event| event.seq <= row.last_seq) {
                if let Some(pins) = Pins::of(&event.event) {
                    graphs.extend(pins.graphs.values().chain([pins.graph]).cloned());
                }
                line(&mut events, &**event);
            }
        }
        let mut head = Head {
            heddle_run: FORM,
            run_id: id,
            graph_id: row.graph,
            created_at: row.created_at,
            status: row.status,
            last_seq: row.last_seq,
            priority: row.priority,
            group: row.group,
            origin: row.origin,
            graphs: Vec::with_capacity(graphs.len()),
        };
        for graph in graphs {
            let row = journal.graph(&graph).await?;
            let row = row.ok_or_else(|| damaged(format!("its graph {graph} is not kept")))?;
            let definition = heddle_kernel::object::json(&row.definition);
            head.graphs.push(HeadGraph {
                id: row.id,
                name: row.name,
                definition: definition.map_err(|error| damaged(format!("its graph {graph}: {error}")))?,
                created_at: row.created_at,
            });
        }
        let mut text = Vec::new();
        line(&mut text, &head);
        text.append(&mut events);
        Ok(Some(text))
    }

    /// Keeps a run that was exported. One that is not over is paused here.
    ///
    /// # Errors
    /// Where it is malformed, there is such a run, or it could not be kept.
    pub async fn import(&self, export: &[u8]) -> Result<RunId, ImportError> {
        let inner = &self.inner;
        let journal = &inner.ports.journal;
        let mut lines = (1..).zip(export.split(|byte| *byte == b'\n'));
        let head = lines.next().map_or(&[][..], |(_, text)| text);
        let head: Head = read(1, head)?;
        if head.heddle_run != FORM {
            let found = head.heddle_run;
            return Err(malformed(
                1,
                format!("its form is {found}, and this Heddle reads {FORM}"),
            ));
        }
        let id = head.run_id;
        if journal.run(id).await?.is_some() {
            return Err(ImportError::Known(id));
        }
        let mut import = Import::new(head);
        for (number, text) in lines.filter(|(_, text)| !text.is_empty()) {
            import.event(number, read(number, text)?)?;
            if number % PAGE_LEN == 0 {
                tokio::task::yield_now().await;
            }
        }
        let now = inner.ports.clock.now();
        let group = import.head.group.clone();
        let (run, append) = import.finish(now)?;
        let group = group.filter(|_| !run.status.is_over());
        for graph in import.used.into_values() {
            journal.put_graph(graph).await?;
        }
        // It tells when the run is durable, and is not driven.
        let (last, ack) = (run.seq, Arc::new(LiveRun::new(run, 0, &[])));
        inner.admission.count(group.as_ref());
        journal.append(append(ack.clone()));
        let durable = ack.durable_to(last).await;
        if let (Err(_), Some(group)) = (&durable, &group) {
            inner.admission.uncount(group);
        }
        match durable {
            Ok(()) => Ok(id),
            Err(Stopped::Lost(AppendError::Conflict { .. })) => Err(ImportError::Known(id)),
            Err(Stopped::Lost(AppendError::Unavailable(error))) => Err(error.into()),
            Err(Stopped::Lost(error @ AppendError::Damaged { .. })) => {
                Err(StoreError::Damaged(error.to_string()).into())
            }
            Err(Stopped::Lost(AppendError::Closed) | Stopped::Draining | Stopped::Parked) => {
                Err(StoreError::Unavailable("the engine is stopping".to_owned()).into())
            }
        }
    }
}

/// A run that is read from its export: it is folded, so that what is kept can go on.
struct Import {
    head: Head,
    run: Option<Run>,
    /// The graph that it began with.
    graph: Option<GraphId>,
    events: Vec<Arc<Recorded>>,
    /// The graphs that it keeps to, or did.
    used: BTreeMap<GraphId, GraphRow>,
    pace: Pace,
}

impl Import {
    fn new(head: Head) -> Self {
        Self {
            head,
            run: None,
            graph: None,
            events: Vec::new(),
            used: BTreeMap::new(),
            pace: Pace::default(),
        }
    }

    fn event(&mut self, number: usize, event: Recorded) -> Result<(), ImportError> {
        let wrong = |error: heddle_kernel::run::FoldError| malformed(number, error.to_string());
        let graphs = match Pins::of(&event.event) {
            Some(pins) => Some(self.graphs(number, &pins)?),
            None => None,
        };
        match (&mut self.run, graphs) {
            (Some(run), graphs) => {
                if let Some((graph, graphs)) = graphs {
                    run.stage(graph, graphs);
                }
                run.fold(&event).map_err(wrong)?;
            }
            (None, Some((graph, graphs))) => {
                self.graph = Some(graph.id.clone());
                let first = Run::from_first(self.head.run_id, graph, graphs, &event);
                self.run = Some(first.map_err(wrong)?);
            }
            (None, None) => {
                let message = "the first event is not the run's start".to_owned();
                return Err(malformed(number, message));
            }
        }
        self.pace.count(&event.event);
        self.events.push(Arc::new(event));
        Ok(())
    }

    /// The graphs that an event names.
    fn graphs(&mut self, number: usize, pins: &Pins<'_>) -> Result<(Arc<Graph>, Arc<Graphs>), ImportError> {
        let mut graph = |id: &GraphId| {
            let held = self.head.graphs.iter().find(|held| held.id == *id);
            let held = held.ok_or_else(|| {
                malformed(
                    number,
                    format!("it names the graph {id}, which line 1 does not hold"),
                )
            })?;
            let graph = pins.rebuild(held.definition.get());
            let graph = graph.map_err(|found| malformed(1, format!("graph {id}: {}", summary(&found))))?;
            if graph.id != *id {
                return Err(malformed(
                    1,
                    format!("graph {id} is another one, of the id {}", graph.id),
                ));
            }
            let row = GraphRow {
                id: id.clone(),
                name: graph.name.clone(),
                definition: graph.definition.clone(),
                created_at: held.created_at,
            };
            self.used.insert(id.clone(), row);
            Ok(Arc::new(graph))
        };
        let own = graph(pins.graph)?;
        let mut named = Graphs::new();
        for (name, id) in pins.graphs {
            named.insert(name.clone(), graph(id)?);
        }
        Ok((own, Arc::new(named)))
    }

    /// The run as it is kept: one that is not over stands still until somebody wants it to go on here.
    fn finish(
        &mut self,
        now: Timestamp,
    ) -> Result<(Run, impl FnOnce(Arc<LiveRun>) -> Append + use<>), ImportError> {
        let (id, last) = (self.head.run_id, self.events.len());
        let (Some(mut run), Some(graph)) = (self.run.take(), self.graph.take()) else {
            return Err(malformed(2, "the run's events are not there".to_owned()));
        };
        if run.seq != self.head.last_seq {
            let message = format!(
                "it ends with event {}, and line 1 says that it has {}",
                run.seq, self.head.last_seq
            );
            return Err(malformed(last + 1, message));
        }
        if !run.status.is_over() && run.shown_status() != Status::Paused {
            let reason = PAUSED.into();
            let paused = Recorded {
                seq: run.seq + 1,
                at: now,
                event: Event::RunPaused { reason },
            };
            run.fold(&paused)
                .map_err(|error| malformed(last + 1, error.to_string()))?;
            self.events.push(Arc::new(paused));
        }
        let mut leaves = leaves(&run);
        if let Leaves::Over(end) = &mut leaves {
            // It is kept from here on as long as one that ends here.
            end.at = now;
        }
        let snapshot = self.pace.is_due().then(|| RunSnapshot {
            seq: run.seq,
            body: run.snapshot(),
        });
        let begins = NewRun {
            graph,
            created_at: run.started_at,
            priority: self.head.priority,
            group: self.head.group.take(),
            origin: Some("import".into()),
        };
        let events = std::mem::take(&mut self.events);
        let append = move |ack: Arc<LiveRun>| Append {
            run: id,
            begins: Some(begins),
            reopens: false,
            events,
            leaves,
            requests: Vec::new(),
            snapshot,
            ack,
        };
        Ok((run, append))
    }
}

fn line(text: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(&mut *text, value).expect("Heddle's own types serialize");
    text.push(b'\n');
}

fn read<'a, T: Deserialize<'a>>(line: usize, text: &'a [u8]) -> Result<T, ImportError> {
    serde_json::from_slice(text).map_err(|error| malformed(line, error.to_string()))
}

fn malformed(line: usize, message: String) -> ImportError {
    ImportError::Malformed { line, message }
}
