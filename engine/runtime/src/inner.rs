//! The engine's inside: which runs are live, which graphs are cached, and the tasks beside the runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use heddle_kernel::RunId;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::{
    admission::Admission,
    checks::Checks,
    drive::drive,
    engine::{Ports, Settings},
    graph_cache::GraphCache,
    live::{LiveRun, Stopped},
    load::LOADS_AT_ONCE,
    memory::Memory,
    outbox::Outbox,
    pages::Pages,
    registry::Registry,
    requests::Claimed,
    schedules::Schedules,
    sleepers::Sleepers,
    usage::Kept,
};

pub(crate) struct Inner {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    pub(crate) live: Registry,
    pub(crate) claimed: Claimed,
    pub(crate) graphs: GraphCache,
    pub(crate) memory: Arc<Memory>,
    pub(crate) kept: Kept,
    pub(crate) loads: Semaphore,
    pub(crate) pages: Arc<Pages>,
    pub(crate) checks: Checks,
    /// Held to read while a run begins or is upgraded, and to write while a graph is deleted.
    pub(crate) graphs_in_use: tokio::sync::RwLock<()>,
    pub(crate) sleepers: Sleepers,
    pub(crate) admission: Admission,
    pub(crate) schedules: Schedules,
    /// Held while it is changed what a plugin is granted.
    pub(crate) setting_policies: tokio::sync::Mutex<()>,
    /// Whether the engine is stopping: looked at before every step.
    draining: AtomicBool,
    /// Tells those who wait that it is.
    drains: watch::Sender<bool>,
}

impl Inner {
    pub(crate) fn new(ports: Ports, settings: Settings) -> Self {
        Self {
            admission: Admission::new(
                settings.max_runs_in_flight,
                settings.max_queued,
                settings.max_queued_bytes,
            ),
            kept: Kept::default(),
            loads: Semaphore::new(LOADS_AT_ONCE),
            pages: Arc::default(),
            memory: Arc::new(Memory::new(settings.max_memory_bytes)),
            graphs: GraphCache::new(settings.max_cached_graph_bytes),
            ports,
            settings,
            live: Registry::default(),
            claimed: Claimed::default(),
            checks: Checks::default(),
            graphs_in_use: tokio::sync::RwLock::default(),
            sleepers: Sleepers::default(),
            schedules: Schedules::default(),
            setting_policies: tokio::sync::Mutex::default(),
            draining: AtomicBool::new(false),
            drains: watch::Sender::new(false),
        }
    }

    /// Has every driver end before its next step, and gives them this long for the one under way.
    pub(crate) async fn drain(&self, within: Duration) {
        self.draining.store(true, Ordering::Release);
        self.drains.send_replace(true);
        for live in self.live.all() {
            live.stirred.notify_one();
        }
        self.live.join(within).await;
        for live in self.live.all() {
            live.stop(Stopped::Draining);
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Waits until the engine stops.
    pub(crate) async fn drains(&self) {
        let mut drains = self.drains.subscribe();
        // The sender lives as long as the engine.
        let _ = drains.wait_for(|drains| *drains).await;
    }

    pub(crate) fn live(&self, id: RunId) -> Option<Arc<LiveRun>> {
        self.live.get(id)
    }

    /// Takes a run in.
    pub(crate) fn adopt(&self, live: &Arc<LiveRun>) {
        self.live.insert(live);
    }

    pub(crate) fn forget(&self, live: &Arc<LiveRun>) {
        self.live.remove_if(live, || true);
    }

    pub(crate) fn spawn(self: &Arc<Self>, live: Arc<LiveRun>, outbox: Outbox) {
        self.live.spawn(live.id, drive(self.clone(), live, outbox));
    }

    /// Begins what goes on beside the runs.
    pub(crate) fn spawn_keepers(self: &Arc<Self>) {
        self.spawn_beside(self.clone().keep_waking());
        self.spawn_beside(self.clone().keep_taking_up());
    }

    /// Begins a task that belongs to no run, and is joined with the tasks of those that do.
    pub(crate) fn spawn_beside(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.live.spawn(RunId(Uuid::nil()), task);
    }
}
