//! Admission: which runs may start, and in which order.
//!
//! The engine has a limited number of admission slots, and a group may limit how many of its runs are active. A run that
//! finds no slot is stored and queued: only its entry in the queue stays in memory. Queued runs start by descending
//! priority and then oldest first; a run whose group is full is skipped. Runs that were started before and continue (after
//! a timer, a signal, a resume or a fork) always get a slot, even above the limit.

mod queue;
pub(crate) mod slot;

use std::sync::{Arc, Mutex, MutexGuard};

use heddle_kernel::{Timestamp, run::Group};
use tokio::sync::{Notify, futures::Notified};

use self::queue::AdmissionQueue;
pub(crate) use self::{queue::AdmissionDecision, slot::AdmissionSlot};
use crate::{
    live_run::LiveRun,
    ports::{Ack, AppendError, GroupCounts, QueuedRun},
};

/// The range of a run's priority.
pub const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;

/// The queue is full.
pub(crate) struct QueueFull {
    /// Whether the limit on bytes is reached, rather than the limit on runs.
    pub(crate) is_full_of_bytes: bool,
    /// When to try again, in seconds.
    pub(crate) retry_after_s: u32,
}

/// The admission slots and the queue of an engine.
pub(crate) struct Admission {
    queue: Mutex<AdmissionQueue>,
    /// Notified when a queued run may start.
    can_start: Notify,
}

impl Admission {
    pub(crate) fn new(max_in_flight: usize, max_queued: usize, max_queued_bytes: u64) -> Self {
        Self {
            queue: Mutex::new(AdmissionQueue::new(max_in_flight, max_queued, max_queued_bytes)),
            can_start: Notify::new(),
        }
    }

    // A std mutex: nothing awaits while it is held.
    fn lock(&self) -> MutexGuard<'_, AdmissionQueue> {
        self.queue.lock().expect("no panic under this lock")
    }

    /// Makes a change after which a queued run may be able to start.
    fn change<T>(&self, change: impl FnOnce(&mut AdmissionQueue) -> T) -> T {
        let mut queue = self.lock();
        let changed = change(&mut queue);
        if queue.can_start() {
            self.can_start.notify_one();
        }
        changed
    }

    /// The number of occupied slots.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    /// The number of queued runs.
    pub(crate) fn queued(&self) -> usize {
        self.lock().queued
    }

    /// Whether any group has runs.
    pub(crate) fn has_groups(&self) -> bool {
        !self.lock().groups.is_empty()
    }

    /// Decides whether a new run starts or is queued. A run for which there is no memory is queued.
    ///
    /// # Errors
    /// If the queue is full.
    pub(crate) fn admit(
        &self,
        priority: i32,
        group: Option<&Group>,
        bytes: u64,
        has_memory: bool,
        now: Timestamp,
    ) -> Result<AdmissionDecision, QueueFull> {
        let mut queue = self.lock();
        queue
            .admit(priority, group, bytes, has_memory)
            .ok_or_else(|| QueueFull {
                is_full_of_bytes: queue.is_full_of_bytes(bytes),
                retry_after_s: queue.retry_after_s(now),
            })
    }

    /// Restores the groups and the queue from the store when the engine starts.
    pub(crate) fn restore(&self, groups: GroupCounts, queued: Vec<QueuedRun>) {
        self.change(|queue| {
            for (group, started) in groups {
                queue.groups.entry(group).or_default().started += started;
            }
            for run in queued {
                if let (Some(group), Some(limit)) = (&run.group, run.group_limit) {
                    queue.set_group_limit(group, limit);
                }
                queue.enqueue_unreserved(run);
            }
        });
    }

    /// Counts a run of a group that has started elsewhere and was imported.
    pub(crate) fn count_started(&self, group: Option<&Arc<str>>) {
        self.lock().count_started(group);
    }

    /// Counts a run of a group as ended.
    pub(crate) fn count_ended(&self, group: &Arc<str>) {
        self.change(|queue| queue.count_ended(group));
    }

    /// The run continues: it acquires a slot, even above the limit.
    pub(crate) fn acquire(&self, live: &LiveRun) {
        if live.has_slot() {
            return;
        }
        live.update_slot(|slot| {
            let mut queue = self.lock();
            if !std::mem::replace(&mut slot.is_occupied, true) {
                queue.in_flight += 1;
            }
            if !std::mem::replace(&mut slot.is_counted, true) {
                queue.count_started(slot.group.as_ref());
            }
        });
    }

    /// The run waits, is paused, or is unloaded: its slot is free. The run still counts in its group.
    pub(crate) fn release(&self, live: &LiveRun) {
        live.update_slot(|slot| {
            if std::mem::take(&mut slot.is_occupied) {
                self.change(|queue| queue.in_flight -= 1);
            }
        });
    }

    /// The run has ended, or was never stored: it leaves its group and the queue.
    pub(crate) fn remove(&self, live: &LiveRun) {
        live.update_slot(|slot| {
            self.change(|queue| {
                if std::mem::take(&mut slot.is_queued) {
                    queue.remove(&QueuedRun {
                        run: live.id,
                        priority: slot.priority,
                        group: slot.group.clone(),
                        group_limit: None,
                        bytes: 0,
                    });
                }
                if std::mem::take(&mut slot.is_counted)
                    && let Some(group) = &slot.group
                {
                    queue.count_ended(group);
                }
            });
        });
    }

    /// Waits until a queued run may start.
    pub(crate) fn can_start(&self) -> Notified<'_> {
        self.can_start.notified()
    }

    /// Takes the next runs from the queue, at most `limit`. Each of them occupies a slot.
    pub(crate) fn take_next(&self, limit: usize, now: Timestamp) -> Vec<QueuedRun> {
        let mut queue = self.lock();
        std::iter::from_fn(|| queue.take_next(now)).take(limit).collect()
    }

    /// Whether the group of a run that was taken from the queue has room for it, now that the group's limit is known.
    /// Otherwise the run is queued again.
    pub(crate) fn confirm_group(&self, run: &QueuedRun, group: Option<Group>) -> bool {
        self.change(|queue| queue.confirm_group(run, group))
    }

    /// Puts a run that was taken from the queue back into it, and frees its slot.
    pub(crate) fn requeue(&self, run: QueuedRun) {
        self.change(|queue| queue.requeue(run));
    }

    /// Frees the slot of a run that was taken from the queue and does not start.
    pub(crate) fn free(&self, run: &QueuedRun) {
        self.change(|queue| queue.free(run));
    }

    /// Takes back the slot that was handed to a live run whose driver may have released it already, so that the caller
    /// can hand it on.
    pub(crate) fn reclaim(&self, live: &LiveRun) {
        live.update_slot(|slot| {
            let mut queue = self.lock();
            if !slot.is_occupied {
                queue.in_flight += 1;
            }
            if !slot.is_counted {
                queue.count_started(slot.group.as_ref());
            }
            *slot = AdmissionSlot::default();
        });
    }
}

/// Puts a new run into the queue once its start is durable, even if the client no longer waits.
pub(crate) struct EnqueueWhenDurable {
    pub(crate) admission: Arc<Admission>,
    pub(crate) live: Arc<LiveRun>,
    pub(crate) queued: QueuedRun,
}

impl Ack for EnqueueWhenDurable {
    fn durable(&self, seq: u64) {
        let queued = self.queued.clone();
        self.admission.change(|queue| queue.enqueue(queued));
        self.live.durable(seq);
    }

    fn failed(&self, error: AppendError) {
        let QueuedRun { group, bytes, .. } = &self.queued;
        self.admission
            .change(|queue| queue.cancel_reservation(group.as_ref(), *bytes));
        self.live.failed(error);
    }
}
