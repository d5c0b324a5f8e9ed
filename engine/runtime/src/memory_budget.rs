//! The memory budget of all runs in memory.
//!
//! Each run is charged with the bytes that it holds. Above the limit no further run is started or loaded, and of the
//! active runs only one at a time takes a step, until memory is free again: so there is always progress, and memory grows
//! by one run at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How often a task that waits for memory checks the budget.
pub(crate) const MEMORY_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A run's charge is updated when it is off by this many bytes, so that most steps do not touch the shared counter.
const STEP: usize = 16 << 10;

/// The bytes that all runs hold, and their limit.
pub(crate) struct MemoryBudget {
    limit: usize,
    used: AtomicUsize,
    /// Held by the one run that may take steps above the limit.
    over_limit: Arc<Semaphore>,
}

impl MemoryBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            over_limit: Arc::new(Semaphore::new(1)),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The bytes that the runs in memory hold.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether the limit is reached.
    pub(crate) fn is_over(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.limit
    }

    /// Whether a run that holds `bytes` may start. One run may always start.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        used == 0 || used.saturating_add(bytes) <= self.limit
    }

    /// The permit to take steps above the limit, if no other run has it.
    pub(crate) fn try_over_limit(&self) -> Option<OwnedSemaphorePermit> {
        self.over_limit.clone().try_acquire_owned().ok()
    }

    /// Charges a run with the bytes that it holds.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> MemoryCharge {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        MemoryCharge {
            memory: self.clone(),
            bytes,
        }
    }
}

/// The charge of one run. Dropping it returns the bytes to the budget.
pub(crate) struct MemoryCharge {
    memory: Arc<MemoryBudget>,
    bytes: usize,
}

impl MemoryCharge {
    /// Updates the charge to the bytes that the run holds now.
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

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_charges_return_to_the_budget() {
        let memory = Arc::new(MemoryBudget::new(100_000));
        assert!(memory.has_room_for(1_000_000), "one run may always start");
        let mut one = memory.charge(60_000);
        assert!(!memory.is_over() && !memory.has_room_for(60_000));
        one.set(61_000);
        assert_eq!(memory.used.load(Ordering::Relaxed), 60_000);
        one.set(120_000);
        assert!(memory.is_over());
        let permit = memory.try_over_limit();
        assert!(permit.is_some() && memory.try_over_limit().is_none());
        drop(permit);
        assert!(memory.try_over_limit().is_some());
        one.set(0);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
        drop((one, memory.charge(5)));
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }
}
