//! The engine's inside: which runs are live, which graphs are at hand, and how both are come by.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use heddle_kernel::{Digest, Run, RunId};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    answer::{ReadError, RegisterPluginError, StartError},
    drive::drive,
    engine::{Ports, Settings},
    graphs::AtHand,
    live::{LiveRun, Stopped},
    outbox::Outbox,
    sleepers::Sleepers,
    ports::{NewPlugin, PluginInfo, PluginRow, RegisterError, StoreError},
};

/// How many events are read at once where a run is folded from its journal.
const FOLD_PAGE: usize = 2_000;

pub(crate) struct Inner {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    live: RwLock<HashMap<RunId, Arc<LiveRun>>>,
    pub(crate) graphs: AtHand,
    pub(crate) sleepers: Sleepers,
    drivers: Mutex<JoinSet<()>>,
    draining: watch::Sender<bool>,
}

impl Inner {
    pub(crate) fn new(ports: Ports, settings: Settings) -> Self {
        Self {
            ports,
            settings,
            live: RwLock::default(),
            graphs: AtHand::default(),
            sleepers: Sleepers::default(),
            drivers: Mutex::default(),
            draining: watch::Sender::new(false),
        }
    }

    pub(crate) fn runs_in_flight(&self) -> usize {
        self.live.read().expect("no panic under this lock").len()
    }

    /// Has every driver end before its next step, and gives them this long for the one under way.
    pub(crate) async fn drain(&self, within: Duration) {
        self.draining.send_replace(true);
        let mut drivers = std::mem::take(&mut *self.drivers.lock().expect("no panic under this lock"));
        let all = async { while drivers.join_next().await.is_some() {} };
        if tokio::time::timeout(within, all).await.is_err() {
            drivers.shutdown().await;
        }
        for live in self.live.read().expect("no panic under this lock").values() {
            live.stop(Stopped::Draining);
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until the engine stops.
    pub(crate) async fn drains(&self) {
        let mut draining = self.draining.subscribe();
        // The sender lives as long as the engine.
        let _ = draining.wait_for(|draining| *draining).await;
    }

    pub(crate) fn live(&self, id: RunId) -> Option<Arc<LiveRun>> {
        self.live
            .read()
            .expect("no panic under this lock")
            .get(&id)
            .cloned()
    }

    /// Takes a new run in, if there is room.
    pub(crate) fn admit(&self, live: &Arc<LiveRun>) -> Result<(), StartError> {
        let mut all = self.live.write().expect("no panic under this lock");
        let limit = self.settings.max_runs_in_flight;
        if all.len() >= limit {
            return Err(StartError::Busy { limit });
        }
        all.insert(live.id, live.clone());
        Ok(())
    }

    /// Takes a run in that was acknowledged before: there is always room for it.
    pub(crate) fn adopt(&self, live: &Arc<LiveRun>) {
        self.live
            .write()
            .expect("no panic under this lock")
            .insert(live.id, live.clone());
    }

    pub(crate) fn forget(&self, live: &Arc<LiveRun>) {
        self.forget_if(live, || true);
    }

    /// Takes a run out if `really`, which is asked while nobody can look the run up.
    pub(crate) fn forget_if(&self, live: &Arc<LiveRun>, really: impl FnOnce() -> bool) -> bool {
        let mut all = self.live.write().expect("no panic under this lock");
        // A run that was parked may have been taken up again: that is another one.
        let this = all.get(&live.id).is_some_and(|known| Arc::ptr_eq(known, live));
        let gone = this && really();
        if gone {
            all.remove(&live.id);
        }
        gone
    }

    pub(crate) fn spawn(self: &Arc<Self>, live: Arc<LiveRun>, outbox: Outbox) {
        let mut drivers = self.drivers.lock().expect("no panic under this lock");
        while drivers.try_join_next().is_some() {}
        drivers.spawn(drive(self.clone(), live, outbox));
    }

    /// Begins what goes on beside the runs.
    pub(crate) fn spawn_waking(self: &Arc<Self>) {
        let mut drivers = self.drivers.lock().expect("no panic under this lock");
        drivers.spawn(self.clone().keep_waking());
    }

    /// Folds a run from its journal; `None` where there is none.
    pub(crate) async fn load(&self, id: RunId) -> Result<Option<Run>, ReadError> {
        let damaged = |message: String| ReadError::Damaged { run: id, message };
        let journal = &self.ports.journal;
        if journal.run(id).await?.is_none() {
            return Ok(None);
        }
        let mut run: Option<Run> = None;
        loop {
            let after = run.as_ref().map_or(0, |run| run.seq);
            let events = journal.events(id, after, FOLD_PAGE).await?;
            if events.is_empty() {
                break;
            }
            for event in events {
                match &mut run {
                    None => {
                        let (graph, graphs) = self.pinned(id, &event).await?;
                        let first = Run::from_first(id, graph, graphs, &event);
                        let mut first = first.map_err(|error| damaged(error.to_string()))?;
                        first.max_state_bytes = self.settings.max_state_bytes;
                        run = Some(first);
                    }
                    Some(run) => run.fold(&event).map_err(|error| damaged(error.to_string()))?,
                }
            }
        }
        run.map(Some)
            .ok_or_else(|| damaged("it has no events".to_owned()))
    }

    /// Makes sure that the plugins which a run keeps to can be called.
    pub(crate) async fn register_pinned(&self, run: &Run) -> Result<(), StoreError> {
        for function in run.functions.values() {
            if self.ports.functions.has(&function.digest) {
                continue;
            }
            if let Some(plugin) = self.ports.journal.plugin(&function.digest).await? {
                let name = plugin.name.clone();
                if let Err(error) = self.register_kept(plugin, true).await {
                    // The step that needs it fails with a clear error of its own.
                    tracing::error!(run = %run.id, plugin = %name, %error, "a plugin that a run keeps to is gone");
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn register_kept(
        &self,
        plugin: PluginRow,
        hidden: bool,
    ) -> Result<PluginInfo, RegisterError> {
        let PluginRow { name, component, .. } = plugin;
        let name = Some(name.to_string());
        self.ports
            .functions
            .register(NewPlugin {
                component,
                name,
                fallback_name: None,
                hidden,
            })
            .await
    }

    pub(crate) async fn register(
        &self,
        component: Arc<[u8]>,
        name: Option<String>,
        fallback_name: Option<String>,
        active: bool,
    ) -> Result<PluginInfo, RegisterPluginError> {
        let plugin = NewPlugin {
            component: component.clone(),
            name,
            fallback_name,
            hidden: false,
        };
        let info = self.ports.functions.register(plugin).await?;
        let row = PluginRow {
            digest: Digest::of(&component),
            name: info.name.clone(),
            version: info.version.clone(),
            active,
            component,
            added_at: self.ports.clock.now(),
        };
        self.ports.journal.put_plugin(row).await?;
        Ok(info)
    }
}
