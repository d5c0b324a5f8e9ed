//! The admission queue: how many runs are active, and which queued run starts next. It has no tasks and no store.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use heddle_kernel::{RunId, Timestamp, run::Group};

use crate::ports::QueuedRun;

/// How many of the latest starts from the queue its speed is estimated from.
const SPEED_SAMPLES: usize = 256;
/// `Retry-After` is the time in which probably one such part of the queue becomes free: a tenth of its maximum length.
const FREE_PART: usize = 10;
/// When to try again, in seconds: the minimum, the maximum, and the value while the queue's speed is unknown.
const RETRY_S: (u32, u32, u32) = (1, 60, 5);

/// Whether a new run starts or is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdmissionDecision {
    /// The run starts at once, and occupies a slot.
    Start,
    /// The run is queued. An entry in the queue is reserved for it.
    Queue,
}

/// The order of the queue: by descending priority, then by id, which contains the creation time.
type Order = (Reverse<i32>, RunId);

/// The runs of one group.
#[derive(Debug, Default)]
pub(super) struct GroupQueue {
    /// How many runs have started and not ended.
    pub(super) started: usize,
    /// The group's limit, as the latest run of the group had it. `None` after a restart until a run is loaded.
    limit: Option<u32>,
    /// Whether a run was taken from the queue to learn the group's limit.
    is_probed: bool,
    /// The group's queued runs, in the order in which they start.
    queued: BTreeSet<Order>,
    /// The first queued run, if the group has room: its entry in [`AdmissionQueue::ready`].
    ready: Option<Order>,
}

impl GroupQueue {
    fn has_room(&self) -> bool {
        match self.limit {
            Some(limit) => self.started < limit as usize,
            None => !self.is_probed,
        }
    }
}

/// Counts the runs in flight, and orders the queued runs.
#[derive(Debug)]
pub(super) struct AdmissionQueue {
    max_in_flight: usize,
    max_queued: usize,
    max_queued_bytes: u64,
    pub(super) in_flight: usize,
    /// The number of queued runs, including reserved entries.
    pub(super) queued: usize,
    /// The bytes of the start events of the queued runs, including reserved entries.
    pub(super) queued_bytes: u64,
    /// These bytes for each run in the queue.
    sizes: HashMap<RunId, u64>,
    /// The runs that may start as soon as a slot is free: all queued runs without a group, and the first queued run of
    /// each group with room.
    ready: BTreeMap<Order, Option<Arc<str>>>,
    pub(super) groups: HashMap<Arc<str>, GroupQueue>,
    /// When the latest runs were taken from the queue.
    taken_at: VecDeque<Timestamp>,
}

impl AdmissionQueue {
    pub(super) fn new(max_in_flight: usize, max_queued: usize, max_queued_bytes: u64) -> Self {
        Self {
            max_in_flight,
            max_queued,
            max_queued_bytes,
            in_flight: 0,
            queued: 0,
            queued_bytes: 0,
            sizes: HashMap::new(),
            ready: BTreeMap::new(),
            groups: HashMap::new(),
            taken_at: VecDeque::new(),
        }
    }

    /// Decides whether a new run starts or is queued. `None` if the queue is full.
    pub(super) fn admit(
        &mut self,
        priority: i32,
        group: Option<&Group>,
        bytes: u64,
        has_memory: bool,
    ) -> Option<AdmissionDecision> {
        if let Some(group) = group {
            self.set_group_limit(&group.name, group.at_once);
        }
        let group_has_room = group.is_none_or(|group| self.groups[&group.name].has_room());
        // Queued runs with at least the same priority start first.
        let is_first = self
            .ready
            .first_key_value()
            .is_none_or(|((Reverse(first), _), _)| priority > *first);
        if group_has_room && is_first && has_memory && self.in_flight < self.max_in_flight {
            self.in_flight += 1;
            self.count_started(group.map(|group| &group.name));
            return Some(AdmissionDecision::Start);
        }
        let all_bytes = self.queued_bytes.saturating_add(bytes);
        if self.queued >= self.max_queued || (self.queued_bytes > 0 && all_bytes > self.max_queued_bytes) {
            if let Some(group) = group {
                self.remove_group_if_empty(&group.name);
            }
            return None;
        }
        self.queued += 1;
        self.queued_bytes = all_bytes;
        Some(AdmissionDecision::Queue)
    }

    /// Whether the queue has room for another run, but not for a start event of `bytes`.
    pub(super) fn is_full_of_bytes(&self, bytes: u64) -> bool {
        self.queued < self.max_queued && self.queued_bytes.saturating_add(bytes) > self.max_queued_bytes
    }

    /// Puts a run into the queue for which no entry is reserved.
    pub(super) fn enqueue_unreserved(&mut self, run: QueuedRun) {
        self.queued += 1;
        self.queued_bytes = self.queued_bytes.saturating_add(run.bytes);
        self.enqueue(run);
    }

    /// Puts a run into the queue for which an entry is reserved.
    pub(super) fn enqueue(&mut self, run: QueuedRun) {
        self.sizes.insert(run.run, run.bytes);
        let order = (Reverse(run.priority), run.run);
        match run.group {
            None => {
                self.ready.insert(order, None);
            }
            Some(group) => {
                self.groups.entry(group.clone()).or_default().queued.insert(order);
                self.update_ready(&group);
            }
        }
    }

    /// Cancels the reservation of an entry of `bytes`.
    pub(super) fn cancel_reservation(&mut self, group: Option<&Arc<str>>, bytes: u64) {
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        self.queued = self.queued.saturating_sub(1);
        if let Some(group) = group {
            self.remove_group_if_empty(group);
        }
    }

    /// Removes a run from the queue.
    pub(super) fn remove(&mut self, run: &QueuedRun) {
        let order = (Reverse(run.priority), run.run);
        let was_queued = match &run.group {
            None => self.ready.remove(&order).is_some(),
            Some(name) => {
                let group = self.groups.get_mut(name);
                let was_queued = group.is_some_and(|group| group.queued.remove(&order));
                self.update_ready(name);
                was_queued
            }
        };
        if was_queued {
            let bytes = self.sizes.remove(&run.run).unwrap_or_default();
            self.cancel_reservation(run.group.as_ref(), bytes);
        }
    }

    /// Takes the next run from the queue, if a slot is free. The run occupies the slot.
    pub(super) fn take_next(&mut self, now: Timestamp) -> Option<QueuedRun> {
        if self.in_flight >= self.max_in_flight {
            return None;
        }
        let ((Reverse(priority), run), group) = self.ready.first_key_value()?;
        let run = QueuedRun {
            run: *run,
            priority: *priority,
            group: group.clone(),
            group_limit: group.as_ref().and_then(|name| self.groups.get(name)?.limit),
            bytes: self.sizes.get(run).copied().unwrap_or_default(),
        };
        self.in_flight += 1;
        if let Some(group) = run.group.as_ref().and_then(|name| self.groups.get_mut(name)) {
            group.started += 1;
            group.is_probed |= group.limit.is_none();
        }
        self.remove(&run);
        self.taken_at.push_back(now);
        if self.taken_at.len() > SPEED_SAMPLES {
            self.taken_at.pop_front();
        }
        Some(run)
    }

    /// Whether the group of a run that was taken from the queue has room for it, now that the group's limit is known.
    /// Otherwise the run is queued again.
    pub(super) fn confirm_group(&mut self, run: &QueuedRun, group: Option<Group>) -> bool {
        let Some(name) = &run.group else {
            return true;
        };
        let limit = group.map_or(u32::MAX, |group| group.at_once);
        self.set_group_limit(name, limit);
        if self.groups[name].started <= limit as usize {
            return true;
        }
        self.requeue(run.clone());
        false
    }

    /// Frees the slot of a run that was taken from the queue, and queues the run again.
    pub(super) fn requeue(&mut self, run: QueuedRun) {
        self.free(&run);
        self.enqueue_unreserved(run);
    }

    /// Frees the slot of a run that was taken from the queue.
    pub(super) fn free(&mut self, run: &QueuedRun) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(group) = &run.group {
            self.count_ended(group);
        }
    }

    /// Sets how many runs of a group may be active.
    pub(super) fn set_group_limit(&mut self, name: &Arc<str>, limit: u32) {
        let group = self.groups.entry(name.clone()).or_default();
        group.limit = Some(limit);
        group.is_probed = false;
        self.update_ready(name);
    }

    /// Counts a run of a group as started.
    pub(super) fn count_started(&mut self, group: Option<&Arc<str>>) {
        if let Some(name) = group {
            self.groups.entry(name.clone()).or_default().started += 1;
            self.update_ready(name);
        }
    }

    /// Counts a run of a group as ended.
    pub(super) fn count_ended(&mut self, name: &Arc<str>) {
        if let Some(group) = self.groups.get_mut(name) {
            group.started = group.started.saturating_sub(1);
            group.is_probed = false;
        }
        self.update_ready(name);
        self.remove_group_if_empty(name);
    }

    /// Makes the first queued run of a group ready if the group has room, and no other run of the group.
    fn update_ready(&mut self, name: &Arc<str>) {
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        let first = group.queued.first().copied().filter(|_| group.has_room());
        if group.ready != first {
            if let Some(order) = group.ready.take() {
                self.ready.remove(&order);
            }
            if let Some(order) = first {
                self.ready.insert(order, Some(name.clone()));
                group.ready = Some(order);
            }
        }
    }

    fn remove_group_if_empty(&mut self, name: &Arc<str>) {
        let is_empty = |group: &GroupQueue| group.started == 0 && group.queued.is_empty();
        if self.groups.get(name).is_some_and(is_empty) {
            self.groups.remove(name);
        }
    }

    /// Whether a queued run may start.
    pub(super) fn can_start(&self) -> bool {
        self.in_flight < self.max_in_flight && !self.ready.is_empty()
    }

    /// The estimated time in seconds until a part of the queue is free.
    pub(super) fn retry_after_s(&self, now: Timestamp) -> u32 {
        let (least, most, unknown) = RETRY_S;
        let Some(first) = self.taken_at.front().filter(|_| self.taken_at.len() > 1) else {
            return unknown;
        };
        let took_ms = now.0.saturating_sub(first.0).max(1).unsigned_abs();
        let runs = (self.max_queued / FREE_PART).max(1) as u64;
        let ms = took_ms.saturating_mul(runs) / self.taken_at.len() as u64;
        u32::try_from(ms.div_ceil(1_000))
            .unwrap_or(most)
            .clamp(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(0);

    fn run(n: u128) -> RunId {
        RunId(uuid::Uuid::from_u128(n))
    }

    /// Adds a run that the store lists as queued, as at a start of the engine.
    fn enqueue_stored(queue: &mut AdmissionQueue, n: u128, group: Option<&str>) {
        queue.enqueue_unreserved(QueuedRun {
            run: run(n),
            priority: 0,
            group: group.map(Arc::from),
            group_limit: None,
            bytes: 0,
        });
    }

    fn group(name: &str, at_once: u32) -> Group {
        Group {
            name: name.into(),
            at_once,
        }
    }

    /// Admits a run, and queues it if it does not start.
    fn admit(
        queue: &mut AdmissionQueue,
        n: u128,
        priority: i32,
        group: Option<&Group>,
    ) -> Option<AdmissionDecision> {
        let entry = queue.admit(priority, group, 0, true);
        if entry == Some(AdmissionDecision::Queue) {
            queue.enqueue(QueuedRun {
                run: run(n),
                priority,
                group: group.map(|group| group.name.clone()),
                group_limit: None,
                bytes: 0,
            });
        }
        entry
    }

    /// Takes runs from the queue while slots are free.
    fn take_all(queue: &mut AdmissionQueue) -> Vec<u128> {
        let taken = std::iter::from_fn(|| queue.take_next(NOW));
        taken.map(|run| run.run.0.as_u128()).collect()
    }

    /// Ends a run.
    fn end_run(queue: &mut AdmissionQueue, group: Option<&str>) {
        queue.in_flight -= 1;
        if let Some(group) = group {
            queue.count_ended(&group.into());
        }
    }

    #[test]
    fn queued_runs_start_by_priority_and_then_by_age() {
        let mut queue = AdmissionQueue::new(1, 10, u64::MAX);
        assert_eq!(admit(&mut queue, 1, 0, None), Some(AdmissionDecision::Start));
        for (n, priority) in [(2, 0), (3, 5), (4, -1), (5, 5)] {
            assert_eq!(
                admit(&mut queue, n, priority, None),
                Some(AdmissionDecision::Queue)
            );
        }
        let mut order = Vec::new();
        for _ in 0..4 {
            assert!(take_all(&mut queue).is_empty(), "the slot is occupied");
            end_run(&mut queue, None);
            order.extend(take_all(&mut queue));
        }
        assert_eq!(order, [3, 5, 2, 4]);
        assert_eq!(queue.queued, 0);
    }

    #[test]
    fn a_new_run_overtakes_queued_runs_only_with_a_higher_priority() {
        let mut queue = AdmissionQueue::new(1, 10, u64::MAX);
        admit(&mut queue, 1, 0, None);
        admit(&mut queue, 2, 0, None);
        end_run(&mut queue, None);
        // The slot is free, and the queued run has not started yet.
        assert_eq!(admit(&mut queue, 3, 0, None), Some(AdmissionDecision::Queue));
        assert_eq!(admit(&mut queue, 4, 1, None), Some(AdmissionDecision::Start));
    }

    #[test]
    fn a_full_queue_refuses_runs() {
        let mut queue = AdmissionQueue::new(1, 2, u64::MAX);
        for n in 1..=3 {
            assert!(admit(&mut queue, n, 0, None).is_some());
        }
        assert_eq!(admit(&mut queue, 4, 100, None), None);
        assert_eq!(admit(&mut queue, 4, 0, Some(&group("g", 1))), None);
        assert!(queue.groups.is_empty(), "a refused run leaves no group behind");
        end_run(&mut queue, None);
        assert_eq!(take_all(&mut queue), [2]);
        assert_eq!(admit(&mut queue, 4, 0, None), Some(AdmissionDecision::Queue));
    }

    #[test]
    fn a_queue_is_full_when_its_start_events_reach_the_limit_in_bytes() {
        let mut queue = AdmissionQueue::new(0, 10, 100);
        for n in 1..=2 {
            assert_eq!(queue.admit(0, None, 50, true), Some(AdmissionDecision::Queue));
            let queued = QueuedRun {
                run: run(n),
                priority: 0,
                group: None,
                group_limit: None,
                bytes: 50,
            };
            queue.enqueue(queued);
        }
        assert_eq!(queue.admit(0, None, 1, true), None);
        assert!(queue.is_full_of_bytes(1) && !queue.is_full_of_bytes(0));
        queue.max_in_flight = 1;
        assert_eq!(take_all(&mut queue), [1]);
        assert_eq!(queue.queued_bytes, 50);
        // A failed start cancels its reservation.
        assert_eq!(queue.admit(0, None, 50, true), Some(AdmissionDecision::Queue));
        queue.cancel_reservation(None, 50);
        queue.free(&QueuedRun {
            run: run(1),
            priority: 0,
            group: None,
            group_limit: None,
            bytes: 50,
        });
        assert_eq!(take_all(&mut queue), [2]);
        assert_eq!(queue.queued_bytes, 0);
        // A run that is queued again counts again.
        queue.requeue(QueuedRun {
            run: run(2),
            priority: 0,
            group: None,
            group_limit: None,
            bytes: 50,
        });
        assert_eq!(queue.queued_bytes, 50);
        assert_eq!(take_all(&mut queue), [2]);
        assert_eq!(queue.queued_bytes, 0);
        // A start event above the limit is queued alone.
        assert_eq!(queue.admit(0, None, 500, true), Some(AdmissionDecision::Queue));
    }

    #[test]
    fn a_run_whose_group_is_full_is_skipped() {
        let mut queue = AdmissionQueue::new(10, 100, u64::MAX);
        let (a, b) = (group("a", 2), group("b", 1));
        for n in 1..=2 {
            assert_eq!(admit(&mut queue, n, 0, Some(&a)), Some(AdmissionDecision::Start));
        }
        for n in 3..=5 {
            assert_eq!(admit(&mut queue, n, 9, Some(&a)), Some(AdmissionDecision::Queue));
        }
        assert_eq!(admit(&mut queue, 6, 0, Some(&b)), Some(AdmissionDecision::Start));
        assert_eq!(admit(&mut queue, 7, 0, None), Some(AdmissionDecision::Start));
        assert!(take_all(&mut queue).is_empty());
        end_run(&mut queue, Some("a"));
        assert_eq!(take_all(&mut queue), [3]);
        end_run(&mut queue, Some("b"));
        assert!(take_all(&mut queue).is_empty());
        end_run(&mut queue, Some("a"));
        end_run(&mut queue, Some("a"));
        assert_eq!(take_all(&mut queue), [4, 5]);
    }

    #[test]
    fn within_a_group_the_highest_priority_starts_first() {
        let mut queue = AdmissionQueue::new(10, 100, u64::MAX);
        let a = group("a", 1);
        admit(&mut queue, 1, 0, Some(&a));
        admit(&mut queue, 2, 0, Some(&a));
        admit(&mut queue, 3, 7, Some(&a));
        queue.remove(&QueuedRun {
            run: run(2),
            priority: 0,
            group: Some("a".into()),
            group_limit: None,
            bytes: 0,
        });
        admit(&mut queue, 4, 8, Some(&a));
        assert_eq!(queue.queued, 2);
        end_run(&mut queue, Some("a"));
        assert_eq!(take_all(&mut queue), [4]);
        end_run(&mut queue, Some("a"));
        assert_eq!(take_all(&mut queue), [3]);
        end_run(&mut queue, Some("a"));
        assert!(queue.groups.is_empty(), "a group without runs is removed");
    }

    #[test]
    fn after_a_restart_the_first_run_of_a_group_reveals_its_limit() {
        let mut queue = AdmissionQueue::new(10, 100, u64::MAX);
        queue.groups.entry("a".into()).or_default().started = 1;
        for n in 1..=4 {
            enqueue_stored(&mut queue, n, Some("a"));
        }
        let first = queue.take_next(NOW).expect("there is room");
        assert_eq!(
            queue.take_next(NOW),
            None,
            "only one run is loaded to learn the limit"
        );
        assert!(queue.confirm_group(&first, Some(group("a", 3))));
        let second = queue.take_next(NOW).expect("there is room for three");
        assert!(queue.confirm_group(&second, Some(group("a", 3))));
        assert_eq!(queue.take_next(NOW), None);

        // In another group that turns out to be full, the run keeps its position in the queue.
        let mut full = AdmissionQueue::new(10, 100, u64::MAX);
        full.groups.entry("a".into()).or_default().started = 1;
        for n in [8, 9] {
            enqueue_stored(&mut full, n, Some("a"));
        }
        let first = full.take_next(NOW).expect("the group's limit is unknown");
        assert!(!full.confirm_group(&first, Some(group("a", 1))));
        assert_eq!((full.take_next(NOW), full.in_flight, full.queued), (None, 0, 2));
        full.count_ended(&"a".into());
        assert_eq!(take_all(&mut full), [8]);
    }

    #[test]
    fn the_retry_time_follows_from_the_speed_of_the_queue() {
        let mut queue = AdmissionQueue::new(1_000, 100, u64::MAX);
        assert_eq!(queue.retry_after_s(NOW), 5, "the speed is unknown");
        for n in 0..21 {
            enqueue_stored(&mut queue, n, None);
            queue
                .take_next(Timestamp(1_000 * n as i64))
                .expect("there is room");
        }
        // About one start a second: ten entries are free in ten seconds.
        assert_eq!(queue.retry_after_s(Timestamp(20_000)), 10);
        assert_eq!(queue.retry_after_s(Timestamp(2_000_000)), 60);
    }
}
