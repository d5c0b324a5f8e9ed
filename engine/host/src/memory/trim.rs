//! Returns freed memory from the C library to the system.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::allocator;

/// How long a trim is delayed, so that many calls that end together cause one trim.
const TRIM_AFTER: Duration = Duration::from_millis(500);

/// Returns freed memory to the system. The C library keeps it otherwise, since blocks of ended calls lie between
/// blocks in use.
#[derive(Default)]
pub(super) struct Trim {
    is_due: AtomicBool,
}

impl Trim {
    /// Starts a trim soon, unless one is due.
    pub(super) fn soon(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.is_due.swap(true, Relaxed) {
            return;
        }
        let trim = self.clone();
        runtime.spawn(async move {
            tokio::time::sleep(TRIM_AFTER).await;
            trim.is_due.store(false, Relaxed);
            // A trim takes milliseconds.
            let _ = tokio::task::spawn_blocking(allocator::trim).await;
        });
    }
}
