//! Forgetting runs that were kept long enough: in the background and a few at a time, so that nothing stands
//! still for it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use heddle_kernel::{GraphId, RunId, Timestamp, retention::Retention};

use crate::{
    engine::Engine,
    inner::Inner,
    ports::{Archive, RunRow, StoreError},
};

/// How many runs are looked at together.
const PAGE_LEN: usize = 500;
/// How many runs are forgotten by one write.
const FORGET_AT_ONCE: usize = 50;
/// The pause after it, in which others write.
const PAUSE: Duration = Duration::from_millis(20);
/// How often it is looked what is to be forgotten: a tenth of the shortest time for which a run is kept, within these.
const SWEEP_MS: (i64, i64) = (1_000, 600_000);

impl Engine {
    /// Forgets runs from here on that were kept long enough; with an archive, once it has them. Until this is
    /// asked for, every run is kept. Graphs, plugins and schedules are kept anyway.
    pub fn forget_old(&self, retention: Retention, archive: Option<Arc<dyn Archive>>) {
        let Some(shortest) = retention.shortest_ms() else {
            return;
        };
        let keeper = Keeper {
            engine: self.clone(),
            retention,
            shortest: i64::try_from(shortest).unwrap_or(i64::MAX),
            archive,
        };
        self.inner.spawn_beside(keeper.keep());
    }
}

struct Keeper {
    engine: Engine,
    retention: Retention,
    /// The shortest time for which a run is kept, in milliseconds.
    shortest: i64,
    archive: Option<Arc<dyn Archive>>,
}

impl Keeper {
    fn inner(&self) -> &Arc<Inner> {
        &self.engine.inner
    }

    async fn keep(self) {
        let (least, most) = SWEEP_MS;
        let pause = (self.shortest / 10).clamp(least, most);
        loop {
            match self.sweep().await {
                Ok(0) => {}
                Ok(forgotten) => tracing::info!(forgotten, "runs that were kept long enough are forgotten"),
                Err(error) => tracing::error!(%error, "runs that were kept long enough cannot be forgotten"),
            }
            let clock = &self.inner().ports.clock;
            let next = Timestamp(clock.now().0.saturating_add(pause));
            while clock.now() < next {
                tokio::select! {
                    () = clock.sleep_until(next) => {}
                    () = self.inner().drains() => return,
                }
            }
        }
    }

    /// Looks at every run once that may be old enough. Answers how many were forgotten.
    async fn sweep(&self) -> Result<usize, StoreError> {
        let journal = &self.inner().ports.journal;
        let now = self.inner().ports.clock.now();
        let before = Timestamp(now.0.saturating_sub(self.shortest).saturating_add(1));
        let (mut after, mut forgotten, mut names) = (None, 0, HashMap::new());
        loop {
            let page = journal.runs_before(before, after, PAGE_LEN).await?;
            let Some(last) = page.last() else {
                return Ok(forgotten);
            };
            after = Some(last.id);
            let old = self.old(page, now, &mut names).await?;
            for old in old.chunks(FORGET_AT_ONCE) {
                if self.inner().is_draining() {
                    return Ok(forgotten);
                }
                let old = self.archived(old).await;
                forgotten += journal.forget(old).await?;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Those that were kept long enough.
    async fn old(
        &self,
        page: Vec<RunRow>,
        now: Timestamp,
        names: &mut HashMap<GraphId, Option<Arc<str>>>,
    ) -> Result<Vec<RunId>, StoreError> {
        let mut old = Vec::new();
        for row in page {
            let Some(ended) = row.finished_at else { continue };
            if self.retention.asks_for_graphs() && !names.contains_key(&row.graph) {
                let graph = self.inner().ports.journal.graph(&row.graph).await?;
                names.insert(row.graph.clone(), graph.and_then(|graph| graph.name));
            }
            let name = names.get(&row.graph).and_then(Option::as_deref);
            let old_enough = self.retention.forgets(&row.graph, name, row.status, ended, now);
            // One that failed may just have been retried.
            if old_enough && self.inner().live(row.id).is_none() {
                old.push(row.id);
            }
        }
        Ok(old)
    }

    /// Those that the archive has, where there is one. What it does not take is kept.
    async fn archived(&self, runs: &[RunId]) -> Vec<RunId> {
        let Some(archive) = &self.archive else {
            return runs.to_vec();
        };
        let mut archived = Vec::new();
        for run in runs {
            let kept = match self.engine.export(*run).await {
                Ok(Some(export)) => archive.put(*run, export.pieces()).await,
                // It was forgotten by somebody else.
                Ok(None) => continue,
                Err(error) => Err(error.to_string()),
            };
            match kept {
                Ok(()) => archived.push(*run),
                Err(error) => {
                    tracing::error!(%run, %error, "a run is not forgotten, since it could not be exported");
                }
            }
        }
        archived
    }
}
