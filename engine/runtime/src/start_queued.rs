//! Starts queued runs as admission slots become free: a background task of the engine.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use heddle_kernel::{Failure, Input, run::Group};
use tokio::sync::oneshot;

use crate::{
    admission::AdmissionSlot,
    core::Core,
    live_run::{LiveRun, RunCommand},
    memory_budget::MEMORY_POLL_INTERVAL,
    ports::{QueuedRun, ReadError},
};

/// How many queued runs are started in one round.
const START_BATCH: usize = 64;
/// How many of them are loaded at the same time: how much memory a run holds is known only once it is loaded.
const MAX_CONCURRENT_LOADS: usize = 8;
/// How long to wait after the store failed to answer.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);

impl Core {
    /// Starts queued runs until the engine stops.
    pub(crate) async fn start_queued_runs(self: Arc<Self>) {
        while !self.is_draining() {
            if self.memory.is_over() {
                tokio::select! {
                    () = self.drains() => {}
                    () = tokio::time::sleep(MEMORY_POLL_INTERVAL) => {}
                }
                continue;
            }
            // Created first, so that no slot that becomes free is missed.
            let can_start = self.admission.can_start();
            let next = self.admission.take_next(START_BATCH, self.ports.clock.now());
            if next.is_empty() {
                tokio::select! {
                    () = can_start => {}
                    () = self.drains() => {}
                }
                continue;
            }
            stream::iter(next)
                .for_each_concurrent(MAX_CONCURRENT_LOADS, |run| self.start_or_requeue(run))
                .await;
        }
    }

    /// Starts a run that was taken from the queue. Queues it again if it cannot start now.
    async fn start_or_requeue(self: &Arc<Self>, run: QueuedRun) {
        if self.memory.is_over() {
            return self.admission.requeue(run);
        }
        match self.start_queued_run(&run).await {
            Ok(true) => {}
            // The run was cancelled in the meantime.
            Ok(false) => self.admission.free(&run),
            Err(ReadError::Store(error)) => {
                tracing::error!(run = %run.run, %error, "a queued run cannot be read; retrying");
                tokio::time::sleep(STORE_RETRY_DELAY).await;
                self.admission.requeue(run);
            }
            Err(error) => {
                tracing::error!(run = %run.run, %error, "a queued run cannot be started");
                self.admission.free(&run);
            }
        }
    }

    /// Starts a run that was taken from the queue and occupies a slot. Returns false if the run is no longer queued, so
    /// that the caller frees the slot.
    async fn start_queued_run(self: &Arc<Self>, queued: &QueuedRun) -> Result<bool, ReadError> {
        let slot = AdmissionSlot::occupied(queued.group.clone());
        loop {
            let _lock = self.live_runs.lock(queued.run).await;
            if let Some(live) = self.live(queued.run) {
                // The run is in memory, for example for a watcher.
                let (is_queued, group) = live.read(|run| (run.is_queued(), run.group()));
                if !is_queued {
                    return Ok(false);
                }
                if !self.confirm_group(queued, group) {
                    return Ok(true);
                }
                if let Some(is_started) = self.begin_live(&live, &slot).await {
                    return Ok(is_started);
                }
                // Its driver has ended: load the run again.
                tokio::task::yield_now().await;
                continue;
            }
            let Some(loaded) = self.load(queued.run).await? else {
                return Ok(false);
            };
            if !loaded.run.is_queued() {
                return Ok(false);
            }
            if !self.confirm_group(queued, loaded.run.group()) {
                return Ok(true);
            }
            self.register_pinned_plugins(&loaded.run).await?;
            self.drive_loaded(loaded, Some(Input::Activate), slot)
                .expect("a queued run can begin");
            return Ok(true);
        }
    }

    /// Hands a slot to a live run and has its driver begin the run. Returns whether the run began; `None` if the driver
    /// has ended.
    async fn begin_live(&self, live: &LiveRun, slot: &AdmissionSlot) -> Option<bool> {
        live.update_slot(|of_live| *of_live = slot.clone());
        let (reply, answer) = oneshot::channel();
        let command = RunCommand {
            input: Input::Activate,
            idempotency: None,
            reply,
        };
        let begun = match live.send(command) {
            Ok(()) => answer.await.ok().map(|answer| answer.is_ok()),
            Err(_) => None,
        };
        if begun != Some(true) {
            // The run ended first, or its driver did: the driver must not free the slot as well.
            self.admission.reclaim(live);
        }
        begun
    }

    /// Whether the group of a run has room for it. Otherwise the run is queued again.
    fn confirm_group(&self, queued: &QueuedRun, group: Result<Option<Group>, Failure>) -> bool {
        // The group's expression had a value when the run was created.
        let group = group.ok().flatten();
        self.admission.confirm_group(queued, group)
    }
}
