//! The clocks of a guest: the real ones where its plugin is granted them.
//!
//! Of the others, the wall clock stands at the call's recorded start. The monotonic clock counts the readings
//! of it and the sleeps, so that the same call sees the same times however fast it is run: a
//! sleep takes its time, and moves the guest's clock on by exactly what was asked for.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use heddle_kernel::{Level, Timestamp};
use tokio::time::{Instant, sleep_until};
use wasmtime::component::Resource;
use wasmtime_wasi::{
    async_trait,
    p2::{
        DynPollable, Pollable,
        bindings::clocks::{monotonic_clock, wall_clock},
        subscribe,
    },
};

use crate::{output::held, sandbox::Sandbox};

/// What one reading adds to the monotonic clock.
const READING_NS: u64 = 1000;

/// The longest that one wait for a timer takes before the timer is looked at again.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A monotonic clock that only its guest moves.
#[derive(Clone, Default)]
pub(crate) struct Ticks(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: u64,
    /// When each sleep is over that the guest waits for at this moment.
    waiting: Vec<u64>,
}

impl Ticks {
    fn read(&self) -> u64 {
        let mut state = held(&self.0);
        state.now = state.now.saturating_add(READING_NS);
        state.now
    }
}

/// A time that a guest may wait for.
struct Timer {
    clock: Ticks,
    due: u64,
}

/// One sleep under way: it is taken off the clock's list however it ends.
struct Sleeping<'a> {
    clock: &'a Ticks,
    due: u64,
}

impl Sleeping<'_> {
    /// Moves the clock on to the end of this sleep, unless one that ends earlier is under way.
    fn is_over(&self) -> bool {
        let mut state = held(&self.clock.0);
        let earliest = state.waiting.iter().all(|&other| other >= self.due);
        if earliest {
            state.now = state.now.max(self.due);
        }
        earliest
    }
}

impl Drop for Sleeping<'_> {
    fn drop(&mut self) {
        let waiting = &mut held(&self.clock.0).waiting;
        if let Some(at) = waiting.iter().position(|&due| due == self.due) {
            waiting.swap_remove(at);
        }
    }
}

#[async_trait]
impl Pollable for Timer {
    /// Of several timers that a guest waits for at once, only the earliest is ever the first to
    /// be ready: which ones the machine's timers find due together must not show.
    async fn ready(&mut self) {
        let began = Instant::now();
        // Asking counts as a reading: a guest that asks in a loop gets there.
        let now = self.clock.read();
        if now >= self.due {
            // The guest may be polling in a loop: whoever else waits for this thread goes first.
            return tokio::task::yield_now().await;
        }
        let rest = Duration::from_nanos(self.due - now);
        held(&self.clock.0).waiting.push(self.due);
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
            // An earlier timer is due as well and has the word.
            tokio::task::yield_now().await;
        }
    }
}

/// A time of the real monotonic clock that a guest may wait for; none is further away than anybody waits.
struct RealTimer {
    due: Option<Instant>,
}

#[async_trait]
impl Pollable for RealTimer {
    async fn ready(&mut self) {
        match self.due {
            Some(due) if due <= Instant::now() => tokio::task::yield_now().await,
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

impl Sandbox {
    /// Whether the guest has the real clocks, which is told when it looks at them.
    fn is_real(&mut self) -> bool {
        let granted = self.rules.grants.clock;
        if granted {
            self.told(
                |used| &mut used.clock,
                |_| (Level::Info, "the real clock was read".to_owned()),
            );
        }
        granted
    }

    /// What the real monotonic clock shows: the time since the instance began.
    fn real_ns(&self) -> u64 {
        u64::try_from(self.world.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl monotonic_clock::Host for Sandbox {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(match self.is_real() {
            true => self.real_ns(),
            false => self.clock.read(),
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(match self.rules.grants.clock {
            true => 1,
            false => READING_NS,
        })
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        if self.is_real() {
            let due = self.world.began.checked_add(Duration::from_nanos(when));
            let timer = self.table.push(RealTimer {
                due: due.map(Instant::from_std),
            })?;
            return subscribe(&mut self.table, timer);
        }
        let timer = self.table.push(Timer {
            clock: self.clock.clone(),
            due: when,
        })?;
        subscribe(&mut self.table, timer)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = match self.rules.grants.clock {
            true => self.real_ns(),
            false => held(&self.clock.0).now,
        };
        self.subscribe_instant(now.saturating_add(duration))
    }
}

impl wall_clock::Host for Sandbox {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        if !self.is_real() {
            return Ok(datetime(self.frame.started_at));
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default();
        Ok(wall_clock::Datetime {
            seconds: since.as_secs(),
            nanoseconds: since.subsec_nanos(),
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime {
            seconds: 0,
            nanoseconds: if self.rules.grants.clock { 1 } else { 1_000_000 },
        })
    }
}

/// The moment as WASI has it; nothing is before 1970.
fn datetime(at: Timestamp) -> wall_clock::Datetime {
    let ms = u64::try_from(at.0).unwrap_or(0);
    wall_clock::Datetime {
        seconds: ms / 1000,
        nanoseconds: (ms % 1000) as u32 * 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{Either, select};

    use super::*;

    fn timer(clock: &Ticks, due_ms: u64) -> Timer {
        Timer {
            clock: clock.clone(),
            due: due_ms * 1_000_000,
        }
    }

    #[tokio::test]
    async fn a_sleep_moves_the_clock_to_its_end() {
        let clock = Ticks::default();
        timer(&clock, 7).ready().await;
        assert_eq!(clock.read(), 7_001_000);
        timer(&clock, 7).ready().await;
        assert_eq!(clock.read(), 7_003_000, "asking for what is past is a reading");
    }

    #[tokio::test]
    async fn of_two_timers_the_earlier_is_first_in_either_order() {
        for (first, second) in [(10, 11), (11, 10)] {
            let clock = Ticks::default();
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
