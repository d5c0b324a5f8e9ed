//! `/v1/runs`: starts, lists, shows and deletes runs, and returns their events.

use std::time::Duration;

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use heddle_kernel::RunId;
use heddle_runtime::{EventPage, RunView, Start, StartedRun, ports::RunRow};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{event_stream, graphs};
use crate::{
    app::App,
    connections::active_request::ActiveRequest,
    request::{
        body::parse_state,
        idempotency::{self, IdempotencyKey, KeyedJson},
        page_token::{self, PageSize},
        path::{RunIdParam, RunPath},
        priority::Priority,
        query::{QueryParams, item_count, optional_duration},
        run_filter::ListParams,
    },
    response::problem::{Problem, no_such_run},
    view::{
        event::EventView,
        run::{RunBody, RunSummary},
    },
};

/// The default number of events on a page.
const DEFAULT_EVENTS: usize = 500;
/// The largest number of events on a page.
const MAX_EVENTS: usize = 5_000;

/// The start of a run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StartRun, example = json!({"graph": "starter", "state": {"input": "some data"}}))]
pub(crate) struct StartBody<'b> {
    /// The graph's id, or a name for the newest graph with it.
    graph: String,
    /// The initial state: an object, default `{}`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    state: Option<&'b RawValue>,
    /// The priority in the queue: runs with a higher priority start first. -100 to 100, default 0.
    #[schema(value_type = Option<i32>, minimum = -100, maximum = 100)]
    priority: Option<Priority>,
}

/// The parameters of a start.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StartParams {
    /// Wait for the end of the run, at most this long: `500ms`, `30s`, up to `60s`.
    #[serde(default, deserialize_with = "optional_duration")]
    #[param(value_type = Option<String>, pattern = "^\\s*([0-9]+(ms|s|m|h|d|w)\\s*)+$", example = "30s")]
    wait: Option<Duration>,
}

/// Start a run
///
/// Answers once the start is durable: from then on, the run finishes even if the server crashes. With `wait`, answers when
/// the run is over or the time has passed. If the limit of active runs is reached, the run is `queued`.
#[utoipa::path(
    post, path = "/v1/runs", tag = "Runs", operation_id = "start_run",
    params(
        StartParams,
        IdempotencyKey,
    ),
    request_body = StartBody,
    responses(
        (status = 202, description = "The run is active or queued", body = RunBody, headers(("location" = String, description = "The path of the run"), ("idempotency-replayed" = String, description = "`true` if an earlier request with the key started the run"))),
        (status = 200, description = "The run is over (with `wait`)", body = RunBody, headers(("location" = String, description = "The path of the run"), ("idempotency-replayed" = String, description = "`true` if an earlier request with the key started the run"))),
        (status = 404, description = "No graph has this id or name"),
        (status = 409, description = "A function of the graph no longer exists, or a request with the key is in progress"),
        (status = 422, description = "The body is invalid, or the key was used for another request"),
        (status = 429, description = "Too many runs are queued"),
    )
)]
pub(crate) async fn start(
    State(app): State<App>,
    QueryParams(params): QueryParams<StartParams>,
    KeyedJson { body, key }: KeyedJson,
) -> Result<Response, Problem> {
    let request: StartBody<'_> = body.parse()?;
    let state = request
        .state
        .map(|state| parse_state("/state", state))
        .transpose()?;
    let start = Start {
        priority: request.priority.map_or(0, |Priority(priority)| priority),
        key,
        ..Start::of(request.graph, state.unwrap_or_default())
    };
    let run = app.engine.start_run(start).await?;
    started_response(&app, &run, params.wait).await
}

/// Returns the response to a start. With `wait`, waits until the run is over or the time has passed.
pub(crate) async fn started_response(
    app: &App,
    run: &StartedRun,
    wait: Option<Duration>,
) -> Result<Response, Problem> {
    // If all watcher permits are taken, the response is sent at once.
    if let Some((wait, _watcher)) = wait.zip(app.acquire_watcher().ok()) {
        let mut shutdown = app.shutdown.listen();
        tokio::select! {
            _ = tokio::time::timeout(wait.min(app.settings.max_wait), run.over()) => {}
            () = shutdown.begun() => {}
        }
    }
    let mut headers = HeaderMap::new();
    let location = HeaderValue::from_str(&format!("/v1/runs/{}", run.id)).expect("an id is ASCII");
    headers.insert(header::LOCATION, location);
    if run.replayed {
        headers.insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
    }
    let view = match run.view().await {
        Some(view) => view,
        None => match find_run(app, run.id).await {
            Ok(view) => view,
            // The run was started, so even an error response has its location.
            Err(problem) => return Ok((headers, problem).into_response()),
        },
    };
    let status = match wait {
        Some(_) if view.status.is_over() => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    };
    let row = match row(app, run.id).await {
        Ok(row) => row,
        Err(problem) => return Ok((headers, problem).into_response()),
    };
    // The response may exceed the budget; the location is sent nevertheless.
    let body = app.responses.json(&RunBody::of(view, &row));
    Ok(match body {
        Ok(body) => (status, headers, body).into_response(),
        Err(problem) => (headers, problem).into_response(),
    })
}

/// Returns a run.
///
/// # Errors
/// `no-such-run` if it does not exist.
pub(crate) async fn find_run(app: &App, id: RunId) -> Result<RunView, Problem> {
    app.engine.run(id).await?.ok_or_else(|| no_such_run(id))
}

async fn row(app: &App, id: RunId) -> Result<RunRow, Problem> {
    app.engine.row(id).await?.ok_or_else(|| no_such_run(id))
}

/// Returns the response with a run and its state.
pub(crate) async fn run_response(app: &App, id: RunId) -> Result<Response, Problem> {
    let row = row(app, id).await?;
    app.responses.json(&RunBody::of(find_run(app, id).await?, &row))
}

/// A page of runs, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunList {
    /// The runs of this page.
    runs: Vec<RunSummary>,
    /// The `page_token` of the next page; null on the last page.
    #[schema(required)]
    next_page_token: Option<String>,
}

/// List runs
///
/// Newest first, by start time. A run is listed if it matches all filters.
#[utoipa::path(
    get, path = "/v1/runs", tag = "Runs", operation_id = "list_runs", params(ListParams),
    responses(
        (status = 200, description = "A page of runs", body = RunList),
        (status = 404, description = "No graph has this id or name"),
    )
)]
pub(crate) async fn list(State(app): State<App>, params: ListParams) -> Result<Response, Problem> {
    let page = PageSize::new(params.page_size)?;
    let filter = params.filter()?;
    let token = params.page_token.as_deref();
    let before = token
        .map(|token| page_token::read_run(token, &filter))
        .transpose()?;
    if let Some(graph) = params.graph() {
        graphs::find_graph(&app, graph).await?;
    }
    let mut rows = app.engine.runs(filter.clone(), before, page.fetch_len()).await?;
    let last = page.cut(&mut rows);
    let next_page_token = last.map(|row| page_token::write_run(row.position(), &filter));
    app.responses.json(&RunList {
        runs: rows.into_iter().map(RunSummary::from).collect(),
        next_page_token,
    })
}

/// Get a run
///
/// With its state after the last event.
#[utoipa::path(
    get, path = "/v1/runs/{run_id}", tag = "Runs", operation_id = "get_run",
    params(RunIdParam),
    responses(
        (status = 200, description = "The run", body = RunBody),
        (status = 404, description = "There is no such run"),
    )
)]
pub(crate) async fn get(State(app): State<App>, RunPath(id): RunPath) -> Result<Response, Problem> {
    run_response(&app, id).await
}

/// Delete a run
///
/// Deletes the run and its journal permanently. The run must be over. Runs are also deleted by the retention that
/// `heddle serve --keep` sets.
#[utoipa::path(
    delete, path = "/v1/runs/{run_id}", tag = "Runs", operation_id = "forget_run",
    params(RunIdParam),
    responses(
        (status = 204, description = "The run is deleted"),
        (status = 404, description = "There is no such run"),
        (status = 409, description = "The run is not over"),
    )
)]
pub(crate) async fn delete(State(app): State<App>, RunPath(run): RunPath) -> Result<StatusCode, Problem> {
    app.engine.delete_run(run).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The parameters of a list of events.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventParams {
    /// Only events after the one with this number.
    after: Option<u64>,
    /// The largest number of events on a page: 1 to 5,000, default 500. Event streams ignore it.
    #[param(minimum = 1, maximum = 5000, default = 500)]
    limit: Option<usize>,
}

/// A page of events, in order.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventList {
    /// The events. If events are large, a page has fewer than `limit`.
    events: Vec<EventView>,
    /// The `after` of the next page: the number of the last event on this page.
    next_after: u64,
    /// True if the run is over and no events follow this page. A retry of a failed run adds events.
    over: bool,
}

/// Get or stream a run's events
///
/// Returns a JSON page. With `Accept: text/event-stream`, returns a stream of server-sent events: all events from the
/// beginning (or after `Last-Event-ID`, else `after`), then live events. The `id` of a server-sent event is the event's
/// number. Chunks that functions send while they run are `event: chunk` without an `id`; a chunk of type `chunks_missed`
/// says how many chunks a slow client has missed. After the end of the run, `event: end` closes the stream.
#[utoipa::path(
    get, path = "/v1/runs/{run_id}/events", tag = "Runs", operation_id = "get_events",
    params(
        RunIdParam, EventParams,
        ("last-event-id" = Option<u64>, Header, description = "The number of the last event that the client has received"),
    ),
    responses(
        (status = 200, description = "Events", content((EventList = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "The client connected to the stream again, and the run is over without further events"),
        (status = 404, description = "There is no such run"),
    )
)]
pub(crate) async fn events(
    State(app): State<App>,
    RunPath(id): RunPath,
    QueryParams(params): QueryParams<EventParams>,
    headers: HeaderMap,
    active: Option<Extension<ActiveRequest>>,
) -> Result<Response, Problem> {
    // Pages ignore the header, but an invalid one is refused for them, too.
    event_stream::last_event_id(&headers)?;
    if accepts_stream(&headers) {
        return event_stream::respond(
            app,
            id,
            params.after,
            &headers,
            active.as_ref().map(|Extension(active)| active),
        )
        .await;
    }
    let limit = item_count("limit", params.limit, DEFAULT_EVENTS, MAX_EVENTS)?;
    let after = params.after.unwrap_or_default();
    let _permit = app.responses.read_permit().await;
    let page = app.engine.event_page(id, after, limit).await?;
    let EventPage { events, over } = page.ok_or_else(|| no_such_run(id))?;
    let body = EventList {
        next_after: events.last().map_or(after, |last| last.seq),
        events: events.iter().map(|event| EventView::of(id, event)).collect(),
        over,
    };
    app.responses.json(&body)
}

/// Returns whether the client requests a stream instead of a page.
fn accepts_stream(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|accepted| accepted.split(','));
    kinds.any(|kind| kind.trim_start().starts_with("text/event-stream"))
}
