//! What a journal in memory has kept: rows, events and what belongs to them.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use heddle_kernel::{Digest, GraphId, RunId, Status, Timestamp};
use heddle_runtime::ports::{
    Append, GraphRow, GroupCounts, PluginRow, Request, RunDisposition, RunRow, SecretText, Usage,
};

/// What is durable.
#[derive(Clone, Default)]
pub(super) struct Kept {
    pub(super) graphs: Vec<GraphRow>,
    pub(super) runs: BTreeMap<RunId, KeptRun>,
    /// The waiting runs that have a time, by that.
    pub(super) due: BTreeSet<(Timestamp, RunId)>,
    pub(super) plugins: Vec<PluginRow>,
    /// The requests that were answered, by where they went and their key.
    pub(super) requests: BTreeMap<(Option<RunId>, Arc<str>), Request>,
    pub(super) schedules: BTreeMap<Arc<str>, Arc<str>>,
    pub(super) policies: BTreeMap<Arc<str>, Arc<str>>,
    pub(super) secrets: BTreeMap<Arc<str>, SecretText>,
}

#[derive(Clone)]
pub(super) struct KeptRun {
    pub(super) row: RunRow,
    pub(super) events: Vec<String>,
    /// As text, by the number of the event.
    pub(super) snapshots: BTreeMap<u64, String>,
}

impl Kept {
    /// Keeps events, and answers the number of the last; or says why they do not fit.
    pub(super) fn append(
        &mut self,
        append: &Append,
        texts: Vec<String>,
        broken: &HashSet<RunId>,
    ) -> Result<u64, String> {
        if broken.contains(&append.run) {
            return Err("an append before this one was refused".to_owned());
        }
        for request in &append.requests {
            if self.requests.contains_key(&(request.to, request.key.clone())) {
                return Err(format!(
                    "a request with the key `{}` was answered before",
                    request.key
                ));
            }
        }
        if let Some(begins) = &append.begins {
            if self.runs.contains_key(&append.run) {
                return Err("the store has this run".to_owned());
            }
            let row = RunRow {
                id: append.run,
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
            };
            self.runs.insert(
                append.run,
                KeptRun {
                    row,
                    events: Vec::new(),
                    snapshots: BTreeMap::new(),
                },
            );
        }
        let run = self
            .runs
            .get_mut(&append.run)
            .ok_or("the store has no such run")?;
        let first = append.events[0].seq;
        if run.row.status.is_over() && !(run.row.status == Status::Failed && append.reopens) {
            return Err("the run is over".to_owned());
        }
        if first != run.row.last_seq + 1 {
            return Err(format!(
                "its last event is {} and the append begins with {first}",
                run.row.last_seq
            ));
        }
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

    /// A run as it is listed.
    pub(super) fn row(&self, run: &KeptRun) -> RunRow {
        let graph = self.graphs.iter().find(|graph| graph.id == run.row.graph);
        RunRow {
            graph_name: graph.and_then(|graph| graph.name.clone()),
            ..run.row.clone()
        }
    }

    pub(super) fn forget(&mut self, runs: &[RunId]) -> usize {
        let before = self.runs.len();
        for id in runs {
            if self.runs.get(id).is_some_and(|run| run.row.status.is_over()) {
                self.runs.remove(id);
                self.requests.retain(|_, request| request.run != *id);
            }
        }
        before - self.runs.len()
    }

    /// How many runs of each group have begun and are not over.
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

    /// How much is kept for all runs together.
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

    /// Answers whether it is new.
    pub(super) fn put_graph(&mut self, graph: GraphRow) -> bool {
        let Some(kept) = self.graphs.iter_mut().find(|kept| kept.id == graph.id) else {
            self.graphs.push(graph);
            return true;
        };
        if kept.name.is_none() && graph.name.is_some() {
            (kept.name, kept.created_at) = (graph.name, graph.created_at);
        }
        if !graph.functions.is_empty() {
            kept.functions = graph.functions;
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
        match self.plugins.iter_mut().find(|kept| kept.digest == plugin.digest) {
            None => self.plugins.push(plugin),
            Some(kept) if plugin.active && !kept.active => {
                kept.active = true;
                kept.name = plugin.name;
                kept.version = plugin.version;
            }
            Some(_) => {}
        }
    }
}
