//! A run as text, so that it can go on without its events up to there.
//!
//! Values that several views share are written once and are shared again when it is read.

use std::{collections::BTreeMap, sync::Arc};

use super::{FoldError, Graphs, Run};
use crate::{
    event::FunctionRef,
    graph::Graph,
    ids::{GraphId, RunId},
    object::{Json, Object},
};

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
}

impl Run {
    /// The run as text: JSON, in the format of [`Snapshot`].
    pub fn snapshot(&self) -> Json {
        unimplemented!()
    }
}

impl Snapshot {
    /// Reads a snapshot's text.
    ///
    /// # Errors
    /// Where it is none, or of a format that is not known.
    pub fn read(_text: &str) -> Result<Self, FoldError> {
        unimplemented!()
    }

    /// The run as it was; `graph` and `graphs` are those that the snapshot names.
    ///
    /// # Errors
    /// Where it does not fit the graphs.
    pub fn restore(self, _id: RunId, _graph: Arc<Graph>, _graphs: Arc<Graphs>) -> Result<Run, FoldError> {
        unimplemented!()
    }
}

impl Run {
    /// Begins a run as another one was right after a step, with some keys of its state set anew. Gives it
    /// with the events that began it, already applied. `of` is the other run as it was folded up to and
    /// with the event by which the step was over.
    pub fn fork(
        _id: RunId,
        _of: &Run,
        _step: u64,
        _edits: Object,
        _now: crate::ids::Timestamp,
    ) -> (Self, Vec<Arc<crate::event::Recorded>>) {
        unimplemented!()
    }
}
