//! The graphs that folding needs, and the reasons why events cannot be folded.

use std::{collections::BTreeMap, sync::Arc};

use crate::graph::Graph;

/// The reason why events cannot be folded into a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The number of an event does not follow the number before it.
    #[error("event {found} follows event {after}")]
    Gap {
        /// The number of the event before.
        after: u64,
        /// The number that was found.
        found: u64,
    },
    /// The first event is neither `RunStarted` nor `RunForked`.
    #[error("the first event is not the run's start")]
    NoStart,
    /// A snapshot cannot be read, or does not fit the graphs.
    #[error("the snapshot cannot be used: {0}")]
    Snapshot(String),
    /// An event does not fit the events before it, or the graph.
    #[error("event {seq} does not fit: {problem}")]
    Misfit {
        /// The number of the event.
        seq: u64,
        /// The problem.
        problem: String,
    },
}

pub(super) type Fold<T = ()> = Result<T, String>;

/// The graphs that a run's graphs name, by the names that they use.
pub type Graphs = BTreeMap<Arc<str>, Arc<Graph>>;
