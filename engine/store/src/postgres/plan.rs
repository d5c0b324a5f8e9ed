//! The plan of a batch: which appends of the queue are written together, and what they change of each run.
//!
//! Planning reads nothing from the store: an append that is the first of its run in the batch is assumed to continue the
//! run, and the statement checks that. An append after it must continue the append before it.

use std::collections::{HashMap, HashSet};

use heddle_kernel::{GraphId, RunId};
use heddle_runtime::ports::{CommandAnswer, EngineId, NewRun, Request, RunDisposition, RunSnapshot};

use super::prepared::PostgresAppend;
use crate::{
    append::{AFTER_REFUSED, JournalHead, mismatch},
    codec::Chunk,
};

/// The result of an append in a batch.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The append is durable.
    Written,
    /// The append breaks a rule or does not continue the journal of its run.
    Conflict(String),
    /// The rows that the append needs are damaged.
    Damaged(String),
    /// A request of the append was answered before.
    Duplicate(Box<Request>),
    /// The engine's row is gone.
    Fenced,
}

/// Appends of which nothing more is taken.
#[derive(Default)]
pub(super) struct Refused {
    /// Runs of which an append was refused, with the engine that appended: its later appends are refused too.
    runs: HashMap<RunId, EngineId>,
    /// Runs with an append that repeated a request, with the number of its first event. Later events of the same caller
    /// are refused; events from this number on are of a caller that has loaded the run again.
    repeated: HashMap<RunId, u64>,
}

impl Refused {
    /// Whether later appends of the run by this engine are refused.
    fn contains(&self, append: &PostgresAppend) -> bool {
        self.runs.get(&append.run) == Some(&append.owner)
    }

    /// Remembers the verdict of an append.
    pub(super) fn remember(&mut self, append: &PostgresAppend, verdict: &Verdict) {
        match verdict {
            Verdict::Duplicate(_) => {
                self.repeated.insert(append.run, append.first);
            }
            Verdict::Conflict(_) | Verdict::Damaged(_) => {
                let follows = self
                    .repeated
                    .get(&append.run)
                    .is_some_and(|first| append.first > *first);
                if !follows {
                    self.runs.insert(append.run, append.owner);
                }
            }
            Verdict::Written if !self.repeated.is_empty() => {
                self.repeated.remove(&append.run);
            }
            Verdict::Written | Verdict::Fenced => {}
        }
    }

    /// Forgets these runs, because the engine has claimed them and loads them again.
    pub(super) fn forget(&mut self, runs: &[RunId]) {
        if !self.runs.is_empty() || !self.repeated.is_empty() {
            for run in runs {
                self.runs.remove(run);
                self.repeated.remove(run);
            }
        }
    }
}

/// What a batch writes of one run.
pub(super) struct RunWrite<'a> {
    pub(super) run: RunId,
    /// The indexes of the appends in the batch.
    pub(super) appends: Vec<usize>,
    /// The number of the first event.
    pub(super) first: u64,
    /// The head after the appends that were planned so far.
    head: JournalHead,
    pub(super) last: u64,
    pub(super) begins: Option<&'a NewRun>,
    /// Whether the first append reopens the run.
    pub(super) reopens: bool,
    pub(super) upgraded: Option<&'a GraphId>,
    /// The other graphs that the events name.
    pub(super) graphs: Vec<&'a str>,
    pub(super) chunks: Vec<&'a Chunk>,
    pub(super) requests: Vec<&'a Request>,
    pub(super) commands: Vec<&'a CommandAnswer>,
    pub(super) snapshots: Vec<&'a RunSnapshot>,
    /// How the last append leaves the run.
    pub(super) disposition: &'a RunDisposition,
    pub(super) error: Option<&'a str>,
}

/// The runs that a batch writes.
#[derive(Default)]
pub(super) struct Plan<'a> {
    pub(super) runs: Vec<RunWrite<'a>>,
    indexes: HashMap<RunId, usize>,
    /// The keys of the requests that the batch answers.
    keys: HashSet<(Option<RunId>, &'a str)>,
    /// Runs of which an append was refused.
    closed: HashSet<RunId>,
    /// Runs of which the next plan takes the further appends.
    deferred: HashSet<RunId>,
}

impl<'a> Plan<'a> {
    /// Plans the appends that have no verdict yet, and gives a verdict to those that are refused without the store.
    pub(super) fn new(
        appends: &'a [Box<PostgresAppend>],
        verdicts: &mut [Option<Verdict>],
        refused: &Refused,
    ) -> Self {
        let mut plan = Self::default();
        for (index, (append, verdict)) in appends.iter().zip(verdicts.iter_mut()).enumerate() {
            match verdict {
                // A later append of the run is refused as well. That of a run with a repeated request is decided by the
                // store.
                Some(Verdict::Conflict(_) | Verdict::Damaged(_)) => {
                    plan.closed.insert(append.run);
                }
                Some(_) => {}
                None => *verdict = plan.add(index, append, refused),
            }
        }
        plan
    }

    /// Adds an append, or returns the verdict that refuses it.
    fn add(&mut self, index: usize, append: &'a PostgresAppend, refused: &Refused) -> Option<Verdict> {
        let conflict = |message: &str| Some(Verdict::Conflict(message.to_owned()));
        if refused.contains(append) || self.closed.contains(&append.run) {
            return conflict(AFTER_REFUSED);
        }
        if self.deferred.contains(&append.run) {
            return None;
        }
        let known = self.indexes.get(&append.run).copied();
        let problem = append.fault.clone().or_else(|| {
            let head = self.runs[known?].head;
            mismatch(head, append.begins.is_some(), append.reopens, append.first)
        });
        if let Some(problem) = problem {
            self.closed.insert(append.run);
            return conflict(&problem);
        }
        for request in &append.requests {
            if !self.keys.insert((request.to, &request.key)) {
                // The first append with this key is written by this plan, so the next one finds its request stored.
                self.deferred.insert(append.run);
                return None;
            }
        }
        let at = known.unwrap_or_else(|| {
            self.indexes.insert(append.run, self.runs.len());
            self.runs.push(RunWrite::new(append));
            self.runs.len() - 1
        });
        self.runs[at].add(index, append);
        None
    }
}

impl<'a> RunWrite<'a> {
    /// Whether the batch answers a request with the key of this one.
    pub(super) fn has_request(&self, stored: &Request) -> bool {
        let mut requests = self.requests.iter();
        requests.any(|request| request.to == stored.to && request.key == stored.key)
    }

    /// Refuses the first append of the run that has this request. The next plan writes the appends before it.
    pub(super) fn repeat(
        &self,
        stored: &Request,
        appends: &[Box<PostgresAppend>],
        verdicts: &mut [Option<Verdict>],
    ) {
        let has = |index: &&usize| {
            let mut requests = appends[**index].requests.iter();
            requests.any(|request| request.to == stored.to && request.key == stored.key)
        };
        if let Some(index) = self.appends.iter().find(has) {
            verdicts[*index] = Some(Verdict::Duplicate(Box::new(stored.clone())));
        }
    }

    fn new(append: &'a PostgresAppend) -> Self {
        Self {
            run: append.run,
            appends: Vec::with_capacity(1),
            first: append.first,
            head: JournalHead::Absent,
            last: append.last,
            begins: append.begins.as_ref(),
            reopens: append.reopens,
            upgraded: None,
            graphs: Vec::new(),
            chunks: Vec::with_capacity(append.chunks.len()),
            requests: Vec::new(),
            commands: Vec::new(),
            snapshots: Vec::new(),
            disposition: &append.disposition,
            error: None,
        }
    }

    fn add(&mut self, index: usize, append: &'a PostgresAppend) {
        self.appends.push(index);
        self.last = append.last;
        self.head = JournalHead::new(append.disposition.status(), append.last);
        self.upgraded = append.upgraded.as_ref().or(self.upgraded);
        self.graphs.extend(append.graphs.as_deref());
        self.chunks.extend(&append.chunks);
        self.requests.extend(&append.requests);
        self.commands.extend(&append.commands);
        self.snapshots.extend(&append.snapshot);
        self.disposition = &append.disposition;
        self.error = append.error.as_deref();
    }
}
