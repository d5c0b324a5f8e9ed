//! A run as one file: given here, and taken by another Heddle.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use serde::Deserialize;

use crate::{
    App,
    extract::{BYTES, Exported, NDJSON, Params, RunPath, no_such_run},
    problem::{Problem, ProblemBody},
    runs,
    view::{BytesDoc, RunBody},
};

/// Export a run
///
/// The whole of it as JSON lines: first what it is, with its graphs, then each of its events. Another Heddle
/// imports that and shows the same. Asked with `Accept: application/octet-stream`, it comes under that type.
#[utoipa::path(
    get, path = "/v1/runs/{run_id}/export", tag = "history", operation_id = "export_run",
    params(("run_id" = String, Path, format = "uuid", description = "The run")),
    responses(
        (status = 200, description = "The run as a file", content((inline(BytesDoc) = "application/x-ndjson"), (inline(BytesDoc) = "application/octet-stream"))),
        (status = 404, description = "There is no such run", body = ProblemBody, content_type = "application/problem+json"),
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
    let export = app.engine.export(id).await?.ok_or_else(|| no_such_run(id))?;
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"run-{id}.jsonl\""),
        ),
    ];
    // Where a piece cannot be read, the connection breaks off, and the reader sees that the file is not whole.
    Ok((headers, Body::from_stream(export.pieces())))
}

/// What is imported with a run.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ImportParams {
    /// Whether the run's graphs are kept with their names, as if they were created now: then each is the newest of its
    /// name. Without it, they are found by their ids alone.
    #[serde(default)]
    #[param(default = false)]
    names: bool,
}

/// Import a run
///
/// The body is an export. It is checked by doing what its events say, and kept under its own id. A run that
/// was not over is paused here: resume it to continue. Its graphs have no names here unless `names` says so. An
/// export whose times are more than 5 minutes in the future is refused, and so is one whose run has an id of another time.
#[utoipa::path(
    post, path = "/v1/runs:import", tag = "history", operation_id = "import_run",
    params(ImportParams),
    request_body(content((String = "application/x-ndjson"), (inline(BytesDoc) = "application/octet-stream")), description = "The export"),
    responses(
        (status = 201, description = "The run is here", body = RunBody, headers(("location" = String, description = "Where it is"))),
        (status = 409, description = "The run is here already", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The export is too large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "This is no export of a run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Other runs are being imported", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn import(
    State(app): State<App>,
    Params(params): Params<ImportParams>,
    Exported { text, permit }: Exported,
) -> Result<Response, Problem> {
    let imported = match params.names {
        true => app.engine.import_with_names(text).await,
        false => app.engine.import(text).await,
    };
    drop(permit);
    let id = imported?;
    let location = [(header::LOCATION, format!("/v1/runs/{id}"))];
    let run = runs::answer(&app, id).await?;
    Ok((StatusCode::CREATED, location, run).into_response())
}
