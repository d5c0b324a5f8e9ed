//! The runs that this engine drives, in shards: no run waits for another one at a lock that all share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use heddle_kernel::RunId;
use tokio::task::JoinSet;

use crate::live::LiveRun;

/// How many runs can be looked up, loaded and begun without waiting for one another.
const SHARDS: usize = 64;

pub(crate) struct Registry {
    shards: [Shard; SHARDS],
}

// The std locks: nothing awaits and nothing panics while one is held.
#[derive(Default)]
struct Shard {
    runs: RwLock<HashMap<RunId, Arc<LiveRun>>>,
    /// Held while a run is loaded, reopened or forgotten, so that one at a time does.
    loading: tokio::sync::Mutex<()>,
    /// The tasks that drive the runs, and what else belongs to one.
    tasks: Mutex<JoinSet<()>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Shard::default()),
        }
    }
}

impl Registry {
    fn shard(&self, id: RunId) -> &Shard {
        // The end of an id is random, the beginning the time.
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

    /// Takes a run out if `really`, which is asked while nobody can look the run up.
    pub(crate) fn remove_if(&self, live: &Arc<LiveRun>, really: impl FnOnce() -> bool) -> bool {
        let mut runs = self
            .shard(live.id)
            .runs
            .write()
            .expect("no panic under this lock");
        // A run that was parked may have been taken up again: that is another one.
        let this = runs.get(&live.id).is_some_and(|known| Arc::ptr_eq(known, live));
        let gone = this && really();
        if gone {
            runs.remove(&live.id);
        }
        gone
    }

    /// Every run.
    pub(crate) fn all(&self) -> Vec<Arc<LiveRun>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let runs = shard.runs.read().expect("no panic under this lock");
            all.extend(runs.values().cloned());
        }
        all
    }

    /// Held while this run is loaded, reopened or forgotten.
    pub(crate) async fn alone(&self, id: RunId) -> impl Drop + '_ {
        self.shard(id).loading.lock().await
    }

    /// Begins a task that belongs to a run.
    pub(crate) fn spawn(&self, id: RunId, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.shard(id).tasks.lock().expect("no panic under this lock");
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Waits this long for every task to end, and ends those that did not.
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
