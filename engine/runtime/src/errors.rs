//! The errors of the engine's operations: one enum for each operation.

use std::sync::Arc;

use heddle_kernel::{Diagnostic, Failure, GraphId, Level, Refusal, RunId, Severity};

use crate::{
    graph_checks::ChecksBusy,
    ports::{AppendError, PolicyRefused, ReadError, RegisterError, ResolveError, StoreError},
};

/// A limit on stored graphs or components is reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store would have {number} {what}, more than the limit of {limit} ({name}): delete some first")]
pub struct StorageLimitReached {
    /// What the limit counts.
    pub what: &'static str,
    /// The number with the new graph or component.
    pub number: u64,
    /// The largest allowed number.
    pub limit: u64,
    /// The limit's setting.
    pub name: &'static str,
}

/// Why a graph was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateGraphError {
    /// The definition has errors.
    #[error("{}", summary(.0))]
    Invalid(Vec<Diagnostic>),
    /// The limit on stored graphs is reached.
    #[error(transparent)]
    StorageLimitReached(#[from] StorageLimitReached),
    /// Too many graphs are being checked.
    #[error(transparent)]
    Busy(#[from] ChecksBusy),
    /// A read or write of the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a graph was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteGraphError {
    /// No graph has this id.
    #[error("there is no graph with the id `{0}`: `GET /v1/graphs` lists the ids")]
    NoSuchGraph(String),
    /// A stored run refers to the graph.
    #[error("run {0} refers to the graph: delete the run first, once it has ended (DELETE /v1/runs/{0})")]
    OfRun(RunId),
    /// A schedule starts the graph.
    #[error("the schedule `{0}` starts the graph: delete the schedule first, or change its graph")]
    OfSchedule(Arc<str>),
    /// Other graphs run the graph.
    #[error("other graphs run the graph: delete them first ({})", names(.0))]
    OfGraphs(Vec<GraphId>),
    /// Starts that may use the graph are in progress.
    #[error("runs that may use the graph are being started: try again in a moment")]
    Busy,
    /// A read or write of the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn names(graphs: &[GraphId]) -> String {
    let names: Vec<&str> = graphs.iter().map(|graph| &*graph.0).collect();
    names.join(", ")
}

/// Why a run was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No graph has this id or name.
    #[error("there is no graph `{0}`: create it with POST /v1/graphs")]
    NoSuchGraph(String),
    /// The graph cannot run: a function that it was created with is no longer available.
    #[error("the graph cannot run: {}", summary(.0))]
    Broken(Vec<Diagnostic>),
    /// The state is larger than its limit.
    #[error("the state takes {size} bytes, more than its limit of {limit} (max_state_bytes)")]
    TooLarge {
        /// The state's size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The admission queue is full.
    #[error("{limit} runs are queued, the limit (max_queued): try again in {retry_after_s} s")]
    Busy {
        /// The maximum number of queued runs.
        limit: usize,
        /// The estimated time in seconds until a part of the queue is free.
        retry_after_s: u32,
    },
    /// The start events of the queued runs reach their limit in bytes.
    #[error(
        "the start events of the queued runs would exceed their limit of {limit} bytes (max_queued_bytes): try again in \
         {retry_after_s} s"
    )]
    BusyBytes {
        /// The limit in bytes.
        limit: u64,
        /// As in `Busy`.
        retry_after_s: u32,
    },
    /// Too many graphs are being checked.
    #[error(transparent)]
    ChecksBusy(#[from] ChecksBusy),
    /// The expression of the graph's group has no value for this state.
    #[error("the run's group (`limits.group`) cannot be evaluated: {0}")]
    Group(Failure),
    /// The request's idempotency key is in use.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The engine is stopping.
    #[error("the engine is stopping and starts no more runs")]
    Draining,
    /// The start could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a request with an idempotency key was refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyError {
    /// The key was used for a request with other content.
    #[error(
        "the key `{0}` was used for another request: use a new key for each request, and repeat a key only with the same content"
    )]
    Reused(Arc<str>),
    /// A request with this key is in progress.
    #[error("a request with the key `{0}` is in progress: send this one again later to get the same result")]
    InFlight(Arc<str>),
}

/// Why a step could not be read, or a run could not be forked from it.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// No run has this id.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// The run has no such step, or the step has not ended.
    #[error("run {run} has no ended step {step}: it has started {steps} steps, and step {step} {what}")]
    NoSuchStep {
        /// The id of the run.
        run: RunId,
        /// The number of the requested step, from 1.
        step: u64,
        /// The number of steps that the run has started.
        steps: u64,
        /// The state of the step.
        what: &'static str,
    },
    /// The run cannot be forked from this step.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The run could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The fork could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl From<KeyError> for StepError {
    fn from(error: KeyError) -> Self {
        Self::Start(error.into())
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Start(error.into())
    }
}

/// Why a run was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The text is not an export, or a damaged one.
    #[error("this is not an export of a run: line {line}: {message}")]
    Malformed {
        /// The line number, from 1.
        line: usize,
        /// Why the line is invalid.
        message: String,
    },
    /// The run's events are larger than the limit of a journal.
    #[error(
        "the events of the run take {bytes} bytes, more than the limit of {limit} for a run's journal (max_journal_bytes)"
    )]
    TooLarge {
        /// The size of the events in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// At one of its events the run holds more memory than its limit.
    #[error("the run holds more memory than its limit of {limit} bytes (max_run_bytes)")]
    HoldsTooMuch {
        /// The limit in bytes.
        limit: usize,
    },
    /// The limit on stored graphs is reached.
    #[error(transparent)]
    StorageLimitReached(#[from] StorageLimitReached),
    /// A run with this id exists.
    #[error("run {0} exists already")]
    Known(RunId),
    /// A read or write of the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a run was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteRunError {
    /// No run has this id.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// The run has not ended.
    #[error("run {0} has not ended: cancel it first")]
    NotOver(RunId),
    /// A read or write of the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a run did not accept a command.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No run has this id.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// The run refused the command.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request's idempotency key is in use.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The graph or a version to upgrade to is not available.
    #[error(transparent)]
    Upgrade(StartError),
    /// The run could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The engine is stopping, or could not store the command's events.
    #[error("the command was not applied, since {0}: send it again later")]
    Unavailable(String),
}

impl From<StoreError> for SendError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// Why a plugin was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterPluginError {
    /// The component was refused.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The limit on stored components is reached.
    #[error(transparent)]
    StorageLimitReached(#[from] StorageLimitReached),
    /// A read or write of the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a plugin's policy was not set.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The policy was refused.
    #[error(transparent)]
    Refused(#[from] PolicyRefused),
    /// A read or write of the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a plugin was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemovePluginError {
    /// No plugin has this name.
    #[error("there is no plugin `{0}`: GET /v1/plugins lists all plugins")]
    NoSuchPlugin(String),
    /// The plugin has no such version.
    #[error("plugin `{name}` has no version {version}: it has {}", .versions.join(", "))]
    NoSuchVersion {
        /// The plugin's name.
        name: String,
        /// The requested version.
        version: String,
        /// The plugin's versions, newest first.
        versions: Vec<String>,
    },
    /// The plugin has grants.
    #[error(
        "plugin {plugin} has grants: {}. To remove it, use `heddle plugin remove --replace-granted` (over HTTP \
         `?replace_granted=true`)",
        .grants.join("; ")
    )]
    Granted {
        /// The plugin, with its version if the request names one.
        plugin: String,
        /// The plugin's grants, a line for each.
        grants: Vec<String>,
    },
    /// Graphs or runs need the plugin.
    #[error("{}", needed(.plugin, .needs))]
    Needed {
        /// The plugin, with its version if the request names one.
        plugin: String,
        /// Some of the graphs and runs that need it.
        needs: PluginDependents,
    },
    /// A read or write of the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Some of the graphs and runs that need a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginDependents {
    /// Graphs that were created with the plugin.
    pub graphs: Vec<GraphId>,
    /// Runs that have not ended and are pinned to the plugin.
    pub runs: Vec<RunId>,
    /// Whether there are too many unfinished runs to search them all.
    pub is_cut: bool,
}

impl PluginDependents {
    pub(crate) fn is_empty(&self) -> bool {
        self.graphs.is_empty() && self.runs.is_empty() && !self.is_cut
    }
}

fn needed(plugin: &str, needs: &PluginDependents) -> String {
    let list = |what: &str, ids: Vec<String>| match ids.is_empty() {
        true => None,
        false => Some(format!("{what} {}", ids.join(", "))),
    };
    let graphs = needs.graphs.iter().map(ToString::to_string).collect();
    let runs = needs.runs.iter().map(ToString::to_string).collect();
    let cut = "some of the unfinished runs, which are too many to search".to_owned();
    let by = [
        list("the graphs", graphs),
        list("the runs", runs),
        (needs.is_cut && needs.runs.is_empty()).then_some(cut),
    ];
    let by: Vec<_> = by.into_iter().flatten().collect();
    format!(
        "plugin {plugin} is needed by {}: create these graphs again with another version and let these runs end, \
         or force the removal: then they fail when they call it",
        by.join(" and by ")
    )
}

/// Why a tool returned no result.
#[derive(Debug, thiserror::Error)]
pub enum CallToolError {
    /// There is no such tool.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The function is not a tool.
    #[error("`{0}` is a node function, which only runs can call: call a tool instead")]
    NotATool(String),
    /// The tool was called and failed.
    #[error("{failure}")]
    Failed {
        /// The failure's kind, message and data.
        failure: Failure,
        /// The log lines that the tool wrote before it failed.
        logs: Vec<(Level, Arc<str>)>,
    },
}

/// Why the engine stopped driving a run that has not ended.
#[derive(Clone, Debug)]
pub(crate) enum StopReason {
    /// The store dropped an append of the run.
    AppendFailed(AppendError),
    /// The engine is stopping. The next start of an engine continues the run.
    Draining,
    /// The run only waits for a timer, a signal or an operator. It is loaded again when one of them comes.
    Unloaded,
}

/// Why the events of a request did not become durable: a [`StopReason`] as clients need it.
#[derive(Debug)]
pub(crate) enum NotDurable {
    /// The engine or its store is stopping.
    Stopping(String),
    /// The store cannot write.
    Unavailable(StoreError),
    /// The append was refused because the journal has changed, or the engine no longer owns the run.
    Conflict(String),
    /// The stored data of the run is damaged.
    Damaged { run: RunId, message: String },
}

impl From<StopReason> for NotDurable {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::AppendFailed(AppendError::Unavailable(error)) => Self::Unavailable(error),
            StopReason::AppendFailed(
                error @ (AppendError::Conflict { .. }
                | AppendError::DuplicateRequest(_)
                | AppendError::Fenced),
            ) => Self::Conflict(error.to_string()),
            StopReason::AppendFailed(AppendError::Damaged { run, message }) => Self::Damaged { run, message },
            StopReason::AppendFailed(error @ AppendError::Closed) => Self::Stopping(error.to_string()),
            StopReason::Draining | StopReason::Unloaded => {
                Self::Stopping("the engine is stopping".to_owned())
            }
        }
    }
}

impl From<NotDurable> for StoreError {
    fn from(error: NotDurable) -> Self {
        match error {
            NotDurable::Stopping(_) => Self::Unavailable("the engine is stopping".to_owned()),
            NotDurable::Unavailable(error) => error,
            NotDurable::Conflict(message) => Self::Failed(message),
            NotDurable::Damaged { run, message } => {
                Self::Damaged(AppendError::Damaged { run, message }.to_string())
            }
        }
    }
}

impl From<StopReason> for StartError {
    fn from(reason: StopReason) -> Self {
        match reason.into() {
            NotDurable::Stopping(_) => Self::Draining,
            error => Self::Store(error.into()),
        }
    }
}

impl From<StopReason> for SendError {
    fn from(reason: StopReason) -> Self {
        match reason.into() {
            NotDurable::Damaged { run, message } => ReadError::Damaged { run, message }.into(),
            NotDurable::Unavailable(error) => Self::Unavailable(error.to_string()),
            NotDurable::Stopping(message) | NotDurable::Conflict(message) => Self::Unavailable(message),
        }
    }
}

impl ImportError {
    /// Why the imported run with this id is not durable.
    pub(crate) fn not_durable(run: RunId, reason: StopReason) -> Self {
        match reason.into() {
            NotDurable::Conflict(_) => Self::Known(run),
            error => Self::Store(error.into()),
        }
    }
}

/// The errors of a check in one line.
pub(crate) fn summary(found: &[Diagnostic]) -> String {
    let errors = found.iter().filter(|found| found.severity == Severity::Error);
    let all: Vec<String> = errors
        .map(|found| format!("{}: {}", found.pointer, found.message))
        .collect();
    all.join("; ")
}
