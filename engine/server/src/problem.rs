//! Errors as a client sees them: problem details (RFC 9457), one for every way to go wrong.
//!
//! `detail` is for people and says what to do; `type` is for programs and never changes its
//! meaning; `errors` points into the body where there is something to point at.

use std::sync::Arc;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use heddle_kernel::{Diagnostic, Failure, Level, Refusal, Severity};
use heddle_runtime::{
    CallToolError, ChecksBusy, CreateGraphError, Full, ImportError, KeyError, ReadError, RegisterPluginError,
    SendError, StartError, StepError,
    ports::{RegisterError, ResolveError, StoreError},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    extract::no_such_run,
    view::{FailureView, LogLine, SeverityDoc, log_lines},
};

/// The media type of a problem.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, before anything particular is said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    slug: &'static str,
    status: StatusCode,
    title: &'static str,
}

macro_rules! kinds {
    ($($name:ident: $status:ident, $slug:literal, $title:literal;)*) => {
        impl Kind {
            $(pub(crate) const $name: Self = Self { slug: $slug, status: StatusCode::$status, title: $title };)*
            /// Every kind, for the docs.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

kinds! {
    BAD_JSON: BAD_REQUEST, "bad-json", "The body is not JSON";
    BAD_BODY: BAD_REQUEST, "bad-body", "The body could not be read";
    BAD_QUERY: BAD_REQUEST, "bad-query", "A query parameter is wrong";
    BAD_ID: BAD_REQUEST, "bad-id", "This is not an id";
    BAD_KEY: BAD_REQUEST, "bad-key", "This is no idempotency key";
    BAD_REQUEST: BAD_REQUEST, "bad-request", "The request is wrong";
    NOT_A_WEB_SOCKET: UPGRADE_REQUIRED, "web-socket-expected", "This address is a WebSocket";
    INVALID_REQUEST: UNPROCESSABLE_ENTITY, "invalid-request", "The body does not have the right form";
    INVALID_GRAPH: UNPROCESSABLE_ENTITY, "invalid-graph", "The graph has errors";
    INVALID_INPUT: UNPROCESSABLE_ENTITY, "invalid-input", "The tool does not take this input";
    INVALID_PAYLOAD: UNPROCESSABLE_ENTITY, "invalid-payload", "The signal does not take this payload";
    MALFORMED_EXPORT: UNPROCESSABLE_ENTITY, "malformed-export", "This is no export of a run";
    PLUGIN_REFUSED: UNPROCESSABLE_ENTITY, "plugin-refused", "The component cannot be a plugin";
    INVALID_POLICY: UNPROCESSABLE_ENTITY, "invalid-policy", "This is no policy";
    POLICY_FIXED: CONFLICT, "policy-fixed", "The policy file names this plugin";
    GRANTS_OFF: FORBIDDEN, "grants-off", "Grants are not changed over HTTP";
    VERSION_TAKEN: CONFLICT, "version-taken", "This version is taken";
    NAME_GRANTED: CONFLICT, "name-granted", "The plugin's name has grants";
    PLUGIN_NEEDED: CONFLICT, "plugin-needed", "Something needs this plugin";
    GRAPH_IN_USE: CONFLICT, "graph-in-use", "Something uses this graph";
    GRAPH_BROKEN: CONFLICT, "graph-broken", "The graph cannot run now";
    RUN_KNOWN: CONFLICT, "run-known", "The run is here already";
    RUN_OVER: CONFLICT, "run-over", "The run is over";
    RUN_ENDING: CONFLICT, "run-ending", "The run is ending";
    NOT_NOW: CONFLICT, "not-now", "The run is in no state for this";
    WAIT_OVER: CONFLICT, "wait-over", "The wait takes no signal any more";
    JOURNAL_FULL: CONFLICT, "journal-full", "The run's journal is full";
    RUN_NOT_OVER: CONFLICT, "run-not-over", "The run is not over";
    FULL: CONFLICT, "limit-reached", "No more of this is kept";
    TOO_MANY_SCHEDULES: CONFLICT, "too-many-schedules", "There are too many schedules";
    KEY_REUSED: UNPROCESSABLE_ENTITY, "key-reused", "The idempotency key was used for another request";
    KEY_IN_FLIGHT: CONFLICT, "key-in-flight", "A request with this idempotency key is being carried out";
    WRONG_HOST: MISDIRECTED_REQUEST, "host-not-allowed", "The request is for another host";
    WRONG_ORIGIN: FORBIDDEN, "origin-not-allowed", "A page of another origin may not do this";
    NO_SUCH_PATH: NOT_FOUND, "no-such-path", "There is nothing at this address";
    NO_SUCH_RUN: NOT_FOUND, "no-such-run", "There is no such run";
    NO_SUCH_STEP: NOT_FOUND, "no-such-step", "The run has no such step that is over";
    NO_SUCH_GRAPH: NOT_FOUND, "no-such-graph", "There is no such graph";
    NO_SUCH_SIGNAL: NOT_FOUND, "no-such-signal", "The run takes no such signal";
    NO_SUCH_WAIT: NOT_FOUND, "no-such-wait", "The run has no such wait";
    NO_SUCH_SCHEDULE: NOT_FOUND, "no-such-schedule", "There is no such schedule";
    NO_SUCH_PLUGIN: NOT_FOUND, "no-such-plugin", "There is no such plugin";
    NO_SUCH_POLICY: NOT_FOUND, "no-such-policy", "Nothing was set for this plugin";
    NO_SUCH_TOOL: NOT_FOUND, "no-such-tool", "There is no such tool";
    WRONG_METHOD: METHOD_NOT_ALLOWED, "method-not-allowed", "This address takes other methods";
    BODY_TIMEOUT: REQUEST_TIMEOUT, "body-timeout", "The body took too long to arrive";
    TOO_LARGE: PAYLOAD_TOO_LARGE, "too-large", "This is too large";
    WRONG_TYPE: UNSUPPORTED_MEDIA_TYPE, "wrong-content-type", "The body has the wrong content type";
    BUSY: TOO_MANY_REQUESTS, "busy", "Too many runs are queued";
    TOO_MANY_IMPORTS: TOO_MANY_REQUESTS, "too-many-imports", "Too many runs are being imported";
    TOO_MANY_SIGNALS: TOO_MANY_REQUESTS, "too-many-signals", "The run keeps too many signals";
    INTERNAL: INTERNAL_SERVER_ERROR, "internal", "The server failed";
    COMPILER_FAILED: INTERNAL_SERVER_ERROR, "compiler-failed", "The compiler did not work";
    STORE_FAILED: INTERNAL_SERVER_ERROR, "store-failed", "The store failed";
    TOOL_FAILED: BAD_GATEWAY, "tool-failed", "The tool failed";
    TOOL_UNAVAILABLE: SERVICE_UNAVAILABLE, "tool-unavailable", "The tool failed and may go well later";
    TOOL_TIMEOUT: GATEWAY_TIMEOUT, "tool-timeout", "The tool took too long";
    OVERLOADED: SERVICE_UNAVAILABLE, "overloaded", "The server does as much of this as it may";
    CHECKS_BUSY: SERVICE_UNAVAILABLE, "checks-busy", "Too many checks of graphs are under way";
    STORE_UNAVAILABLE: SERVICE_UNAVAILABLE, "store-unavailable", "The store takes no writes at the moment";
    COMPILER_BUSY: SERVICE_UNAVAILABLE, "compiler-busy", "Too many components wait to be compiled";
    STARTING: SERVICE_UNAVAILABLE, "starting", "The engine is starting";
    NOT_TAKEN: SERVICE_UNAVAILABLE, "not-taken", "This was not taken at the moment";
    NO_MEMORY: SERVICE_UNAVAILABLE, "no-memory", "The runs in memory hold as much as they may";
    STOPPING: SERVICE_UNAVAILABLE, "stopping", "The engine is stopping";
}

impl Kind {
    /// The stable name of the kind.
    pub(crate) fn uri(self) -> String {
        format!("urn:heddle:problem:{}", self.slug)
    }

    /// The HTTP status.
    pub(crate) fn status(self) -> u16 {
        self.status.as_u16()
    }

    /// What it is in a few words, and its stable name.
    pub(crate) fn title_and_uri(self) -> String {
        format!("{} (`{}`)", self.title, self.uri())
    }

    /// One line of the table of kinds.
    pub(crate) fn describe(self) -> String {
        format!("`{}` ({}): {}", self.uri(), self.status.as_u16(), self.title)
    }
}

/// One error, on its way to a client. Boxed, as most answers are none.
#[derive(Debug)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    status: StatusCode,
    detail: String,
    errors: Vec<Finding>,
    failure: Option<FailureView>,
    logs: Option<Vec<LogLine>>,
    retry_after: Option<u32>,
}

/// A problem, as RFC 9457 describes it.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "urn:heddle:problem:no-such-run", "title": "There is no such run", "status": 404,
    "detail": "there is no run 019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10"
}))]
pub(crate) struct ProblemBody {
    /// What sort of problem it is: stable, for programs.
    #[serde(rename = "type")]
    kind: String,
    /// The sort of problem in a few words.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong in this case, and what to do about it.
    detail: String,
    /// Every single error and warning, where there is something to point at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Finding>,
    /// How a tool failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
    /// What a tool that failed had written to its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<Vec<LogLine>>,
}

/// Something wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Finding {
    /// Where: a JSON pointer (RFC 6901) into the body.
    #[schema(example = "/edges/extract")]
    pub(crate) pointer: String,
    /// What is wrong, and what to do about it.
    pub(crate) message: String,
    /// How bad it is.
    #[schema(value_type = SeverityDoc, example = "error")]
    pub(crate) severity: Severity,
}

impl From<Diagnostic> for Finding {
    fn from(found: Diagnostic) -> Self {
        let Diagnostic {
            severity,
            pointer,
            message,
        } = found;
        Self {
            pointer,
            message,
            severity,
        }
    }
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            status: kind.status,
            detail: detail.into(),
            errors: Vec::new(),
            failure: None,
            logs: None,
            retry_after: None,
        }))
    }

    /// A body of the wrong form, with the place where it is wrong.
    pub(crate) fn invalid_at(pointer: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let detail = match pointer {
            "" => message.clone(),
            pointer => format!("{pointer}: {message}"),
        };
        let mut problem = Self::new(Kind::INVALID_REQUEST, detail);
        problem.0.errors.push(Finding {
            pointer: pointer.to_owned(),
            message,
            severity: Severity::Error,
        });
        problem
    }

    /// A status that was decided elsewhere, with the little that is known about it.
    pub(crate) fn of_status(status: StatusCode, detail: String) -> Self {
        let mut problem = Self::new(Kind::BAD_REQUEST, detail);
        if let Some(kind) = Kind::ALL.iter().find(|kind| kind.status == status) {
            problem.0.kind = *kind;
        } else if status.is_server_error() {
            problem.0.kind = Kind::INTERNAL;
        }
        problem.0.status = status;
        problem
    }

    /// A problem of several findings; the detail tells the errors among them.
    fn found(kind: Kind, found: Vec<Diagnostic>) -> Self {
        let errors = found.iter().filter(|found| found.severity == Severity::Error);
        let told: Vec<String> = errors
            .map(|found| match found.pointer.as_str() {
                "" => found.message.clone(),
                pointer => format!("{pointer}: {}", found.message),
            })
            .collect();
        let mut problem = Self::new(kind, told.join("; "));
        problem.0.errors = found.into_iter().map(Finding::from).collect();
        problem
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// What a tool's failure is over HTTP.
    fn of_tool(failure: &Failure, logs: &[(Level, Arc<str>)]) -> Self {
        use heddle_kernel::FailureKind as F;
        let kind = match failure.kind {
            F::InvalidInput => Kind::INVALID_INPUT,
            F::Timeout => Kind::TOOL_TIMEOUT,
            F::Retryable | F::Unavailable => Kind::TOOL_UNAVAILABLE,
            // What is a run's alone is no tool's, and so among the rest.
            _ => Kind::TOOL_FAILED,
        };
        let mut problem = Self::new(kind, failure.message.to_string());
        problem.0.failure = Some(FailureView::from(failure));
        problem.0.logs = Some(log_lines(logs));
        if kind == Kind::TOOL_UNAVAILABLE {
            problem = problem.retry_after(5);
        }
        problem
    }

    /// What is wrong, as text.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }
}

impl Problem {
    /// The body of the answer.
    pub(crate) fn text(self) -> String {
        self.into_parts().0
    }

    fn into_parts(self) -> (String, StatusCode, Option<u32>) {
        let Inner {
            kind,
            status,
            detail,
            errors,
            failure,
            logs,
            retry_after,
        } = *self.0;
        let body = ProblemBody {
            kind: kind.uri(),
            title: kind.title,
            status: status.as_u16(),
            detail,
            errors,
            failure,
            logs,
        };
        let text = serde_json::to_string(&body).expect("a problem's keys are strings");
        (text, status, retry_after)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (text, status, retry_after) = self.into_parts();
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a request met an error of the store");
        match error {
            StoreError::Unavailable(_) => {
                Self::new(Kind::STORE_UNAVAILABLE, error.to_string()).retry_after(5)
            }
            StoreError::Damaged(_) | StoreError::Failed(_) => {
                Self::new(Kind::STORE_FAILED, "the store failed; the server's log says how")
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => error.into(),
            ReadError::Busy { .. } => Self::new(Kind::NO_MEMORY, error.to_string()).retry_after(1),
            ReadError::Damaged { run, .. } => {
                tracing::error!(%error, "a run cannot be read");
                Self::new(
                    Kind::STORE_FAILED,
                    format!("the journal of run {run} is damaged; the server's log says how"),
                )
            }
        }
    }
}

impl From<CreateGraphError> for Problem {
    fn from(error: CreateGraphError) -> Self {
        match error {
            CreateGraphError::Invalid(found) => Self::found(Kind::INVALID_GRAPH, found),
            CreateGraphError::Full(full) => full.into(),
            CreateGraphError::Busy(busy) => busy.into(),
            CreateGraphError::Store(error) => error.into(),
        }
    }
}

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        Self::new(Kind::FULL, full.to_string())
    }
}

impl From<ChecksBusy> for Problem {
    fn from(busy: ChecksBusy) -> Self {
        Self::new(Kind::CHECKS_BUSY, busy.to_string()).retry_after(busy.retry_after_s)
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NoSuchGraph(_) => Self::new(Kind::NO_SUCH_GRAPH, error.to_string()),
            StartError::Broken(found) => Self::found(Kind::GRAPH_BROKEN, found),
            StartError::TooLarge { .. } => Self::new(Kind::TOO_LARGE, error.to_string()),
            StartError::Group(_) => Self::new(Kind::INVALID_REQUEST, error.to_string()),
            StartError::Key(error) => error.into(),
            StartError::Busy { retry_after_s, .. } | StartError::BusyBytes { retry_after_s, .. } => {
                Self::new(Kind::BUSY, error.to_string()).retry_after(retry_after_s)
            }
            StartError::ChecksBusy(busy) => busy.into(),
            StartError::Draining => Self::new(Kind::STOPPING, error.to_string()).retry_after(5),
            StartError::Store(error) => error.into(),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let detail = error.to_string();
        match error {
            KeyError::Reused(_) => Self::new(Kind::KEY_REUSED, detail),
            KeyError::InFlight(_) => Self::new(Kind::KEY_IN_FLIGHT, detail).retry_after(1),
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
            SendError::Unavailable(_) => Self::new(Kind::NOT_TAKEN, error.to_string()).retry_after(5),
        }
    }
}

impl From<StepError> for Problem {
    fn from(error: StepError) -> Self {
        match error {
            StepError::NoSuchRun(id) => no_such_run(id),
            StepError::NoSuchStep { .. } => Self::new(Kind::NO_SUCH_STEP, error.to_string()),
            StepError::Refused(refusal) => refusal.into(),
            StepError::Read(error) => error.into(),
            StepError::Start(error) => error.into(),
        }
    }
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Malformed { .. } => Self::new(Kind::MALFORMED_EXPORT, error.to_string()),
            ImportError::TooLarge { .. } | ImportError::HoldsTooMuch { .. } => {
                Self::new(Kind::TOO_LARGE, error.to_string())
            }
            ImportError::Known(_) => Self::new(Kind::RUN_KNOWN, error.to_string()),
            ImportError::Full(full) => full.into(),
            ImportError::Store(error) => error.into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Over => Self::new(Kind::RUN_OVER, detail),
            // Nothing that a client sends speaks for an attempt.
            Refusal::Stale => Self::new(Kind::INTERNAL, detail),
            Refusal::NoSuchSignal { .. } => Self::new(Kind::NO_SUCH_SIGNAL, detail),
            Refusal::Payload { name, problems } => {
                let errors: Vec<Finding> = problems.iter().map(in_payload).collect();
                let told: Vec<String> = errors
                    .iter()
                    .map(|found| format!("{}: {}", found.pointer, found.message))
                    .collect();
                let detail = format!("the payload of `{name}` does not fit: {}", told.join("; "));
                let mut problem = Self::new(Kind::INVALID_PAYLOAD, detail);
                problem.0.errors = errors;
                problem
            }
            Refusal::NoSuchWait { .. } => Self::new(Kind::NO_SUCH_WAIT, detail),
            Refusal::WaitOver { .. } => Self::new(Kind::WAIT_OVER, detail),
            Refusal::TooManySignals | Refusal::SignalBytes { .. } => {
                Self::new(Kind::TOO_MANY_SIGNALS, detail).retry_after(1)
            }
            Refusal::JournalFull { .. } => Self::new(Kind::JOURNAL_FULL, detail),
            Refusal::Ending => Self::new(Kind::RUN_ENDING, detail),
            Refusal::NotNow(_) => Self::new(Kind::NOT_NOW, detail),
        }
    }
}

/// A problem of a payload as a finding in the body that brought the payload.
fn in_payload((pointer, message): &(String, String)) -> Finding {
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
                Self::new(Kind::PLUGIN_REFUSED, error.to_string())
            }
            RegisterPluginError::Register(error @ RegisterError::VersionTaken { .. }) => {
                Self::new(Kind::VERSION_TAKEN, error.to_string())
            }
            RegisterPluginError::Full(full) => full.into(),
            RegisterPluginError::Register(
                error @ (RegisterError::Granted { .. } | RegisterError::NotPinned { .. }),
            ) => Self::new(Kind::NAME_GRANTED, error.to_string()),
            RegisterPluginError::Register(error @ RegisterError::Busy { retry_after_s, .. }) => {
                Self::new(Kind::COMPILER_BUSY, error.to_string()).retry_after(retry_after_s)
            }
            RegisterPluginError::Register(error @ RegisterError::Failed(_)) => {
                tracing::error!(%error, "a component could not be compiled");
                Self::new(Kind::COMPILER_FAILED, error.to_string())
            }
            RegisterPluginError::Store(error) => error.into(),
        }
    }
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        Self::new(Kind::NO_SUCH_TOOL, error.to_string())
    }
}

impl From<CallToolError> for Problem {
    fn from(error: CallToolError) -> Self {
        match error {
            CallToolError::Resolve(error) => error.into(),
            CallToolError::NotATool(_) => Self::new(Kind::NO_SUCH_TOOL, error.to_string()),
            CallToolError::Failed { failure, logs } => Self::of_tool(&failure, &logs),
        }
    }
}

#[cfg(test)]
mod tests;
