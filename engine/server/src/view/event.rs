//! Events and chunks as watchers see them.
//!
//! An event is projected from itself alone, so it is the same object over the WebSocket, the
//! event stream, the JSON page and in `logs`, wherever the reading began.

use std::{collections::BTreeMap, sync::Arc};

use heddle_kernel::{Event, Json, Level, Next, Object, Recorded, RunId, event::FunctionRef};
use heddle_runtime::Chunk;
use serde::Serialize;
use utoipa::ToSchema;

use super::{ErrorView, FailureView, Moment};

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventType {
    RunStarted,
    StepStarted,
    Log,
    StepFinished,
    StepFailed,
    RunFinished,
    RunFailed,
}

/// One event of a run: the same object over the WebSocket, the event stream, as JSON and in `logs`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event, example = json!({
    "seq": 3, "at": "2026-11-22T19:33:00.123Z", "run_id": "019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10",
    "type": "step_finished", "level": "info", "message": "extract finished, next analyze",
    "node": "extract", "step": 1, "attempt": 1, "next": "analyze", "update": {"words": ["some", "data"]}
}))]
pub(crate) struct EventView {
    /// The number in the run, from 1, without gaps.
    pub(crate) seq: u64,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// The run.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// What happened.
    #[serde(rename = "type")]
    kind: EventType,
    /// How much it matters: `trace`, `debug`, `info`, `warn` or `error`.
    #[schema(value_type = String)]
    level: Level,
    /// What happened, for people.
    #[schema(value_type = String)]
    message: Arc<str>,
    /// The node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    node: Option<Arc<str>>,
    /// The number of the step in the run, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    /// The number of the attempt, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// `run_started`: the graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    graph_id: Option<Arc<str>>,
    /// `run_started`: the state that the run began with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    state: Option<Object>,
    /// `run_started`: for each function that the graph names, the one that the run keeps to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, FunctionRefView>>)]
    functions: Option<BTreeMap<Arc<str>, FunctionRefView>>,
    /// `step_finished`: where the branch went, a node or `end`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<Arc<str>>,
    /// `step_finished`: the keys of the state that changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    update: Option<Object>,
    /// `step_failed`: how the attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
    /// `run_failed`: why the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorView>,
}

impl EventView {
    /// How an event of a run looks.
    pub(crate) fn of(run: RunId, recorded: &Recorded) -> Self {
        let view = Self {
            seq: recorded.seq,
            at: Moment(recorded.at),
            run_id: run,
            kind: EventType::RunFinished,
            level: Level::Info,
            message: "run finished".into(),
            node: None,
            step: None,
            attempt: None,
            graph_id: None,
            state: None,
            functions: None,
            next: None,
            update: None,
            failure: None,
            error: None,
        };
        view.tell(&recorded.event)
    }

    fn tell(self, event: &Event) -> Self {
        match event {
            Event::RunStarted {
                graph,
                state,
                functions,
            } => Self {
                kind: EventType::RunStarted,
                message: format!("run started on graph {graph}").into(),
                graph_id: Some(graph.0.clone()),
                state: Some(state.clone()),
                functions: Some(
                    functions
                        .iter()
                        .map(|(name, at)| (name.clone(), at.into()))
                        .collect(),
                ),
                ..self
            },
            Event::StepStarted {
                step, node, attempt, ..
            } => Self {
                kind: EventType::StepStarted,
                message: match attempt {
                    1 => format!("{node} started").into(),
                    again => format!("{node} started, attempt {again}").into(),
                },
                ..self.at_step(node, *step, *attempt)
            },
            Event::Log {
                step,
                node,
                attempt,
                level,
                message,
            } => Self {
                kind: EventType::Log,
                level: *level,
                message: message.clone(),
                ..self.at_step(node, *step, *attempt)
            },
            Event::StepFinished {
                step,
                node,
                attempt,
                update,
                next,
            } => {
                let next: Arc<str> = match next {
                    Next::Node(next) => next.clone(),
                    Next::End => heddle_kernel::graph::END.into(),
                };
                Self {
                    kind: EventType::StepFinished,
                    message: format!("{node} finished, next {next}").into(),
                    next: Some(next),
                    update: Some(update.clone()),
                    ..self.at_step(node, *step, *attempt)
                }
            }
            Event::StepFailed {
                step,
                node,
                attempt,
                failure,
            } => Self {
                kind: EventType::StepFailed,
                level: Level::Error,
                message: format!("{node} failed ({}): {}", failure.kind.as_str(), failure.message).into(),
                failure: Some(failure.into()),
                ..self.at_step(node, *step, *attempt)
            },
            Event::RunFinished => self,
            Event::RunFailed { error } => Self {
                kind: EventType::RunFailed,
                level: Level::Error,
                message: format!("run failed at {} ({}): {}", error.node, error.code, error.message).into(),
                error: Some(error.into()),
                ..self.at_step(&error.node, error.step, error.attempt)
            },
        }
    }

    fn at_step(self, node: &Arc<str>, step: u64, attempt: u32) -> Self {
        Self {
            node: Some(node.clone()),
            step: Some(step),
            attempt: Some(attempt),
            ..self
        }
    }

    /// The event as JSON text.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("an event's keys are strings")
    }
}

/// What a function sends out while it runs, as a watcher sees it: not kept, and without a number.
#[derive(Serialize, ToSchema)]
#[schema(as = Chunk)]
pub(crate) struct ChunkView<'c> {
    /// Always `chunk`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The run.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The node that the function runs at.
    node: &'c str,
    /// The step.
    step: u64,
    /// What was sent.
    #[schema(value_type = Value)]
    data: &'c Json,
    /// Always false: a chunk is told only to who watches at that moment.
    kept: bool,
}

impl<'c> ChunkView<'c> {
    /// How a chunk of a run looks.
    pub(crate) fn of(run: RunId, chunk: &'c Chunk) -> Self {
        Self {
            kind: "chunk",
            run_id: run,
            node: &chunk.node,
            step: chunk.step,
            data: &chunk.data,
            kept: false,
        }
    }

    /// The chunk as JSON text.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("a chunk's keys are strings")
    }
}

/// A function of one exact plugin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FunctionRef)]
pub(crate) struct FunctionRefView {
    /// The plugin.
    #[schema(value_type = String)]
    plugin: Arc<str>,
    /// Its version.
    #[schema(value_type = String)]
    version: Arc<str>,
    /// The function in it.
    #[schema(value_type = String)]
    function: Arc<str>,
    /// The SHA-256 of the plugin's component.
    #[schema(value_type = String)]
    digest: Arc<str>,
}

impl From<&FunctionRef> for FunctionRefView {
    fn from(at: &FunctionRef) -> Self {
        Self {
            plugin: at.plugin.clone(),
            version: at.version.clone(),
            function: at.function.clone(),
            digest: at.digest.0.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use heddle_kernel::{Digest, Failure, FailureKind, GraphId, RunError, Timestamp, object::json};

    use super::*;

    const RUN: RunId = RunId(uuid::Uuid::from_u128(0x019a_b0c4_54d2_7bd1_9d4a_7a3c_3f9a_2b10));

    fn check(event: Event, expect: Expect) {
        let recorded = Recorded {
            seq: 5,
            at: Timestamp(1_795_375_980_123),
            event,
        };
        expect.assert_eq(&EventView::of(RUN, &recorded).text());
    }

    fn object(text: &str) -> Object {
        Object::parse(text).expect("an object")
    }

    #[test]
    fn events_of_a_run_say_what_it_is_and_how_it_ended() {
        let function = FunctionRef {
            digest: Digest("abc".into()),
            plugin: "starter".into(),
            version: "0.1.0".into(),
            function: "extract".into(),
        };
        check(
            Event::RunStarted {
                graph: GraphId("5f0c".into()),
                state: object(r#"{"n": 1.50}"#),
                functions: BTreeMap::from([("extract".into(), function)]),
            },
            expect![[
                r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"run_started","level":"info","message":"run started on graph 5f0c","graph_id":"5f0c","state":{"n":1.50},"functions":{"extract":{"plugin":"starter","version":"0.1.0","function":"extract","digest":"abc"}}}"#
            ]],
        );
        check(
            Event::RunFinished,
            expect![[
                r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"run_finished","level":"info","message":"run finished"}"#
            ]],
        );
        let error = RunError {
            code: "step_limit".into(),
            message: "the run took 3 steps".into(),
            node: "again".into(),
            step: 3,
            attempt: 1,
            data: None,
        };
        check(
            Event::RunFailed { error },
            expect![[
                r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"run_failed","level":"error","message":"run failed at again (step_limit): the run took 3 steps","node":"again","step":3,"attempt":1,"error":{"code":"step_limit","message":"the run took 3 steps","node":"again","step":3,"attempt":1}}"#
            ]],
        );
    }

    #[test]
    fn events_of_a_step_say_where_it_is() {
        let (node, step, attempt): (Arc<str>, u64, u32) = ("extract".into(), 2, 1);
        check(
            Event::StepStarted {
                step,
                branch: 0,
                node: node.clone(),
                attempt,
            },
            expect![[
                r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"step_started","level":"info","message":"extract started","node":"extract","step":2,"attempt":1}"#
            ]],
        );
        check(
            Event::StepStarted {
                step,
                branch: 0,
                node: node.clone(),
                attempt: 2,
            },
            expect![[
                r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"step_started","level":"info","message":"extract started, attempt 2","node":"extract","step":2,"attempt":2}"#
            ]],
        );
        check(
            Event::Log {
                step,
                node: node.clone(),
                attempt,
                level: Level::Warn,
                message: "line \"one\"\nline two".into(),
            },
            expect![[
                r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"log","level":"warn","message":"line \"one\"\nline two","node":"extract","step":2,"attempt":1}"#
            ]],
        );
        check(
            Event::StepFinished {
                step,
                node: node.clone(),
                attempt,
                update: object(r#"{"words": ["a", "b"]}"#),
                next: Next::Node("analyze".into()),
            },
            expect![[
                r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"step_finished","level":"info","message":"extract finished, next analyze","node":"extract","step":2,"attempt":1,"next":"analyze","update":{"words":["a", "b"]}}"#
            ]],
        );
        check(
            Event::StepFinished {
                step,
                node: node.clone(),
                attempt,
                update: Object::default(),
                next: Next::End,
            },
            expect![[
                r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"step_finished","level":"info","message":"extract finished, next end","node":"extract","step":2,"attempt":1,"next":"end","update":{}}"#
            ]],
        );
        let failure = Failure {
            kind: FailureKind::InvalidInput,
            message: "no text".into(),
            data: Some(json("{\"at\": 3}").expect("JSON")),
        };
        check(
            Event::StepFailed {
                step,
                node,
                attempt,
                failure,
            },
            expect![[
                r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"step_failed","level":"error","message":"extract failed (invalid_input): no text","node":"extract","step":2,"attempt":1,"failure":{"kind":"invalid_input","message":"no text","data":{"at": 3}}}"#
            ]],
        );
    }

    #[test]
    fn a_chunk_has_no_number_and_says_that_it_is_not_kept() {
        let chunk = Chunk {
            node: "write".into(),
            step: 4,
            data: json("\"tok\"").expect("JSON"),
        };
        expect![[r#"{"type":"chunk","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","node":"write","step":4,"data":"tok","kept":false}"#]].assert_eq(&ChunkView::of(RUN, &chunk).text());
    }
}
