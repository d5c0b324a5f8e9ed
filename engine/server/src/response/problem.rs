//! Errors as clients see them: problem details (RFC 9457).
//!
//! `detail` is for people and says what to do. `type` is for programs and never changes its meaning. `errors` lists
//! findings with JSON pointers into the request's body.

mod from_errors;
mod kind;
#[cfg(test)]
mod tests;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use heddle_kernel::{Diagnostic, RunId, Severity};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use self::kind::ProblemKind;
use crate::view::{
    failure::{FailureView, LogLine},
    names::SeverityDoc,
};

/// The media type of problem details.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// A problem. Boxed to keep `Result`s small.
#[derive(Debug)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ProblemKind,
    status: StatusCode,
    detail: String,
    errors: Vec<Finding>,
    failure: Option<FailureView>,
    logs: Option<Vec<LogLine>>,
    retry_after: Option<u32>,
}

/// Problem details (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "urn:heddle:problem:no-such-run", "title": "There is no such run", "status": 404,
    "detail": "there is no run 019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10"
}))]
pub(crate) struct ProblemBody {
    /// A URI that identifies the kind of problem, for programs.
    #[serde(rename = "type")]
    kind: String,
    /// A summary of the kind of problem.
    title: &'static str,
    /// The HTTP status code.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong and how to fix it.
    detail: String,
    /// All errors and warnings, with their places in the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Finding>,
    /// How the tool failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
    /// The log of the tool that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<Vec<LogLine>>,
}

/// An error or a warning about one part of the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Finding {
    /// A JSON pointer (RFC 6901) into the body.
    #[schema(example = "/edges/extract")]
    pub(crate) pointer: String,
    /// What is wrong and how to fix it.
    pub(crate) message: String,
    /// `error` or `warning`.
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
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
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

    /// An `invalid-request` problem with one error at `pointer`.
    pub(crate) fn invalid_at(pointer: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let detail = match pointer {
            "" => message.clone(),
            pointer => format!("{pointer}: {message}"),
        };
        let mut problem = Self::new(ProblemKind::INVALID_REQUEST, detail);
        problem.0.errors.push(Finding {
            pointer: pointer.to_owned(),
            message,
            severity: Severity::Error,
        });
        problem
    }

    /// The same problem with another kind.
    pub(crate) fn of_kind(mut self, kind: ProblemKind) -> Self {
        (self.0.kind, self.0.status) = (kind, kind.status);
        self
    }

    /// A problem for a status that a library chose.
    pub(crate) fn of_status(status: StatusCode, detail: String) -> Self {
        let mut problem = Self::new(ProblemKind::BAD_REQUEST, detail);
        if let Some(kind) = ProblemKind::ALL.iter().find(|kind| kind.status == status) {
            problem.0.kind = *kind;
        } else if status.is_server_error() {
            problem.0.kind = ProblemKind::INTERNAL;
        }
        problem.0.status = status;
        problem
    }

    /// A problem with several findings. Its detail joins the errors among them.
    fn from_diagnostics(kind: ProblemKind, found: Vec<Diagnostic>) -> Self {
        let errors = found.iter().filter(|found| found.severity == Severity::Error);
        let messages: Vec<String> = errors
            .map(|found| match found.pointer.as_str() {
                "" => found.message.clone(),
                pointer => format!("{pointer}: {}", found.message),
            })
            .collect();
        let mut problem = Self::new(kind, messages.join("; "));
        problem.0.errors = found.into_iter().map(Finding::from).collect();
        problem
    }

    /// Sets `Retry-After`, in seconds.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// Returns the detail.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }
}

impl Problem {
    /// Returns the body.
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

/// Returns the problem for a run that does not exist.
pub(crate) fn no_such_run(run: RunId) -> Problem {
    Problem::new(ProblemKind::NO_SUCH_RUN, format!("there is no run {run}"))
}
