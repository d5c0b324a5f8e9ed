//! Returns freed memory from the C library to the system.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// How long a trim waits, so that many calls which end together are followed by one.
const TRIM_AFTER: Duration = Duration::from_millis(500);

/// Gives memory that was freed back to the system, which the C library keeps for itself: what a call had the host hold
/// lies between what others still have.
#[derive(Default)]
pub(super) struct Trim {
    is_due: AtomicBool,
}

impl Trim {
    /// Trims soon.
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
            // It takes milliseconds.
            let _ = tokio::task::spawn_blocking(give_back).await;
        });
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    #[allow(unsafe_code)]
    // SAFETY: the declaration is that of malloc.h.
    unsafe extern "C" {
        fn malloc_trim(keep: usize) -> i32;
    }
    // SAFETY: it may be called at any time and from any thread: it takes the allocator's own locks, and touches nothing
    // but what is free.
    #[allow(unsafe_code)]
    unsafe {
        malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}
