//! Heddle's pure core: what a graph means and how a run of it moves.
//!
//! Nothing here does I/O, reads a clock, draws a random number or awaits: time, ids and the
//! outcomes of calls are arguments. So a run can be folded from its journal, and the same
//! inputs always give the same events. The arrows of the workspace end here.

pub mod event;
pub mod graph;
pub mod ids;
pub mod retention;
pub mod run;
pub mod schedule;

pub use event::{Event, EventRecord, Failure, FailureKind, Level, Next, RunError};
pub use graph::{Definition, Diagnostic, Function, FunctionKind, Graph, Severity};
pub use ids::{Digest, GraphId, RunId, Timestamp};
pub use run::{Answer, Input, Outcome, PendingWork, Prepared, Refusal, Route, Run, Status, decide};
