//! Deletes a graph that nothing uses, so that every stored run can still be read and continued.

use std::time::Duration;

use heddle_kernel::GraphId;

use crate::{
    core::Core, engine::Engine, errors::DeleteGraphError, ports::StoreError, schedules::ScheduleView,
};

/// The maximum number of graphs that an error names.
const MAX_NAMED: usize = 5;
/// How long a deletion waits for starts in progress.
const MAX_WAIT: Duration = Duration::from_secs(1);

impl Engine {
    /// Deletes a graph that no run, schedule or other graph uses.
    ///
    /// # Errors
    /// If there is no such graph, something uses it, or the store fails.
    pub async fn delete_graph(&self, id: &str) -> Result<(), DeleteGraphError> {
        let id = GraphId(id.into());
        let journal = &self.core.ports.store;
        if journal.graph(&id).await?.is_none() {
            return Err(DeleteGraphError::NoSuchGraph(id.to_string()));
        }
        // Searches all events without blocking starts. The events that are stored meanwhile are searched under the lock.
        let (run, searched) = journal.run_naming(&id, 0).await?;
        if let Some(run) = run {
            return Err(DeleteGraphError::OfRun(run));
        }
        let schedules = self.schedules().await;
        let schedules = schedules.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let core = self.core.clone();
        let delete = async move { core.delete_unused_graph(&id, searched, &schedules).await };
        self.core.complete(delete).await
    }
}

impl Core {
    /// Deletes a graph if nothing uses it. `searched` is the position of the last event that was searched for the graph.
    async fn delete_unused_graph(
        &self,
        id: &GraphId,
        searched: i64,
        schedules: &[ScheduleView],
    ) -> Result<(), DeleteGraphError> {
        let journal = &self.ports.store;
        let no_such_graph = || DeleteGraphError::NoSuchGraph(id.to_string());
        // New starts wait for this lock, so it must not wait long for a slow start.
        let lock = tokio::time::timeout(MAX_WAIT, self.graphs_in_use.write()).await;
        let _lock = lock.map_err(|_| DeleteGraphError::Busy)?;
        let row = journal.graph(id).await?;
        let row = row.ok_or_else(no_such_graph)?;
        if let (Some(run), _) = journal.run_naming(id, searched).await? {
            return Err(DeleteGraphError::OfRun(run));
        }
        let mut names = vec![id.0.clone()];
        // A name refers to the newest graph that has it.
        if let Some(name) = &row.name
            && journal
                .graph_named(name)
                .await?
                .is_some_and(|newest| newest.id == *id)
        {
            names.push(name.clone());
        }
        let starts = |graph: &str| names.iter().any(|name| **name == *graph);
        if let Some(schedule) = schedules.iter().find(|schedule| starts(&schedule.spec.graph)) {
            return Err(DeleteGraphError::OfSchedule(schedule.name.clone()));
        }
        for name in &names {
            let mut graphs = journal.graphs_naming(name, MAX_NAMED + 1).await?;
            // A graph may name itself.
            graphs.retain(|graph| *graph != *id);
            graphs.truncate(MAX_NAMED);
            if !graphs.is_empty() {
                return Err(DeleteGraphError::OfGraphs(graphs));
            }
        }
        let deleted = journal.delete_graph(id).await?;
        self.graphs.remove(id);
        self.usage.recount().await;
        match deleted {
            true => Ok(()),
            false => Err(no_such_graph()),
        }
    }
}
