//! The exact JSON of each event.

use expect_test::{Expect, expect};
use heddle_json::object::json;
use heddle_kernel::{Digest, Failure, FailureKind, GraphId, RunError, Timestamp};
use heddle_runtime::Chunk;

use super::*;
use crate::view::chunk::{ChunkView, MissedView};

const RUN: RunId = RunId(uuid::Uuid::from_u128(0x019a_b0c4_54d2_7bd1_9d4a_7a3c_3f9a_2b10));

fn check(event: Event, expect: Expect) {
    let record = EventRecord {
        seq: 5,
        at: Timestamp(1_795_375_980_123),
        event,
    };
    expect.assert_eq(&EventView::of(RUN, &record).text());
}

fn object(text: &str) -> Object {
    Object::parse(text).expect("an object")
}

/// The second step of a run, in its first branch.
fn started(node: &str, attempt: u32) -> Event {
    Event::StepStarted {
        step: 2,
        branch: 0,
        node: node.into(),
        attempt,
        within: 0,
        joined: Vec::new(),
        item: None,
        until: None,
        undoes: None,
        wait: None,
    }
}

#[test]
fn events_of_a_run_have_its_graph_and_its_end() {
    let function = FunctionRef {
        digest: Digest("abc".into()),
        plugin: "starter".into(),
        version: "0.1.0".into(),
        function: "extract".into(),
        routes: Vec::new(),
        granted: false,
    };
    check(
        Event::RunStarted {
            graph: GraphId("5f0c".into()),
            state: object(r#"{"n": 1.50}"#),
            functions: BTreeMap::from([("extract".into(), function)]),
            graphs: BTreeMap::new(),
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
        kind: FailureKind::StepLimit,
        message: "the run took 3 steps".into(),
        node: "again".into(),
        step: Some(3),
        attempt: Some(1),
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
fn events_of_a_step_have_node_step_and_attempt() {
    let (node, step, attempt): (Arc<str>, u64, u32) = ("extract".into(), 2, 1);
    check(
        started("extract", 1),
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"step_started","level":"info","message":"extract started","node":"extract","step":2,"attempt":1}"#
        ]],
    );
    check(
        started("extract", 2),
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
            signal: None,
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
            signal: None,
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
            then: FailureAction::Raise,
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"step_failed","level":"error","message":"extract failed (invalid_input): no text","node":"extract","step":2,"attempt":1,"failure":{"kind":"invalid_input","message":"no text","data":{"at": 3}},"then":"raise"}"#
        ]],
    );
}

#[test]
fn steps_of_several_branches_have_branch_join_and_item() {
    check(
        Event::StepStarted {
            step: 9,
            branch: 3,
            node: "merge".into(),
            attempt: 1,
            within: 4,
            joined: vec![1, 2],
            item: None,
            until: Some(Timestamp(1_795_375_981_000)),
            undoes: None,
            wait: None,
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"step_started","level":"info","message":"merge started, joins 3 branches, waits until 2026-11-22T19:33:01.000Z at the latest","node":"merge","step":9,"attempt":1,"branch":3,"within":4,"joined":[1,2],"until":"2026-11-22T19:33:01.000Z"}"#
        ]],
    );
    check(
        Event::StepStarted {
            step: 9,
            branch: 0,
            node: "refund".into(),
            attempt: 1,
            within: 0,
            joined: Vec::new(),
            item: Some(Item { of: 4, index: 7 }),
            until: None,
            undoes: Some(3),
            wait: None,
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"step_started","level":"info","message":"refund started, item 7, compensates step 3","node":"refund","step":9,"attempt":1,"item":{"of":4,"index":7},"undoes":3}"#
        ]],
    );
    let arm = |branch, to: &str| Arm {
        branch,
        to: to.into(),
    };
    check(
        Event::StepFinished {
            step: 2,
            node: "split".into(),
            attempt: 1,
            update: Object::default(),
            next: Next::Fork(vec![arm(1, "left"), arm(2, "end")]),
            signal: Some(4),
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"step_finished","level":"info","message":"split finished by signal, next left and end","node":"split","step":2,"attempt":1,"next":[{"branch":1,"to":"left"},{"branch":2,"to":"end"}],"update":{},"signal":4}"#
        ]],
    );
}

#[test]
fn a_failed_attempt_has_its_failure_action() {
    for (then, expect) in [
        (
            FailureAction::Retry(Timestamp(1_795_375_981_000)),
            expect![[
                r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"step_failed","level":"warn","message":"call failed (retryable): busy; next attempt at 2026-11-22T19:33:01.000Z","node":"call","step":2,"attempt":1,"until":"2026-11-22T19:33:01.000Z","failure":{"kind":"retryable","message":"busy"},"then":"retry"}"#
            ]],
        ),
        (
            FailureAction::Goto("report".into()),
            expect![[
                r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"step_failed","level":"warn","message":"call failed (retryable): busy; next report","node":"call","step":2,"attempt":1,"next":"report","failure":{"kind":"retryable","message":"busy"},"then":"goto"}"#
            ]],
        ),
        (
            FailureAction::Item,
            expect![[
                r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"step_failed","level":"warn","message":"call failed (retryable): busy; the map continues without the item","node":"call","step":2,"attempt":1,"failure":{"kind":"retryable","message":"busy"},"then":"item"}"#
            ]],
        ),
    ] {
        let failed = Event::StepFailed {
            step: 2,
            node: "call".into(),
            attempt: 1,
            failure: Failure::new(FailureKind::Retryable, "busy"),
            then,
        };
        check(failed, expect);
    }
}

#[test]
fn subgraphs_and_maps_have_their_initial_state_and_items() {
    check(
        Event::GraphStarted {
            step: 4,
            graph: "publish".into(),
            state: object(r#"{"doc": "d"}"#),
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"graph_started","level":"info","message":"graph publish started at step 4","step":4,"graph":"publish","state":{"doc":"d"}}"#
        ]],
    );
    check(
        Event::MapStarted {
            step: 4,
            items: json(r#"{"a": 1, "b": {"c": 2}}"#).expect("JSON"),
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"map_started","level":"info","message":"map over 2 items started at step 4","step":4,"items":{"a": 1, "b": {"c": 2}}}"#
        ]],
    );
    for result in [Some(json("1.50").expect("JSON")), None] {
        check(
            Event::ItemFinished {
                step: 5,
                node: "each".into(),
                item: Item { of: 4, index: 7 },
                attempt: 1,
                result: result.clone(),
            },
            match result {
                Some(_) => expect![[
                    r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"item_finished","level":"info","message":"each finished item 7","node":"each","step":5,"attempt":1,"item":{"of":4,"index":7},"result":1.50}"#
                ]],
                None => expect![[
                    r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"item_finished","level":"info","message":"each skipped failed item 7","node":"each","step":5,"attempt":1,"item":{"of":4,"index":7}}"#
                ]],
            },
        );
    }
}

#[test]
fn signals_and_cancellations_are_events() {
    check(
        Event::SignalReceived {
            name: "approval".into(),
            payload: json(r#"{"ok": true}"#).expect("JSON"),
            wait: None,
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"signal_received","level":"info","message":"signal approval received","name":"approval","payload":{"ok": true}}"#
        ]],
    );
    check(
        Event::UndoStarted {
            error: None,
            reason: Some("not needed\nany more".into()),
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"undo_started","level":"warn","message":"compensations started because the run was cancelled: not needed\\nany more","reason":"not needed\nany more"}"#
        ]],
    );
    check(
        Event::RunCancelled {
            reason: "".into(),
            problems: vec!["refund failed".into()],
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"run_cancelled","level":"warn","message":"run cancelled; 1 compensation failed","reason":"","problems":["refund failed"]}"#
        ]],
    );
}

#[test]
fn a_chunk_has_no_number_and_is_marked_as_not_stored() {
    let chunk = Chunk {
        node: "write".into(),
        step: 4,
        data: json("\"tok\"").expect("JSON"),
        after: 9,
    };
    expect![[r#"{"type":"chunk","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","node":"write","step":4,"data":"tok","kept":false}"#]].assert_eq(&ChunkView::of(RUN, &chunk).text());
    expect![[
        r#"{"type":"chunks_missed","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","count":3,"kept":false}"#
    ]]
    .assert_eq(&MissedView::of(RUN, 3).text());
}

#[test]
fn control_events_have_the_client_request() {
    check(
        Event::RunForked {
            from: RUN,
            step: 3,
            graph: GraphId("5f0c".into()),
            functions: BTreeMap::new(),
            graphs: BTreeMap::new(),
            edits: object(r#"{"score": 90}"#),
            run: json("{}").expect("JSON"),
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"run_forked","level":"info","message":"run forked from run 019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10 after step 3","graph_id":"5f0c","forked_from":{"run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","step":3},"edits":{"score":90},"functions":{}}"#
        ]],
    );
    check(
        Event::RunForked {
            from: RUN,
            step: 0,
            graph: GraphId("5f0c".into()),
            functions: BTreeMap::new(),
            graphs: BTreeMap::new(),
            edits: Object::default(),
            run: json("{}").expect("JSON"),
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"run_forked","level":"info","message":"run forked from the beginning of run 019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","graph_id":"5f0c","forked_from":{"run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","step":0},"functions":{}}"#
        ]],
    );
    let function = FunctionRef {
        digest: Digest("abc".into()),
        plugin: "mail".into(),
        version: "0.2.0".into(),
        function: "send".into(),
        routes: Vec::new(),
        granted: true,
    };
    check(
        Event::RunUpgraded {
            graph: GraphId("77aa".into()),
            functions: BTreeMap::from([("mail/send".into(), function)]),
            graphs: BTreeMap::new(),
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"run_upgraded","level":"info","message":"run upgraded to graph 77aa","graph_id":"77aa","functions":{"mail/send":{"plugin":"mail","version":"0.2.0","function":"send","digest":"abc","granted":true}}}"#
        ]],
    );
    check(
        Event::RunPaused {
            reason: "the supplier is down".into(),
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"run_paused","level":"info","message":"run paused: the supplier is down","reason":"the supplier is down"}"#
        ]],
    );
    check(
        Event::RunResumed,
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"run_resumed","level":"info","message":"run resumed"}"#
        ]],
    );
    check(
        Event::RunRetried,
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"run_retried","level":"info","message":"run retried from where it failed"}"#
        ]],
    );
    check(
        Event::CancelRequested {
            reason: "".into(),
            until: Timestamp(1_795_375_985_000),
        },
        expect![[
            r#"{"seq":5,"at":"2026-11-22T19:33:00.123Z","run_id":"019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10","type":"cancel_requested","level":"warn","message":"cancel requested, active calls can finish until 2026-11-22T19:33:05.000Z","until":"2026-11-22T19:33:05.000Z","reason":""}"#
        ]],
    );
}
