//! Failures of calls and runs, and the log lines of functions.

use std::sync::Arc;

use heddle_json::Json;
use heddle_kernel::{Failure, FailureKind, Level, RunError};
use serde::Serialize;
use utoipa::ToSchema;

use super::names::{FailureKindDoc, LevelDoc};

/// Why a call failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Failure)]
pub(crate) struct FailureView {
    /// The kind of failure.
    #[schema(value_type = FailureKindDoc)]
    kind: FailureKind,
    /// What went wrong.
    #[schema(value_type = String)]
    message: Arc<str>,
    /// Details for programs, as the function returned them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    data: Option<Json>,
}

impl From<&Failure> for FailureView {
    fn from(failure: &Failure) -> Self {
        Self {
            kind: failure.kind,
            message: failure.message.clone(),
            data: failure.data.clone(),
        }
    }
}

/// Why a run failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RunError)]
pub(crate) struct ErrorView {
    /// The kind of failure, for programs.
    #[schema(value_type = FailureKindDoc)]
    code: FailureKind,
    /// What went wrong.
    #[schema(value_type = String)]
    message: Arc<str>,
    /// The node that failed.
    #[schema(value_type = String)]
    node: Arc<str>,
    /// The step that failed. Absent if no step began at the node, as after a conflict of branches before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    /// The attempt that failed, from 1. Absent without a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// Details for programs, as the function returned them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    data: Option<Json>,
}

impl From<&RunError> for ErrorView {
    fn from(error: &RunError) -> Self {
        Self {
            code: error.kind,
            message: error.message.clone(),
            node: error.node.clone(),
            step: error.step,
            attempt: error.attempt,
            data: error.data.clone(),
        }
    }
}

/// A line of a function's log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogLine {
    /// The level of the line.
    #[schema(value_type = LevelDoc)]
    level: Level,
    /// The text of the line.
    #[schema(value_type = String)]
    message: Arc<str>,
}

/// Converts lines of a function's log.
pub(crate) fn log_lines(logs: &[(Level, Arc<str>)]) -> Vec<LogLine> {
    let line = |(level, message): &(Level, Arc<str>)| LogLine {
        level: *level,
        message: message.clone(),
    };
    logs.iter().map(line).collect()
}
