//! Wakes waiting runs when their timers are due: a background task of the engine.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use heddle_kernel::RunId;

use crate::{
    core::Core,
    memory_budget::MEMORY_POLL_INTERVAL,
    ports::{EngineId, OwnerError, ReadError},
};

/// How many runs are woken together.
const WAKE_BATCH: usize = 256;
/// How long a batch of woken runs may take to continue before the next batch is woken.
const WAKE_BATCH_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest time between two looks at the clock, which an operator may set.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// The shortest sleep while due runs cannot be loaded: they stay due, and must not keep a processor busy.
const DAMAGED_SLEEP_MS: u64 = 100;
/// How long to wait after the store failed to answer.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);

impl Core {
    /// Wakes runs whose timers are due, until the engine stops.
    pub(crate) async fn run_timers(self: Arc<Self>) {
        let mut damaged: HashSet<RunId> = HashSet::new();
        while !self.is_draining() {
            // Created first, so that no earlier timer is missed while the store is read.
            let earlier = self.timers.earlier();
            let sleep = match self.wake_due_runs(&mut damaged).await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::error!(%error, "cannot read which runs are due; retrying");
                    STORE_RETRY_DELAY
                }
            };
            tokio::select! {
                () = earlier => {}
                () = self.drains() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Wakes a batch of runs that are due. Returns how long to sleep before the next batch.
    async fn wake_due_runs(self: &Arc<Self>, damaged: &mut HashSet<RunId>) -> Result<Duration, OwnerError> {
        if self.memory.is_over() {
            return Ok(MEMORY_POLL_INTERVAL);
        }
        let store = &self.ports.store;
        let now = self.ports.clock.now();
        let due = store
            .claim_due(EngineId::EXCLUSIVE, now, WAKE_BATCH + damaged.len())
            .await?;
        let mut woken = Vec::new();
        for id in due {
            if damaged.contains(&id) {
                continue;
            }
            match self.load_and_drive(id).await {
                Ok(Some(live)) => woken.push(live),
                Ok(None) => {}
                Err(ReadError::Busy { .. }) => break,
                Err(ReadError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::error!(run = %id, %error, "a run is due but cannot be loaded");
                    damaged.insert(id);
                }
            }
        }
        if !woken.is_empty() {
            // The store returns these runs again until an event of theirs is durable.
            let continued = async {
                for live in woken {
                    let seq = live.read(|run| run.seq);
                    let _ = live.durable_to(seq.max(live.loaded_seq + 1)).await;
                }
            };
            let _ = tokio::time::timeout(WAKE_BATCH_TIMEOUT, continued).await;
            return Ok(Duration::ZERO);
        }
        let next = store.next_due().await?;
        self.timers.set_earliest(next);
        let now = self.ports.clock.now();
        let left_ms = next.map(|next| next.0.saturating_sub(now.0).max(0).unsigned_abs());
        let least_ms = if damaged.is_empty() { 0 } else { DAMAGED_SLEEP_MS };
        let left = left_ms.map(|ms| Duration::from_millis(ms.max(least_ms)));
        Ok(left.unwrap_or(MAX_SLEEP).min(MAX_SLEEP))
    }

    /// Loads runs that did not fit into memory when the engine started.
    pub(crate) async fn load_postponed(self: Arc<Self>, mut runs: VecDeque<RunId>) {
        while let Some(id) = runs.pop_front() {
            match self.load_and_drive(id).await {
                Ok(_) => {}
                Err(ReadError::Busy { .. } | ReadError::Store(_)) => {
                    runs.push_front(id);
                    tokio::select! {
                        () = self.drains() => return,
                        () = tokio::time::sleep(MEMORY_POLL_INTERVAL) => {}
                    }
                }
                Err(error) => tracing::error!(run = %id, %error, "an active run cannot be loaded"),
            }
        }
    }
}
