//! Records all panics of the process, on any thread, for the case during which they happened.

use std::{backtrace::Backtrace, sync::Mutex};

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Records panics from now on instead of printing them.
pub(crate) fn record() {
    std::panic::set_hook(Box::new(|info| {
        let mut text = info.to_string();
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|wanted| wanted == "full") {
            text = format!("{text}\n{}", Backtrace::force_capture());
        }
        if let Ok(mut seen) = SEEN.lock() {
            seen.push(text);
        }
    }));
}

/// The panics since the last call.
pub(crate) fn take() -> Vec<String> {
    std::mem::take(&mut *SEEN.lock().expect("no panic under this lock"))
}
