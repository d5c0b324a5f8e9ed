//! The earliest timer of the runs that wait in the store.

use std::sync::atomic::{AtomicI64, Ordering};

use heddle_kernel::Timestamp;
use tokio::sync::{Notify, futures::Notified};

/// The time at which the next waiting run is due. The task that wakes runs sleeps until then.
pub(crate) struct Timers {
    /// The earliest timer that is known, in milliseconds. `i64::MAX` if there is none.
    earliest: AtomicI64,
    /// Notified when a run with an earlier timer is unloaded.
    earlier: Notify,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            earliest: AtomicI64::new(i64::MAX),
            earlier: Notify::new(),
        }
    }
}

impl Timers {
    /// A run with a timer at `due` was unloaded.
    pub(crate) fn add(&self, due: Timestamp) {
        if due.0 < self.earliest.load(Ordering::Acquire) {
            self.earlier.notify_one();
        }
    }

    /// The store's earliest timer.
    pub(crate) fn set_earliest(&self, due: Option<Timestamp>) {
        self.earliest
            .store(due.map_or(i64::MAX, |due| due.0), Ordering::Release);
    }

    /// Waits until a timer before the earliest one is added.
    pub(crate) fn earlier(&self) -> Notified<'_> {
        self.earlier.notified()
    }
}
