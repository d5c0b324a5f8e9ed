//! The clocks of a guest: the real ones if its plugin has the `clock` grant.
//!
//! Otherwise the wall clock always shows the call's recorded start, and the monotonic clock is the sandbox's
//! [`VirtualClock`](crate::sandbox).

use std::time::{Duration, SystemTime};

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

use crate::sandbox::{READING_NS, Sandbox};

/// A time of the real monotonic clock that a guest may wait for; none if it is too far in the future.
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
    /// Whether the guest has the real clocks. Their first use is logged.
    fn has_real_clock(&mut self) -> bool {
        let granted = self.rules.grants.clock;
        if granted {
            self.log_first_use(
                |used| &mut used.clock,
                |_| (Level::Info, "the real clock was read".to_owned()),
            );
        }
        granted
    }

    /// The real monotonic clock: the time since the instance was created.
    fn real_now_ns(&self) -> u64 {
        u64::try_from(self.wasi_state.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl monotonic_clock::Host for Sandbox {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(match self.has_real_clock() {
            true => self.real_now_ns(),
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
        if self.has_real_clock() {
            let due = self.wasi_state.began.checked_add(Duration::from_nanos(when));
            let timer = self.table.push(RealTimer {
                due: due.map(Instant::from_std),
            })?;
            return subscribe(&mut self.table, timer);
        }
        let timer = self.table.push(self.clock.timer(when))?;
        subscribe(&mut self.table, timer)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = match self.rules.grants.clock {
            true => self.real_now_ns(),
            false => self.clock.peek(),
        };
        self.subscribe_instant(now.saturating_add(duration))
    }
}

impl wall_clock::Host for Sandbox {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        if !self.has_real_clock() {
            return Ok(datetime(self.context.started_at));
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

/// Converts a timestamp; times before 1970 become 1970.
fn datetime(at: Timestamp) -> wall_clock::Datetime {
    let ms = u64::try_from(at.0).unwrap_or(0);
    wall_clock::Datetime {
        seconds: ms / 1000,
        nanoseconds: (ms % 1000) as u32 * 1_000_000,
    }
}
