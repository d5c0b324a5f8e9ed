//! What crosses between host and plugins, in types that are the same for every version of the contract.

use heddle_kernel::{FailureKind, FunctionKind, Route};
use wasmtime::component::Val;

/// What all versions of the contract begin with.
pub(crate) const PACKAGE: &str = "heddle:plugin/";

/// A tool's input, as it is handed over.
pub(crate) enum Input {
    Text(String),
    /// Values, and what they take in the host's memory.
    Values(Vec<Val>, usize),
}

/// A function as its plugin describes it.
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

/// What a node function answered.
pub(crate) struct Answer {
    pub(crate) update: String,
    pub(crate) route: Route,
}

/// What a guest said went wrong.
pub(crate) struct GuestError {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    pub(crate) data: Option<String>,
}
