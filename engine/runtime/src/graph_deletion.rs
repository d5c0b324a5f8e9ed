//! Deleting a graph: only one that nothing uses, so that whatever is kept can be read and can go on.

use std::{sync::Arc, time::Duration};

use heddle_kernel::{GraphId, RunId};

use crate::{engine::Engine, ports::StoreError};

/// How many of the graphs are named that keep one from being deleted.
const MOST_NAMED: usize = 5;
/// How long a deletion waits for the runs that are being started.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Why a graph was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteGraphError {
    /// There is no graph with this id.
    #[error(
        "there is no graph with the id `{0}`: a graph is deleted by its id, which `GET /v1/graphs` lists"
    )]
    NoSuchGraph(String),
    /// A run that is kept refers to it.
    #[error("run {0} refers to the graph: delete the run first, once it is over (DELETE /v1/runs/{0})")]
    OfRun(RunId),
    /// A schedule starts it.
    #[error("the schedule `{0}` starts the graph: delete the schedule first, or have it start another graph")]
    OfSchedule(Arc<str>),
    /// Graphs run it.
    #[error("other graphs run the graph: delete them first ({})", names(.0))]
    OfGraphs(Vec<GraphId>),
    /// Runs of large graphs are being started.
    #[error("runs are being started that may use the graph: try again in a moment")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn names(graphs: &[GraphId]) -> String {
    let names: Vec<&str> = graphs.iter().map(|graph| &*graph.0).collect();
    names.join(", ")
}

impl Engine {
    /// Deletes a graph that no run, schedule or other graph uses.
    ///
    /// # Errors
    /// Where there is no such graph, something uses it, or the store failed.
    pub async fn delete_graph(&self, id: &str) -> Result<(), DeleteGraphError> {
        let (inner, journal) = (&self.inner, &self.inner.ports.journal);
        let id = GraphId(id.into());
        // All events are read, without holding up starts; what came meanwhile is read once no run begins.
        let (run, read) = journal.run_naming(&id, 0).await?;
        if let Some(run) = run {
            return Err(DeleteGraphError::OfRun(run));
        }
        let schedules = self.schedules().await;
        let schedules = schedules.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        // Starts wait behind this, so it does not wait long for one that takes its time.
        let alone = tokio::time::timeout(LONGEST_WAIT, inner.graphs_in_use.write()).await;
        let _alone = alone.map_err(|_| DeleteGraphError::Busy)?;
        let row = journal.graph(&id).await?;
        let row = row.ok_or_else(|| DeleteGraphError::NoSuchGraph(id.to_string()))?;
        if let (Some(run), _) = journal.run_naming(&id, read).await? {
            return Err(DeleteGraphError::OfRun(run));
        }
        let mut names = vec![id.0.clone()];
        // An older graph of a name is not what the name stands for.
        if let Some(name) = &row.name
            && journal
                .graph_named(name)
                .await?
                .is_some_and(|newest| newest.id == id)
        {
            names.push(name.clone());
        }
        let starts = |graph: &str| names.iter().any(|name| **name == *graph);
        if let Some(schedule) = schedules.iter().find(|schedule| starts(&schedule.spec.graph)) {
            return Err(DeleteGraphError::OfSchedule(schedule.name.clone()));
        }
        for name in &names {
            let mut graphs = journal.graphs_naming(name, MOST_NAMED + 1).await?;
            // A graph may run itself.
            graphs.retain(|graph| *graph != id);
            graphs.truncate(MOST_NAMED);
            if !graphs.is_empty() {
                return Err(DeleteGraphError::OfGraphs(graphs));
            }
        }
        let deleted = journal.delete_graph(&id).await?;
        inner.graphs.remove(&id);
        inner.count_again().await;
        match deleted {
            true => Ok(()),
            false => Err(DeleteGraphError::NoSuchGraph(id.to_string())),
        }
    }
}
