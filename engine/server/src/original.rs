//! The routes of the original engine, in their shapes: they stay for good.

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
    App,
    extract::{JsonText, Parted, no_such_run, run_id, state_at},
    idempotency::{self, Keyed},
    problem::{Finding, Kind, Problem, ProblemBody},
    view::{ErrorView, EventView, StatusDoc},
};

/// How many events are read from the store at once.
const LOG_PAGE_LEN: usize = 1_000;

/// A graph's definition: `docs::graph` puts its form here.
#[derive(ToSchema)]
#[schema(as = GraphDefinition, example = json!({
    "nodes": {"extract": {}, "analyze": {}}, "edges": {"extract": "analyze", "analyze": "end"}
}))]
pub(crate) struct DefinitionDoc {}

/// A graph that was created.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"graph_id": "5f0c7b6e2a90d1c44b9e3e0f6a1d8c27"}))]
pub(crate) struct Created {
    /// The id: the same for the same definition.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    graph_id: Arc<str>,
    /// What may not be as it was meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Finding>,
}

/// Create a graph
///
/// Checks the definition as a whole and keeps it. Creating the same definition again answers the same id.
#[utoipa::path(
    post, path = "/graph/create", tag = "original", operation_id = "graph_create",
    request_body = DefinitionDoc,
    responses(
        (status = 200, description = "The graph", body = Created),
        (status = 409, description = "There are as many graphs as may be kept", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The graph has errors", body = ProblemBody, content_type = "application/problem+json"),
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

/// What to run.
#[derive(Deserialize, ToSchema)]
#[schema(as = RunRequest, example = json!({
    "graph_id": "starter", "initial_state": {"input": "some data"}
}))]
pub(crate) struct RunRequest<'b> {
    /// The graph's id, or its name.
    graph_id: String,
    /// The state that the run begins with: an object; `{}` where it is left out.
    #[serde(borrow, default)]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    initial_state: Option<&'b RawValue>,
    /// Another name for `initial_state`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    state: Option<&'b RawValue>,
    /// Another name for `initial_state`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    input: Option<&'b RawValue>,
}

impl RunRequest<'_> {
    /// The state, under whichever of its names it was given.
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
            (Some((pointer, state)), None) => state_at(pointer, state),
            (Some((first, _)), Some((second, _))) => Err(Problem::invalid_at(
                second,
                format!(
                    "the state is given twice, as `{}` and as `{}`",
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
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
}

/// Run a graph
///
/// Answers once the start is durable: from then on the run finishes whatever happens to the
/// server. Watch it at `/ws/logs/{run_id}`, or ask at `/graph/state/{run_id}`.
#[utoipa::path(
    post, path = "/graph/run", tag = "original", operation_id = "graph_run",
    params(("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]{1,255}$", description = "1 to 255 visible ASCII characters: sent again with it, the request answers the same run")),
    request_body = RunRequest,
    responses(
        (status = 200, description = "The run goes on in the background", body = Started, headers(("idempotency-replayed" = String, description = "`true` where the run was started by the same request before"))),
        (status = 404, description = "No graph has this id or name", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "A function that the graph needs is gone, or a request with the key is being carried out", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The body does not have the right form, or the key was used for another request", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many runs are queued", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn run(State(app): State<App>, Keyed { body, key }: Keyed) -> Result<Response, Problem> {
    let request: RunRequest<'_> = body.parse()?;
    let start = Start {
        key,
        ..Start::of(request.graph_id.clone(), request.state()?)
    };
    let run = app.engine.start_run(start).await?;
    let mut answer = Json(Started { run_id: run.id }).into_response();
    if run.replayed {
        answer
            .headers_mut()
            .insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(answer)
}

/// A run with its state and its log.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "run_id": "019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10", "finished": true, "state": {"input": "some data", "words": 2},
    "logs": [{"seq": 1, "at": "2026-11-22T19:33:00.120Z", "run_id": "019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10",
              "type": "run_started", "level": "info", "message": "run started on graph 5f0c7b6e2a90d1c44b9e3e0f6a1d8c27"}],
    "status": "finished", "error": null
}))]
pub(crate) struct StateBody {
    /// The run.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// Whether the run is over.
    finished: bool,
    /// The state: final once the run is over.
    #[schema(value_type = BTreeMap<String, Value>)]
    state: Object,
    /// The run's newest events, oldest first: at most 10,000, and at most 32 MiB of them.
    #[schema(value_type = Vec<EventView>)]
    logs: VecDeque<Box<RawValue>>,
    /// What the run does, or how it ended.
    #[schema(value_type = StatusDoc)]
    status: Status,
    /// Why the run failed.
    #[schema(required)]
    error: Option<ErrorView>,
}

/// Get a run's state and log
///
/// State and log belong together: the state is what the run had made of its events up to the
/// last one in `logs`. Of a long run the oldest events are left out; `/v1/runs/{run_id}/events` has them all.
#[utoipa::path(
    get, path = "/graph/state/{run_id}", tag = "original", operation_id = "graph_state",
    params(("run_id" = String, Path, format = "uuid", description = "The run")),
    responses(
        (status = 200, description = "The run", body = StateBody),
        (status = 404, description = "There is no such run", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn state(State(app): State<App>, Parted(text): Parted<String>) -> Result<Response, Problem> {
    // The original knew one answer for every id that is no run's.
    let id = run_id(&text).map_err(|problem| Problem::new(Kind::NO_SUCH_RUN, problem.detail()))?;
    let run = app.engine.run(id).await?.ok_or_else(|| no_such_run(id))?;
    let _turn = app.large.turn().await;
    let logs = logs(&app, &run).await?;
    app.large.json(&StateBody {
        run_id: id,
        finished: run.status.is_over(),
        state: run.state,
        logs,
        status: run.status,
        error: run.error.as_ref().map(ErrorView::from),
    })
}

/// The newest events up to the run's last one, within the limits.
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
            let (id, bytes_of_event) = (run.id, event.event.size());
            let text = app
                .large
                .text(bytes_of_event, move || EventView::of(id, &event).text())
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
    fn the_state_has_three_names_and_is_given_once() {
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
            expect!["/input: the state is given twice, as `initial_state` and as `input`"],
        );
        check(
            r#"{"graph_id": "g", "input": "data"}"#,
            expect!["/input: expected a JSON object, got a string"],
        );
    }
}
