//! A run as text, so that it can go on without its events up to there.
//!
//! The text is JSON: `{"format": 1, …}`. Names, values, objects and updates stand in tables, each once, and
//! the rest names them by their places there; so what branches and undone steps have in common is written
//! once, and is shared again when it is read. Nodes and graphs go by their names.

mod stored;
mod tables;

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{Json, object::to_json};

use self::stored::Stored;
use super::{FoldError, Graphs, Run};
use crate::{
    event::FunctionRef,
    graph::Graph,
    ids::{GraphId, RunId},
};

/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;

/// A snapshot that was read, and not yet made a run again.
#[derive(Debug)]
pub struct Snapshot {
    /// The number of the last event that is in it.
    pub seq: u64,
    /// The graph of the run.
    pub graph: GraphId,
    /// For each graph that the run's graphs name, the one that it keeps to.
    pub graphs: BTreeMap<Arc<str>, GraphId>,
    /// For each function that they name, the one that it keeps to.
    pub functions: BTreeMap<Arc<str>, FunctionRef>,
    rest: Stored,
}

/// What every format begins with.
#[derive(serde::Deserialize)]
struct Format {
    format: u32,
}

impl Run {
    /// The run as text: JSON, in the format of [`Snapshot`]. The same run gives the same text, however it came
    /// to be. Not in it are its id, and what is the engine's.
    pub fn snapshot(&self) -> Json {
        to_json(&Stored::of(self))
    }
}

impl Snapshot {
    /// Reads a snapshot's text.
    ///
    /// # Errors
    /// Where it is none, or of a format that is not known.
    pub fn read(text: &str) -> Result<Self, FoldError> {
        let wrong = |error: serde_json::Error| FoldError::Snapshot(error.to_string());
        let rest: Stored = match serde_json::from_str(text) {
            Ok(rest) => rest,
            Err(error) => match serde_json::from_str::<Format>(text).map_err(wrong)?.format {
                FORMAT => return Err(wrong(error)),
                other => return Err(unknown(other)),
            },
        };
        if rest.format != FORMAT {
            return Err(unknown(rest.format));
        }
        Ok(Self {
            seq: rest.seq,
            graph: rest.graph.clone(),
            graphs: rest.graphs.clone(),
            functions: rest.functions.clone(),
            rest,
        })
    }

    /// The run as it was; `graph` and `graphs` are those that the snapshot names.
    ///
    /// # Errors
    /// Where it does not fit the graphs.
    pub fn restore(self, id: RunId, graph: Arc<Graph>, graphs: Arc<Graphs>) -> Result<Run, FoldError> {
        self.rest.restore(id, graph, graphs).map_err(FoldError::Snapshot)
    }
}

fn unknown(format: u32) -> FoldError {
    FoldError::Snapshot(format!(
        "it has format {format}, and this version of Heddle reads {FORMAT}"
    ))
}
