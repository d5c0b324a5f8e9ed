//! Locking of std mutexes that no code awaits under.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex. The data stays valid if a thread panicked while it held the lock: every critical section of this crate
/// changes the data in one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
