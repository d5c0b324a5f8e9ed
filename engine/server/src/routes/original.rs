//! `/graph/*`: the routes of the original engine, with their original formats. They are stable.

use std::{collections::VecDeque, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use heddle_json::Object;
use heddle_kernel::{RunId, Status};
use heddle_runtime::{RunView, Start};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    app::App,
    request::{
        body::{JsonText, parse_state},
        idempotency::{self, IdempotencyKey, KeyedJson},
        path::{PathParams, RunIdParam, run_id},
    },
    response::problem::{Finding, Problem, ProblemKind, no_such_run},
    view::{event::EventView, failure::ErrorView, names::StatusDoc},
};

/// The number of events in one read of the store.
const LOG_PAGE_LEN: usize = 1_000;

/// A graph's definition. `docs::graph_schema` replaces this schema with that of graphs.
#[derive(ToSchema)]
#[schema(as = GraphDefinition, example = json!({
    "nodes": {"extract": {}, "analyze": {}}, "edges": {"extract": "analyze", "analyze": "end"}
}))]
pub(crate) struct DefinitionDoc {}

/// A graph that was created.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"graph_id": "5f0c7b6e2a90d1c44b9e3e0f6a1d8c27"}))]
pub(crate) struct Created {
    /// The graph's id, derived from the definition.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    graph_id: Arc<str>,
    /// Likely mistakes in the definition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Finding>,
}

/// Create a graph
///
/// Validates and stores a definition. Creating the same definition again returns the same id.
#[utoipa::path(
    post, path = "/graph/create", tag = "Original API", operation_id = "graph_create",
    request_body = DefinitionDoc,
    responses(
        (status = 200, description = "The graph exists", body = Created),
        (status = 409, description = "The limit of stored graphs is reached"),
        (status = 422, description = "The graph has errors"),
    )
)]
pub(crate) async fn create(State(app): State<App>, body: JsonText) -> Result<Json<Created>, Problem> {
    body.check()?;
    let created = app.engine.create_graph(&body.text).await?;
    Ok(Json(Created {
        graph_id: created.graph.id.0.clone(),
        warnings: created.warnings.into_iter().map(Finding::from).collect(),
    }))
}

/// The start of a run.
#[derive(Deserialize, ToSchema)]
#[schema(as = RunRequest, example = json!({
    "graph_id": "starter", "initial_state": {"input": "some data"}
}))]
pub(crate) struct RunRequest<'b> {
    /// The graph's id, or a name for the newest graph with it.
    graph_id: String,
    /// The initial state: an object, default `{}`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    initial_state: Option<&'b RawValue>,
    /// Alias of `initial_state`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    state: Option<&'b RawValue>,
    /// Alias of `initial_state`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    input: Option<&'b RawValue>,
}

impl RunRequest<'_> {
    /// Returns the initial state from the one name that was used for it.
    fn state(&self) -> Result<Object, Problem> {
        let names = [
            ("/initial_state", self.initial_state),
            ("/state", self.state),
            ("/input", self.input),
        ];
        let given = names
            .into_iter()
            .filter_map(|(pointer, state)| Some((pointer, state?)));
        let mut given = given.filter(|(_, state)| state.get() != "null");
        match (given.next(), given.next()) {
            (None, _) => Ok(Object::default()),
            (Some((pointer, state)), None) => parse_state(pointer, state),
            (Some((first, _)), Some((second, _))) => Err(Problem::invalid_at(
                second,
                format!(
                    "`{}` and `{}` are the same field: send one of them",
                    &first[1..],
                    &second[1..]
                ),
            )),
        }
    }
}

/// A run that was started.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"run_id": "019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10"}))]
pub(crate) struct Started {
    /// The run's id.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
}

/// Run a graph
///
/// Answers once the start is durable: from then on, the run finishes even if the server crashes. Watch the run at
/// `/ws/logs/{run_id}`, or read it at `/graph/state/{run_id}`.
#[utoipa::path(
    post, path = "/graph/run", tag = "Original API", operation_id = "graph_run",
    params(IdempotencyKey),
    request_body = RunRequest,
    responses(
        (status = 200, description = "The run is active or queued", body = Started, headers(("idempotency-replayed" = String, description = "`true` if an earlier request with the key started the run"))),
        (status = 404, description = "No graph has this id or name"),
        (status = 409, description = "A function of the graph no longer exists, or a request with the key is in progress"),
        (status = 422, description = "The body is invalid, or the key was used for another request"),
        (status = 429, description = "Too many runs are queued"),
    )
)]
pub(crate) async fn run(
    State(app): State<App>,
    KeyedJson { body, key }: KeyedJson,
) -> Result<Response, Problem> {
    let request: RunRequest<'_> = body.parse()?;
    let start = Start {
        key,
        ..Start::of(request.graph_id.clone(), request.state()?)
    };
    let run = app.engine.start_run(start).await?;
    let mut response = Json(Started { run_id: run.id }).into_response();
    if run.replayed {
        response
            .headers_mut()
            .insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// A run with its state and its newest events.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "run_id": "019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10", "finished": true, "state": {"input": "some data", "words": 2},
    "logs": [{"seq": 1, "at": "2026-11-22T19:33:00.120Z", "run_id": "019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10",
              "type": "run_started", "level": "info", "message": "run started on graph 5f0c7b6e2a90d1c44b9e3e0f6a1d8c27"}],
    "status": "finished", "error": null
}))]
pub(crate) struct StateBody {
    /// The run's id.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// Whether the run is over: finished, failed or cancelled.
    finished: bool,
    /// The state after the last event in `logs`.
    #[schema(value_type = BTreeMap<String, Value>)]
    state: Object,
    /// The run's newest events, oldest first: at most 10,000, and at most 32 MiB of them.
    #[schema(value_type = Vec<EventView>)]
    logs: VecDeque<Box<RawValue>>,
    /// The run's status at the time of the request.
    #[schema(value_type = StatusDoc)]
    status: Status,
    /// Why the run failed; null otherwise.
    #[schema(required)]
    error: Option<ErrorView>,
}

/// Get a run's state and events
///
/// The state is the one after the last event in `logs`. The oldest events of a long run are left out;
/// `/v1/runs/{run_id}/events` has all events.
#[utoipa::path(
    get, path = "/graph/state/{run_id}", tag = "Original API", operation_id = "graph_state",
    params(RunIdParam),
    responses(
        (status = 200, description = "The run", body = StateBody),
        (status = 404, description = "There is no such run"),
    )
)]
pub(crate) async fn state(
    State(app): State<App>,
    PathParams(text): PathParams<String>,
) -> Result<Response, Problem> {
    // The original engine answers 404 to malformed ids, too.
    let id = run_id(&text).map_err(|problem| Problem::new(ProblemKind::NO_SUCH_RUN, problem.detail()))?;
    let run = app.engine.run(id).await?.ok_or_else(|| no_such_run(id))?;
    let _permit = app.responses.read_permit().await;
    let logs = logs(&app, &run).await?;
    app.responses.json(&StateBody {
        run_id: id,
        finished: run.status.is_over(),
        state: run.state,
        logs,
        status: run.status,
        error: run.error.as_ref().map(ErrorView::from),
    })
}

/// Returns the newest events up to the run's last one, within the limits.
async fn logs(app: &App, run: &RunView) -> Result<VecDeque<Box<RawValue>>, Problem> {
    let mut logs: VecDeque<Box<RawValue>> = VecDeque::new();
    let mut bytes = 0;
    let mut after = run.last_seq.saturating_sub(app.settings.max_log_events as u64);
    while after < run.last_seq {
        let events = app.engine.events(run.id, after, LOG_PAGE_LEN).await?;
        if events.is_empty() {
            break;
        }
        let last = events.last().map_or(run.last_seq, |event| event.seq);
        for event in events.into_iter().take_while(|event| event.seq <= run.last_seq) {
            let (id, event_bytes) = (run.id, event.event.size());
            let text = app
                .responses
                .serialize(event_bytes, move || EventView::of(id, &event).text())
                .await;
            let text = RawValue::from_string(text).expect("an event's text is JSON");
            bytes += text.get().len();
            logs.push_back(text);
            while bytes > app.settings.max_log_bytes && logs.len() > 1 {
                bytes -= logs.pop_front().map_or(0, |oldest| oldest.get().len());
            }
        }
        after = last;
    }
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(body: &str, expect: Expect) {
        let request: RunRequest<'_> = serde_json::from_str(body).expect("a request");
        expect.assert_eq(&match request.state() {
            Ok(state) => state.to_text(),
            Err(problem) => problem.detail().to_owned(),
        });
    }

    #[test]
    fn the_state_has_three_names_of_which_one_is_used() {
        check(r#"{"graph_id": "g"}"#, expect!["{}"]);
        check(
            r#"{"graph_id": "g", "initial_state": {"a": 1}}"#,
            expect![[r#"{"a":1}"#]],
        );
        check(
            r#"{"graph_id": "g", "state": {"a": 1.50}}"#,
            expect![[r#"{"a":1.50}"#]],
        );
        check(
            r#"{"graph_id": "g", "input": {"a": 1}, "state": null, "more": 1}"#,
            expect![[r#"{"a":1}"#]],
        );
        check(
            r#"{"graph_id": "g", "input": {"a": 1}, "initial_state": {}}"#,
            expect!["/input: `initial_state` and `input` are the same field: send one of them"],
        );
        check(
            r#"{"graph_id": "g", "input": "data"}"#,
            expect!["/input: expected a JSON object, got a string"],
        );
    }
}
