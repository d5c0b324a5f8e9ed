//! Runs that wait: they live in the store alone until their time comes, or somebody asks for them.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use heddle_kernel::{Input, Refusal, RunId, Status, Timestamp};
use tokio::sync::Notify;

use crate::{
    admission::Seat,
    answer::ReadError,
    inner::Inner,
    live::{LiveRun, Stopped},
    load::Loaded,
    memory::LOOK_EVERY,
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

/// What is known of the runs that wait.
pub(crate) struct Sleepers {
    /// The time at which the next one is woken, as far as is known.
    next: AtomicI64,
    /// Told when one is to be woken before that.
    sooner: Notify,
}

impl Default for Sleepers {
    fn default() -> Self {
        Self {
            next: AtomicI64::new(i64::MAX),
            sooner: Notify::new(),
        }
    }
}

impl Inner {
    /// Gives a run up that waits, unless something came for it or somebody holds it.
    pub(crate) fn park(&self, live: &Arc<LiveRun>, due: Option<Timestamp>) -> bool {
        if !self.live.remove_if(live, || live.close_if_idle()) {
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

    /// The run with this id, driven by this engine: loaded if it rests. `None` where there is none or it is
    /// over. One that is queued is only looked at: it begins when it is told to.
    pub(crate) async fn rouse(self: &Arc<Self>, id: RunId) -> Result<Option<Arc<LiveRun>>, ReadError> {
        if let Some(live) = self.live(id) {
            return Ok(Some(live));
        }
        self.rouse_resting(id).await.map_err(|error| error.of_run(id))
    }

    async fn rouse_resting(self: &Arc<Self>, id: RunId) -> Result<Option<Arc<LiveRun>>, ReadError> {
        let _alone = self.live.alone(id).await;
        if let Some(live) = self.live(id) {
            return Ok(Some(live));
        }
        if self.memory.is_over() {
            return Err(self.no_memory());
        }
        let Some(loaded) = self.load(id).await?.filter(|loaded| !loaded.run.status.is_over()) else {
            return Ok(None);
        };
        // Others may have been loaded while this one waited for its turn.
        if self.memory.is_over() {
            return Err(self.no_memory());
        }
        self.register_pinned(&loaded.run).await?;
        let status = loaded.run.shown_status();
        let seat = self.seat_of(id, status).await?;
        let input = (status != Status::Queued).then_some(Input::Activate);
        let (live, _) = self
            .take_up(loaded, input, seat)
            .expect("a run that is not over can be taken up");
        Ok(Some(live))
    }

    /// Drives a run that was loaded, and on which this input comes first. Answers the number of the last event that
    /// followed.
    pub(crate) fn take_up(
        self: &Arc<Self>,
        loaded: Loaded,
        input: Option<Input>,
        seat: Seat,
    ) -> Result<(Arc<LiveRun>, u64), Refusal> {
        let Loaded { run, pace, .. } = loaded;
        let mut outbox = Outbox::of_loaded(&run, pace);
        let durable = run.seq;
        let live = Arc::new(LiveRun::new(run, durable, &[], &self.memory));
        let now = self.ports.clock.now();
        if let Some(input) = input {
            outbox.put(live.change(|run| heddle_kernel::decide(run, input, now))?);
        }
        live.sit(|of_live| *of_live = seat);
        let (last, status) = live.read(|run| (run.seq, run.shown_status()));
        if status == Status::Running {
            self.occupy(&live);
        }
        self.adopt(&live);
        self.spawn(live.clone(), outbox);
        Ok((live, last))
    }

    /// Why a run is not loaded now.
    pub(crate) fn no_memory(&self) -> ReadError {
        let limit = self.memory.limit();
        ReadError::Busy { limit }
    }

    /// Goes on with runs for which there was no room when the engine started.
    pub(crate) async fn rouse_later(self: Arc<Self>, mut runs: VecDeque<RunId>) {
        while let Some(id) = runs.pop_front() {
            match self.rouse(id).await {
                Ok(_) => {}
                Err(ReadError::Busy { .. } | ReadError::Store(_)) => {
                    runs.push_front(id);
                    tokio::select! {
                        () = self.drains() => return,
                        () = tokio::time::sleep(LOOK_EVERY) => {}
                    }
                }
                Err(error) => tracing::error!(run = %id, %error, "a run that was under way cannot go on"),
            }
        }
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
        if self.memory.is_over() {
            return Ok(LOOK_EVERY);
        }
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
                Err(ReadError::Busy { .. }) => break,
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
