//! Which run begins when: how many may be under way, in all and in a group, and which one is next.
//!
//! A run that finds no room is durable, and of it nothing is in memory but its place in the queue. The one
//! with the highest priority is taken up first, and of these the oldest; one whose group is full is passed over.
//! What was acknowledged and goes on (a timer, a signal, a resumption, a fork) is always let in.

mod places;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use heddle_kernel::{Input, RunId, Status, Timestamp, run::Group};
use tokio::sync::{Notify, oneshot};

pub(crate) use self::places::Entry;
use self::places::Places;
use crate::{
    answer::ReadError,
    inner::Inner,
    live::{Letter, LiveRun},
    memory::LOOK_EVERY,
    ports::{Ack, AppendError, GroupCounts, QueuedRun, StoreError},
};

/// The priorities that a run may have.
pub const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;
/// How many queued runs are taken up beside each other: each is read from the store.
const TAKE_UP_AT_ONCE: usize = 64;
/// How many of them are read at the same time: until one is read, it is not known what it holds.
const LOAD_AT_ONCE: usize = 8;
/// How long to wait where the store gives no answer.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// What one run takes of what there is for all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seat {
    /// Where it stands in the queue, and the group that it counts in.
    priority: i32,
    group: Option<Arc<str>>,
    /// It has a place among those in flight.
    placed: bool,
    /// It counts in its group: it has begun.
    counted: bool,
    /// It is in the queue.
    queued: bool,
}

/// That there is no place in the queue.
pub(crate) struct FullQueue {
    /// Whether it is the bytes of the starts in it, and not their number.
    pub(crate) is_full_of_bytes: bool,
    /// In how many seconds to come again.
    pub(crate) retry_after_s: u32,
}

/// The places of an engine.
pub(crate) struct Admission {
    places: Mutex<Places>,
    /// Told when a queued run may begin.
    room: Notify,
}

impl Admission {
    pub(crate) fn new(max_in_flight: usize, max_queued: usize, max_queued_bytes: u64) -> Self {
        Self {
            places: Mutex::new(Places::new(max_in_flight, max_queued, max_queued_bytes)),
            room: Notify::new(),
        }
    }

    // A std mutex: nothing awaits while it is held.
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places
            .lock()
            .expect("nothing panics while it holds the places")
    }

    /// Changes something by which a queued run may begin.
    fn change<T>(&self, change: impl FnOnce(&mut Places) -> T) -> T {
        let mut places = self.lock();
        let changed = change(&mut places);
        if places.may_begin() {
            self.room.notify_one();
        }
        changed
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    pub(crate) fn queued(&self) -> usize {
        self.lock().queued
    }

    /// Finds a place for a new run; without memory for it, in the queue.
    ///
    /// # Errors
    /// Where there is none, not even in the queue.
    pub(crate) fn enter(
        &self,
        priority: i32,
        group: Option<&Group>,
        bytes: u64,
        has_memory: bool,
        now: Timestamp,
    ) -> Result<Entry, FullQueue> {
        let mut places = self.lock();
        places
            .enter(priority, group, bytes, has_memory)
            .ok_or_else(|| FullQueue {
                is_full_of_bytes: places.is_full_of_bytes(bytes),
                retry_after_s: places.retry_after_s(now),
            })
    }

    /// Takes over what the store has: how many of each group have begun, and who is queued.
    pub(crate) fn restore(&self, groups: GroupCounts, queued: Vec<QueuedRun>) {
        self.change(|places| {
            for (group, begun) in groups {
                places.groups.entry(group).or_default().begun += begun;
            }
            for run in queued {
                places.queued += 1;
                places.enqueue(run);
            }
        });
    }

    /// A run of a group was added that has begun.
    pub(crate) fn count(&self, group: Option<&Arc<str>>) {
        self.lock().count(group);
    }

    /// It was not added after all.
    pub(crate) fn uncount(&self, group: &Arc<str>) {
        self.change(|places| places.uncount(group));
    }
}

impl Seat {
    /// That of a run which has been given a place.
    pub(crate) fn taken(group: Option<Arc<str>>) -> Self {
        Self {
            group,
            placed: true,
            counted: true,
            ..Self::default()
        }
    }

    /// That of a run which is let in when it goes on.
    pub(crate) fn to_take(group: Option<Arc<str>>) -> Self {
        Self {
            group,
            ..Self::default()
        }
    }

    /// Whether it has a place among those in flight.
    pub(crate) fn is_placed(&self) -> bool {
        self.placed
    }
}

impl Inner {
    /// The seat of a run that was read from the journal and stands so.
    pub(crate) async fn seat_of(&self, run: RunId, status: Status) -> Result<Seat, StoreError> {
        let seat = Seat {
            queued: status == Status::Queued,
            counted: status != Status::Queued && !status.is_over(),
            ..Seat::default()
        };
        // Where no run of any group is under way, this one is in none.
        if seat.counted && self.admission.lock().groups.is_empty() {
            return Ok(seat);
        }
        let row = self.ports.journal.run(run).await?;
        Ok(match row {
            Some(row) => Seat {
                priority: row.priority,
                group: row.group,
                ..seat
            },
            None => seat,
        })
    }

    /// The run goes on: it takes a place, above the limit where it must.
    pub(crate) fn occupy(&self, live: &LiveRun) {
        if live.is_placed() {
            return;
        }
        live.sit(|seat| {
            let mut places = self.admission.lock();
            if !std::mem::replace(&mut seat.placed, true) {
                places.in_flight += 1;
            }
            if !std::mem::replace(&mut seat.counted, true) {
                places.count(seat.group.as_ref());
            }
        });
    }

    /// The run rests, or is given up: its place is free. It still counts in its group.
    pub(crate) fn vacate(&self, live: &LiveRun) {
        live.sit(|seat| {
            if std::mem::take(&mut seat.placed) {
                self.admission.change(|places| places.in_flight -= 1);
            }
        });
    }

    /// The run is over, or was never kept: it counts nowhere any more.
    pub(crate) fn done_with(&self, live: &LiveRun) {
        live.sit(|seat| {
            self.admission.change(|places| {
                if std::mem::take(&mut seat.queued) {
                    places.dequeue(&QueuedRun {
                        run: live.id,
                        priority: seat.priority,
                        group: seat.group.clone(),
                    });
                }
                if std::mem::take(&mut seat.counted)
                    && let Some(group) = &seat.group
                {
                    places.uncount(group);
                }
            });
        });
        self.schedules.over(live.id);
    }

    /// Takes up runs that are queued as places come free, until the engine stops.
    pub(crate) async fn keep_taking_up(self: Arc<Self>) {
        while !self.is_draining() {
            if self.memory.is_over() {
                tokio::select! {
                    () = self.drains() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                continue;
            }
            // From here on, whoever makes room says so.
            let room = self.admission.room.notified();
            let now = self.ports.clock.now();
            let next: Vec<QueuedRun> = {
                let mut places = self.admission.lock();
                std::iter::from_fn(|| places.next(now))
                    .take(TAKE_UP_AT_ONCE)
                    .collect()
            };
            if next.is_empty() {
                tokio::select! {
                    () = room => {}
                    () = self.drains() => {}
                }
                continue;
            }
            let next = stream::iter(next);
            next.for_each_concurrent(LOAD_AT_ONCE, |run| self.take_turn(run))
                .await;
        }
    }

    /// Has a run begin whose turn it is.
    async fn take_turn(self: &Arc<Self>, run: QueuedRun) {
        if self.memory.is_over() {
            return self.admission.change(|places| places.put_back(run));
        }
        match self.begin_queued(&run).await {
            Ok(true) => {}
            // It was cancelled in the meantime.
            Ok(false) => self.admission.change(|places| places.give_back(&run)),
            Err(ReadError::Store(error)) => {
                tracing::error!(run = %run.run, %error, "a queued run cannot be read: it is tried again");
                tokio::time::sleep(STORE_PAUSE).await;
                self.admission.change(|places| places.put_back(run));
            }
            Err(error) => {
                tracing::error!(run = %run.run, %error, "a queued run cannot begin");
                self.admission.change(|places| places.give_back(&run));
            }
        }
    }

    /// Has a queued run begin, which has its place. False where it is not queued any more.
    async fn begin_queued(self: &Arc<Self>, queued: &QueuedRun) -> Result<bool, ReadError> {
        let taken = Seat::taken(queued.group.clone());
        loop {
            let _alone = self.live.alone(queued.run).await;
            // Somebody looks at it.
            if let Some(live) = self.live(queued.run) {
                let (is_queued, group) = live.read(|run| (run.is_queued(), run.group()));
                if !is_queued {
                    return Ok(false);
                }
                if !self.has_room(queued, group) {
                    return Ok(true);
                }
                live.sit(|seat| *seat = taken.clone());
                let (reply, answer) = oneshot::channel();
                let (input, claim) = (Input::Activate, None);
                let posted = live.post(Letter { input, claim, reply }).is_ok();
                if posted && let Ok(taken) = answer.await {
                    if taken.is_err() {
                        // It ended before its turn: its place is nobody's, and its driver must not give it back, too.
                        self.reclaim(&live);
                    }
                    return Ok(taken.is_ok());
                }
                // Its driver has let go of it, maybe with its place: it is read again.
                self.reclaim(&live);
                tokio::task::yield_now().await;
                continue;
            }
            let Some(loaded) = self.load(queued.run).await? else {
                return Ok(false);
            };
            if !loaded.run.is_queued() {
                return Ok(false);
            }
            if !self.has_room(queued, loaded.run.group()) {
                return Ok(true);
            }
            self.register_pinned(&loaded.run).await?;
            self.take_up(loaded, Some(Input::Activate), taken)
                .expect("a queued run can be taken up");
            return Ok(true);
        }
    }

    /// Takes back what a run was given and its driver may have given up already.
    fn reclaim(&self, live: &LiveRun) {
        live.sit(|seat| {
            let mut places = self.admission.lock();
            if !seat.placed {
                places.in_flight += 1;
            }
            if !seat.counted {
                places.count(seat.group.as_ref());
            }
            *seat = Seat::default();
        });
    }

    /// Whether the group has room for a run whose turn it is; else it is in the queue again.
    fn has_room(&self, queued: &QueuedRun, group: Result<Option<Group>, heddle_kernel::Failure>) -> bool {
        // It had a value when the run was started.
        let group = group.ok().flatten();
        self.admission.change(|places| places.confirm(queued, group))
    }
}

/// Puts a run into the queue when its start is durable, whether or not somebody still waits for that.
pub(crate) struct Enqueues {
    pub(crate) engine: Arc<Inner>,
    pub(crate) live: Arc<LiveRun>,
    pub(crate) queued: QueuedRun,
    /// How many bytes its start takes.
    pub(crate) bytes: u64,
}

impl Ack for Enqueues {
    fn durable(&self, seq: u64) {
        let queued = self.queued.clone();
        let bytes = self.bytes;
        self.engine
            .admission
            .change(|places| places.enqueue_new(queued, bytes));
        self.live.durable(seq);
    }

    fn failed(&self, error: AppendError) {
        let group = self.queued.group.as_ref();
        let bytes = self.bytes;
        self.engine
            .admission
            .change(|places| places.unreserve(group, bytes));
        self.live.failed(error);
    }
}
