//! Retention: deletes ended runs after their retention time, in the background and in small batches.

use std::{collections::HashMap, sync::Arc, time::Duration};

use heddle_kernel::{GraphId, RunId, Timestamp, retention::Retention};

use crate::{
    core::Core,
    engine::Engine,
    ports::{Archive, RunRow, StoreError},
};

/// How many runs are read at once.
const PAGE_LEN: usize = 500;
/// How many runs one write deletes.
const DELETE_BATCH: usize = 50;
/// The pause after each deletion, for other writes.
const PAUSE: Duration = Duration::from_millis(20);
/// The range of the time between two sweeps, in milliseconds. Within it: a tenth of the shortest retention time.
const SWEEP_MS: (i64, i64) = (1_000, 600_000);

impl Engine {
    /// Starts to delete ended runs after their retention time. With an archive, a run is deleted only once the archive has
    /// stored its export. Graphs, plugins and schedules are not deleted.
    pub fn start_retention(&self, retention: Retention, archive: Option<Arc<dyn Archive>>) {
        let Some(shortest) = retention.shortest_ms() else {
            return;
        };
        let sweeper = RetentionSweeper {
            engine: self.clone(),
            retention,
            shortest_ms: i64::try_from(shortest).unwrap_or(i64::MAX),
            archive,
        };
        self.core.spawn_background(sweeper.run());
    }
}

struct RetentionSweeper {
    engine: Engine,
    retention: Retention,
    /// The shortest retention time, in milliseconds.
    shortest_ms: i64,
    archive: Option<Arc<dyn Archive>>,
}

impl RetentionSweeper {
    fn core(&self) -> &Arc<Core> {
        &self.engine.core
    }

    async fn run(self) {
        let (least, most) = SWEEP_MS;
        let pause = (self.shortest_ms / 10).clamp(least, most);
        loop {
            match self.sweep().await {
                Ok(0) => {}
                Ok(deleted) => tracing::info!(deleted, "deleted runs after their retention time"),
                Err(error) => tracing::error!(%error, "runs cannot be deleted after their retention time"),
            }
            let clock = &self.core().ports.clock;
            let next = Timestamp(clock.now().0.saturating_add(pause));
            while clock.now() < next {
                tokio::select! {
                    () = clock.sleep_until(next) => {}
                    () = self.core().drains() => return,
                }
            }
        }
    }

    /// Checks every run that may be old enough. Returns how many were deleted.
    async fn sweep(&self) -> Result<usize, StoreError> {
        let journal = &self.core().ports.store;
        let now = self.core().ports.clock.now();
        let before = Timestamp(now.0.saturating_sub(self.shortest_ms).saturating_add(1));
        let (mut after, mut deleted, mut names) = (None, 0, HashMap::new());
        loop {
            let page = journal.runs_before(before, after, PAGE_LEN).await?;
            let Some(last) = page.last() else {
                return Ok(deleted);
            };
            after = Some(last.id);
            let expired = self.expired(page, now, &mut names).await?;
            for batch in expired.chunks(DELETE_BATCH) {
                if self.core().is_draining() {
                    return Ok(deleted);
                }
                let archived = self.archive(batch).await;
                deleted += journal.delete_runs(archived).await?;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// The runs of a page whose retention time is over. `names` caches the names of their graphs.
    async fn expired(
        &self,
        page: Vec<RunRow>,
        now: Timestamp,
        names: &mut HashMap<GraphId, Option<Arc<str>>>,
    ) -> Result<Vec<RunId>, StoreError> {
        let mut expired = Vec::new();
        for row in page {
            let Some(ended) = row.finished_at else { continue };
            if self.retention.names_graphs() && !names.contains_key(&row.graph) {
                let graph = self.core().ports.store.graph(&row.graph).await?;
                names.insert(row.graph.clone(), graph.and_then(|graph| graph.name));
            }
            let name = names.get(&row.graph).and_then(Option::as_deref);
            let is_expired = self
                .retention
                .is_expired(&row.graph, name, row.status, ended, now);
            // A failed run may just have been retried.
            if is_expired && self.core().live(row.id).is_none() {
                expired.push(row.id);
            }
        }
        Ok(expired)
    }

    /// Archives runs, if there is an archive. Returns the runs that may be deleted.
    async fn archive(&self, runs: &[RunId]) -> Vec<RunId> {
        let Some(archive) = &self.archive else {
            return runs.to_vec();
        };
        let mut archived = Vec::new();
        for run in runs {
            let stored = match self.engine.export(*run).await {
                Ok(Some(export)) => archive.put(*run, export.pieces()).await,
                // A client has deleted the run.
                Ok(None) => continue,
                Err(error) => Err(error.to_string()),
            };
            match stored {
                Ok(()) => archived.push(*run),
                Err(error) => {
                    tracing::error!(%run, %error, "a run is not deleted because its export could not be archived");
                }
            }
        }
        archived
    }
}
