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

/// The longest message about a refused request, in bytes: a guest may ask for a path of any length.
const MESSAGE_LEN: usize = 1000;

/// The log lines of one instance's requests.
pub(super) struct RequestLog {
    pub(super) output: Arc<Output>,
    active: Mutex<BTreeMap<u64, ActiveRequest>>,
}

struct ActiveRequest {
    shown: String,
    at: Instant,
}

/// The log entry of an active request.
pub(super) struct RequestEntry {
    pub(super) log: Arc<RequestLog>,
    n: u64,
    pub(super) shown: String,
}

impl RequestLog {
    pub(super) fn new(output: Arc<Output>) -> Self {
        Self {
            output,
            active: Mutex::default(),
        }
    }

    /// Logs that a request was refused, and why.
    pub(super) fn refuse(&self, mut message: String) -> Error {
        message.truncate(clip(&message, MESSAGE_LEN).len());
        self.output.log_host_line(Level::Warn, &message);
        internal(message)
    }

    pub(super) fn begin(self: &Arc<Self>, n: u64, shown: String) -> RequestEntry {
        let request = ActiveRequest {
            shown: shown.clone(),
            at: Instant::now(),
        };
        lock(&self.active).insert(n, request);
        RequestEntry {
            log: self.clone(),
            n,
            shown,
        }
    }

    /// Logs the requests that have no response yet.
    pub(super) fn close(&self) {
        // The lock is held while the lines are logged: a request that ends at the same moment is logged once.
        for ActiveRequest { shown, at } in std::mem::take(&mut *lock(&self.active)).into_values() {
            let ms = at.elapsed().as_millis();
            self.output.log_host_line(
                Level::Warn,
                &format!("{shown} had no response after {ms} ms, when the call ended"),
            );
        }
    }
}

impl RequestEntry {
    /// Logs that the host ended the request, and why.
    pub(super) fn refuse(&self, message: &str) {
        let mut active = lock(&self.log.active);
        if active.remove(&self.n).is_some() {
            self.log.output.log_host_line(Level::Warn, message);
        }
    }

    /// Logs how the request ended, once.
    pub(super) fn end(&self, level: Level, what: impl std::fmt::Display) {
        let mut active = lock(&self.log.active);
        if let Some(ActiveRequest { shown, at }) = active.remove(&self.n) {
            let ms = at.elapsed().as_millis();
            self.log
                .output
                .log_host_line(level, &format!("{shown} {what} in {ms} ms"));
        }
    }
}
