//! Error types that several modules share: why a host does not start, why a component is not usable, and the typed causes
//! with which the host ends an instance.
//!
//! [`failure`](crate::failure) turns a cause into the failure that a run records.

use wasmtime_wasi::I32Exit;

/// How wasmtime's error reads where a guest hands over too much; the type of it is private.
const TOO_MUCH_AT_ONCE: &str = "fuel allocated for hostcalls has been exhausted";

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A setting has a value that cannot be.
    #[error("{0}")]
    Setting(String),
    /// The policy grants what is not there.
    #[error("{0}")]
    Policy(String),
    /// The folder for compiled components cannot be used.
    #[error("the folder for compiled components cannot be used: {0}")]
    Cache(#[source] std::io::Error),
    /// The machine cannot run WebAssembly as it is needed.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
}

/// Why a component cannot be called.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComponentError {
    /// It does not run here.
    #[error("{0}")]
    Engine(String),
    /// It has no functions for a graph.
    #[error("{0}")]
    Plugin(String),
    /// Whether it can be called is not known, as the host could not compile it.
    #[error("{0}")]
    Unknown(String),
}

/// How many handles (streams, timers, files) one instance may hold.
pub(crate) const HANDLES: usize = 10_000;

/// The call that a nested call belongs to has no time left: it ends the callers too.
#[derive(Debug, thiserror::Error)]
#[error("the time of the call is over")]
pub(crate) struct TimeOver;

/// What the call follows from will never be durable: it ends the callers too, since nothing outside may
/// be done for any of them.
#[derive(Debug, thiserror::Error)]
#[error("what the call follows from cannot be stored")]
pub(crate) struct NotDurable;

/// A typed function gave values that take more memory than they may while they become JSON.
#[derive(Debug, thiserror::Error)]
#[error("too many values were handed over")]
pub(crate) struct TooManyValues(pub(crate) usize);

/// An answer that was not kept: it would be this long.
#[derive(Debug, thiserror::Error)]
#[error("the answer has {0} bytes")]
pub(crate) struct TooLarge(pub(crate) usize);

/// A call wrote, or sent, more than it may: it ends.
#[derive(Debug, thiserror::Error)]
#[error("a limit of the call was exceeded")]
pub(crate) struct LimitExceeded;

/// The host would hold more for a guest than the guest may have.
#[derive(Debug, thiserror::Error)]
#[error("the guest needs more memory than it may have")]
pub(crate) struct NoMemory;

/// A guest would have more files open than it may.
#[derive(Debug, thiserror::Error)]
#[error("more files are open than the limit of {0} (open_files)")]
pub(crate) struct TooManyFiles(pub(crate) usize);

/// Whether the guest ended itself with status 0, as a program does that has succeeded. What it would have given is
/// not there.
pub(crate) fn is_exit_of_success(error: &wasmtime::Error) -> bool {
    matches!(error.downcast_ref(), Some(I32Exit(0)))
}

/// Whether the guest handed over more at once than was set for its store.
pub(crate) fn is_too_much_at_once(error: &wasmtime::Error) -> bool {
    format!("{error:#}").contains(TOO_MUCH_AT_ONCE)
}
