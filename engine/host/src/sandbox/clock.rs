//! The virtual monotonic clock of a guest without the `clock` grant.
//!
//! The clock counts the guest's readings and sleeps, so the same call sees the same times however fast it runs: a sleep
//! takes its real time, and moves the guest's clock on by exactly the requested duration.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use wasmtime_wasi::{async_trait, p2::Pollable};

use crate::lock::lock;

/// How far one reading moves the clock.
pub(crate) const READING_NS: u64 = 1000;

/// The longest real sleep before the timer checks its clock again.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A monotonic clock that only its guest moves, in nanoseconds.
#[derive(Clone, Default)]
pub(crate) struct VirtualClock(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: u64,
    /// The due times of the sleeps that the guest waits for, each with the number of these sleeps. A guest may wait for
    /// thousands at once.
    waiting: BTreeMap<u64, usize>,
}

impl VirtualClock {
    /// The time of the clock in nanoseconds. Does not count as a reading.
    pub(crate) fn peek(&self) -> u64 {
        lock(&self.0).now
    }

    /// A timer that is due at this time of the clock.
    pub(crate) fn timer(&self, due: u64) -> Timer {
        Timer {
            clock: self.clone(),
            due,
        }
    }

    pub(crate) fn read(&self) -> u64 {
        let mut state = lock(&self.0);
        state.now = state.now.saturating_add(READING_NS);
        state.now
    }
}

/// A time of the virtual clock that a guest may wait for.
pub(crate) struct Timer {
    clock: VirtualClock,
    due: u64,
}

/// An active sleep. Dropping it removes it from the clock's list.
struct Sleeping<'a> {
    clock: &'a VirtualClock,
    due: u64,
}

impl Sleeping<'_> {
    /// Moves the clock to the end of this sleep, unless an earlier sleep is active.
    fn is_over(&self) -> bool {
        let mut state = lock(&self.clock.0);
        let earliest = state.waiting.keys().next().is_none_or(|&first| first >= self.due);
        if earliest {
            state.now = state.now.max(self.due);
        }
        earliest
    }
}

impl Drop for Sleeping<'_> {
    fn drop(&mut self) {
        let waiting = &mut lock(&self.clock.0).waiting;
        if let Entry::Occupied(mut count) = waiting.entry(self.due) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[async_trait]
impl Pollable for Timer {
    /// Of several timers that a guest waits for at once, only the earliest becomes ready first. The guest must not see
    /// which timers the machine finds due together.
    async fn ready(&mut self) {
        let began = Instant::now();
        // Asking counts as a reading, so a guest that polls in a loop makes progress.
        let now = self.clock.read();
        if now >= self.due {
            // The guest may poll in a loop: other tasks of this thread run first.
            return tokio::task::yield_now().await;
        }
        let rest = Duration::from_nanos(self.due - now);
        *lock(&self.clock.0).waiting.entry(self.due).or_default() += 1;
        let sleeping = Sleeping {
            clock: &self.clock,
            due: self.due,
        };
        loop {
            let left = rest.saturating_sub(began.elapsed()).min(LONGEST_WAIT);
            sleep_until(Instant::now() + left).await;
            if began.elapsed() >= rest && sleeping.is_over() {
                return;
            }
            // An earlier timer is due as well and goes first.
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{Either, select};

    use super::*;

    fn timer(clock: &VirtualClock, due_ms: u64) -> Timer {
        Timer {
            clock: clock.clone(),
            due: due_ms * 1_000_000,
        }
    }

    #[tokio::test]
    async fn a_sleep_moves_the_clock_to_its_end() {
        let clock = VirtualClock::default();
        timer(&clock, 7).ready().await;
        assert_eq!(clock.read(), 7_001_000);
        timer(&clock, 7).ready().await;
        assert_eq!(clock.read(), 7_003_000, "asking for what is past is a reading");
    }

    #[tokio::test]
    async fn thousands_of_timers_are_waited_for_at_once() {
        let clock = VirtualClock::default();
        let began = Instant::now();
        for _ in 0..5 {
            let mut timers: Vec<_> = (0..10_000).map(|n| timer(&clock, 1 + n % 7)).collect();
            let waits = timers.iter_mut().map(|timer| timer.ready());
            futures_util::future::select_all(waits).await;
            assert!(lock(&clock.0).waiting.is_empty());
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn of_two_timers_the_earlier_is_first_in_either_order() {
        for (first, second) in [(10, 11), (11, 10)] {
            let clock = VirtualClock::default();
            let (mut a, mut b) = (timer(&clock, first), timer(&clock, second));
            let winner = match select(a.ready(), b.ready()).await {
                Either::Left(_) => first,
                Either::Right(_) => second,
            };
            assert_eq!(winner, 10);
            assert!(clock.read() < 11_000_000);
        }
    }
}
