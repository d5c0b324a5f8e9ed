//! `/v1/runs`: runs, started, listed, shown and followed.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use heddle_kernel::RunId;
use heddle_runtime::{PRIORITIES, Page, RunView, Start, StartedRun, ports::RunRow};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    App,
    extract::{Params, RunPath, count, no_such_run, span, state_at},
    graphs,
    idempotency::{self, Keyed},
    page_token,
    problem::{Problem, ProblemBody},
    run_filter::ListParams,
    sse,
    view::{EventView, RunBody, RunSummary},
};

/// How many events a page has where nothing is said.
const DEFAULT_EVENTS: usize = 500;
/// How many it may have.
const MAX_EVENTS: usize = 5_000;

/// What to run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StartRun, example = json!({"graph": "starter", "state": {"input": "some data"}}))]
pub(crate) struct StartBody<'b> {
    /// The graph's id, or its name: then the newest graph with it.
    graph: String,
    /// The state that the run begins with: an object; `{}` where it is left out.
    #[serde(borrow, default)]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    state: Option<&'b RawValue>,
    /// Which of the queued runs is taken up first: the one with the highest. -100 to 100; 0 where it is left out.
    #[schema(minimum = -100, maximum = 100)]
    priority: Option<i32>,
}

/// Whether to wait for the end.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StartParams {
    /// Wait for the run's end, but no longer than this: `500ms`, `30s`, `1m`; at most 60 s.
    #[serde(default, deserialize_with = "span")]
    #[param(value_type = Option<String>, pattern = "^\\s*([0-9]+(ms|s|m|h|d|w)\\s*)+$", example = "30s")]
    wait: Option<Duration>,
}

/// Start a run
///
/// Answers once the start is durable: from then on the run finishes whatever happens to the
/// server. With `wait`, the answer comes when the run is over, or when the time is up. Where as many runs are
/// under way as may be, it is `queued` and begins when its turn comes.
#[utoipa::path(
    post, path = "/v1/runs", tag = "runs", operation_id = "start_run",
    params(
        StartParams,
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]{1,255}$", description = "1 to 255 visible ASCII characters: sent again with it, the request answers the same run"),
    ),
    request_body = StartBody,
    responses(
        (status = 202, description = "The run goes on in the background, or is queued", body = RunBody, headers(("location" = String, description = "Where it is"), ("idempotency-replayed" = String, description = "`true` where the run was started by the same request before"))),
        (status = 200, description = "The run is over (with `wait`)", body = RunBody, headers(("location" = String, description = "Where it is"), ("idempotency-replayed" = String, description = "`true` where the run was started by the same request before"))),
        (status = 404, description = "No graph has this id or name", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "A function that the graph needs is gone, or a request with the key is being carried out", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The body does not have the right form, or the key was used for another request", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many runs are queued", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn start(
    State(app): State<App>,
    Params(params): Params<StartParams>,
    Keyed { body, key }: Keyed,
) -> Result<Response, Problem> {
    let request: StartBody<'_> = body.parse()?;
    let state = request.state.map(|state| state_at("/state", state)).transpose()?;
    let start = Start {
        priority: priority(request.priority)?,
        key,
        ..Start::of(request.graph, state.unwrap_or_default())
    };
    let run = app.engine.start_run(start).await?;
    tell_started(&app, &run, params.wait).await
}

/// The priority at `/priority` of a body; 0 where it is left out.
pub(crate) fn priority(given: Option<i32>) -> Result<i32, Problem> {
    let priority = given.unwrap_or_default();
    if !PRIORITIES.contains(&priority) {
        let (least, most) = PRIORITIES.into_inner();
        let message = format!("a priority is {least} to {most}, got {priority}");
        return Err(Problem::invalid_at("/priority", message));
    }
    Ok(priority)
}

/// The answer to whoever started a run; with `wait` once it is over, or the time is up.
pub(crate) async fn tell_started(
    app: &App,
    run: &StartedRun,
    wait: Option<Duration>,
) -> Result<Response, Problem> {
    // Where as many wait as may, the answer comes at once, as if the time were up.
    if let Some((wait, _watcher)) = wait.zip(app.watcher().ok()) {
        let mut closing = app.closing.listen();
        tokio::select! {
            _ = tokio::time::timeout(wait.min(app.settings.max_wait), run.over()) => {}
            () = closing.begun() => {}
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
        None => match find(app, run.id).await {
            Ok(view) => view,
            // The run was started, so whoever did learns where it is even so.
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
    // The run was started, so its id is told also where its state has no room.
    let body = app.large.json(&RunBody::of(view, &row));
    Ok(match body {
        Ok(body) => (status, headers, body).into_response(),
        Err(problem) => (headers, problem).into_response(),
    })
}

pub(crate) async fn find(app: &App, id: RunId) -> Result<RunView, Problem> {
    app.engine.run(id).await?.ok_or_else(|| no_such_run(id))
}

async fn row(app: &App, id: RunId) -> Result<RunRow, Problem> {
    app.engine.row(id).await?.ok_or_else(|| no_such_run(id))
}

/// The answer with a run, its state and what its row tells.
pub(crate) async fn answer(app: &App, id: RunId) -> Result<Response, Problem> {
    let row = row(app, id).await?;
    app.large.json(&RunBody::of(find(app, id).await?, &row))
}

/// Runs, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunList {
    /// The runs of this page.
    runs: Vec<RunSummary>,
    /// What to give as `page_token` for the next page; null on the last one.
    #[schema(required)]
    next_page_token: Option<String>,
}

/// List runs
///
/// Newest first, by the time at which they began. A run is listed if it fits every filter that is given.
#[utoipa::path(
    get, path = "/v1/runs", tag = "runs", operation_id = "list_runs", params(ListParams),
    responses(
        (status = 200, description = "A page of runs", body = RunList),
        (status = 404, description = "No graph has this id or name", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list(State(app): State<App>, params: ListParams) -> Result<Response, Problem> {
    let page = page_token::Page::new(params.page_size)?;
    let filter = params.filter()?;
    let token = params.page_token.as_deref();
    let before = token
        .map(|token| page_token::read_run(token, &filter))
        .transpose()?;
    if let Some(graph) = params.graph() {
        graphs::find(&app, graph).await?;
    }
    let mut rows = app.engine.runs(filter.clone(), before, page.ask()).await?;
    let last = page.cut(&mut rows);
    let next_page_token = last.map(|row| page_token::write_run(row.position(), &filter));
    app.large.json(&RunList {
        runs: rows.into_iter().map(RunSummary::from).collect(),
        next_page_token,
    })
}

/// Get a run
///
/// With its state as of its last event.
#[utoipa::path(
    get, path = "/v1/runs/{run_id}", tag = "runs", operation_id = "get_run",
    params(("run_id" = String, Path, format = "uuid", description = "The run")),
    responses(
        (status = 200, description = "The run", body = RunBody),
        (status = 404, description = "There is no such run", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(State(app): State<App>, RunPath(id): RunPath) -> Result<Response, Problem> {
    answer(&app, id).await
}

/// Which events.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventParams {
    /// Only events with a number above this one.
    after: Option<u64>,
    /// How many at most: 1 to 5,000; 500 where it is left out. Not for an event stream.
    #[param(minimum = 1, maximum = 5000, default = 500)]
    limit: Option<usize>,
}

/// Events of a run, in order.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventList {
    /// The events; fewer than `limit` where they are large.
    events: Vec<EventView>,
    /// What to give as `after` to go on: the number of the last event here.
    next_after: u64,
    /// Whether the run is over and its last event is among these, or came before them: then nothing follows,
    /// unless it failed and is retried.
    over: bool,
}

/// Get or follow a run's events
///
/// As a JSON page, or, asked with `Accept: text/event-stream`, as a stream: every event from
/// the beginning (or after `Last-Event-ID`, or `after`), then live. There an event's number is
/// its `id`, what functions send while they run comes as `event: chunk` without one (one whose `type` is
/// `chunks_missed` says how many a reader that was too slow has missed), and when
/// the run is over a last `event: end` closes the stream.
#[utoipa::path(
    get, path = "/v1/runs/{run_id}/events", tag = "runs", operation_id = "get_events",
    params(
        ("run_id" = String, Path, format = "uuid", description = "The run"), EventParams,
        ("last-event-id" = Option<u64>, Header, description = "The last event that a stream's reader has seen"),
    ),
    responses(
        (status = 200, description = "Events", content((EventList = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "A reader of the stream came back and nothing follows what it has seen"),
        (status = 404, description = "There is no such run", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn events(
    State(app): State<App>,
    RunPath(id): RunPath,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // A page has no use for it; what is wrong with it is told all the same.
    sse::last_event_id(&headers)?;
    if wants_stream(&headers) {
        return sse::stream(app, id, params.after, &headers).await;
    }
    let limit = count("limit", params.limit, DEFAULT_EVENTS, MAX_EVENTS)?;
    let after = params.after.unwrap_or_default();
    let _turn = app.large.turn().await;
    let page = app.engine.page(id, after, limit).await?;
    let Page { events, over } = page.ok_or_else(|| no_such_run(id))?;
    let body = EventList {
        next_after: events.last().map_or(after, |last| last.seq),
        events: events.iter().map(|event| EventView::of(id, event)).collect(),
        over,
    };
    app.large.json(&body)
}

/// Whether the client would rather have a stream than a page.
fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|accepted| accepted.split(','));
    kinds.any(|kind| kind.trim_start().starts_with("text/event-stream"))
}
