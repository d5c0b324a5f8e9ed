//! Who is in flight, and who is next: a queue that knows neither tasks nor the store.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use heddle_kernel::{RunId, Timestamp, run::Group};

use crate::ports::QueuedRun;

/// From how many of the latest runs that were taken up it is told how fast the queue moves.
const PACE_LEN: usize = 256;
/// What part of the queue is to be free before who was refused comes again.
const FREE_PART: usize = 10;
/// When to come again, in seconds: at the earliest, at the latest, and while nothing is known.
const RETRY_S: (u32, u32, u32) = (1, 60, 5);

/// Where a new run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It begins at once, and has its place.
    Begins,
    /// It waits for its turn. A place in the queue is reserved for it.
    Queued,
}

/// The order of the queue.
type Turn = (Reverse<i32>, RunId);

/// The runs of a group.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// How many have begun and are not over.
    pub(super) begun: usize,
    /// How many may, as the run that came last said. None until one did.
    at_once: Option<u32>,
    /// Of a group of which nothing is known, one run is taken up to see.
    asked: bool,
    /// Those that are queued.
    queued: BTreeSet<Turn>,
    /// The first of them, if it may begin: the one that is among those that are ready.
    ready: Option<Turn>,
}

impl Members {
    fn has_room(&self) -> bool {
        match self.at_once {
            Some(at_once) => self.begun < at_once as usize,
            None => !self.asked,
        }
    }
}

/// Who is in flight, and who is next. It knows neither tasks nor time.
#[derive(Debug)]
pub(super) struct Places {
    max_in_flight: usize,
    max_queued: usize,
    max_queued_bytes: u64,
    pub(super) in_flight: usize,
    /// How many are in the queue, or have a place reserved in it.
    pub(super) queued: usize,
    /// How many bytes the starts of those take that were queued since the engine began, reserved places included.
    pub(super) queued_bytes: u64,
    /// The same for each of them that is in the queue.
    sizes: HashMap<RunId, u64>,
    /// Those that may begin as soon as there is a place: every one without a group, and the first one of
    /// each group that has room.
    ready: BTreeMap<Turn, Option<Arc<str>>>,
    pub(super) groups: HashMap<Arc<str>, Members>,
    /// When the latest ones were taken from the queue.
    taken: VecDeque<Timestamp>,
}

impl Places {
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
            taken: VecDeque::new(),
        }
    }

    /// Finds a place for a new run. None where there is none, not even in the queue.
    pub(super) fn enter(
        &mut self,
        priority: i32,
        group: Option<&Group>,
        bytes: u64,
        has_memory: bool,
    ) -> Option<Entry> {
        if let Some(group) = group {
            self.say(&group.name, group.at_once);
        }
        let room = group.is_none_or(|group| self.groups[&group.name].has_room());
        // Whoever is before it in the queue goes first.
        let first = self
            .ready
            .first_key_value()
            .is_none_or(|((Reverse(first), _), _)| priority > *first);
        if room && first && has_memory && self.in_flight < self.max_in_flight {
            self.in_flight += 1;
            self.count(group.map(|group| &group.name));
            return Some(Entry::Begins);
        }
        let all_bytes = self.queued_bytes.saturating_add(bytes);
        if self.queued >= self.max_queued || (self.queued_bytes > 0 && all_bytes > self.max_queued_bytes) {
            if let Some(group) = group {
                self.forget_if_empty(&group.name);
            }
            return None;
        }
        self.queued += 1;
        self.queued_bytes = all_bytes;
        Some(Entry::Queued)
    }

    /// Whether it is the bytes of the queue that leave no place for a start of so many.
    pub(super) fn is_full_of_bytes(&self, bytes: u64) -> bool {
        self.queued < self.max_queued && self.queued_bytes.saturating_add(bytes) > self.max_queued_bytes
    }

    /// Puts a new run into the queue, where a place of so many bytes is reserved for it.
    pub(super) fn enqueue_new(&mut self, run: QueuedRun, bytes: u64) {
        self.sizes.insert(run.run, bytes);
        self.enqueue(run);
    }

    /// Puts a run into the queue, where a place is reserved for it.
    pub(super) fn enqueue(&mut self, run: QueuedRun) {
        let turn = (Reverse(run.priority), run.run);
        match run.group {
            None => {
                self.ready.insert(turn, None);
            }
            Some(group) => {
                self.groups.entry(group.clone()).or_default().queued.insert(turn);
                self.surface(&group);
            }
        }
    }

    /// Gives a place back that was reserved in the queue.
    pub(super) fn unreserve(&mut self, group: Option<&Arc<str>>, bytes: u64) {
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        self.queued = self.queued.saturating_sub(1);
        if let Some(group) = group {
            self.forget_if_empty(group);
        }
    }

    /// Takes a run out of the queue.
    pub(super) fn dequeue(&mut self, run: &QueuedRun) {
        let turn = (Reverse(run.priority), run.run);
        let there = match &run.group {
            None => self.ready.remove(&turn).is_some(),
            Some(group) => {
                let members = self.groups.get_mut(group);
                let there = members.is_some_and(|members| members.queued.remove(&turn));
                self.surface(group);
                there
            }
        };
        if there {
            let bytes = self.sizes.remove(&run.run).unwrap_or_default();
            self.unreserve(run.group.as_ref(), bytes);
        }
    }

    /// The run whose turn it is, if there is a place: it has it then.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<QueuedRun> {
        if self.in_flight >= self.max_in_flight {
            return None;
        }
        let ((Reverse(priority), run), group) = self.ready.first_key_value()?;
        let run = QueuedRun {
            run: *run,
            priority: *priority,
            group: group.clone(),
        };
        self.in_flight += 1;
        if let Some(members) = run.group.as_ref().and_then(|group| self.groups.get_mut(group)) {
            members.begun += 1;
            members.asked |= members.at_once.is_none();
        }
        self.dequeue(&run);
        self.taken.push_back(now);
        if self.taken.len() > PACE_LEN {
            self.taken.pop_front();
        }
        Some(run)
    }

    /// Whether the group of a run that was given a place has room for it, now that the group is known. Where it has
    /// none, the run is in the queue again.
    pub(super) fn confirm(&mut self, run: &QueuedRun, group: Option<Group>) -> bool {
        let Some(name) = &run.group else {
            return true;
        };
        let at_once = group.map_or(u32::MAX, |group| group.at_once);
        self.say(name, at_once);
        if self.groups[name].begun <= at_once as usize {
            return true;
        }
        self.put_back(run.clone());
        false
    }

    /// Takes a run's place from it, and puts it back into the queue.
    pub(super) fn put_back(&mut self, run: QueuedRun) {
        self.give_back(&run);
        self.queued += 1;
        self.enqueue(run);
    }

    /// Takes a run's place from it, which it did not need.
    pub(super) fn give_back(&mut self, run: &QueuedRun) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(group) = &run.group {
            self.uncount(group);
        }
    }

    /// How many runs of a group may be under way.
    pub(super) fn say(&mut self, group: &Arc<str>, at_once: u32) {
        let members = self.groups.entry(group.clone()).or_default();
        members.at_once = Some(at_once);
        members.asked = false;
        self.surface(group);
    }

    /// A run of a group has begun.
    pub(super) fn count(&mut self, group: Option<&Arc<str>>) {
        if let Some(group) = group {
            self.groups.entry(group.clone()).or_default().begun += 1;
            self.surface(group);
        }
    }

    /// A run of a group is over.
    pub(super) fn uncount(&mut self, group: &Arc<str>) {
        if let Some(members) = self.groups.get_mut(group) {
            members.begun = members.begun.saturating_sub(1);
            members.asked = false;
        }
        self.surface(group);
        self.forget_if_empty(group);
    }

    /// Sees to it that the first run of a group is ready if the group has room, and no other.
    fn surface(&mut self, group: &Arc<str>) {
        let Some(members) = self.groups.get_mut(group) else {
            return;
        };
        let first = members.queued.first().copied().filter(|_| members.has_room());
        if members.ready != first {
            if let Some(turn) = members.ready.take() {
                self.ready.remove(&turn);
            }
            if let Some(turn) = first {
                self.ready.insert(turn, Some(group.clone()));
                members.ready = Some(turn);
            }
        }
    }

    pub(super) fn forget_if_empty(&mut self, group: &Arc<str>) {
        let empty = |members: &Members| members.begun == 0 && members.queued.is_empty();
        if self.groups.get(group).is_some_and(empty) {
            self.groups.remove(group);
        }
    }

    /// Whether somebody may begin.
    pub(super) fn may_begin(&self) -> bool {
        self.in_flight < self.max_in_flight && !self.ready.is_empty()
    }

    /// In how many seconds a part of the queue is probably free, so that it is no use to come before.
    pub(super) fn retry_after_s(&self, now: Timestamp) -> u32 {
        let (least, most, unknown) = RETRY_S;
        let Some(first) = self.taken.front().filter(|_| self.taken.len() > 1) else {
            return unknown;
        };
        let took_ms = now.0.saturating_sub(first.0).max(1).unsigned_abs();
        let runs = (self.max_queued / FREE_PART).max(1) as u64;
        let ms = took_ms.saturating_mul(runs) / self.taken.len() as u64;
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

    fn group(name: &str, at_once: u32) -> Group {
        Group {
            name: name.into(),
            at_once,
        }
    }

    /// Lets a run in, or queues it.
    fn enter(places: &mut Places, n: u128, priority: i32, group: Option<&Group>) -> Option<Entry> {
        let entry = places.enter(priority, group, 0, true);
        if entry == Some(Entry::Queued) {
            places.enqueue(QueuedRun {
                run: run(n),
                priority,
                group: group.map(|group| group.name.clone()),
            });
        }
        entry
    }

    /// The runs whose turn it is, as long as there are places.
    fn turns(places: &mut Places) -> Vec<u128> {
        let next = std::iter::from_fn(|| places.next(NOW));
        next.map(|run| run.run.0.as_u128()).collect()
    }

    /// A run is over.
    fn over(places: &mut Places, group: Option<&str>) {
        places.in_flight -= 1;
        if let Some(group) = group {
            places.uncount(&group.into());
        }
    }

    #[test]
    fn the_queue_goes_by_priority_and_then_by_arrival() {
        let mut places = Places::new(1, 10, u64::MAX);
        assert_eq!(enter(&mut places, 1, 0, None), Some(Entry::Begins));
        for (n, priority) in [(2, 0), (3, 5), (4, -1), (5, 5)] {
            assert_eq!(enter(&mut places, n, priority, None), Some(Entry::Queued));
        }
        let mut order = Vec::new();
        for _ in 0..4 {
            assert!(turns(&mut places).is_empty(), "the place is taken");
            over(&mut places, None);
            order.extend(turns(&mut places));
        }
        assert_eq!(order, [3, 5, 2, 4]);
        assert_eq!(places.queued, 0);
    }

    #[test]
    fn who_comes_later_does_not_pass_who_waits_unless_it_matters_more() {
        let mut places = Places::new(1, 10, u64::MAX);
        enter(&mut places, 1, 0, None);
        enter(&mut places, 2, 0, None);
        over(&mut places, None);
        // The place is free, and nobody has taken up the one that waits.
        assert_eq!(enter(&mut places, 3, 0, None), Some(Entry::Queued));
        assert_eq!(enter(&mut places, 4, 1, None), Some(Entry::Begins));
    }

    #[test]
    fn a_full_queue_takes_nobody_more() {
        let mut places = Places::new(1, 2, u64::MAX);
        for n in 1..=3 {
            assert!(enter(&mut places, n, 0, None).is_some());
        }
        assert_eq!(enter(&mut places, 4, 100, None), None);
        assert_eq!(enter(&mut places, 4, 0, Some(&group("g", 1))), None);
        assert!(places.groups.is_empty(), "nothing is kept of who was refused");
        over(&mut places, None);
        assert_eq!(turns(&mut places), [2]);
        assert_eq!(enter(&mut places, 4, 0, None), Some(Entry::Queued));
    }

    #[test]
    fn a_queue_is_full_when_its_starts_take_too_many_bytes() {
        let mut places = Places::new(0, 10, 100);
        for n in 1..=2 {
            assert_eq!(places.enter(0, None, 50, true), Some(Entry::Queued));
            let queued = QueuedRun {
                run: run(n),
                priority: 0,
                group: None,
            };
            places.enqueue_new(queued, 50);
        }
        assert_eq!(places.enter(0, None, 1, true), None);
        assert!(places.is_full_of_bytes(1) && !places.is_full_of_bytes(0));
        places.max_in_flight = 1;
        assert_eq!(turns(&mut places), [1]);
        assert_eq!(places.queued_bytes, 50);
        // A start that fails gives its place back.
        assert_eq!(places.enter(0, None, 50, true), Some(Entry::Queued));
        places.unreserve(None, 50);
        places.give_back(&QueuedRun {
            run: run(1),
            priority: 0,
            group: None,
        });
        assert_eq!(turns(&mut places), [2]);
        assert_eq!(places.queued_bytes, 0);
        // One that is larger than all may be is queued alone.
        assert_eq!(places.enter(0, None, 500, true), Some(Entry::Queued));
    }

    #[test]
    fn a_run_whose_group_is_full_is_passed_over_and_blocks_nobody() {
        let mut places = Places::new(10, 100, u64::MAX);
        let (a, b) = (group("a", 2), group("b", 1));
        for n in 1..=2 {
            assert_eq!(enter(&mut places, n, 0, Some(&a)), Some(Entry::Begins));
        }
        for n in 3..=5 {
            assert_eq!(enter(&mut places, n, 9, Some(&a)), Some(Entry::Queued));
        }
        assert_eq!(enter(&mut places, 6, 0, Some(&b)), Some(Entry::Begins));
        assert_eq!(enter(&mut places, 7, 0, None), Some(Entry::Begins));
        assert!(turns(&mut places).is_empty());
        over(&mut places, Some("a"));
        assert_eq!(turns(&mut places), [3]);
        over(&mut places, Some("b"));
        assert!(turns(&mut places).is_empty());
        over(&mut places, Some("a"));
        over(&mut places, Some("a"));
        assert_eq!(turns(&mut places), [4, 5]);
    }

    #[test]
    fn in_a_group_too_the_highest_priority_goes_first() {
        let mut places = Places::new(10, 100, u64::MAX);
        let a = group("a", 1);
        enter(&mut places, 1, 0, Some(&a));
        enter(&mut places, 2, 0, Some(&a));
        enter(&mut places, 3, 7, Some(&a));
        places.dequeue(&QueuedRun {
            run: run(2),
            priority: 0,
            group: Some("a".into()),
        });
        enter(&mut places, 4, 8, Some(&a));
        assert_eq!(places.queued, 2);
        over(&mut places, Some("a"));
        assert_eq!(turns(&mut places), [4]);
        over(&mut places, Some("a"));
        assert_eq!(turns(&mut places), [3]);
        over(&mut places, Some("a"));
        assert!(places.groups.is_empty(), "a group without runs is forgotten");
    }

    #[test]
    fn after_a_restart_one_run_of_a_group_tells_how_many_may() {
        let mut places = Places::new(10, 100, u64::MAX);
        places.groups.entry("a".into()).or_default().begun = 1;
        for n in 1..=4 {
            places.queued += 1;
            places.enqueue(QueuedRun {
                run: run(n),
                priority: 0,
                group: Some("a".into()),
            });
        }
        let first = places.next(NOW).expect("there is room");
        assert_eq!(places.next(NOW), None, "one is asked at a time");
        assert!(places.confirm(&first, Some(group("a", 3))));
        let second = places.next(NOW).expect("there is room for three");
        assert!(places.confirm(&second, Some(group("a", 3))));
        assert_eq!(places.next(NOW), None);

        // Another one, for which there is no room after all, keeps its turn.
        let mut full = Places::new(10, 100, u64::MAX);
        full.groups.entry("a".into()).or_default().begun = 1;
        for n in [8, 9] {
            full.queued += 1;
            full.enqueue(QueuedRun {
                run: run(n),
                priority: 0,
                group: Some("a".into()),
            });
        }
        let first = full.next(NOW).expect("it is not known that there is no room");
        assert!(!full.confirm(&first, Some(group("a", 1))));
        assert_eq!((full.next(NOW), full.in_flight, full.queued), (None, 0, 2));
        full.uncount(&"a".into());
        assert_eq!(turns(&mut full), [8]);
    }

    #[test]
    fn when_to_come_again_follows_from_how_fast_the_queue_moves() {
        let mut places = Places::new(1_000, 100, u64::MAX);
        assert_eq!(places.retry_after_s(NOW), 5, "nothing is known yet");
        for n in 0..21 {
            places.queued += 1;
            places.enqueue(QueuedRun {
                run: run(n),
                priority: 0,
                group: None,
            });
            places.next(Timestamp(1_000 * n as i64)).expect("there is room");
        }
        // About one a second: ten places are free in ten seconds.
        assert_eq!(places.retry_after_s(Timestamp(20_000)), 10);
        assert_eq!(places.retry_after_s(Timestamp(2_000_000)), 60);
    }
}
