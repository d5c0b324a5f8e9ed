//! A run as text, so that it can continue without its earlier events.
//!
//! The text is JSON: `{"format": 1, …}`. Names, values, objects and updates are in tables, each once, and the
//! rest refers to them by index. So the values that branches and compensations share are written once, and
//! are shared again when the text is read. Nodes and graphs are named.

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

/// The only format that is written and read.
const FORMAT: u32 = 1;

/// A snapshot that was parsed and not yet restored.
#[derive(Debug)]
pub struct Snapshot {
    /// The number of the last event that the snapshot includes.
    pub seq: u64,
    /// The graph of the run.
    pub graph: GraphId,
    /// The graphs that the run is pinned to, by name.
    pub graphs: BTreeMap<Arc<str>, GraphId>,
    /// The functions that the run is pinned to, by name.
    pub functions: BTreeMap<Arc<str>, FunctionRef>,
    rest: Stored,
}

/// The key that every format has.
#[derive(serde::Deserialize)]
struct Format {
    format: u32,
}

impl Run {
    /// The run as JSON text, in the format of [`Snapshot`]. Equal runs give equal texts. The id of the run
    /// and the engine's limits are left out.
    pub fn snapshot(&self) -> Json {
        to_json(&Stored::of(self))
    }
}

impl Snapshot {
    /// Parses the text of a snapshot.
    ///
    /// # Errors
    /// The text is not a snapshot, or its format is unknown.
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

    /// Restores the run; `graph` and `graphs` are those that the snapshot names.
    ///
    /// # Errors
    /// The snapshot does not fit the graphs.
    pub fn restore(self, id: RunId, graph: Arc<Graph>, graphs: Arc<Graphs>) -> Result<Run, FoldError> {
        self.rest.restore(id, graph, graphs).map_err(FoldError::Snapshot)
    }
}

fn unknown(format: u32) -> FoldError {
    FoldError::Snapshot(format!(
        "it has format {format}, and this version of Heddle reads {FORMAT}"
    ))
}
