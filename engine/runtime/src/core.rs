//! The state that all parts of an engine share. It only stores: other modules add the operations on it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use heddle_kernel::RunId;
use tokio::sync::{Semaphore, oneshot, watch};
use uuid::Uuid;

use crate::{
    admission::Admission,
    errors::StopReason,
    graph_cache::GraphCache,
    graph_checks::CheckThreads,
    idempotency::{IdempotencyGuard, IdempotencyKeys},
    live_run::LiveRun,
    live_runs::LiveRuns,
    memory_budget::MemoryBudget,
    page_budget::PageBudget,
    ports::StoreError,
    schedules::handle::Schedules,
    settings::{Ports, Settings},
    storage_limits::UsageCounter,
    timers::Timers,
};

/// How many runs are loaded at the same time: how much memory a run holds is known only once it is loaded.
const MAX_CONCURRENT_LOADS: usize = 8;

pub(crate) struct Core {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    pub(crate) live_runs: LiveRuns,
    pub(crate) idempotency_keys: Arc<IdempotencyKeys>,
    pub(crate) graphs: GraphCache,
    pub(crate) memory: Arc<MemoryBudget>,
    pub(crate) usage: UsageCounter,
    /// Limits how many runs are loaded at the same time.
    pub(crate) loads: Semaphore,
    pub(crate) pages: Arc<PageBudget>,
    pub(crate) checks: CheckThreads,
    /// Held for reading until the start, import or upgrade of a run is durable, and for writing while a graph is deleted.
    pub(crate) graphs_in_use: Arc<tokio::sync::RwLock<()>>,
    pub(crate) timers: Timers,
    pub(crate) admission: Arc<Admission>,
    pub(crate) schedules: Schedules,
    /// Held while the policy of a plugin is changed, and while a plugin is stored and published or removed.
    pub(crate) plugin_change: tokio::sync::Mutex<()>,
    /// Whether the engine is stopping: read before every step.
    is_draining: AtomicBool,
    /// Notifies waiting tasks that the engine is stopping.
    drains: watch::Sender<bool>,
}

impl Core {
    pub(crate) fn new(ports: Ports, settings: Settings) -> Self {
        Self {
            admission: Arc::new(Admission::new(
                settings.max_runs_in_flight,
                settings.max_queued,
                settings.max_queued_bytes,
            )),
            usage: UsageCounter::default(),
            loads: Semaphore::new(MAX_CONCURRENT_LOADS),
            pages: Arc::default(),
            memory: Arc::new(MemoryBudget::new(settings.max_memory_bytes)),
            graphs: GraphCache::new(settings.max_cached_graph_bytes),
            ports,
            settings,
            live_runs: LiveRuns::default(),
            idempotency_keys: Arc::default(),
            checks: CheckThreads::default(),
            graphs_in_use: Arc::default(),
            timers: Timers::default(),
            schedules: Schedules::default(),
            plugin_change: tokio::sync::Mutex::default(),
            is_draining: AtomicBool::new(false),
            drains: watch::Sender::new(false),
        }
    }

    /// Stops every driver before its next step. Active calls may take `within` to finish.
    pub(crate) async fn drain(&self, within: Duration) {
        self.is_draining.store(true, Ordering::Release);
        self.drains.send_replace(true);
        for live in self.live_runs.all() {
            live.wakeup.notify_one();
        }
        self.live_runs.join(within).await;
        for live in self.live_runs.all() {
            live.stop(StopReason::Draining);
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Waits until the engine is stopping.
    pub(crate) async fn drains(&self) {
        let mut drains = self.drains.subscribe();
        // The sender lives as long as the engine.
        let _ = drains.wait_for(|drains| *drains).await;
    }

    pub(crate) fn live(&self, id: RunId) -> Option<Arc<LiveRun>> {
        self.live_runs.get(id)
    }

    /// Spawns a task that belongs to no run. Like drivers, it is joined when the engine stops.
    pub(crate) fn spawn_background(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.live_runs.spawn(RunId(Uuid::nil()), task);
    }

    /// Runs a change in a task of its own, so that the change is completed even if the caller stops waiting: an HTTP
    /// request is dropped as soon as its client disconnects.
    pub(crate) async fn complete<T, E>(
        &self,
        change: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.spawn_background(async move {
            // The caller may no longer wait.
            let _ = reply.send(change.await);
        });
        let stopped = |_| StoreError::Unavailable("the engine is stopping".to_owned());
        answer.await.map_err(stopped)?
    }

    /// Releases an idempotency key once the events of `live` up to `seq` are durable or dropped, even if the request's
    /// sender no longer waits.
    pub(crate) fn release_when_durable(
        &self,
        idempotency: Arc<IdempotencyGuard>,
        live: Arc<LiveRun>,
        seq: u64,
    ) {
        self.live_runs.spawn(live.id, async move {
            // Either way, the store now knows whether the request was applied.
            let _ = live.durable_to(seq).await;
            idempotency.release();
        });
    }
}
