//! The data that crosses between host and plugins, in types that are independent of the contract's version.

use heddle_kernel::{FailureKind, FunctionKind, Route};
use wasmtime::component::Val;

/// The prefix of all interfaces of the contract.
pub(crate) const PACKAGE: &str = "heddle:plugin/";

/// A tool's input.
pub(crate) enum Input {
    Text(String),
    /// Typed values, and their size in the host's memory in bytes.
    Values(Vec<Val>, usize),
}

/// A plugin's description of one of its functions.
pub(crate) struct FunctionDescription {
    pub(crate) name: String,
    pub(crate) kind: FunctionKind,
    pub(crate) summary: String,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) config: Option<String>,
    pub(crate) read_only: bool,
    pub(crate) idempotent: bool,
    pub(crate) routes: Vec<String>,
}

/// One call of a node function.
pub(crate) struct Invocation {
    pub(crate) function: String,
    pub(crate) state: String,
    pub(crate) config: String,
    pub(crate) run: String,
    pub(crate) node: String,
    pub(crate) step: u64,
    pub(crate) attempt: u32,
    pub(crate) key: String,
}

/// The outcome of a node function.
pub(crate) struct Answer {
    pub(crate) update: String,
    pub(crate) route: Route,
}

/// An error that a guest returned.
pub(crate) struct GuestError {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    pub(crate) data: Option<String>,
}
