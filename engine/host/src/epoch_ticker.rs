//! The thread that advances the epoch of a wasmtime engine, so that long calls yield and end at their deadline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle, Thread},
    time::Duration,
};

use wasmtime::Engine;

/// The length of an epoch: how often a long call yields, and how late a deadline may be noticed.
const TICK: Duration = Duration::from_millis(2);

/// Advances the engine's epoch while calls are active, and parks when there are none.
///
/// It has a separate thread, since computing guests may occupy all threads of the runtime.
pub(crate) struct EpochTicker {
    shared: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
    wake: Thread,
}

struct TickerState {
    calls: AtomicUsize,
    resting: AtomicBool,
    stopped: AtomicBool,
}

/// The epoch advances for as long as this guard lives.
pub(crate) struct EpochGuard<'a>(&'a TickerState);

impl EpochTicker {
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(TickerState {
            calls: AtomicUsize::new(0),
            resting: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let ticks = shared.clone();
        let thread = thread::Builder::new()
            .name("heddle-epoch".to_owned())
            .spawn(move || ticks.run(&engine))?;
        let wake = thread.thread().clone();
        Ok(Self {
            shared,
            thread: Some(thread),
            wake,
        })
    }

    pub(crate) fn start_ticking(&self) -> EpochGuard<'_> {
        self.shared.calls.fetch_add(1, SeqCst);
        // This load comes after the count is raised, and the thread loads the count after it sets `resting`: at least
        // one of the two sees the other's store.
        if self.shared.resting.load(SeqCst) {
            self.wake.unpark();
        }
        EpochGuard(&self.shared)
    }
}

impl TickerState {
    /// How many epochs without a call pass before the thread parks: waking the thread costs a call more than an epoch
    /// costs.
    const PATIENCE: u32 = 50;

    fn run(&self, engine: &Engine) {
        let mut idle = 0;
        while !self.stopped.load(SeqCst) {
            idle = if self.calls.load(SeqCst) == 0 { idle + 1 } else { 0 };
            if idle < Self::PATIENCE {
                thread::sleep(TICK);
                engine.increment_epoch();
                continue;
            }
            self.resting.store(true, SeqCst);
            while self.calls.load(SeqCst) == 0 && !self.stopped.load(SeqCst) {
                thread::park();
            }
            self.resting.store(false, SeqCst);
            idle = 0;
        }
    }
}

impl Drop for EpochGuard<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, SeqCst);
    }
}

impl Drop for EpochTicker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        self.wake.unpark();
        if let Some(thread) = self.thread.take() {
            // The thread only sleeps, parks and counts, so it cannot have panicked.
            let _ = thread.join();
        }
    }
}
