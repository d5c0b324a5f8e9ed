//! How many bytes the runs in memory hold together, and what waits when that is too much.
//!
//! A run is charged with what it holds. Past the limit no further run begins or is woken, and of those under way one
//! at a time takes a step, until there is room again: so something always goes on, and what is held grows by one run at
//! a time. Runs that are in memory only because somebody watches them get half of the limit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How often whoever waits for room looks whether there is some.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A run's charge is changed when it is off by this many bytes: most steps change nothing that all share.
const STEP: usize = 16 << 10;

pub(crate) struct Memory {
    limit: usize,
    used: AtomicUsize,
    /// Held by the run that goes on although there is no room.
    turn: Arc<Semaphore>,
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// How many bytes the runs in memory hold.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether there is no room.
    pub(crate) fn is_over(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.limit
    }

    /// Whether a run that holds so many bytes may begin.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        used == 0 || used.saturating_add(bytes) <= self.limit
    }

    /// Whether a run may be loaded because somebody watches it.
    pub(crate) fn has_room_to_watch(&self) -> bool {
        self.used.load(Ordering::Relaxed) < self.limit / 2
    }

    /// The turn to go on although there is no room, where no other run has it.
    pub(crate) fn try_turn(&self) -> Option<OwnedSemaphorePermit> {
        self.turn.clone().try_acquire_owned().ok()
    }

    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Charge {
            memory: self.clone(),
            bytes,
        }
    }
}

/// What one run is charged with, until this is dropped.
pub(crate) struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Charge {
    /// The run holds so many bytes.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes.abs_diff(self.bytes) < STEP {
            return;
        }
        match bytes > self.bytes {
            true => self.memory.used.fetch_add(bytes - self.bytes, Ordering::Relaxed),
            false => self.memory.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed),
        };
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_is_given_back() {
        let memory = Arc::new(Memory::new(100_000));
        assert!(memory.has_room_for(1_000_000), "one run may always begin");
        let mut one = memory.charge(60_000);
        assert!(!memory.is_over() && !memory.has_room_for(60_000) && !memory.has_room_to_watch());
        one.set(61_000);
        assert_eq!(memory.used.load(Ordering::Relaxed), 60_000);
        one.set(120_000);
        assert!(memory.is_over());
        let turn = memory.try_turn();
        assert!(turn.is_some() && memory.try_turn().is_none());
        drop(turn);
        assert!(memory.try_turn().is_some());
        one.set(0);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
        drop((one, memory.charge(5)));
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }
}
