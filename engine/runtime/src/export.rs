//! Export and import of runs. An export is a text of JSON lines: the first line contains the run's row and its graphs,
//! every further line a stored event.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use heddle_json::tokens::in_one_line;
use heddle_kernel::{
    Event, EventRecord, GraphId, Run, RunId, Status, Timestamp, graph::Pins, run::with_room_to_fail,
};
use serde::Serialize;

use crate::{
    admission::PRIORITIES,
    append_buffer::disposition,
    core::Core,
    engine::Engine,
    errors::ImportError,
    live_run::LiveRun,
    ports::{Append, EngineId, GraphRow, Journal, NewRun, ReadError, RunDisposition, RunSnapshot, Store},
    replay::{FORMAT_VERSION, Head, HeadGraph, Replay, malformed},
    settings::Settings,
    snapshot_policy::SnapshotPolicy,
};

/// How many events are read at once.
const PAGE_LEN: usize = 1_000;
/// How far the times in an export may be ahead of this machine's clock, or before the run's start, in milliseconds.
const MAX_AHEAD_MS: i64 = 5 * 60 * 1_000;
/// The message for a time that is further ahead.
const AHEAD: &str =
    "more than 5 minutes in the future (import_ahead): compare the clocks of the two machines";
/// How far the time in a run's id may differ from the run's start, in milliseconds.
const MAX_ID_OFF_MS: u64 = 60 * 60 * 1_000;
/// The reason for which an imported run is paused.
const PAUSED: &str = "imported: resume it to go on here";

impl Engine {
    /// Exports a run as JSON lines. The pieces are read on demand, since a run may be larger than the memory. `None` if
    /// there is no such run.
    ///
    /// # Errors
    /// If the run cannot be read. Reading a piece may fail as well.
    pub async fn export(&self, id: RunId) -> Result<Option<Export>, ReadError> {
        let store = self.core.ports.store.clone();
        let Some(row) = store.run(id).await? else {
            return Ok(None);
        };
        let (mut graphs, mut after) = (BTreeSet::new(), 0);
        while after < row.last_seq {
            let page = page(&*store, id, after, row.last_seq).await?;
            for event in &page {
                after = event.seq;
                if let Some(pins) = Pins::of(&event.event) {
                    graphs.extend(pins.graphs.values().chain([pins.graph]).cloned());
                }
            }
        }
        let last_seq = row.last_seq;
        let head = Head {
            heddle_run: FORMAT_VERSION,
            run_id: id,
            graph_id: row.graph,
            created_at: row.created_at,
            status: row.status,
            last_seq,
            priority: row.priority,
            group: row.group,
            origin: row.origin,
            graphs: Vec::new(),
        };
        let mut text = String::new();
        line(&mut text, &head);
        let begin = text
            .strip_suffix(GRAPHS_END)
            .expect("the graphs are its last member");
        let begin = begin.to_owned();
        Ok(Some(Export {
            store,
            run: id,
            next: Next::Head(begin),
            graphs: graphs.into_iter().collect(),
            last_seq,
        }))
    }

    /// Imports a run from its export. An unfinished run is paused. The run's graphs are stored without their names, so that
    /// only their ids find them; an existing graph is not changed.
    ///
    /// # Errors
    /// If the export is malformed or has times in the future, if the run exists, or if it could not be stored.
    pub async fn import(&self, export: impl Into<Vec<u8>>) -> Result<RunId, ImportError> {
        self.import_keeping((), export, false).await
    }

    /// Like [`Self::import`], but stores the run's graphs with their names, as if they were created now: each becomes the
    /// newest graph with its name.
    ///
    /// # Errors
    /// As for [`Self::import`].
    pub async fn import_with_names(&self, export: impl Into<Vec<u8>>) -> Result<RunId, ImportError> {
        self.import_keeping((), export, true).await
    }

    /// Imports a run, with or without the names of its graphs. Drops `kept` once the import is over and its memory is free,
    /// even if the caller stops waiting before that.
    ///
    /// # Errors
    /// As for [`Self::import`].
    pub async fn import_keeping(
        &self,
        kept: impl Send + 'static,
        export: impl Into<Vec<u8>>,
        with_names: bool,
    ) -> Result<RunId, ImportError> {
        let (core, export) = (self.core.clone(), export.into());
        let import = async move {
            let imported = core.import(export, with_names).await;
            drop(kept);
            imported
        };
        self.core.complete(import).await
    }
}

impl Core {
    async fn import(&self, export: Vec<u8>, with_names: bool) -> Result<RunId, ImportError> {
        let store = &self.ports.store;
        let (settings, now) = (self.settings, self.ports.clock.now());
        // Folding takes as long as all of the run's decisions, and checks its graphs: so it does not block other requests.
        let read = tokio::task::spawn_blocking(move || Import::read(&export, &settings, now));
        let import = read
            .await
            .unwrap_or_else(|failed| match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => unreachable!("a blocking task that has started is not cancelled"),
            })?;
        let id = import.run.id;
        if store.run(id).await?.is_some() {
            return Err(ImportError::Known(id));
        }
        let group = import.group.clone().filter(|_| !import.run.status.is_over());
        let _in_use = self.graphs_in_use.read().await;
        for mut graph in import.graphs {
            graph.created_at = now;
            if !with_names {
                graph.name = None;
            }
            self.usage.put_graph(&**store, &self.settings, graph).await?;
        }
        // The live run only reports when the run is durable. No driver drives it.
        let (run, row) = (import.run, import.row);
        let (last, ack) = (run.seq, Arc::new(LiveRun::new(run, 0, &[], &self.memory)));
        self.admission.count_started(group.as_ref());
        store.append(Append {
            run: id,
            owner: EngineId::EXCLUSIVE,
            begins: Some(row),
            reopens: false,
            events: import.events,
            disposition: import.disposition,
            requests: Vec::new(),
            commands: Vec::new(),
            snapshot: import.snapshot,
            ack: ack.clone(),
        });
        let durable = ack.durable_to(last).await;
        if let (Err(_), Some(group)) = (&durable, &group) {
            self.admission.count_ended(group);
        }
        match durable {
            Ok(()) => Ok(id),
            Err(reason) => Err(ImportError::not_durable(id, reason)),
        }
    }
}

/// The end of the first line after its last graph.
const GRAPHS_END: &str = "]}\n";

/// An export that is read piece by piece.
pub struct Export {
    store: Arc<dyn Store>,
    run: RunId,
    next: Next,
    /// The graphs that were not returned yet.
    graphs: VecDeque<GraphId>,
    last_seq: u64,
}

/// The part of the export that is written next.
enum Next {
    /// The first line up to its graphs, as text.
    Head(String),
    /// A graph, after this many graphs.
    Graph(usize),
    /// The events after the event with this number.
    Events(u64),
}

impl Export {
    /// The next piece: a page of events, or a graph. `None` at the end.
    ///
    /// # Errors
    /// If the piece cannot be read. The pieces so far are then not a complete export.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        let (piece, next) = match &mut self.next {
            Next::Head(begin) => (std::mem::take(begin), Next::Graph(0)),
            Next::Graph(before) => match self.graphs.pop_front() {
                Some(graph) => {
                    let mut piece = if *before == 0 {
                        String::new()
                    } else {
                        ",".to_owned()
                    };
                    let before = *before;
                    piece.push_str(&in_one_line(text_of(&self.graph(graph).await?)));
                    (piece, Next::Graph(before + 1))
                }
                None => (GRAPHS_END.to_owned(), Next::Events(0)),
            },
            Next::Events(after) if *after >= self.last_seq => return Ok(None),
            Next::Events(after) => {
                let after = *after;
                let mut piece = String::new();
                let events = page(&*self.store, self.run, after, self.last_seq).await?;
                events.iter().for_each(|event| line(&mut piece, &**event));
                (piece, Next::Events(events.last().map_or(after, |last| last.seq)))
            }
        };
        self.next = next;
        Ok(Some(piece.into_bytes()))
    }

    /// The pieces as a stream. It ends after an error.
    pub fn pieces(self) -> BoxStream<'static, Result<Vec<u8>, ReadError>> {
        let pieces = stream::try_unfold(self, async |mut export| {
            Ok(export.next().await?.map(|piece| (piece, export)))
        });
        pieces.boxed()
    }

    async fn graph(&self, id: GraphId) -> Result<HeadGraph, ReadError> {
        let damaged = |message: String| ReadError::Damaged {
            run: self.run,
            message,
        };
        let row = self.store.graph(&id).await?;
        let row = row.ok_or_else(|| damaged(format!("its graph {id} is not stored")))?;
        let definition = heddle_json::object::json(&row.definition);
        Ok(HeadGraph {
            id: row.id,
            name: row.name,
            definition: definition.map_err(|error| damaged(format!("its graph {id}: {error}")))?,
            created_at: row.created_at,
        })
    }
}

/// A page of a run's events after `after`, up to the existing event `last_seq`.
async fn page(
    journal: &dyn Journal,
    run: RunId,
    after: u64,
    last_seq: u64,
) -> Result<Vec<Arc<EventRecord>>, ReadError> {
    let left = usize::try_from(last_seq - after).unwrap_or(usize::MAX);
    let page = journal.events(run, after, left.min(PAGE_LEN)).await?;
    if page.is_empty() {
        let message = format!("event {after} is followed by none, and it has {last_seq}");
        return Err(ReadError::Damaged { run, message });
    }
    Ok(page)
}

/// A run that was read from its export, ready to be stored.
struct Import {
    run: Run,
    events: Vec<Arc<EventRecord>>,
    /// The graphs that the run is or was pinned to.
    graphs: Vec<GraphRow>,
    group: Option<Arc<str>>,
    row: NewRun,
    disposition: RunDisposition,
    snapshot: Option<RunSnapshot>,
}

impl Import {
    /// Reads a whole export. Pauses an unfinished run.
    fn read(export: &[u8], settings: &Settings, now: Timestamp) -> Result<Self, ImportError> {
        let mut replay = Replay::open(export)?;
        let (mut events, mut snapshot_policy, mut bytes) = (Vec::new(), SnapshotPolicy::default(), 0_u64);
        while let Some(event) = replay.read()? {
            check_time(&event, replay.run.as_ref(), now).map_err(|message| replay.malformed(message))?;
            replay.fold(&event)?;
            if let Some(run) = &mut replay.run {
                settings.limit(run);
                if run.exceeds_memory_limit() {
                    let limit = run.max_run_bytes;
                    return Err(ImportError::HoldsTooMuch { limit });
                }
            }
            snapshot_policy.count(&event.event);
            bytes = bytes.saturating_add(event.event.size() as u64);
            let limit = settings.max_journal_bytes;
            if bytes > with_room_to_fail(limit) {
                return Err(ImportError::TooLarge { bytes, limit });
            }
            events.push(Arc::new(event));
        }
        replay.check_end()?;
        let (Some(mut run), Some(graph)) = (replay.run.take(), replay.graph.take()) else {
            return Err(malformed(2, "the run's events are not there".to_owned()));
        };
        check_id(&run, now)?;
        let head = replay.head;
        if !run.status.is_over() && run.shown_status() != Status::Paused {
            let reason = PAUSED.into();
            let paused = EventRecord {
                seq: run.seq + 1,
                at: now,
                event: Event::RunPaused { reason },
            };
            run.fold(&paused)
                .map_err(|error| malformed(events.len() + 1, error.to_string()))?;
            events.push(Arc::new(paused));
        }
        let mut disposition = disposition(&run);
        if let RunDisposition::Over(end) = &mut disposition {
            // Retention counts from the import.
            end.at = now;
        }
        let snapshot = snapshot_policy.is_due().then(|| RunSnapshot {
            seq: run.seq,
            body: run.snapshot(),
        });
        let (least, most) = PRIORITIES.into_inner();
        let row = NewRun {
            graph,
            // The clock of the exporting machine may be slightly ahead.
            created_at: run.started_at.min(now),
            priority: head.priority.clamp(least, most),
            group: head.group.clone(),
            group_limit: run.graph.group.as_ref().map(|group| group.at_once),
            origin: Some("import".into()),
        };
        Ok(Self {
            run,
            events,
            graphs: replay.used.into_values().collect(),
            group: head.group,
            row,
            disposition,
            snapshot,
        })
    }
}

/// Checks the time of an event. The clock of the exporting machine may have been set back slightly during the run.
fn check_time(event: &EventRecord, run: Option<&Run>, now: Timestamp) -> Result<(), String> {
    let EventRecord { seq, at, .. } = event;
    if at.0 > now.0.saturating_add(MAX_AHEAD_MS) {
        return Err(format!("/at: event {seq} is of {at}, {AHEAD}"));
    }
    match run {
        Some(run) if at.0 < run.started_at.0.saturating_sub(MAX_AHEAD_MS) => Err(format!(
            "/at: event {seq} is of {at}, and the run began at {}: no event is more than 5 minutes before that \
             (import_ahead)",
            run.started_at
        )),
        _ => Ok(()),
    }
}

/// Checks that the time in a run's id is the time of its start: lists are ordered by time, and retention searches runs in
/// the order of their ids.
fn check_id(run: &Run, now: Timestamp) -> Result<(), ImportError> {
    let (id, started) = (run.id, run.started_at);
    let Some(at) = id.created_at() else {
        return Err(malformed(
            1,
            format!("the id {id} is no UUID of version 7, which holds the run's time"),
        ));
    };
    if at.0 > now.0.saturating_add(MAX_AHEAD_MS) {
        return Err(malformed(1, format!("the id {id} is of {at}, {AHEAD}")));
    }
    match at.0.abs_diff(started.0) <= MAX_ID_OFF_MS {
        true => Ok(()),
        false => Err(malformed(
            1,
            format!("the id {id} is of {at}, and the run began at {started}: they do not belong together"),
        )),
    }
}

fn line(text: &mut String, value: &impl Serialize) {
    text.push_str(&in_one_line(text_of(value)));
    text.push('\n');
}

fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("Heddle's own types serialize")
}
