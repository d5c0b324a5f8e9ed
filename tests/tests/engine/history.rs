//! The state of a run after each of its steps, snapshots, and forks.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use heddle_json::{Object, object::json};
use heddle_kernel::{RunId, Status};
use heddle_runtime::{DeleteRunError, Engine, Settings, StepError, ports::Journal};
use heddle_store::{MemoryJournal, SqliteJournal, SqliteSettings};

use crate::{
    script::{Scripted, all, engine, fresh, graph, idle, line, names, start, view},
    wrapped::Wrapped,
};

async fn state(engine: &Engine, run: RunId, step: u64) -> String {
    engine.step(run, step).await.unwrap().state.to_text()
}

fn edits(text: &str) -> Object {
    Object::parse(text).unwrap()
}

fn no_step<T>(answer: Result<T, StepError>) -> &'static str {
    match answer.err() {
        Some(StepError::NoSuchStep { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_state_after_each_step_is_shown_with_the_steps_changes() {
    let (_, _, engine) = fresh();
    engine.recover().await.unwrap();
    let definition = r#"{"start": "a", "nodes": {"a": {}, "flaky": {"retry": {"attempts": 5, "backoff": "1ms"}}, "c": {}},
        "edges": {"a": "flaky", "flaky": "c"}}"#;
    let graph = graph(&engine, definition).await;
    let run = start(&engine, &graph, r#"{"x": 1}"#).await;
    all(&engine, run).await;
    assert_eq!(state(&engine, run, 0).await, r#"{"x":1}"#);
    assert_eq!(state(&engine, run, 1).await, r#"{"a":1,"x":1}"#);
    let flaky = engine.step(run, 2).await.unwrap();
    assert_eq!((&*flaky.node, flaky.attempts, flaky.finished), ("flaky", 3, true));
    assert_eq!(flaky.update.to_text(), r#"{"flaky":2}"#);
    assert_eq!(flaky.state.to_text(), r#"{"a":1,"flaky":2,"x":1}"#);
    let last = engine.step(run, 3).await.unwrap();
    assert_eq!(last.state, view(&engine, run).await.state);
    assert_eq!(last.seq + 1, view(&engine, run).await.last_seq);
    assert_eq!(no_step(engine.step(run, 4).await), "has not started");
    let nobody = RunId(uuid::Uuid::nil());
    assert!(matches!(
        engine.step(nobody, 1).await,
        Err(StepError::NoSuchRun(_))
    ));
    assert!(matches!(
        engine.step(nobody, 0).await,
        Err(StepError::NoSuchRun(_))
    ));
}

#[tokio::test]
async fn active_failed_and_cancelled_steps_show_their_status() {
    let (_, functions, engine) = fresh();
    let graph = graph(
        &engine,
        r#"{"start": "a", "nodes": {"a": {}, "gate": {}, "mend": {}}, "edges": {"a": ["gate", "mend"]}}"#,
    )
    .await;
    let run = start(&engine, &graph, "{}").await;
    all(&engine, run).await;
    let (gate, failed) = (
        engine.step(run, 2).await.unwrap(),
        engine.step(run, 3).await.unwrap(),
    );
    assert_eq!((&*gate.node, gate.finished), ("gate", false));
    assert_eq!((&*failed.node, failed.finished), ("mend", false));
    // One step failed before the run did; the other was cancelled with the run.
    assert_eq!(
        (failed.seq + 1, gate.seq),
        (gate.seq, view(&engine, run).await.last_seq)
    );
    functions.mended.store(true, Ordering::SeqCst);
    functions.at_gate(0).await;
    engine.retry(run).await.unwrap();
    functions.at_gate(1).await;
    let now = engine.step(run, 2).await.unwrap();
    assert_eq!((now.attempts, now.finished, now.finished_at), (2, false, None));
    assert!(now.given.is_some());
    assert_eq!(no_step(engine.state_after(run, 2).await), "is active");
    assert_eq!(no_step(engine.fork(run, 2, edits("{}"), None).await), "is active");
    functions.gate.add_permits(1);
    all(&engine, run).await;
    for step in [2, 3] {
        let step = engine.step(run, step).await.unwrap();
        assert_eq!((step.attempts, step.finished), (2, true));
    }
}

#[tokio::test]
async fn items_of_a_map_are_steps() {
    let (_, _, engine) = fresh();
    let graph = graph(
        &engine,
        r#"{"nodes": {"m": {"map": {"over": "[1, 2]", "as": "item", "uses": "twice", "into": "all"}, "input": {"item": "item"}}}}"#,
    )
    .await;
    let run = start(&engine, &graph, "{}").await;
    all(&engine, run).await;
    let (map, item) = (
        engine.step(run, 1).await.unwrap(),
        engine.step(run, 2).await.unwrap(),
    );
    assert!(map.finished && item.finished);
    assert!(item.seq < map.seq);
    assert_eq!(item.state.to_text(), "{}");
    assert_eq!(map.state, view(&engine, run).await.state);
}

#[tokio::test]
async fn a_run_is_forked_from_a_step_with_another_state() {
    let (journal, functions, first) = fresh();
    let graph = line(&first, &["a", "b", "c"]).await;
    let run = start(&first, &graph, r#"{"x": 1}"#).await;
    all(&first, run).await;
    let forked = first
        .fork(run, 2, edits(r#"{"x": 2, "a": "other"}"#), None)
        .await
        .unwrap();
    let forked = forked.id;
    all(&first, forked).await;
    assert_eq!(
        *functions.calls.borrow(),
        4,
        "only the steps after the fork are called"
    );
    assert_eq!(
        view(&first, forked).await.state.to_text(),
        r#"{"a":"other","b":2,"c":3,"x":2}"#
    );
    assert_eq!(
        view(&first, run).await.state.to_text(),
        r#"{"a":1,"b":2,"c":3,"x":1}"#
    );
    let row = journal.run(forked).await.unwrap().unwrap();
    assert_eq!(row.origin.as_deref(), Some(&*format!("fork:{run}")));
    assert_eq!(names(&first, forked).await[0], "run_forked");
    assert_eq!(
        no_step(first.step(forked, 1).await),
        "ended in the run that this run was forked from"
    );
    assert_eq!(state(&first, forked, 0).await, r#"{"a":"other","b":2,"x":2}"#);
    // The fork is independent: it can be read and forked without the original run.
    idle(&first).await;
    first.delete_run(run).await.unwrap();
    let functions = Arc::new(Scripted::default());
    let second = engine(&Arc::new(journal.after_crash()), &functions, Settings::default());
    assert_eq!(view(&second, forked).await.status, Status::Finished);
    let again = second
        .fork(forked, 3, edits(r#"{"c": 0}"#), None)
        .await
        .unwrap()
        .id;
    all(&second, again).await;
    assert_eq!(
        view(&second, again).await.state.to_text(),
        r#"{"a":"other","b":2,"c":0,"x":2}"#
    );
    assert_eq!(*functions.calls.borrow(), 0);
}

#[tokio::test]
async fn a_failed_run_is_forked_from_its_failed_step_and_from_its_first_event() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["a", "mend", "c"]).await;
    let run = start(&engine, &graph, "{}").await;
    all(&engine, run).await;
    functions.mended.store(true, Ordering::SeqCst);
    for (step, calls) in [(2, 2), (1, 2), (0, 3)] {
        let before = *functions.calls.borrow();
        let forked = engine
            .fork(run, step, edits(r#"{"y": 1}"#), None)
            .await
            .unwrap()
            .id;
        all(&engine, forked).await;
        assert_eq!(
            view(&engine, forked).await.state.to_text(),
            r#"{"a":1,"c":3,"mend":2,"y":1}"#
        );
        assert_eq!(*functions.calls.borrow() - before, calls, "from step {step}");
    }
    assert_eq!(view(&engine, run).await.status, Status::Failed);
    assert_eq!(
        no_step(engine.fork(run, 3, edits("{}"), None).await),
        "has not started"
    );
}

#[tokio::test]
async fn a_cancelled_step_is_shown_and_cannot_be_forked_from() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["gate"]).await;
    let run = start(&engine, &graph, "{}").await;
    functions.at_gate(1).await;
    engine
        .cancel(run, "enough", Some(std::time::Duration::ZERO))
        .await
        .unwrap();
    assert!(!engine.step(run, 1).await.unwrap().finished);
    assert!(matches!(
        engine.fork(run, 1, edits("{}"), None).await,
        Err(StepError::Refused(_))
    ));
}

#[tokio::test]
async fn only_an_ended_run_can_be_deleted() {
    let (journal, functions, engine) = fresh();
    let graph = line(&engine, &["gate"]).await;
    let run = start(&engine, &graph, "{}").await;
    functions.at_gate(1).await;
    assert!(matches!(
        engine.delete_run(run).await,
        Err(DeleteRunError::NotOver(_))
    ));
    functions.gate.add_permits(1);
    all(&engine, run).await;
    engine.delete_run(run).await.unwrap();
    assert!(journal.run(run).await.unwrap().is_none());
    idle(&engine).await;
    assert!(engine.run(run).await.unwrap().is_none());
    assert!(engine.watch(run, 0).await.unwrap().is_none());
    assert!(matches!(
        engine.delete_run(run).await,
        Err(DeleteRunError::NoSuchRun(_))
    ));
}

/// A run with this number of loops over a state of 10 kB, in a file.
async fn looped(steps: u64, file: &std::path::Path) -> (Arc<Wrapped<SqliteJournal>>, Engine, RunId) {
    let journal = SqliteJournal::open(SqliteSettings::new(file)).unwrap();
    let journal = Arc::new(Wrapped::of(journal));
    let functions = Arc::new(Scripted::default());
    let engine = engine(&journal, &functions, Settings::default());
    let graph = graph(
        &engine,
        r#"{"nodes": {"count": {}, "ask": {"wait": {"signal": "s"}}}, "edges": {"count": "ask"}, "limits": {"steps": 1000000}}"#,
    )
    .await;
    let large = "x".repeat(10_000);
    let run = start(
        &engine,
        &graph,
        &format!(r#"{{"to": {steps}, "large": "{large}"}}"#),
    )
    .await;
    idle(&engine).await;
    (journal, engine, run)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_run_is_loaded_from_its_newest_snapshot_and_any_step_from_the_snapshot_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, engine, run) = looped(5_000, &folder.path().join("heddle.db")).await;
    journal.events_read();
    assert_eq!(view(&engine, run).await.status, Status::Waiting);
    let read = journal.events_read();
    assert!(read < 2_000, "{read} of 10,003 events were read");
    for step in [1, 2, 2_500, 4_999, 5_000] {
        let view = engine.step(run, step).await.unwrap();
        assert_eq!(view.update.to_text(), format!(r#"{{"n":{step}}}"#));
        assert_eq!(view.state.get("n").unwrap().get(), step.to_string());
        assert_eq!(view.seq, 2 * step + 1);
        let read = journal.events_read();
        assert!(read < 5_000, "{read} events were read for step {step}");
    }
    // It continues as the original would have.
    engine.signal(run, "s", json("1").unwrap(), None).await.unwrap();
    all(&engine, run).await;
    assert_eq!(view(&engine, run).await.status, Status::Finished);
}

#[tokio::test]
async fn a_run_with_damaged_snapshots_is_loaded_from_its_first_event() {
    let journal = Arc::new(Wrapped {
        no_snapshots: true,
        ..Wrapped::of(MemoryJournal::new())
    });
    let engine = engine(&journal, &Arc::new(Scripted::default()), Settings::default());
    let graph = graph(
        &engine,
        r#"{"nodes": {"count": {}, "ask": {"wait": {"signal": "s"}}}, "edges": {"count": "ask"}}"#,
    )
    .await;
    let run = start(&engine, &graph, r#"{"to": 1000}"#).await;
    idle(&engine).await;
    assert!(journal.journal.snapshot(run, 1 << 40).await.unwrap().is_some());
    assert_eq!(view(&engine, run).await.state.get("n").unwrap().get(), "1000");
    assert_eq!(
        engine.step(run, 700).await.unwrap().update.to_text(),
        r#"{"n":700}"#
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_step_of_a_run_of_100_000_steps_is_read_in_well_under_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heddle.db");
    let (_, engine, run) = looped(100_000, &file).await;
    for step in [1, 50_000, 99_999] {
        let began = Instant::now();
        let view = engine.step(run, step).await.unwrap();
        let took = began.elapsed();
        println!("step {step} in {took:?}");
        assert_eq!(view.seq, 2 * step + 1);
        assert!(took.as_secs_f64() < 1.0, "step {step} took {took:?}");
    }
    let began = Instant::now();
    assert_eq!(view(&engine, run).await.steps, 100_001);
    println!("the run in {:?}", began.elapsed());
    let bytes: u64 = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    println!("{bytes} bytes");
    assert!(bytes < 50_000_000, "it takes {bytes} bytes");
}
