//! Collects the log lines and chunks that a function writes during a call.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use heddle_json::Json;
use heddle_kernel::Level;

use crate::{live_run::LiveRun, ports::Sink};

/// The sink of one call.
pub(super) struct StepSink {
    live: Arc<LiveRun>,
    step: u64,
    written: Mutex<Written>,
}

/// The output that the driver has not taken.
#[derive(Default)]
struct Written {
    output: VecDeque<Output>,
    /// Whether the driver is processing output that it has taken: later chunks must wait until it has finished.
    is_taken: bool,
}

/// A piece of a function's output.
pub(super) enum Output {
    Line(Level, Arc<str>),
    Chunk(Json),
}

impl StepSink {
    pub(super) fn new(live: Arc<LiveRun>, step: u64) -> Self {
        Self {
            live,
            step,
            written: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().expect("no panic under this lock")
    }

    /// Takes the collected output. The driver calls this until it gets none: from then on, chunks are sent directly.
    pub(super) fn take(&self) -> VecDeque<Output> {
        let mut written = self.lock();
        written.is_taken = !written.output.is_empty();
        std::mem::take(&mut written.output)
    }
}

impl Sink for StepSink {
    fn log(&self, level: Level, message: &str) {
        self.lock().output.push_back(Output::Line(level, message.into()));
    }

    fn emit(&self, data: Json) {
        if !self.live.is_watched() {
            return;
        }
        let mut written = self.lock();
        match written.output.is_empty() && !written.is_taken {
            // Sent under the lock, so that no later line overtakes the chunk.
            true => self.live.emit(self.step, data),
            // An earlier line is journaled first.
            false => written.output.push_back(Output::Chunk(data)),
        }
    }
}
