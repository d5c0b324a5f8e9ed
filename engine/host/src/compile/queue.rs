//! Who may compile, and who may wait for it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// How much the components of all requests that wait may take, in KiB. It has room for two of the largest.
const WAITING_KIB: usize = 128 << 10;

/// How many components are read and summed at once.
const READS: usize = 2;

/// Compilers that may run, and requests that may wait for one.
pub(crate) struct CompileQueue {
    running: Semaphore,
    reading: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    most: usize,
}

/// The right to run a compiler, as long as it lives.
pub(crate) struct CompilePermit<'a>(#[expect(dead_code, reason = "held for its drop")] SemaphorePermit<'a>);

/// A request's place in the queue, as long as it lives.
pub(crate) struct QueueSlot(#[expect(dead_code, reason = "held for its drop")] [OwnedSemaphorePermit; 2]);

/// Too many requests wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull {
    /// How many may.
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

    /// Takes a place for a request with a component of this size, where there is one.
    pub(crate) fn acquire_slot(&self, component_bytes: usize) -> Result<QueueSlot, QueueFull> {
        let kib = (component_bytes >> 10).min(WAITING_KIB) as u32;
        let full = |_| QueueFull { most: self.most };
        Ok(QueueSlot([
            self.requests.clone().try_acquire_owned().map_err(full)?,
            self.kib.clone().try_acquire_many_owned(kib).map_err(full)?,
        ]))
    }

    /// Waits until another compiler may run. They run in the order in which they were waited for.
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
