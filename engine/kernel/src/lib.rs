//! The kernel decides everything that happens to a run of a workflow graph.
//!
//! A [`Definition`] is the JSON of a graph as its author wrote it. [`graph::check`] validates it and gives a
//! [`Graph`]. A [`Run`] is one execution of a graph: a state machine. [`decide`] turns an [`Input`] (an
//! answer of a function, a signal, a due timer, a cancellation) into [`EventRecord`]s and applies them to the
//! run; its [`Decision`] also lists the calls that start and end. [`Run::pending_work`] derives the calls and
//! timers that are pending from the run's state; they are never stored. So a run can be rebuilt from its
//! journal: [`Run::from_first`] and [`Run::fold`] apply the events again and decide nothing.
//!
//! The kernel never does I/O, never reads a clock, never draws a random number and never awaits. Times, ids
//! and the outcomes of calls are arguments. The same inputs always give the same events.
//!
//! # Where to start
//! - [`run`]: the data of a run; `run/decide.rs` handles each input, `run/apply.rs` applies each event,
//!   `run/flow.rs` moves branches along edges, forks and joins.
//! - [`graph`]: the format of definitions, the checks, and the graph that runs.
//! - [`event`]: the events of the journal. This is a stored format.
//! - [`schedule`] and [`retention`]: when schedules start runs, and which finished runs are deleted.
//!
//! # Example
//! ```
//! use std::sync::Arc;
//!
//! use heddle_kernel::{Definition, Run, RunId, Status, Timestamp, graph};
//!
//! let definition = Definition::parse(r#"{"nodes": {"pause": {"sleep": "1s"}}}"#).expect("the form is right");
//! let no_function = |name: &str| Err(format!("there is no function `{name}`"));
//! let (graph, _warnings) = graph::check(&definition, no_function, |_| Ok(None)).expect("the names are right");
//! let (id, now) = (RunId(uuid::Uuid::nil()), Timestamp(0));
//! let (mut run, events) =
//!     Run::create(id, Arc::new(graph), Arc::default(), Default::default(), Default::default(), now).start();
//! assert_eq!(events.len(), 2); // the run started, and the step of `pause` started
//! assert_eq!(run.due(), Some(Timestamp(1_000)));
//! heddle_kernel::decide(&mut run, heddle_kernel::Input::Due, Timestamp(1_000)).expect("the run is active");
//! assert_eq!(run.status, Status::Finished);
//! ```

pub mod event;
pub mod graph;
pub mod ids;
pub mod retention;
pub mod run;
pub mod schedule;

pub use event::{Event, EventRecord, Failure, FailureKind, Level, Next, RunError};
pub use graph::{Definition, Diagnostic, Function, FunctionKind, Graph, Severity};
pub use ids::{Digest, GraphId, RunId, Timestamp};
pub use run::{
    Answer, CallId, Decision, Input, Outcome, PendingWork, Prepared, Refusal, Route, Run, Status, decide,
};
