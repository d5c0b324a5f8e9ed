//! An export that is read event by event, with the run as it was at each.

use std::{collections::BTreeMap, sync::Arc};

use heddle_kernel::{
    Graph, GraphId, Json, Recorded, Run, RunId, Status, Timestamp,
    graph::Pins,
    run::{FoldError, Graphs},
};
use serde::{Deserialize, Serialize};

use crate::{
    answer::{ImportError, summary},
    ports::GraphRow,
};

/// The version of the form.
pub(crate) const FORM: u32 = 1;

/// The first line.
#[derive(Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) heddle_run: u32,
    pub(crate) run_id: RunId,
    pub(crate) graph_id: GraphId,
    pub(crate) created_at: Timestamp,
    pub(crate) status: Status,
    pub(crate) last_seq: u64,
    pub(crate) priority: i32,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) origin: Option<Arc<str>>,
    pub(crate) graphs: Vec<HeadGraph>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct HeadGraph {
    pub(crate) id: GraphId,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) definition: Json,
    pub(crate) created_at: Timestamp,
}

/// A run that is read from its export.
pub(crate) struct Replay<'e> {
    pub(crate) head: Head,
    /// The run after the events that were folded.
    pub(crate) run: Option<Run>,
    /// The graph that it began with.
    pub(crate) graph: Option<GraphId>,
    /// The graphs that it keeps to, or did.
    pub(crate) used: BTreeMap<GraphId, GraphRow>,
    rest: &'e [u8],
    /// The number of the line that was read last.
    line: usize,
}

impl<'e> Replay<'e> {
    /// Reads the first line.
    ///
    /// # Errors
    /// Where it is no export, or one of another form.
    pub(crate) fn open(export: &'e [u8]) -> Result<Self, ImportError> {
        let (first, rest) = split(export);
        let head: Head = parse(1, first)?;
        if head.heddle_run != FORM {
            let found = head.heddle_run;
            let message = format!("its form is {found}, and this Heddle reads {FORM}");
            return Err(malformed(1, message));
        }
        Ok(Self {
            head,
            run: None,
            graph: None,
            used: BTreeMap::new(),
            rest,
            line: 1,
        })
    }

    /// The next event, which is to be folded.
    ///
    /// # Errors
    /// Where the line is no event.
    pub(crate) fn read(&mut self) -> Result<Option<Recorded>, ImportError> {
        while !self.rest.is_empty() {
            let (line, rest) = split(self.rest);
            self.rest = rest;
            self.line += 1;
            if !line.is_empty() {
                return parse(self.line, line).map(Some);
            }
        }
        Ok(None)
    }

    /// Folds the event that was read last.
    ///
    /// # Errors
    /// Where it does not follow, or names what the first line does not hold.
    pub(crate) fn fold(&mut self, event: &Recorded) -> Result<(), ImportError> {
        let line = self.line;
        let wrong = |error: FoldError| malformed(line, error.to_string());
        let graphs = match Pins::of(&event.event) {
            Some(pins) => Some(self.graphs(&pins)?),
            None => None,
        };
        match (&mut self.run, graphs) {
            (Some(run), graphs) => {
                if let Some((graph, graphs)) = graphs {
                    run.stage(graph, graphs);
                }
                run.fold(event).map_err(wrong)?;
            }
            (None, Some((graph, graphs))) => {
                self.graph = Some(graph.id.clone());
                let first = Run::from_first(self.head.run_id, graph, graphs, event);
                self.run = Some(first.map_err(wrong)?);
            }
            (None, None) => {
                let message = "the first event is not the run's start".to_owned();
                return Err(malformed(line, message));
            }
        }
        Ok(())
    }

    /// The graphs that an event names.
    fn graphs(&mut self, pins: &Pins<'_>) -> Result<(Arc<Graph>, Arc<Graphs>), ImportError> {
        let mut graph = |id: &GraphId| {
            let held = self.head.graphs.iter().find(|held| held.id == *id);
            let held = held.ok_or_else(|| {
                let message = format!("it names the graph {id}, which line 1 does not hold");
                malformed(self.line, message)
            })?;
            let graph = pins.rebuild(held.definition.get());
            let graph = graph.map_err(|found| malformed(1, format!("graph {id}: {}", summary(&found))))?;
            if graph.id != *id {
                let message = format!("graph {id} is another one, of the id {}", graph.id);
                return Err(malformed(1, message));
            }
            let row = GraphRow {
                id: id.clone(),
                name: graph.name.clone(),
                definition: graph.definition.clone(),
                created_at: held.created_at,
                // Whoever starts a run of it has these looked up.
                functions: BTreeMap::new(),
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
}

/// The first line of a text, and what follows it.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}

fn parse<'a, T: Deserialize<'a>>(line: usize, text: &'a [u8]) -> Result<T, ImportError> {
    serde_json::from_slice(text).map_err(|error| malformed(line, error.to_string()))
}

pub(crate) fn malformed(line: usize, message: String) -> ImportError {
    ImportError::Malformed { line, message }
}
