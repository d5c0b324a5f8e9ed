//! Appends as the writer to PostgreSQL takes them.

use std::{
    collections::BTreeSet,
    ops::{Deref, DerefMut},
};

use heddle_kernel::graph::Pins;
use heddle_runtime::ports::{Append, AppendError};

use super::plan::Verdict;
use crate::prepared::PreparedAppend;

/// The rule that PostgreSQL adds: its texts cannot contain this character.
const NUL_RULE: &str = "a text with the character U+0000 cannot be stored in PostgreSQL";

/// A prepared append, with what only PostgreSQL stores.
pub(super) struct PostgresAppend {
    prepared: PreparedAppend,
    /// The ids of the other graphs that these events name, separated by commas; none if there are none.
    pub(super) graphs: Option<String>,
}

impl Deref for PostgresAppend {
    type Target = PreparedAppend;

    fn deref(&self) -> &PreparedAppend {
        &self.prepared
    }
}

impl DerefMut for PostgresAppend {
    fn deref_mut(&mut self) -> &mut PreparedAppend {
        &mut self.prepared
    }
}

impl PostgresAppend {
    /// Checks and encodes an append, on the thread of the caller.
    pub(super) fn new(append: Append) -> Self {
        let (graphs, nul) = (graphs(&append), nul(&append));
        let mut prepared = PreparedAppend::new(append);
        prepared.fault = prepared.fault.or(nul.map(str::to_owned));
        Self { prepared, graphs }
    }

    /// Calls the ack with this verdict.
    pub(super) fn answer(&self, verdict: Verdict) {
        let run = self.run;
        let error = match verdict {
            Verdict::Written => return self.ack_durable(),
            Verdict::Conflict(message) => AppendError::Conflict { run, message },
            Verdict::Damaged(message) => AppendError::Damaged { run, message },
            Verdict::Duplicate(request) => AppendError::DuplicateRequest(request),
            Verdict::Fenced => AppendError::Fenced,
        };
        tracing::warn!(%run, %error, "an append was refused");
        self.ack_failed(error);
    }
}

/// The ids of the graphs that these events pin the run to, besides the graph of the run.
fn graphs(append: &Append) -> Option<String> {
    let pins = append.events.iter().filter_map(|record| Pins::of(&record.event));
    let ids: BTreeSet<&str> = pins
        .flat_map(|pins| pins.graphs.values().chain([pins.graph]))
        .map(|id| &*id.0)
        .collect();
    let all = ids.into_iter().collect::<Vec<_>>().join(",");
    (!all.is_empty()).then_some(all)
}

/// The rule against NUL, if a text of the append breaks it. Events and errors are JSON, which has no such character.
fn nul(append: &Append) -> Option<&'static str> {
    let row = append
        .begins
        .iter()
        .flat_map(|run| [Some(&run.graph.0), run.group.as_ref(), run.origin.as_ref()]);
    let keys = append.requests.iter().map(|request| Some(&request.key));
    let mut texts = row.chain(keys).flatten();
    texts.any(|text| text.contains('\0')).then_some(NUL_RULE)
}
