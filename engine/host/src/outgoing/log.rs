//! The log lines about an instance's requests: one when each request ends, and one for each request that is still active
//! when the instance ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use heddle_json::object::clip;
use heddle_kernel::Level;
use wasmtime_wasi_http::Error;

use super::error::internal;
use crate::{lock::lock, output::Output};

/// How much is told of why a request was not made: a guest may ask for a path of any length.
const TOLD_LEN: usize = 1000;

/// The lines that tell of an instance's requests. What is under way when the instance ends is told
/// of then.
pub(super) struct Diary {
    pub(super) output: Arc<Output>,
    under_way: Mutex<BTreeMap<u64, Begun>>,
}

struct Begun {
    shown: String,
    at: Instant,
}

/// One request under way.
pub(super) struct Entry {
    pub(super) diary: Arc<Diary>,
    n: u64,
    pub(super) shown: String,
}

impl Diary {
    pub(super) fn new(output: Arc<Output>) -> Self {
        Self {
            output,
            under_way: Mutex::default(),
        }
    }

    /// Tells that a request was not made, and why.
    pub(super) fn refuse(&self, mut message: String) -> Error {
        message.truncate(clip(&message, TOLD_LEN).len());
        self.output.note(Level::Warn, &message);
        internal(message)
    }

    pub(super) fn begin(self: &Arc<Self>, n: u64, shown: String) -> Entry {
        let begun = Begun {
            shown: shown.clone(),
            at: Instant::now(),
        };
        lock(&self.under_way).insert(n, begun);
        Entry {
            diary: self.clone(),
            n,
            shown,
        }
    }

    /// Tells what was left without an answer.
    pub(super) fn close(&self) {
        // The lock is held over the lines: who ends at the same moment tells nothing more.
        for Begun { shown, at } in std::mem::take(&mut *lock(&self.under_way)).into_values() {
            let ms = at.elapsed().as_millis();
            self.output.note(
                Level::Warn,
                &format!("{shown} had no answer after {ms} ms, when the call ended"),
            );
        }
    }
}

impl Entry {
    /// Tells that the host put an end to the request, and why.
    pub(super) fn refuse(&self, message: &str) {
        let mut under_way = lock(&self.diary.under_way);
        if under_way.remove(&self.n).is_some() {
            self.diary.output.note(Level::Warn, message);
        }
    }

    /// Tells how the request ended, once.
    pub(super) fn end(&self, level: Level, what: impl std::fmt::Display) {
        let mut under_way = lock(&self.diary.under_way);
        if let Some(Begun { shown, at }) = under_way.remove(&self.n) {
            let ms = at.elapsed().as_millis();
            self.diary
                .output
                .note(level, &format!("{shown} {what} in {ms} ms"));
        }
    }
}
