//! Error types that several modules share: why a host does not start, why a component is not usable, and the typed causes
//! with which the host ends an instance.
//!
//! [`failure`](crate::failure) turns a cause into the failure that a run records.

use wasmtime_wasi::I32Exit;

/// The text of wasmtime's error if a guest passes too much to the host; the error's type is private.
const TOO_MUCH_AT_ONCE: &str = "fuel allocated for hostcalls has been exhausted";

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A setting has an invalid value.
    #[error("{0}")]
    Setting(String),
    /// The policy grants something that does not exist.
    #[error("{0}")]
    Policy(String),
    /// The folder for compiled components cannot be used.
    #[error("the folder for compiled components cannot be used: {0}")]
    Cache(#[source] std::io::Error),
    /// The system cannot run WebAssembly as needed.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
}

/// Why a component cannot be called.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComponentError {
    /// The engine cannot run the component.
    #[error("{0}")]
    Engine(String),
    /// The component has no usable function.
    #[error("{0}")]
    Plugin(String),
    /// Unknown: the host failed to compile the component.
    #[error("{0}")]
    Unknown(String),
}

/// How many handles (streams, timers, files) one instance may hold.
pub(crate) const HANDLES: usize = 10_000;

/// The time of the outermost call is over: its nested calls end as well.
#[derive(Debug, thiserror::Error)]
#[error("the time of the call is over")]
pub(crate) struct TimeOver;

/// The events that the call follows from will never be durable. The callers end as well, since none of them may have
/// side effects any more.
#[derive(Debug, thiserror::Error)]
#[error("the events that the call follows from cannot be stored")]
pub(crate) struct NotDurable;

/// A typed function returned values that take more memory than this limit, in bytes, while they become JSON.
#[derive(Debug, thiserror::Error)]
#[error("too many values were passed")]
pub(crate) struct TooManyValues(pub(crate) usize);

/// The result has this many bytes, more than its limit. It was dropped.
#[derive(Debug, thiserror::Error)]
#[error("the result has {0} bytes")]
pub(crate) struct TooLarge(pub(crate) usize);

/// The call exceeded a limit of its output: it ends.
#[derive(Debug, thiserror::Error)]
#[error("a limit of the call was exceeded")]
pub(crate) struct LimitExceeded;

/// The instance needs more memory than its limit allows.
#[derive(Debug, thiserror::Error)]
#[error("the guest needs more memory than it may have")]
pub(crate) struct NoMemory;

/// The instance has as many files open as it may.
#[derive(Debug, thiserror::Error)]
#[error("more files are open than the limit of {0} (open_files)")]
pub(crate) struct TooManyFiles(pub(crate) usize);

/// Whether the guest exited with status 0, as a successful program does. It returned no result.
pub(crate) fn is_exit_of_success(error: &wasmtime::Error) -> bool {
    matches!(error.downcast_ref(), Some(I32Exit(0)))
}

/// Whether the guest passed more to the host at once than its store allows.
pub(crate) fn is_too_much_at_once(error: &wasmtime::Error) -> bool {
    format!("{error:#}").contains(TOO_MUCH_AT_ONCE)
}
