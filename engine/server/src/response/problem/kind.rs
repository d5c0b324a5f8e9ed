//! The kinds of problems: each has a stable URI, an HTTP status and a title.
//!
//! To add a kind, add a line to the table. The OpenAPI document lists all of them.

use axum::http::StatusCode;

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProblemKind {
    /// The last part of the URI: programs depend on it, so it never changes its meaning.
    pub(super) slug: &'static str,
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
}

macro_rules! kinds {
    ($($name:ident: $status:ident, $slug:literal, $title:literal;)*) => {
        impl ProblemKind {
            $(pub(crate) const $name: Self = Self { slug: $slug, status: StatusCode::$status, title: $title };)*
            /// All kinds, in the order of the table.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

kinds! {
    BAD_JSON: BAD_REQUEST, "bad-json", "The body is not JSON";
    BAD_BODY: BAD_REQUEST, "bad-body", "The body could not be read";
    BAD_QUERY: BAD_REQUEST, "bad-query", "A query parameter is invalid";
    BAD_ID: BAD_REQUEST, "bad-id", "The id is invalid";
    BAD_KEY: BAD_REQUEST, "bad-key", "The idempotency key is invalid";
    BAD_REQUEST: BAD_REQUEST, "bad-request", "The request is invalid";
    NOT_A_WEB_SOCKET: UPGRADE_REQUIRED, "web-socket-expected", "This route requires a WebSocket upgrade";
    INVALID_REQUEST: UNPROCESSABLE_ENTITY, "invalid-request", "The body is invalid";
    INVALID_GRAPH: UNPROCESSABLE_ENTITY, "invalid-graph", "The graph has errors";
    INVALID_INPUT: UNPROCESSABLE_ENTITY, "invalid-input", "The tool refused the input";
    INVALID_PAYLOAD: UNPROCESSABLE_ENTITY, "invalid-payload", "The signal's payload does not match the schema";
    MALFORMED_EXPORT: UNPROCESSABLE_ENTITY, "malformed-export", "The body is not an export of a run";
    PLUGIN_REFUSED: UNPROCESSABLE_ENTITY, "plugin-refused", "The component cannot be a plugin";
    INVALID_POLICY: UNPROCESSABLE_ENTITY, "invalid-policy", "The policy is invalid";
    POLICY_FIXED: CONFLICT, "policy-fixed", "The policy file defines this plugin's policy";
    GRANTS_OFF: FORBIDDEN, "grants-off", "Policies over HTTP are disabled";
    VERSION_TAKEN: CONFLICT, "version-taken", "The plugin's version exists with another digest";
    NAME_GRANTED: CONFLICT, "name-granted", "The plugin's name has grants";
    PLUGIN_NEEDED: CONFLICT, "plugin-needed", "The plugin is in use";
    GRAPH_IN_USE: CONFLICT, "graph-in-use", "The graph is in use";
    GRAPH_BROKEN: CONFLICT, "graph-broken", "The graph cannot run";
    RUN_KNOWN: CONFLICT, "run-known", "The run exists already";
    RUN_OVER: CONFLICT, "run-over", "The run is over";
    RUN_ENDING: CONFLICT, "run-ending", "The run is ending";
    NOT_NOW: CONFLICT, "not-now", "The run's status does not allow this";
    WAIT_OVER: CONFLICT, "wait-over", "The wait is over";
    JOURNAL_FULL: CONFLICT, "journal-full", "The run's journal is full";
    RUN_NOT_OVER: CONFLICT, "run-not-over", "The run is not over";
    FULL: CONFLICT, "limit-reached", "A storage limit is reached";
    TOO_MANY_SCHEDULES: CONFLICT, "too-many-schedules", "The limit on schedules is reached";
    KEY_REUSED: UNPROCESSABLE_ENTITY, "key-reused", "The idempotency key was used for another request";
    KEY_IN_FLIGHT: CONFLICT, "key-in-flight", "A request with this idempotency key is in progress";
    WRONG_HOST: MISDIRECTED_REQUEST, "host-not-allowed", "The host is not allowed";
    WRONG_ORIGIN: FORBIDDEN, "origin-not-allowed", "The origin is not allowed";
    NO_SUCH_PATH: NOT_FOUND, "no-such-path", "There is no such route";
    NO_SUCH_RUN: NOT_FOUND, "no-such-run", "There is no such run";
    NO_SUCH_STEP: NOT_FOUND, "no-such-step", "The run has no such completed step";
    NO_SUCH_GRAPH: NOT_FOUND, "no-such-graph", "There is no such graph";
    NO_SUCH_SIGNAL: NOT_FOUND, "no-such-signal", "The run has no wait for this signal";
    NO_SUCH_WAIT: NOT_FOUND, "no-such-wait", "The run has no such wait";
    NO_SUCH_SCHEDULE: NOT_FOUND, "no-such-schedule", "There is no such schedule";
    NO_SUCH_PLUGIN: NOT_FOUND, "no-such-plugin", "There is no such plugin";
    NO_SUCH_POLICY: NOT_FOUND, "no-such-policy", "The plugin has no policy that was set over HTTP";
    NO_SUCH_TOOL: NOT_FOUND, "no-such-tool", "There is no such tool";
    WRONG_METHOD: METHOD_NOT_ALLOWED, "method-not-allowed", "The route does not support this method";
    BODY_TIMEOUT: REQUEST_TIMEOUT, "body-timeout", "The body did not arrive in time";
    TOO_LARGE: PAYLOAD_TOO_LARGE, "too-large", "The request is too large";
    WRONG_TYPE: UNSUPPORTED_MEDIA_TYPE, "wrong-content-type", "The body has the wrong content type";
    BUSY: TOO_MANY_REQUESTS, "busy", "Too many runs are queued";
    TOO_MANY_IMPORTS: TOO_MANY_REQUESTS, "too-many-imports", "Too many runs are being imported";
    TOO_MANY_SIGNALS: TOO_MANY_REQUESTS, "too-many-signals", "The run holds too many unreceived signals";
    INTERNAL: INTERNAL_SERVER_ERROR, "internal", "The server failed";
    COMPILER_FAILED: INTERNAL_SERVER_ERROR, "compiler-failed", "The compiler failed";
    STORE_FAILED: INTERNAL_SERVER_ERROR, "store-failed", "The store failed";
    TOOL_FAILED: BAD_GATEWAY, "tool-failed", "The tool failed";
    TOOL_UNAVAILABLE: SERVICE_UNAVAILABLE, "tool-unavailable", "The tool failed and can be retried";
    TOOL_TIMEOUT: GATEWAY_TIMEOUT, "tool-timeout", "The tool timed out";
    OVERLOADED: SERVICE_UNAVAILABLE, "overloaded", "The server is overloaded";
    CHECKS_BUSY: SERVICE_UNAVAILABLE, "checks-busy", "Too many graphs are being checked";
    STORE_UNAVAILABLE: SERVICE_UNAVAILABLE, "store-unavailable", "The store accepts no writes";
    COMPILER_BUSY: SERVICE_UNAVAILABLE, "compiler-busy", "Too many components wait to be compiled";
    STARTING: SERVICE_UNAVAILABLE, "starting", "The engine is starting";
    NOT_TAKEN: SERVICE_UNAVAILABLE, "not-taken", "The request was not accepted";
    NO_MEMORY: SERVICE_UNAVAILABLE, "no-memory", "The memory limit for runs is reached";
    STOPPING: SERVICE_UNAVAILABLE, "stopping", "The engine is stopping";
}

impl ProblemKind {
    /// Returns the stable URI, the `type` of a problem.
    pub(crate) fn uri(self) -> String {
        format!("urn:heddle:problem:{}", self.slug)
    }

    /// Returns the HTTP status code.
    pub(crate) fn status(self) -> u16 {
        self.status.as_u16()
    }

    /// Returns the title with the URI, for descriptions of responses.
    pub(crate) fn title_and_uri(self) -> String {
        format!("{} (`{}`)", self.title, self.uri())
    }

    /// Returns a line with URI, status and title, for the list of all kinds.
    pub(crate) fn describe(self) -> String {
        format!("`{}` ({}): {}", self.uri(), self.status.as_u16(), self.title)
    }
}
