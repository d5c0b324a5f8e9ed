//! The durable data of a journal in memory: the counterpart of the SQLite tables.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use heddle_kernel::{Digest, GraphId, RunId, Status, Timestamp};
use heddle_runtime::ports::{
    Append, GraphRow, GroupCounts, NewRun, PluginRow, Request, RunDisposition, RunRow, SecretText, Usage,
};

use crate::append::{JournalHead, Refused, mismatch};

/// All durable data.
#[derive(Clone, Default)]
pub(super) struct Tables {
    pub(super) graphs: Vec<GraphRow>,
    pub(super) runs: BTreeMap<RunId, StoredRun>,
    /// The waiting runs that have a wake-up time, ordered by time.
    pub(super) due: BTreeSet<(Timestamp, RunId)>,
    pub(super) plugins: Vec<PluginRow>,
    /// Answered requests, by scope (a run or none) and key.
    pub(super) requests: BTreeMap<(Option<RunId>, Arc<str>), Request>,
    pub(super) schedules: BTreeMap<Arc<str>, Arc<str>>,
    pub(super) policies: BTreeMap<Arc<str>, Arc<str>>,
    pub(super) secrets: BTreeMap<Arc<str>, SecretText>,
}

#[derive(Clone)]
pub(super) struct StoredRun {
    pub(super) row: RunRow,
    /// How many runs of the run's group may be active.
    pub(super) group_limit: Option<u32>,
    /// The JSON texts of the events.
    pub(super) events: Vec<String>,
    /// The JSON texts of the snapshots, by event number.
    pub(super) snapshots: BTreeMap<u64, String>,
}

impl StoredRun {
    fn new(id: RunId, begins: &NewRun) -> Self {
        Self {
            row: RunRow {
                id,
                graph: begins.graph.clone(),
                graph_name: None,
                status: Status::Running,
                created_at: begins.created_at,
                wake_at: None,
                finished_at: None,
                priority: begins.priority,
                group: begins.group.clone(),
                origin: begins.origin.clone(),
                last_seq: 0,
                error: None,
            },
            group_limit: begins.group_limit,
            events: Vec::new(),
            snapshots: BTreeMap::new(),
        }
    }
}

impl Tables {
    /// Stores events and returns the number of the last one, or the reason why they do not continue the journal.
    pub(super) fn append(
        &mut self,
        append: &Append,
        texts: Vec<String>,
        refused: &HashSet<RunId>,
    ) -> Result<u64, Refused> {
        let head = match self.runs.get(&append.run) {
            _ if refused.contains(&append.run) => JournalHead::Refused,
            None => JournalHead::Absent,
            Some(run) => JournalHead::new(run.row.status, run.row.last_seq),
        };
        let first = append.events[0].seq;
        if let Some(message) = mismatch(head, append.begins.is_some(), append.reopens, first) {
            return Err(Refused::Conflict(message));
        }
        for request in &append.requests {
            if let Some(first) = self.requests.get(&(request.to, request.key.clone())) {
                return Err(Refused::Duplicate(Box::new(first.clone())));
            }
        }
        if let Some(begins) = &append.begins {
            self.runs.insert(append.run, StoredRun::new(append.run, begins));
        }
        let run = self
            .runs
            .get_mut(&append.run)
            .expect("an append without `begins` has a run");
        if let Some(graph) = append.upgraded_to() {
            run.row.graph = graph.clone();
        }
        run.row.last_seq += texts.len() as u64;
        run.events.extend(texts);
        if let Some(at) = run.row.wake_at.take() {
            self.due.remove(&(at, append.run));
        }
        run.row.status = append.disposition.status();
        (run.row.finished_at, run.row.error) = (None, None);
        match &append.disposition {
            RunDisposition::Waiting(waits) => {
                run.row.wake_at = waits.until;
                self.due.extend(waits.until.map(|at| (at, append.run)));
            }
            RunDisposition::Over(ends) => {
                run.row.finished_at = Some(ends.at);
                run.row.error = ends.error.clone();
            }
            RunDisposition::Queued | RunDisposition::Running | RunDisposition::Paused => {}
        }
        let snapshot = append.snapshot.as_ref();
        run.snapshots
            .extend(snapshot.map(|taken| (taken.seq, taken.body.get().to_owned())));
        for request in &append.requests {
            let key = (request.to, request.key.clone());
            self.requests.insert(key, request.clone());
        }
        Ok(run.row.last_seq)
    }

    /// The row of a run with the name of its graph.
    pub(super) fn row(&self, run: &StoredRun) -> RunRow {
        let graph = self.graphs.iter().find(|graph| graph.id == run.row.graph);
        RunRow {
            graph_name: graph.and_then(|graph| graph.name.clone()),
            ..run.row.clone()
        }
    }

    /// Deletes those of these runs that are over, and returns how many these were.
    pub(super) fn delete_runs(&mut self, runs: &[RunId]) -> usize {
        let before = self.runs.len();
        for id in runs {
            if self.runs.get(id).is_some_and(|run| run.row.status.is_over()) {
                self.runs.remove(id);
                self.requests.retain(|_, request| request.run != *id);
            }
        }
        before - self.runs.len()
    }

    /// How many runs of each group are running, waiting or paused.
    pub(super) fn groups(&self) -> GroupCounts {
        let mut groups: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for row in self.runs.values().map(|run| &run.row) {
            if let Some(group) = &row.group
                && matches!(row.status, Status::Running | Status::Waiting | Status::Paused)
            {
                *groups.entry(group.clone()).or_default() += 1;
            }
        }
        groups.into_iter().collect()
    }

    /// The count and size of graphs and plugins.
    pub(super) fn usage(&self) -> Usage {
        let definitions = self.graphs.iter().map(|graph| graph.definition.len() as u64);
        let components = self.plugins.iter().map(|plugin| plugin.component.len() as u64);
        Usage {
            graphs: self.graphs.len() as u64,
            graph_bytes: definitions.sum(),
            plugins: self.plugins.len() as u64,
            plugin_bytes: components.sum(),
        }
    }

    /// Stores a graph and returns whether it is new.
    pub(super) fn put_graph(&mut self, graph: GraphRow) -> bool {
        let Some(stored) = self.graphs.iter_mut().find(|stored| stored.id == graph.id) else {
            self.graphs.push(graph);
            return true;
        };
        if stored.name.is_none() && graph.name.is_some() {
            (stored.name, stored.created_at) = (graph.name, graph.created_at);
        }
        if !graph.functions.is_empty() {
            stored.functions = graph.functions;
        }
        false
    }

    pub(super) fn delete_graph(&mut self, id: &GraphId) -> bool {
        let before = self.graphs.len();
        self.graphs.retain(|graph| graph.id != *id);
        self.graphs.len() < before
    }

    pub(super) fn delete_plugin(&mut self, digest: &Digest) -> bool {
        let before = self.plugins.len();
        self.plugins.retain(|plugin| plugin.digest != *digest);
        self.plugins.len() < before
    }

    pub(super) fn put_plugin(&mut self, plugin: PluginRow) {
        let known = self
            .plugins
            .iter_mut()
            .find(|stored| stored.digest == plugin.digest);
        match known {
            None => self.plugins.push(plugin),
            Some(stored) if plugin.active && !stored.active => {
                stored.active = true;
                stored.name = plugin.name;
                stored.version = plugin.version;
            }
            Some(_) => {}
        }
    }
}
