//! A run as one text: JSON lines, of which the first says what the run is and holds its graphs, and each
//! further one is an event as it is stored.

use std::{collections::BTreeSet, sync::Arc};

use heddle_kernel::{
    Event, GraphId, Recorded, Run, RunId, Status, Timestamp, graph::Pins, tokens::in_one_line,
};
use serde::Serialize;

use crate::{
    answer::{ImportError, ReadError},
    engine::Engine,
    live::{LiveRun, Stopped},
    outbox::{Pace, leaves},
    ports::{Append, AppendError, Leaves, NewRun, RunSnapshot, StoreError},
    replay::{FORM, Head, HeadGraph, Replay, malformed},
};

/// How many events are read or checked before others get a turn.
const PAGE_LEN: usize = 1_000;
/// Why an imported run stands still.
const PAUSED: &str = "imported: resume it to go on here";

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
        let mut replay = Replay::open(export)?;
        let id = replay.head.run_id;
        if journal.run(id).await?.is_some() {
            return Err(ImportError::Known(id));
        }
        let (mut events, mut pace) = (Vec::new(), Pace::default());
        while let Some(event) = replay.read()? {
            replay.fold(&event)?;
            pace.count(&event.event);
            events.push(Arc::new(event));
            if events.len() % PAGE_LEN == 0 {
                tokio::task::yield_now().await;
            }
        }
        let mut import = Import { replay, events, pace };
        let now = inner.ports.clock.now();
        let group = import.replay.head.group.clone();
        let (run, append) = import.finish(now)?;
        let group = group.filter(|_| !run.status.is_over());
        for graph in import.replay.used.into_values() {
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

/// A run that was read from its export and folded, so that what is kept can go on.
struct Import<'e> {
    replay: Replay<'e>,
    events: Vec<Arc<Recorded>>,
    pace: Pace,
}

impl Import<'_> {
    /// The run as it is kept: one that is not over stands still until somebody wants it to go on here.
    fn finish(
        &mut self,
        now: Timestamp,
    ) -> Result<(Run, impl FnOnce(Arc<LiveRun>) -> Append + use<>), ImportError> {
        self.replay.check_end()?;
        let head = &mut self.replay.head;
        let (id, last) = (head.run_id, self.events.len());
        let (Some(mut run), Some(graph)) = (self.replay.run.take(), self.replay.graph.take()) else {
            return Err(malformed(2, "the run's events are not there".to_owned()));
        };
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
            priority: head.priority,
            group: head.group.take(),
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
    let line = serde_json::to_string(value).expect("Heddle's own types serialize");
    text.extend_from_slice(in_one_line(line).as_bytes());
    text.push(b'\n');
}
