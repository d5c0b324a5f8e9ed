//! The runs in memory, their watchers and their tasks. They are sharded, so that runs do not contend for one lock.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, RwLock, Weak},
    time::Duration,
};

use heddle_kernel::RunId;
use tokio::{sync::watch, task::JoinSet};

use crate::{chunks::Chunks, live_run::LiveRun};

/// How many shards there are. Runs in different shards never wait for each other.
const SHARDS: usize = 64;

pub(crate) struct LiveRuns {
    shards: [Shard; SHARDS],
}

// The std locks: nothing awaits and nothing panics while one is held.
#[derive(Default)]
struct Shard {
    runs: RwLock<Runs>,
    /// Held while a run of the shard is loaded, reopened or deleted.
    loading: tokio::sync::Mutex<()>,
    /// The drivers of the runs, and other tasks that belong to a run.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Runs {
    live: HashMap<RunId, Arc<LiveRun>>,
    /// The runs that have watchers, in memory or not.
    watched: HashMap<RunId, Weak<WatchedRun>>,
}

/// A run that has watchers. They do not keep the run in memory: they learn when it is loaded again.
pub(crate) struct WatchedRun {
    chunks: Arc<Chunks>,
    /// The run when it was loaded last.
    loaded: watch::Sender<Weak<LiveRun>>,
}

impl WatchedRun {
    /// The chunks of the run.
    pub(crate) fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// Receives the run whenever it is loaded. Has changed already if the run is in memory.
    pub(crate) fn loaded(&self) -> watch::Receiver<Weak<LiveRun>> {
        let mut loaded = self.loaded.subscribe();
        loaded.mark_changed();
        loaded
    }
}

impl Default for LiveRuns {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Shard::default()),
        }
    }
}

impl LiveRuns {
    fn shard(&self, id: RunId) -> &Shard {
        // The last byte of an id is random; the first bytes are its time.
        let [.., last] = id.0.into_bytes();
        &self.shards[usize::from(last) % SHARDS]
    }

    pub(crate) fn get(&self, id: RunId) -> Option<Arc<LiveRun>> {
        let runs = self.shard(id).runs.read().expect("no panic under this lock");
        runs.live.get(&id).cloned()
    }

    /// Registers a watcher of a run, which may not be in memory.
    pub(crate) fn watch(&self, id: RunId) -> Arc<WatchedRun> {
        let mut runs = self.shard(id).runs.write().expect("no panic under this lock");
        if let Some(watched) = runs.watched.get(&id).and_then(Weak::upgrade) {
            return watched;
        }
        let live = runs.live.get(&id);
        let watched = Arc::new(WatchedRun {
            chunks: live.map_or_else(Arc::default, |live| live.chunks().clone()),
            loaded: watch::Sender::new(live.map_or_else(Weak::new, Arc::downgrade)),
        });
        runs.watched.retain(|_, watched| watched.strong_count() > 0);
        runs.watched.insert(id, Arc::downgrade(&watched));
        watched
    }

    pub(crate) fn insert(&self, live: &Arc<LiveRun>) {
        let mut runs = self
            .shard(live.id)
            .runs
            .write()
            .expect("no panic under this lock");
        if !runs.watched.is_empty()
            && let Some(watched) = runs.watched.get(&live.id).and_then(Weak::upgrade)
        {
            live.set_chunks(watched.chunks.clone());
            watched.loaded.send_replace(Arc::downgrade(live));
        }
        runs.live.insert(live.id, live.clone());
    }

    /// Removes a run if `condition` holds, which is checked while no other task can look up the run. Returns whether it did.
    pub(crate) fn remove_if(&self, live: &Arc<LiveRun>, condition: impl FnOnce() -> bool) -> bool {
        let mut runs = self
            .shard(live.id)
            .runs
            .write()
            .expect("no panic under this lock");
        // An unloaded run may have been loaded again: then the shard has another `LiveRun`.
        let this = runs
            .live
            .get(&live.id)
            .is_some_and(|known| Arc::ptr_eq(known, live));
        let is_removed = this && condition();
        if is_removed {
            runs.live.remove(&live.id);
        }
        is_removed
    }

    /// All runs in memory.
    pub(crate) fn all(&self) -> Vec<Arc<LiveRun>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let runs = shard.runs.read().expect("no panic under this lock");
            all.extend(runs.live.values().cloned());
        }
        all
    }

    /// Locks a run while it is loaded, reopened or deleted.
    pub(crate) async fn lock(&self, id: RunId) -> impl Drop + '_ {
        self.shard(id).loading.lock().await
    }

    /// Spawns a task that belongs to a run.
    pub(crate) fn spawn(&self, id: RunId, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.shard(id).tasks.lock().expect("no panic under this lock");
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Waits for all tasks to end, and aborts those that have not ended after `within`.
    pub(crate) async fn join(&self, within: Duration) {
        let mut tasks: Vec<JoinSet<()>> = Vec::with_capacity(SHARDS);
        for shard in &self.shards {
            let mut shard = shard.tasks.lock().expect("no panic under this lock");
            tasks.push(std::mem::take(&mut *shard));
        }
        let all = async {
            for tasks in &mut tasks {
                while tasks.join_next().await.is_some() {}
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            for mut tasks in tasks {
                tasks.shutdown().await;
            }
        }
    }
}
