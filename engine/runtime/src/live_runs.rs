//! The runs in memory and their tasks. They are sharded, so that runs do not contend for one lock.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use heddle_kernel::RunId;
use tokio::task::JoinSet;

use crate::live_run::LiveRun;

/// How many shards there are. Runs in different shards never wait for each other.
const SHARDS: usize = 64;

pub(crate) struct LiveRuns {
    shards: [Shard; SHARDS],
}

// The std locks: nothing awaits and nothing panics while one is held.
#[derive(Default)]
struct Shard {
    runs: RwLock<HashMap<RunId, Arc<LiveRun>>>,
    /// Held while a run of the shard is loaded, reopened or deleted.
    loading: tokio::sync::Mutex<()>,
    /// The drivers of the runs, and other tasks that belong to a run.
    tasks: Mutex<JoinSet<()>>,
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
        runs.get(&id).cloned()
    }

    pub(crate) fn insert(&self, live: &Arc<LiveRun>) {
        let mut runs = self
            .shard(live.id)
            .runs
            .write()
            .expect("no panic under this lock");
        runs.insert(live.id, live.clone());
    }

    /// Removes a run if `condition` holds, which is checked while no other task can look up the run. Returns whether it did.
    pub(crate) fn remove_if(&self, live: &Arc<LiveRun>, condition: impl FnOnce() -> bool) -> bool {
        let mut runs = self
            .shard(live.id)
            .runs
            .write()
            .expect("no panic under this lock");
        // An unloaded run may have been loaded again: then the shard has another `LiveRun`.
        let this = runs.get(&live.id).is_some_and(|known| Arc::ptr_eq(known, live));
        let is_removed = this && condition();
        if is_removed {
            runs.remove(&live.id);
        }
        is_removed
    }

    /// All runs in memory.
    pub(crate) fn all(&self) -> Vec<Arc<LiveRun>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let runs = shard.runs.read().expect("no panic under this lock");
            all.extend(runs.values().cloned());
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
