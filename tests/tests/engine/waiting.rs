//! Waiting runs are unloaded and continue at their time or with their signal.

use std::time::Duration;

use heddle_json::{Object, object::json};
use heddle_kernel::{Event, Refusal, RunId, Status};
use heddle_runtime::{Engine, SendError, Settings, Start, WatchItem, ports::Journal};
use tokio::time::timeout;

use crate::script::{PATIENCE, all, engine, fresh, graph, idle, is_pending, start};

const ASK: &str = r#"{"nodes": {"ask": {"wait": {"signal": "approval", "prompt": "Publish?", "schema": {"type": "object"}}}, "b": {}}, "edges": {"ask": "b"}}"#;

async fn status(engine: &Engine, run: RunId) -> Status {
    engine.run(run).await.unwrap().unwrap().status
}

#[tokio::test]
async fn a_waiting_run_is_not_in_memory_and_continues_with_its_signal() {
    let (journal, _, engine) = fresh();
    engine.recover().await.unwrap();
    let graph = graph(&engine, ASK).await;
    let run = start(&engine, &graph, "{}").await;
    idle(&engine).await;
    assert_eq!(journal.run(run).await.unwrap().unwrap().status, Status::Waiting);
    let view = engine.run(run).await.unwrap().unwrap();
    assert_eq!(view.status, Status::Waiting);
    assert_eq!(view.waits[0].prompt.as_deref(), Some("Publish?"));
    assert_eq!(view.waits[0].signal.as_deref(), Some("approval"));
    engine
        .signal(run, "approval", json("{\"ok\":true}").unwrap(), None)
        .await
        .unwrap();
    let watched = all(&engine, run).await;
    assert_eq!(watched.len(), 7);
    let view = engine.run(run).await.unwrap().unwrap();
    assert_eq!(view.status, Status::Finished);
    assert_eq!(view.state.get("approval").unwrap().get(), "{\"ok\":true}");
}

#[tokio::test]
async fn signals_to_unknown_runs_or_without_a_wait_are_refused() {
    let (_, _, engine) = fresh();
    engine.recover().await.unwrap();
    let nobody = RunId(uuid::Uuid::nil());
    assert!(matches!(
        engine.signal(nobody, "approval", json("1").unwrap(), None).await,
        Err(SendError::NoSuchRun(_))
    ));
    let graph = graph(&engine, ASK).await;
    let run = start(&engine, &graph, "{}").await;
    assert!(matches!(
        engine.signal(run, "approval", json("1").unwrap(), None).await,
        Err(SendError::Refused(Refusal::Payload { .. }))
    ));
    assert!(matches!(
        engine.signal(run, "aproval", json("{}").unwrap(), None).await,
        Err(SendError::Refused(Refusal::NoSuchSignal { .. }))
    ));
    engine.cancel(run, "not wanted", None).await.unwrap();
    assert_eq!(status(&engine, run).await, Status::Cancelled);
    assert!(matches!(
        engine.cancel(run, "again", None).await,
        Err(SendError::Refused(Refusal::Over))
    ));
    idle(&engine).await;
    assert!(matches!(
        engine.signal(run, "approval", json("{}").unwrap(), None).await,
        Err(SendError::Refused(Refusal::Over))
    ));
}

#[tokio::test]
async fn concurrent_signals_are_each_stored_and_delivered_once() {
    let (_, _, engine) = fresh();
    engine.recover().await.unwrap();
    let graph = graph(
        &engine,
        r#"{"nodes": {"w": {"wait": {"signal": "s"}, "output": "all"}}, "edges": {"w": [{"when": "size(state.all) < 20", "to": "w"}, {"to": "end"}]},
            "state": {"all": {"merge": "append"}}}"#,
    )
    .await;
    let run = start(&engine, &graph, "{}").await;
    let sent = (0..20).map(|n| {
        let engine = engine.clone();
        async move {
            engine
                .signal(run, "s", json(&format!("[{n}]")).unwrap(), None)
                .await
                .unwrap()
        }
    });
    futures_util::future::join_all(sent).await;
    all(&engine, run).await;
    let state = engine.run(run).await.unwrap().unwrap().state;
    let mut taken: Vec<u32> = serde_json::from_str(state.get("all").unwrap().get()).unwrap();
    taken.sort_unstable();
    assert_eq!(taken, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_watcher_of_a_waiting_run_gets_its_next_events() {
    let (_, _, engine) = fresh();
    engine.recover().await.unwrap();
    let graph = graph(&engine, ASK).await;
    let run = start(&engine, &graph, "{}").await;
    idle(&engine).await;
    let mut watch = engine.watch(run, 2).await.unwrap().unwrap();
    engine
        .signal(run, "approval", json("{}").unwrap(), None)
        .await
        .unwrap();
    let next = timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(next, WatchItem::Event(event) if event.seq == 3));
    drop(watch);
    idle(&engine).await;
}

#[tokio::test]
async fn watching_and_waiting_for_the_end_do_not_load_a_run() {
    let (_, _, engine) = fresh();
    engine.recover().await.unwrap();
    let graph = graph(&engine, ASK).await;
    let started = engine
        .start_run(Start::of(&graph, Object::default()))
        .await
        .unwrap();
    let run = started.id;
    idle(&engine).await;
    let mut watch = engine.watch(run, 0).await.unwrap().unwrap();
    for expected in 1..=2 {
        let next = timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
        assert!(matches!(next, WatchItem::Event(event) if event.seq == expected));
    }
    let mut next = Box::pin(watch.next());
    let mut over = Box::pin(started.over());
    for _ in 0..100 {
        assert!(is_pending(&mut next).await && is_pending(&mut over).await);
        assert_eq!(engine.stats().held_bytes, 0, "the run is not in memory");
        tokio::task::yield_now().await;
    }
    engine
        .signal(run, "approval", json("{}").unwrap(), None)
        .await
        .unwrap();
    let next = timeout(PATIENCE, next).await.unwrap().unwrap().unwrap();
    assert!(matches!(next, WatchItem::Event(event) if event.seq == 3));
    timeout(PATIENCE, over).await.unwrap();
    assert!(started.view().await.unwrap().status.is_over());
}

#[tokio::test]
async fn sleeping_runs_continue_in_time_even_in_another_engine() {
    let (journal, functions, first) = fresh();
    first.recover().await.unwrap();
    let graph = graph(
        &first,
        r#"{"nodes": {"pause": {"sleep": "400ms"}, "b": {}}, "edges": {"pause": "b"}}"#,
    )
    .await;
    let starts = (0..2_000).map(|_| first.start_run(Start::of(&graph, Object::default())));
    let runs: Vec<RunId> = futures_util::future::join_all(starts)
        .await
        .into_iter()
        .map(|run| run.unwrap().id)
        .collect();
    // The engine is dropped without a stop; another one finds the runs in the journal.
    drop(first);
    let journal = std::sync::Arc::new(journal.after_crash());
    let second = engine(&journal, &functions, Settings::default());
    second.recover().await.unwrap();
    let mut worst = 0;
    for run in runs {
        let watched = all(&second, run).await;
        let mut until = None;
        for event in watched {
            let WatchItem::Event(event) = event else { continue };
            match &event.event {
                Event::StepStarted { until: Some(at), .. } => until = Some(at.0),
                Event::StepFinished { step: 1, .. } => {
                    let late = event.at.0 - until.expect("it slept");
                    worst = worst.max(late);
                    assert!(late >= 0, "it woke {late} ms early");
                }
                _ => {}
            }
        }
    }
    assert!(worst < 10_000, "one woke {worst} ms late");
}

#[tokio::test]
async fn a_pending_retry_is_in_the_store_and_not_in_memory() {
    let (_, functions, engine) = fresh();
    engine.recover().await.unwrap();
    let graph = graph(
        &engine,
        r#"{"nodes": {"flaky": {"retry": {"attempts": 3, "backoff": "30ms"}}, "b": {}}, "edges": {"flaky": "b"}}"#,
    )
    .await;
    let run = start(&engine, &graph, "{}").await;
    all(&engine, run).await;
    assert_eq!(status(&engine, run).await, Status::Finished);
    assert_eq!(
        *functions.calls.borrow(),
        4,
        "two that failed, one that did not, and b"
    );
}

#[tokio::test]
async fn a_run_that_was_stopped_while_in_use_is_found_again() {
    let (journal, functions, first) = fresh();
    first.recover().await.unwrap();
    let graph = graph(&first, ASK).await;
    let run = start(&first, &graph, "{}").await;
    let watch = first.watch(run, 0).await.unwrap().unwrap();
    first.drain(Duration::from_secs(1)).await;
    drop(watch);
    let journal = std::sync::Arc::new(journal.after_crash());
    let second = engine(&journal, &functions, Settings::default());
    second.recover().await.unwrap();
    second
        .signal(run, "approval", json("{}").unwrap(), None)
        .await
        .unwrap();
    all(&second, run).await;
    assert_eq!(status(&second, run).await, Status::Finished);
}
