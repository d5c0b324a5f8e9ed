//! Runs are paused, resumed, cancelled, retried and upgraded.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use heddle_json::object::json;
use heddle_kernel::{Refusal, RunId, Status};
use heddle_runtime::{Engine, SendError, Settings, ports::Journal};
use heddle_store::MemoryJournal;
use tokio::time::timeout;

use crate::script::{
    FOREVER, PATIENCE, Scripted, all, engine, fresh, graph, idle, is_pending, line, names, seq, start, until,
    view,
};

const HOUR: Option<Duration> = Some(Duration::from_secs(3_600));

async fn status(engine: &Engine, run: RunId) -> Status {
    view(engine, run).await.status
}

fn not_now(answer: Result<u64, SendError>) -> String {
    match answer {
        Err(SendError::Refused(Refusal::NotNow(why))) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_paused_run_records_results_and_starts_no_step_until_it_is_resumed() {
    let (journal, functions, engine) = fresh();
    let graph = line(&engine, &["gate", "b", "c"]).await;
    let run = start(&engine, &graph, "{}").await;
    functions.at_gate(1).await;
    let seq = engine.pause(run, "look at it").await.unwrap();
    assert_eq!(view(&engine, run).await.last_seq, seq);
    assert_eq!(status(&engine, run).await, Status::Paused);
    functions.gate.add_permits(1);
    // It is unloaded after its call has returned; only its row remains.
    idle(&engine).await;
    assert_eq!(journal.run(run).await.unwrap().unwrap().status, Status::Paused);
    assert_eq!(*functions.calls.borrow(), 1);
    assert_eq!(names(&engine, run).await[2..], ["run_paused", "step_finished"]);
    engine.resume(run).await.unwrap();
    all(&engine, run).await;
    assert_eq!(view(&engine, run).await.state.to_text(), r#"{"b":2,"c":3}"#);
    assert_eq!(*functions.calls.borrow(), 3);
}

#[tokio::test]
async fn a_call_that_continues_during_a_pause_is_not_repeated() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["gate", "b"]).await;
    let run = start(&engine, &graph, "{}").await;
    functions.at_gate(1).await;
    engine.pause(run, "").await.unwrap();
    engine.resume(run).await.unwrap();
    functions.gate.add_permits(1);
    all(&engine, run).await;
    assert_eq!(functions.by_step.lock().unwrap()[&(run, 1)], 1);
    assert_eq!(status(&engine, run).await, Status::Finished);
}

#[tokio::test]
async fn a_call_lost_while_its_run_is_paused_is_repeated_after_resume() {
    let (journal, functions, first) = fresh();
    let graph = line(&first, &["gate", "b"]).await;
    let run = start(&first, &graph, "{}").await;
    functions.at_gate(1).await;
    first.pause(run, "").await.unwrap();
    let left = Arc::new(journal.after_crash());
    let functions = Arc::new(Scripted::default());
    let second = engine(&left, &functions, Settings::default());
    assert_eq!(
        second.recover().await.unwrap().runs,
        0,
        "a paused run is left alone"
    );
    assert_eq!(status(&second, run).await, Status::Paused);
    functions.gate.add_permits(1);
    second.resume(run).await.unwrap();
    all(&second, run).await;
    assert_eq!(functions.by_step.lock().unwrap()[&(run, 1)], 1);
    assert_eq!(second.step(run, 1).await.unwrap().attempts, 2);
    assert_eq!(status(&second, run).await, Status::Finished);
}

#[tokio::test]
async fn a_signal_to_a_paused_run_is_kept_and_its_events_follow_after_resume() {
    let (_, _, engine) = fresh();
    engine.recover().await.unwrap();
    let graph = graph(
        &engine,
        r#"{"nodes": {"ask": {"wait": {"signal": "s"}}, "b": {}}, "edges": {"ask": "b"}}"#,
    )
    .await;
    let run = start(&engine, &graph, "{}").await;
    engine.pause(run, "").await.unwrap();
    let mut watch = engine.watch(run, 3).await.unwrap().unwrap();
    engine.signal(run, "s", json("1").unwrap(), None).await.unwrap();
    assert_eq!(status(&engine, run).await, Status::Paused);
    assert_eq!(names(&engine, run).await.len(), 4);
    engine.resume(run).await.unwrap();
    let mut seen = 3;
    while let Some(next) = timeout(PATIENCE, watch.next()).await.expect("it goes on") {
        seen += seq(&next.unwrap()).map_or(0, |_| 1);
    }
    assert_eq!(seen, names(&engine, run).await.len());
    assert_eq!(status(&engine, run).await, Status::Finished);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_run_is_paused_between_two_steps() {
    let (_, functions, engine) = fresh();
    let graph = graph(&engine, FOREVER).await;
    let run = start(&engine, &graph, r#"{"to": 1000000000}"#).await;
    functions.called(100).await;
    engine.pause(run, "").await.unwrap();
    idle(&engine).await;
    let (calls, steps) = (*functions.calls.borrow(), view(&engine, run).await.steps);
    // The pending call is made after resume.
    assert!(
        [calls as u64, calls as u64 + 1].contains(&steps),
        "{calls} calls, {steps} steps"
    );
    engine.resume(run).await.unwrap();
    functions.called(calls + 100).await;
    engine.cancel(run, "enough", None).await.unwrap();
    assert_eq!(status(&engine, run).await, Status::Cancelled);
}

#[tokio::test]
async fn of_two_concurrent_control_requests_one_wins_and_the_other_is_refused() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["gate", "b"]).await;
    let run = start(&engine, &graph, "{}").await;
    functions.at_gate(1).await;
    let (first, second) = tokio::join!(engine.pause(run, "a"), engine.pause(run, "b"));
    first.unwrap();
    assert!(not_now(second).contains("paused"));
    let (first, second) = tokio::join!(engine.resume(run), engine.resume(run));
    first.unwrap();
    assert!(not_now(second).contains("only a paused run"));
    let zero = Some(Duration::ZERO);
    let (cancelled, paused) = tokio::join!(engine.cancel(run, "c", zero), engine.pause(run, "d"));
    cancelled.unwrap();
    assert!(not_now(paused).contains("cancelled"));
    assert_eq!(status(&engine, run).await, Status::Cancelled);
    until("the call is abandoned", || functions.waiting() == 0).await;
    idle(&engine).await;
    assert!(not_now(engine.resume(run).await).contains("cancelled"));
}

#[tokio::test]
async fn calls_of_a_cancelled_run_have_a_grace_period_and_their_results_are_kept() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["gate", "b"]).await;
    let run = start(&engine, &graph, "{}").await;
    functions.at_gate(1).await;
    engine.cancel(run, "enough", HOUR).await.unwrap();
    assert_eq!(status(&engine, run).await, Status::Running);
    functions.gate.add_permits(1);
    all(&engine, run).await;
    let seen = names(&engine, run).await;
    assert_eq!(seen[2..], ["cancel_requested", "step_finished", "run_cancelled"]);
    assert_eq!(*functions.calls.borrow(), 1);
}

#[tokio::test]
async fn a_call_that_exceeds_its_grace_period_is_abandoned() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["gate", "b"]).await;
    let run = start(&engine, &graph, "{}").await;
    functions.at_gate(1).await;
    let grace = Some(Duration::from_millis(10));
    engine.cancel(run, "enough", grace).await.unwrap();
    all(&engine, run).await;
    assert_eq!(
        names(&engine, run).await[2..],
        ["cancel_requested", "run_cancelled"]
    );
    until("the call is abandoned", || functions.waiting() == 0).await;
    assert_eq!(status(&engine, run).await, Status::Cancelled);
}

#[tokio::test]
async fn a_second_cancellation_without_a_grace_ends_the_first_ones() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["gate"]).await;
    let run = start(&engine, &graph, "{}").await;
    functions.at_gate(1).await;
    engine.cancel(run, "enough", HOUR).await.unwrap();
    assert!(matches!(
        engine.cancel(run, "again", HOUR).await,
        Err(SendError::Refused(Refusal::Ending))
    ));
    engine.cancel(run, "now", Some(Duration::ZERO)).await.unwrap();
    assert_eq!(status(&engine, run).await, Status::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_does_not_wait_for_calls_that_were_never_made() {
    let (_, functions, engine) = fresh();
    let graph = graph(
        &engine,
        r#"{"start": "w", "nodes": {"w": {"wait": {"signal": "s"}}, "gate": {}, "block": {}, "again": {"uses": "block"}, "z": {}},
            "edges": {"w": ["gate", "block", "again", "z"]}}"#,
    )
    .await;
    let run = start(&engine, &graph, "{}").await;
    // While `block` blocks the driver, later calls are not made. The driver reads its commands at the latest after
    // `again`,
    // which runs as long as a driver may run between two reads.
    functions.blocked.store(true, Ordering::SeqCst);
    let signal = tokio::spawn({
        let engine = engine.clone();
        async move { engine.signal(run, "s", json("1").unwrap(), None).await }
    });
    functions.called(2).await;
    let mut cancel = Box::pin(engine.cancel(run, "enough", HOUR));
    assert!(is_pending(&mut cancel).await);
    functions.blocked.store(false, Ordering::SeqCst);
    signal.await.unwrap().unwrap();
    cancel.await.unwrap();
    functions.gate.add_permits(1);
    all(&engine, run).await;
    assert_eq!(status(&engine, run).await, Status::Cancelled);
    let calls = *functions.calls.borrow();
    assert!((2..=3).contains(&calls), "`z` was called: {calls} calls");
}

#[tokio::test]
async fn a_run_in_cancellation_ends_after_the_next_start_of_the_server() {
    let (journal, functions, first) = fresh();
    let graph = line(&first, &["gate", "b"]).await;
    let run = start(&first, &graph, "{}").await;
    functions.at_gate(1).await;
    first.cancel(run, "enough", HOUR).await.unwrap();
    let left = Arc::new(journal.after_crash());
    let functions = Arc::new(Scripted::default());
    let second = engine(&left, &functions, Settings::default());
    second.recover().await.unwrap();
    all(&second, run).await;
    assert_eq!(status(&second, run).await, Status::Cancelled);
    assert_eq!(*functions.calls.borrow(), 0);
}

#[tokio::test]
async fn a_failed_run_is_retried_from_where_it_failed() {
    let (journal, functions, first) = fresh();
    let graph = line(&first, &["a", "mend", "z"]).await;
    let run = start(&first, &graph, "{}").await;
    let seen = all(&first, run).await.len();
    assert_eq!(status(&first, run).await, Status::Failed);
    idle(&first).await;
    // Another engine has only the run's journal.
    let functions_ = Arc::new(Scripted::default());
    functions_.mended.store(true, Ordering::SeqCst);
    let second = engine(&Arc::new(journal.after_crash()), &functions_, Settings::default());
    second.retry(run).await.unwrap();
    let watched = all(&second, run).await;
    assert!(watched.len() > seen, "a watch goes on past the failure");
    let view = view(&second, run).await;
    assert_eq!((view.status, view.error.is_none()), (Status::Finished, true));
    assert_eq!(second.step(run, 2).await.unwrap().attempts, 2);
    assert_eq!(functions_.by_step.lock().unwrap().get(&(run, 1)), None);
    assert!(not_now(second.retry(run).await).contains("only a failed run"));
    assert_eq!(*functions.calls.borrow(), 2);
}

#[tokio::test]
async fn of_two_concurrent_retries_one_wins_and_the_other_is_refused() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["mend", "gate"]).await;
    let run = start(&engine, &graph, "{}").await;
    all(&engine, run).await;
    functions.mended.store(true, Ordering::SeqCst);
    let answers = tokio::join!(engine.retry(run), engine.retry(run));
    let refused = match answers {
        (Ok(_), refused) | (refused, Ok(_)) => not_now(refused),
        neither => panic!("{neither:?}"),
    };
    assert!(refused.contains("only a failed run"), "{refused}");
    functions.at_gate(1).await;
    functions.gate.add_permits(1);
    all(&engine, run).await;
    assert_eq!(status(&engine, run).await, Status::Finished);
    let retried = names(&engine, run).await;
    assert_eq!(retried.iter().filter(|name| *name == "run_retried").count(), 1);
}

#[tokio::test]
async fn a_waiting_run_is_upgraded_to_the_newest_versions_and_keeps_them() {
    let (journal, functions, first) = fresh();
    let graph = graph(
        &first,
        r#"{"nodes": {"ask": {"wait": {"signal": "s"}}, "version": {}}, "edges": {"ask": "version"}}"#,
    )
    .await;
    let (run, other) = (
        start(&first, &graph, "{}").await,
        start(&first, &graph, "{}").await,
    );
    functions.version.store(2, Ordering::SeqCst);
    first.upgrade(run, None).await.unwrap();
    let functions = Arc::new(Scripted::default());
    let second = engine(&Arc::new(journal.after_crash()), &functions, Settings::default());
    for (run, version) in [(run, "\"2.0.0\""), (other, "\"1.0.0\"")] {
        second.signal(run, "s", json("1").unwrap(), None).await.unwrap();
        all(&second, run).await;
        assert_eq!(
            view(&second, run).await.state.get("version").unwrap().get(),
            version
        );
    }
}

#[tokio::test]
async fn a_failed_run_is_upgraded_to_another_version_of_its_graph_and_retried() {
    let (_, functions, engine) = fresh();
    let graph_ = graph(
        &engine,
        r#"{"name": "g", "nodes": {"a": {}, "mend": {}}, "edges": {"a": "mend"}}"#,
    )
    .await;
    let run = start(&engine, &graph_, "{}").await;
    all(&engine, run).await;
    idle(&engine).await;
    let lacks = graph(&engine, r#"{"name": "g", "nodes": {"a": {}}}"#).await;
    let refused = not_now(engine.upgrade(run, Some(&lacks)).await);
    assert!(refused.contains("mend"), "{refused}");
    let longer = graph(
        &engine,
        r#"{"name": "g", "nodes": {"a": {}, "mend": {}, "z": {}}, "edges": {"a": "mend", "mend": "z"}}"#,
    )
    .await;
    functions.mended.store(true, Ordering::SeqCst);
    let seq = engine.upgrade(run, Some(&longer)).await.unwrap();
    let upgraded = view(&engine, run).await;
    assert_eq!((upgraded.status, upgraded.last_seq), (Status::Failed, seq));
    assert_eq!(upgraded.graph.to_string(), longer);
    engine.retry(run).await.unwrap();
    all(&engine, run).await;
    assert_eq!(
        view(&engine, run).await.state.to_text(),
        r#"{"a":1,"mend":2,"z":3}"#
    );
}

#[tokio::test]
async fn a_running_run_is_not_upgraded_and_an_unknown_run_is_not_found() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["gate"]).await;
    let run = start(&engine, &graph, "{}").await;
    functions.at_gate(1).await;
    not_now(engine.upgrade(run, None).await);
    let nobody = RunId(uuid::Uuid::nil());
    for answer in [
        engine.pause(nobody, "").await,
        engine.retry(nobody).await,
        engine.upgrade(nobody, None).await,
        engine.cancel(nobody, "", None).await,
    ] {
        assert!(matches!(answer, Err(SendError::NoSuchRun(_))), "{answer:?}");
    }
    functions.gate.add_permits(1);
    all(&engine, run).await;
}

#[tokio::test]
async fn a_queued_run_keeps_its_signals_can_be_watched_and_starts_in_order() {
    let (journal, functions) = (Arc::new(MemoryJournal::new()), Arc::new(Scripted::default()));
    let settings = Settings {
        max_runs_in_flight: 1,
        ..Settings::default()
    };
    let engine = engine(&journal, &functions, settings);
    engine.recover().await.unwrap();
    let gate = line(&engine, &["gate"]).await;
    let asks = graph(&engine, r#"{"nodes": {"w": {"wait": {"signal": "s"}}}}"#).await;
    start(&engine, &gate, "{}").await;
    functions.at_gate(1).await;
    let (run, unwanted) = (
        start(&engine, &asks, "{}").await,
        start(&engine, &asks, "{}").await,
    );
    engine.signal(run, "s", json("7").unwrap(), None).await.unwrap();
    assert_eq!(status(&engine, run).await, Status::Queued);
    assert_eq!(journal.run(run).await.unwrap().unwrap().status, Status::Queued);
    assert!(not_now(engine.pause(run, "").await).contains("queued"));
    engine.cancel(unwanted, "", None).await.unwrap();
    assert_eq!(names(&engine, unwanted).await, ["run_started", "run_cancelled"]);
    let mut watch = engine.watch(run, 2).await.unwrap().unwrap();
    functions.gate.add_permits(1);
    assert_eq!(
        seq(&timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap()),
        Some(3)
    );
    all(&engine, run).await;
    assert_eq!(view(&engine, run).await.state.to_text(), r#"{"s":7}"#);
}
