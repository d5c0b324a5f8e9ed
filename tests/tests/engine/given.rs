//! The recorded input of a step equals the input of its call.

use std::sync::{Arc, atomic::Ordering};

use heddle_json::object::json;
use heddle_kernel::{RunId, Status, run::StepInput};
use heddle_runtime::{Engine, Settings, StepView, ports::Journal};
use heddle_store::{SqliteJournal, SqliteSettings};

use crate::{
    script::{Scripted, all, engine, fresh, graph, idle, start, view},
    wrapped::Wrapped,
};

/// Compares every step of a run that called a function with its last call. Returns their number.
async fn compared(engine: &Engine, functions: &Scripted, run: RunId) -> usize {
    let called = functions.given.lock().unwrap().clone();
    let mut compared = 0;
    for ((_, step), (wanted_input, wanted_config, wanted_function)) in
        called.iter().filter(|(of, _)| of.0 == run)
    {
        let shown = engine.step(run, *step).await.unwrap();
        let Some(StepInput::Call {
            function,
            input,
            config,
        }) = shown.given
        else {
            panic!("step {step} called a function: {:?}", shown.given);
        };
        assert_eq!(input.to_text(), *wanted_input, "step {step}");
        assert_eq!(config.get(), wanted_config, "step {step}");
        assert_eq!(function, *wanted_function, "step {step}");
        compared += 1;
    }
    compared
}

async fn given(engine: &Engine, run: RunId, step: u64) -> StepInput {
    let StepView { given, .. } = engine.step(run, step).await.unwrap();
    given.unwrap_or_else(|| panic!("step {step} was given nothing"))
}

fn text(given: &StepInput) -> String {
    match given {
        StepInput::Call { input: object, .. } | StepInput::Graph(object) => object.to_text(),
        StepInput::Map(items) => items.get().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_kind_of_call_is_shown_with_its_input() {
    let (_, functions, engine) = fresh();
    let inner = r#"{"name": "inner", "nodes": {"x": {}, "y": {"input": {"in": "input", "state": "state"}}}, "edges": {"x": "y"}}"#;
    graph(&engine, inner).await;
    let definition = r#"{"name": "outer", "start": "plain", "nodes": {
            "plain": {"config": {"k": [1, 2.50]}},
            "mapped": {"input": {"sum": "state.n + 1", "who": "run.graph", "at": "run.started_at", "big": "state.big"}},
            "left": {"input": {"side": "'left'", "steps": "run.steps"}}, "right": {},
            "join": {},
            "each": {"map": {"over": "state.items", "as": "item", "uses": "read", "into": "all"}, "config": {"c": 1}},
            "twice": {"map": {"over": "state.items", "as": "item", "uses": "other", "into": "more"}, "input": {"item": "item * 2", "n": "state.n"}},
            "keyed": {"map": {"over": "{'a': 1, 'b': 2}", "as": "v", "graph": "inner", "into": "keyed"}},
            "child": {"graph": "inner", "input": {"doc": "state.n"}, "output": "doc"},
            "broken": {"on_error": "after"},
            "after": {"input": {"why": "state.error.message", "node": "state.error.node"}}},
        "edges": {"plain": "mapped", "mapped": ["left", "right"], "left": "join", "right": "join", "join": "each",
                  "each": "twice", "twice": "keyed", "keyed": "child", "child": "broken"}}"#;
    let graph = graph(&engine, definition).await;
    let run = start(
        &engine,
        &graph,
        r#"{"n": 1, "items": [3,1.50], "big": 123456789012}"#,
    )
    .await;
    all(&engine, run).await;
    assert_eq!(view(&engine, run).await.status, Status::Finished);
    assert_eq!(
        compared(&engine, &functions, run).await,
        *functions.calls.borrow()
    );
    let (mut items, mut graphs) = (Vec::new(), Vec::new());
    for step in 1..=view(&engine, run).await.steps {
        match given(&engine, run, step).await {
            given @ StepInput::Map(_) => items.push(text(&given)),
            given @ StepInput::Graph(_) => graphs.push(text(&given)),
            _ => {}
        }
    }
    assert_eq!(items, ["[3,1.50]", "[3,1.50]", r#"{"a":1,"b":2}"#]);
    assert_eq!(graphs, [r#"{"v":1}"#, r#"{"v":2}"#, r#"{"doc":1}"#]);
}

#[tokio::test]
async fn the_first_event_and_a_step_without_expression_values_have_no_input() {
    let (_, _, engine) = fresh();
    let graph = graph(&engine, r#"{"nodes": {"a": {"input": {"x": "state.missing"}}}}"#).await;
    let run = start(&engine, &graph, "{}").await;
    all(&engine, run).await;
    assert!(engine.step(run, 0).await.unwrap().given.is_none());
    let failed = engine.step(run, 1).await.unwrap();
    assert!(failed.given.is_none());
    let failure = failed.failure.expect("it failed");
    assert!(failure.message.contains("`input.x`"), "{failure}");
}

#[tokio::test]
async fn waits_and_sleeps_are_shown_with_their_signal_or_time() {
    let (_, _, engine) = fresh();
    // Only a recovered engine wakes sleeping runs.
    engine.recover().await.unwrap();
    let definition = r#"{"start": "nap", "nodes": {"nap": {"sleep": "1ms"},
        "ask": {"wait": {"signal": "ok", "prompt": "Go on?", "timeout": "1h", "on_timeout": "end"}}}, "edges": {"nap": "ask"}}"#;
    let graph = graph(&engine, definition).await;
    let run = start(&engine, &graph, "{}").await;
    engine.signal(run, "ok", json("1").unwrap(), None).await.unwrap();
    all(&engine, run).await;
    let StepInput::Sleep { until: Some(_) } = given(&engine, run, 1).await else {
        panic!("it slept");
    };
    let StepInput::Wait(wait) = given(&engine, run, 2).await else {
        panic!("it waited");
    };
    assert_eq!(
        (wait.signal.as_deref(), wait.prompt.as_deref()),
        (Some("ok"), Some("Go on?"))
    );
    assert!(wait.until.is_some());
}

#[tokio::test]
async fn failed_attempts_and_compensations_are_shown_with_their_input() {
    let (_, functions, engine) = fresh();
    engine.recover().await.unwrap();
    let definition = r#"{"start": "book", "nodes": {
        "book": {"compensate": "unbook"}, "unbook": {"input": {"of": "state.book", "why": "state.error.message"}},
        "flaky": {"retry": {"attempts": 5, "backoff": "1ms"}, "input": {"n": "state.n"}}, "mend": {"config": {"last": true}}},
        "edges": {"book": "flaky", "flaky": "mend"}}"#;
    let graph = graph(&engine, definition).await;
    let run = start(&engine, &graph, r#"{"n": 1}"#).await;
    all(&engine, run).await;
    assert_eq!(view(&engine, run).await.status, Status::Failed);
    assert_eq!(compared(&engine, &functions, run).await, 4);
    assert_eq!(
        text(&given(&engine, run, 4).await),
        r#"{"of":1,"why":"it is broken"}"#
    );
    let failed = engine.step(run, 3).await.unwrap();
    assert_eq!(&*failed.failure.expect("it failed").message, "it is broken");
    assert!(
        engine.step(run, 2).await.unwrap().failure.is_none(),
        "its last attempt went well"
    );
}

#[tokio::test]
async fn the_input_of_an_attempt_follows_the_graph_of_its_time() {
    let (_, functions, engine) = fresh();
    let of = |node: &str, config: u32| {
        format!(
            r#"{{"nodes": {{"{node}": {{"config": {config}, "input": {{"c": "{config}"}}, "retry": {{"attempts": 2, "backoff": "1h"}}}}}}}}"#
        )
    };
    let before = graph(&engine, &of("flaky", 1)).await;
    let run = start(&engine, &before, "{}").await;
    idle(&engine).await;
    // The run is upgraded between two attempts and then ends: the first attempt keeps its input.
    let after = graph(&engine, &of("flaky", 2)).await;
    engine.upgrade(run, Some(&after)).await.unwrap();
    engine.cancel(run, "enough", None).await.unwrap();
    assert_eq!(compared(&engine, &functions, run).await, 1);
    assert_eq!(text(&given(&engine, run, 1).await), r#"{"c":1}"#);
    // A step that failed permanently is repeated with the new graph.
    let failed = graph(&engine, &of("mend", 1)).await;
    let after = graph(&engine, &of("mend", 2)).await;
    let run = start(&engine, &failed, "{}").await;
    all(&engine, run).await;
    functions.mended.store(true, Ordering::SeqCst);
    engine.upgrade(run, Some(&after)).await.unwrap();
    engine.retry(run).await.unwrap();
    all(&engine, run).await;
    assert_eq!(compared(&engine, &functions, run).await, 1);
    assert_eq!(text(&given(&engine, run, 1).await), r#"{"c":2}"#);
}

/// A run of many steps, with snapshots between the start and the end of one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_input_of_a_step_before_a_snapshot_is_found_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(SqliteSettings::new(folder.path().join("heddle.db"))).unwrap();
    let journal = Arc::new(Wrapped::of(journal));
    let functions = Arc::new(Scripted::default());
    let engine = engine(&journal, &functions, Settings::default());
    let definition = r#"{"start": "a", "nodes": {"a": {}, "gate": {"input": {"large": "state.large", "a": "state.a"}}, "count": {}},
        "edges": {"a": ["gate", "count"]}, "limits": {"steps": 1000000}}"#;
    let graph = graph(&engine, definition).await;
    let large = "x".repeat(1_000);
    let run = start(&engine, &graph, &format!(r#"{{"to": 4000, "large": "{large}"}}"#)).await;
    functions.at_gate(1).await;
    functions.called(4_002).await;
    functions.gate.add_permits(1);
    all(&engine, run).await;
    assert!(
        journal.journal.snapshot(run, 1 << 40).await.unwrap().is_some(),
        "there are snapshots"
    );
    assert_eq!(
        text(&given(&engine, run, 2).await),
        format!(r#"{{"a":1,"large":"{large}"}}"#)
    );
    assert_eq!(engine.step(run, 2).await.unwrap().attempts, 1);
    for step in [1, 3, 2_000, 4_002] {
        let wanted = functions.given.lock().unwrap()[&(run, step)].0.clone();
        assert_eq!(text(&given(&engine, run, step).await), wanted, "step {step}");
    }
}
