//! How errors of the engine become problems: one conversion for each error type.

use std::sync::Arc;

use heddle_kernel::{Failure, Level, Refusal, Severity};
use heddle_runtime::{
    CallToolError, ChecksBusy, CreateGraphError, DeleteGraphError, DeleteRunError, ImportError, KeyError,
    PolicyError, ReadError, RegisterPluginError, RemovePluginError, ScheduleError, SendError, StartError,
    StepError, StorageLimitReached,
    ports::{PolicyRefused, RegisterError, ResolveError, StoreError},
};

use super::{Finding, Problem, kind::ProblemKind, no_such_run};
use crate::view::failure::{FailureView, log_lines};

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a request failed because of the store");
        match error {
            StoreError::Unavailable(_) => {
                Self::new(ProblemKind::STORE_UNAVAILABLE, error.to_string()).retry_after(5)
            }
            StoreError::Damaged(_) | StoreError::Failed(_) => Self::new(
                ProblemKind::STORE_FAILED,
                "the store failed: see the server's log",
            ),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => error.into(),
            ReadError::Busy { .. } => Self::new(ProblemKind::NO_MEMORY, error.to_string()).retry_after(1),
            ReadError::Damaged { run, .. } => {
                tracing::error!(%error, "a run could not be read");
                Self::new(
                    ProblemKind::STORE_FAILED,
                    format!("the journal of run {run} is damaged: see the server's log"),
                )
            }
        }
    }
}

impl From<CreateGraphError> for Problem {
    fn from(error: CreateGraphError) -> Self {
        match error {
            CreateGraphError::Invalid(found) => Self::from_diagnostics(ProblemKind::INVALID_GRAPH, found),
            CreateGraphError::StorageLimitReached(limit) => limit.into(),
            CreateGraphError::Busy(busy) => busy.into(),
            CreateGraphError::Store(error) => error.into(),
        }
    }
}

impl From<StorageLimitReached> for Problem {
    fn from(limit: StorageLimitReached) -> Self {
        Self::new(ProblemKind::FULL, limit.to_string())
    }
}

impl From<ChecksBusy> for Problem {
    fn from(busy: ChecksBusy) -> Self {
        Self::new(ProblemKind::CHECKS_BUSY, busy.to_string()).retry_after(busy.retry_after_s)
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NoSuchGraph(_) => Self::new(ProblemKind::NO_SUCH_GRAPH, error.to_string()),
            StartError::Broken(found) => Self::from_diagnostics(ProblemKind::GRAPH_BROKEN, found),
            StartError::TooLarge { .. } => Self::new(ProblemKind::TOO_LARGE, error.to_string()),
            StartError::Group(_) => Self::new(ProblemKind::INVALID_REQUEST, error.to_string()),
            StartError::Key(error) => error.into(),
            StartError::Busy { retry_after_s, .. } | StartError::BusyBytes { retry_after_s, .. } => {
                Self::new(ProblemKind::BUSY, error.to_string()).retry_after(retry_after_s)
            }
            StartError::ChecksBusy(busy) => busy.into(),
            StartError::Draining => Self::new(ProblemKind::STOPPING, error.to_string()).retry_after(5),
            StartError::Store(error) => error.into(),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let detail = error.to_string();
        match error {
            KeyError::Reused(_) => Self::new(ProblemKind::KEY_REUSED, detail),
            KeyError::InFlight(_) => Self::new(ProblemKind::KEY_IN_FLIGHT, detail).retry_after(1),
        }
    }
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NoSuchRun(id) => no_such_run(id),
            SendError::Refused(refusal) => refusal.into(),
            SendError::Key(error) => error.into(),
            SendError::Upgrade(error) => error.into(),
            SendError::Read(error) => error.into(),
            SendError::Unavailable(_) => Self::new(ProblemKind::NOT_TAKEN, error.to_string()).retry_after(5),
        }
    }
}

impl From<StepError> for Problem {
    fn from(error: StepError) -> Self {
        match error {
            StepError::NoSuchRun(id) => no_such_run(id),
            StepError::NoSuchStep { .. } => Self::new(ProblemKind::NO_SUCH_STEP, error.to_string()),
            StepError::Refused(refusal) => refusal.into(),
            StepError::Read(error) => error.into(),
            StepError::Start(error) => error.into(),
        }
    }
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Malformed { .. } => Self::new(ProblemKind::MALFORMED_EXPORT, error.to_string()),
            ImportError::TooLarge { .. } | ImportError::HoldsTooMuch { .. } => {
                Self::new(ProblemKind::TOO_LARGE, error.to_string())
            }
            ImportError::Known(_) => Self::new(ProblemKind::RUN_KNOWN, error.to_string()),
            ImportError::StorageLimitReached(limit) => limit.into(),
            ImportError::Store(error) => error.into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Over => Self::new(ProblemKind::RUN_OVER, detail),
            // Only results of calls can be stale, and clients send none.
            Refusal::Stale => Self::new(ProblemKind::INTERNAL, detail),
            Refusal::NoSuchSignal { .. } => Self::new(ProblemKind::NO_SUCH_SIGNAL, detail),
            Refusal::Payload { name, problems } => {
                let errors: Vec<Finding> = problems.iter().map(payload_finding).collect();
                let messages: Vec<String> = errors
                    .iter()
                    .map(|found| format!("{}: {}", found.pointer, found.message))
                    .collect();
                let detail = format!(
                    "the payload of `{name}` does not match its schema: {}",
                    messages.join("; ")
                );
                let mut problem = Self::new(ProblemKind::INVALID_PAYLOAD, detail);
                problem.0.errors = errors;
                problem
            }
            Refusal::NoSuchWait { .. } => Self::new(ProblemKind::NO_SUCH_WAIT, detail),
            Refusal::WaitOver { .. } => Self::new(ProblemKind::WAIT_OVER, detail),
            Refusal::TooManySignals | Refusal::SignalBytes { .. } => {
                Self::new(ProblemKind::TOO_MANY_SIGNALS, detail).retry_after(1)
            }
            Refusal::JournalFull { .. } => Self::new(ProblemKind::JOURNAL_FULL, detail),
            Refusal::Ending => Self::new(ProblemKind::RUN_ENDING, detail),
            Refusal::NotNow(_) => Self::new(ProblemKind::NOT_NOW, detail),
        }
    }
}

/// Converts a schema violation in a payload to a finding, with a pointer into the request's body.
fn payload_finding((pointer, message): &(String, String)) -> Finding {
    Finding {
        pointer: format!("/payload{pointer}"),
        message: message.clone(),
        severity: Severity::Error,
    }
}

impl From<RegisterPluginError> for Problem {
    fn from(error: RegisterPluginError) -> Self {
        match error {
            RegisterPluginError::Register(error @ RegisterError::Refused(_)) => {
                Self::new(ProblemKind::PLUGIN_REFUSED, error.to_string())
            }
            RegisterPluginError::Register(error @ RegisterError::VersionTaken { .. }) => {
                Self::new(ProblemKind::VERSION_TAKEN, error.to_string())
            }
            RegisterPluginError::StorageLimitReached(limit) => limit.into(),
            RegisterPluginError::Register(
                error @ (RegisterError::Granted { .. } | RegisterError::NotPinned { .. }),
            ) => Self::new(ProblemKind::NAME_GRANTED, error.to_string()),
            RegisterPluginError::Register(error @ RegisterError::Busy { retry_after_s, .. }) => {
                Self::new(ProblemKind::COMPILER_BUSY, error.to_string()).retry_after(retry_after_s)
            }
            RegisterPluginError::Register(error @ RegisterError::Failed(_)) => {
                tracing::error!(%error, "the compiler failed");
                Self::new(ProblemKind::COMPILER_FAILED, error.to_string())
            }
            RegisterPluginError::Store(error) => error.into(),
        }
    }
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        Self::new(ProblemKind::NO_SUCH_TOOL, error.to_string())
    }
}

impl From<CallToolError> for Problem {
    fn from(error: CallToolError) -> Self {
        match error {
            CallToolError::Resolve(error) => error.into(),
            CallToolError::NotATool(_) => Self::new(ProblemKind::NO_SUCH_TOOL, error.to_string()),
            CallToolError::Failed { failure, logs } => from_tool_failure(&failure, &logs),
        }
    }
}

impl From<DeleteGraphError> for Problem {
    fn from(error: DeleteGraphError) -> Self {
        match error {
            DeleteGraphError::NoSuchGraph(_) => Self::new(ProblemKind::NO_SUCH_GRAPH, error.to_string()),
            DeleteGraphError::OfRun(_) | DeleteGraphError::OfSchedule(_) | DeleteGraphError::OfGraphs(_) => {
                Self::new(ProblemKind::GRAPH_IN_USE, error.to_string())
            }
            DeleteGraphError::Busy => Self::new(ProblemKind::OVERLOADED, error.to_string()).retry_after(1),
            DeleteGraphError::Store(error) => error.into(),
        }
    }
}

impl From<DeleteRunError> for Problem {
    fn from(error: DeleteRunError) -> Self {
        match error {
            DeleteRunError::NoSuchRun(run) => no_such_run(run),
            DeleteRunError::NotOver(_) => Self::new(ProblemKind::RUN_NOT_OVER, error.to_string()),
            DeleteRunError::Store(error) => error.into(),
        }
    }
}

impl From<ScheduleError> for Problem {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::NoSuchSchedule(_) => Self::new(ProblemKind::NO_SUCH_SCHEDULE, error.to_string()),
            ScheduleError::Invalid { pointer, message } => Self::invalid_at(pointer, message),
            ScheduleError::TooMany | ScheduleError::TooLarge { .. } => {
                Self::new(ProblemKind::TOO_MANY_SCHEDULES, error.to_string())
            }
            ScheduleError::Start(error) => error.into(),
            ScheduleError::Store(error) => error.into(),
        }
    }
}

impl From<PolicyError> for Problem {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Refused(refused @ PolicyRefused::Fixed(_)) => {
                Self::new(ProblemKind::POLICY_FIXED, refused.to_string())
            }
            PolicyError::Refused(PolicyRefused::InvalidAt { pointer, message }) => {
                Self::invalid_at(&pointer, message).of_kind(ProblemKind::INVALID_POLICY)
            }
            PolicyError::Refused(refused @ PolicyRefused::Invalid(_)) => {
                Self::new(ProblemKind::INVALID_POLICY, refused.to_string())
            }
            PolicyError::Store(error) => error.into(),
        }
    }
}

impl From<RemovePluginError> for Problem {
    fn from(error: RemovePluginError) -> Self {
        match error {
            RemovePluginError::NoSuchPlugin(_) | RemovePluginError::NoSuchVersion { .. } => {
                Self::new(ProblemKind::NO_SUCH_PLUGIN, error.to_string())
            }
            RemovePluginError::Granted { .. } => Self::new(ProblemKind::NAME_GRANTED, error.to_string()),
            RemovePluginError::Needed { .. } => {
                let detail = format!("{error} (`?force=true`)");
                Self::new(ProblemKind::PLUGIN_NEEDED, detail)
            }
            RemovePluginError::Store(error) => error.into(),
        }
    }
}

/// Converts a failed call of a tool.
fn from_tool_failure(failure: &Failure, logs: &[(Level, Arc<str>)]) -> Problem {
    use heddle_kernel::FailureKind as F;
    let kind = match failure.kind {
        F::InvalidInput => ProblemKind::INVALID_INPUT,
        F::Timeout => ProblemKind::TOOL_TIMEOUT,
        F::Retryable | F::Unavailable => ProblemKind::TOOL_UNAVAILABLE,
        // The kinds that only runs have are among the rest.
        _ => ProblemKind::TOOL_FAILED,
    };
    let mut problem = Problem::new(kind, failure.message.to_string());
    problem.0.failure = Some(FailureView::from(failure));
    problem.0.logs = Some(log_lines(logs));
    if kind == ProblemKind::TOOL_UNAVAILABLE {
        problem = problem.retry_after(5);
    }
    problem
}
