//! The queue of requests with a component to compile.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// The components of all waiting requests, in KiB. Two of the largest fit.
const WAITING_KIB: usize = 128 << 10;

/// How many components are read and hashed at once.
const READS: usize = 2;

/// Limits running compilers, waiting requests, and the memory of their components.
pub(crate) struct CompileQueue {
    running: Semaphore,
    reading: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    most: usize,
}

/// Allows its holder to run a compiler until drop.
pub(crate) struct CompilePermit<'a>(#[expect(dead_code, reason = "held for its drop")] SemaphorePermit<'a>);

/// A request's slot in the queue, until drop.
pub(crate) struct QueueSlot(#[expect(dead_code, reason = "held for its drop")] [OwnedSemaphorePermit; 2]);

/// Too many requests wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull {
    /// How many requests may wait.
    pub(crate) most: usize,
}

impl CompileQueue {
    /// `at_once` compilers may run, and `waiting` more requests may wait for one.
    pub(crate) fn new(at_once: usize, waiting: usize) -> Self {
        Self {
            running: Semaphore::new(at_once),
            reading: Arc::new(Semaphore::new(READS)),
            requests: Arc::new(Semaphore::new(at_once + waiting)),
            kib: Arc::new(Semaphore::new(WAITING_KIB)),
            most: waiting,
        }
    }

    /// Takes a slot for a request with a component of this size, if one is free.
    pub(crate) fn acquire_slot(&self, component_bytes: usize) -> Result<QueueSlot, QueueFull> {
        let kib = (component_bytes >> 10).min(WAITING_KIB) as u32;
        let full = |_| QueueFull { most: self.most };
        Ok(QueueSlot([
            self.requests.clone().try_acquire_owned().map_err(full)?,
            self.kib.clone().try_acquire_many_owned(kib).map_err(full)?,
        ]))
    }

    /// Waits until another compiler may run, in the order of arrival.
    pub(crate) async fn acquire_permit(&self) -> CompilePermit<'_> {
        CompilePermit(
            self.running
                .acquire()
                .await
                .expect("this semaphore is never closed"),
        )
    }

    /// Waits until another component may be read.
    pub(crate) async fn read(&self) -> OwnedSemaphorePermit {
        let reading = self.reading.clone().acquire_owned().await;
        reading.expect("this semaphore is never closed")
    }
}
