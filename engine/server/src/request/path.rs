//! Path parameters: extractors, and the descriptions of common ones for the OpenAPI document.

use axum::{
    extract::{FromRequestParts, Path, rejection::PathRejection},
    http::request::Parts,
};
use heddle_kernel::RunId;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::{
    app::App,
    response::problem::{Problem, ProblemKind},
};

/// The parameters of a path, deserialized as a `T`.
pub(crate) struct PathParams<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for PathParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let path = Path::from_request_parts(parts, app).await;
        path.map(|Path(parts)| Self(parts))
            .map_err(|error| Problem::new(ProblemKind::BAD_REQUEST, path_error(&error)))
    }
}

/// Describes an invalid path. Path parameters are strings and whole numbers.
fn path_error(error: &PathRejection) -> String {
    use axum::extract::path::ErrorKind as E;
    let PathRejection::FailedToDeserializePathParams(inner) = error else {
        return error.body_text();
    };
    match inner.kind() {
        E::ParseErrorAtIndex { value, .. }
        | E::ParseErrorAtKey { value, .. }
        | E::ParseError { value, .. } => {
            format!("expected a whole number in the path, got {value:?}")
        }
        E::InvalidUtf8InPathParam { .. } => "the path is not UTF-8".to_owned(),
        _ => error.body_text(),
    }
}

/// The run id of a path.
pub(crate) struct RunPath(pub(crate) RunId);

impl FromRequestParts<App> for RunPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let PathParams(text) = PathParams::<String>::from_request_parts(parts, app).await?;
        run_id(&text).map(Self)
    }
}

/// Parses a run id.
///
/// # Errors
/// `bad-id` if the text is not a UUID.
pub(crate) fn run_id(text: &str) -> Result<RunId, Problem> {
    text.parse().map_err(|_| {
        let detail = format!("`{text}` is not a run id: expected a UUID, as returned by POST /v1/runs");
        Problem::new(ProblemKind::BAD_ID, detail)
    })
}

/// The path parameter of routes for one run.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only describes the parameter")]
pub(crate) struct RunIdParam {
    /// The run's id
    #[param(format = "uuid")]
    run_id: String,
}

/// The path parameter of routes for one graph.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only describes the parameter")]
pub(crate) struct GraphParam {
    /// The graph's id or name
    #[param(min_length = 1, example = "starter")]
    graph: String,
}

/// The path parameter of routes for one schedule.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only describes the parameter")]
pub(crate) struct ScheduleParam {
    /// The schedule's name
    #[param(min_length = 1, example = "morning-report")]
    name: String,
}

/// The path parameter of routes for one plugin.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only describes the parameter")]
pub(crate) struct PluginParam {
    /// The plugin's name
    #[param(min_length = 1, example = "starter")]
    name: String,
}

/// The path parameters of routes for one version of a plugin.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only describes the parameters")]
pub(crate) struct PluginVersionParams {
    /// The plugin's name
    #[param(min_length = 1, example = "starter")]
    name: String,
    /// The version
    #[param(min_length = 1, example = "0.1.0")]
    version: String,
}

/// The path parameters of routes for one tool.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only describes the parameters")]
pub(crate) struct ToolParams {
    /// The plugin's name
    #[param(min_length = 1, example = "starter")]
    plugin: String,
    /// The tool's name
    #[param(min_length = 1, example = "reading_ease")]
    tool: String,
}
