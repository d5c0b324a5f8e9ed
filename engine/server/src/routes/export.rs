//! Export and import of runs.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use serde::Deserialize;

use super::runs::run_response;
use crate::{
    app::App,
    request::{
        body::{BYTES, NDJSON, RunExport},
        path::{RunIdParam, RunPath},
        query::QueryParams,
    },
    response::problem::{Problem, no_such_run},
    view::{names::BytesDoc, run::RunBody},
};

/// Export a run
///
/// Returns the run as JSON lines: a header with the run and its graphs, then all events. Another server can import it. With
/// `Accept: application/octet-stream`, the response has that content type.
#[utoipa::path(
    get, path = "/v1/runs/{run_id}/export", tag = "Export and import", operation_id = "export_run",
    params(RunIdParam),
    responses(
        (status = 200, description = "The export", content((inline(BytesDoc) = "application/x-ndjson"), (inline(BytesDoc) = "application/octet-stream"))),
        (status = 404, description = "There is no such run"),
    )
)]
pub(crate) async fn export(
    State(app): State<App>,
    RunPath(id): RunPath,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let kind = match accepted.is_some_and(|accepted| accepted.trim_start().starts_with(BYTES)) {
        true => BYTES,
        false => NDJSON,
    };
    let export = {
        // Reads all events of the run, in order to find its graphs.
        let _permit = app.responses.read_permit().await;
        app.engine.export(id).await?.ok_or_else(|| no_such_run(id))?
    };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"run-{id}.jsonl\""),
        ),
    ];
    // If a part cannot be read, the connection is closed, so that the client sees an incomplete response.
    let pieces = app.responses.pieces(export.pieces());
    Ok((headers, Body::from_stream(pieces)))
}

/// The parameters of an import.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ImportParams {
    /// Whether to import the names of the run's graphs, too. Each then becomes the newest graph with its name. By default,
    /// imported graphs have only their ids.
    #[serde(default)]
    #[param(default = false)]
    names: bool,
}

/// Import a run
///
/// Validates an export by replaying its events, and stores the run with its original id. A run that is not over is imported
/// as paused: resume it to continue. Exports with times more than 5 minutes in the future or before the start, or with a run
/// id that does not match the start time, are refused.
#[utoipa::path(
    post, path = "/v1/runs:import", tag = "Export and import", operation_id = "import_run",
    params(ImportParams),
    request_body(content((String = "application/x-ndjson"), (inline(BytesDoc) = "application/octet-stream")), description = "The export"),
    responses(
        (status = 201, description = "The run is imported", body = RunBody, headers(("location" = String, description = "The path of the run"))),
        (status = 409, description = "The run exists already"),
        (status = 413, description = "The export is too large"),
        (status = 422, description = "The body is not an export of a run"),
        (status = 429, description = "Too many runs are being imported"),
    )
)]
pub(crate) async fn import(
    State(app): State<App>,
    QueryParams(params): QueryParams<ImportParams>,
    RunExport { text, permit }: RunExport,
) -> Result<Response, Problem> {
    let id = app.engine.import_keeping(permit, text, params.names).await?;
    let location = [(header::LOCATION, format!("/v1/runs/{id}"))];
    let run = run_response(&app, id).await?;
    Ok((StatusCode::CREATED, location, run).into_response())
}
