//! Runs that wait: they live in the store alone until their time comes, or somebody asks for them.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use heddle_kernel::{Input, RunId, Timestamp};
use tokio::sync::{Mutex, Notify};

use crate::{
    answer::ReadError,
    inner::Inner,
    live::{LiveRun, Stopped},
    outbox::Outbox,
};

/// How many runs are woken together; the next ones follow when those have got going.
const WAKE_AT_ONCE: usize = 256;
/// How long a batch of runs that were woken may take to get going before the next one is woken.
const WAKE_PATIENCE: Duration = Duration::from_secs(1);
/// The longest that the clock is not looked at: it may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How long to wait where the store gives no answer.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How many runs can be loaded beside each other without waiting for one another.
const SHARDS: usize = 64;

/// What is known of the runs that wait.
pub(crate) struct Sleepers {
    /// The time at which the next one is woken, as far as is known.
    next: AtomicI64,
    /// Told when one is to be woken before that.
    sooner: Notify,
    /// Held while a run is loaded, so that it is loaded once.
    loading: [Mutex<()>; SHARDS],
}

impl Default for Sleepers {
    fn default() -> Self {
        Self {
            next: AtomicI64::new(i64::MAX),
            sooner: Notify::new(),
            loading: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Inner {
    /// Gives a run up that waits, unless something came for it or somebody holds it.
    pub(crate) fn park(&self, live: &Arc<LiveRun>, due: Option<Timestamp>) -> bool {
        if !self.forget_if(live, || live.close_if_idle()) {
            return false;
        }
        live.stop(Stopped::Parked);
        if let Some(due) = due
            && due.0 < self.sleepers.next.load(Ordering::Acquire)
        {
            self.sleepers.sooner.notify_one();
        }
        true
    }

    /// The run with this id, driven by this engine: loaded if it waits. `None` where there is none or it is over.
    pub(crate) async fn rouse(self: &Arc<Self>, id: RunId) -> Result<Option<Arc<LiveRun>>, ReadError> {
        if let Some(live) = self.live(id) {
            return Ok(Some(live));
        }
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let shard = hasher.finish() as usize % SHARDS;
        let _alone = self.sleepers.loading[shard].lock().await;
        if let Some(live) = self.live(id) {
            return Ok(Some(live));
        }
        let Some(run) = self.load(id).await?.filter(|run| !run.status.is_over()) else {
            return Ok(None);
        };
        self.register_pinned(&run).await?;
        let (durable, waits) = (run.seq, run.is_waiting());
        let live = Arc::new(LiveRun::new(run, durable, &[]));
        let mut outbox = if waits {
            Outbox::of_waiting()
        } else {
            Outbox::default()
        };
        let now = self.ports.clock.now();
        // A run that is not over takes this always.
        if let Ok(events) = live.change(|run| heddle_kernel::decide(run, Input::TakenUp, now)) {
            outbox.put(events);
        }
        self.adopt(&live);
        self.spawn(live.clone(), outbox);
        Ok(Some(live))
    }

    /// Wakes runs when their time comes, until the engine stops.
    pub(crate) async fn keep_waking(self: Arc<Self>) {
        let mut unloadable: HashSet<RunId> = HashSet::new();
        while !self.is_draining() {
            // From here on, whoever parks a run that is due sooner says so.
            let sooner = self.sleepers.sooner.notified();
            let sleep = match self.wake_some(&mut unloadable).await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::error!(%error, "runs that wait cannot be looked up");
                    STORE_PAUSE
                }
            };
            tokio::select! {
                () = sooner => {}
                () = self.drains() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Wakes the runs that are due now, a batch at most. Says for how long nothing more is to be done.
    async fn wake_some(self: &Arc<Self>, unloadable: &mut HashSet<RunId>) -> Result<Duration, ReadError> {
        let journal = &self.ports.journal;
        let now = self.ports.clock.now();
        let due = journal.due(now, WAKE_AT_ONCE + unloadable.len()).await?;
        let mut woken = Vec::new();
        for id in due {
            if unloadable.contains(&id) {
                continue;
            }
            match self.rouse(id).await {
                Ok(Some(live)) => woken.push(live),
                Ok(None) => {}
                Err(ReadError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::error!(run = %id, %error, "a run that is due cannot go on");
                    unloadable.insert(id);
                }
            }
        }
        if !woken.is_empty() {
            // Until they have moved, the store names them again.
            let moved = async {
                for live in woken {
                    let seq = live.read(|run| run.seq);
                    let _ = live.durable_to(seq.max(live.loaded + 1)).await;
                }
            };
            let _ = tokio::time::timeout(WAKE_PATIENCE, moved).await;
            return Ok(Duration::ZERO);
        }
        let next = journal.next_due().await?;
        self.sleepers
            .next
            .store(next.map_or(i64::MAX, |next| next.0), Ordering::Release);
        let left = next.map(|next| {
            next.0
                .saturating_sub(self.ports.clock.now().0)
                .max(0)
                .unsigned_abs()
        });
        // What is due and cannot be loaded stays due: that must not keep a processor busy.
        let left = left.map(|ms| Duration::from_millis(if unloadable.is_empty() { ms } else { ms.max(100) }));
        Ok(left.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP))
    }
}
