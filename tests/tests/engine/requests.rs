//! Requests with an idempotency key are processed once.

use std::sync::{Arc, atomic::Ordering};

use heddle_json::{Object, object::json};
use heddle_kernel::Digest;
use heddle_runtime::{Engine, KeyError, RequestKey, SendError, Settings, Start, StartError, StepError};
use heddle_store::MemoryJournal;
use tokio::time::timeout;

use crate::{
    script::{PATIENCE, Scripted, all, engine, fresh, graph, idle, is_pending, line, start, until, view},
    wrapped::Wrapped,
};

fn key(key: &str, body: &str) -> Option<RequestKey> {
    Some(RequestKey {
        key: key.into(),
        digest: Digest::of(body.as_bytes()),
    })
}

fn keyed(graph: &str, key: Option<RequestKey>) -> Start {
    Start {
        key,
        ..Start::of(graph, Object::default())
    }
}

async fn runs(engine: &Engine) -> usize {
    engine.runs(Default::default(), None, 100).await.unwrap().len()
}

#[tokio::test]
async fn a_start_that_is_sent_again_is_answered_with_the_run_that_it_started() {
    let (journal, functions, first) = fresh();
    let graph = line(&first, &["a"]).await;
    let run = first.start_run(keyed(&graph, key("k", "x"))).await.unwrap().id;
    let again = first.start_run(keyed(&graph, key("k", "x"))).await.unwrap();
    assert_eq!(again.id, run);
    again.over().await;
    assert!(again.view().await.unwrap().status.is_over());
    assert_eq!(runs(&first).await, 1);
    assert_eq!(*functions.calls.borrow(), 1);
    let another = first.start_run(keyed(&graph, key("k2", "x"))).await.unwrap().id;
    assert_ne!(another, run);
    assert!(matches!(
        first.start_run(keyed(&graph, key("k", "y"))).await,
        Err(StartError::Key(KeyError::Reused(_)))
    ));
    idle(&first).await;
    let functions = Arc::new(Scripted::default());
    let second = engine(&Arc::new(journal.after_crash()), &functions, Settings::default());
    let again = second.start_run(keyed(&graph, key("k", "x"))).await.unwrap();
    assert_eq!(again.id, run);
    assert!(again.view().await.unwrap().status.is_over());
    assert_eq!(*functions.calls.borrow(), 0);
}

#[tokio::test]
async fn a_repeated_start_waits_for_the_end_of_the_first_run() {
    let (journal, functions, first) = fresh();
    let graph = line(&first, &["gate"]).await;
    let run = first.start_run(keyed(&graph, key("k", "x"))).await.unwrap().id;
    functions.at_gate(1).await;
    let functions = Arc::new(Scripted::default());
    let second = engine(&Arc::new(journal.after_crash()), &functions, Settings::default());
    second.recover().await.unwrap();
    let again = second.start_run(keyed(&graph, key("k", "x"))).await.unwrap();
    assert_eq!(again.id, run);
    let mut over = Box::pin(again.over());
    assert!(is_pending(&mut over).await);
    functions.gate.add_permits(1);
    timeout(PATIENCE, over).await.unwrap();
    assert!(again.view().await.unwrap().status.is_over());
}

#[tokio::test]
async fn of_two_concurrent_starts_with_one_key_the_second_is_refused_as_in_progress() {
    let (journal, _, engine) = fresh();
    let graph = line(&engine, &["a"]).await;
    journal.hold();
    let mut starting = Box::pin(engine.start_run(keyed(&graph, key("k", "x"))));
    assert!(is_pending(&mut starting).await);
    assert!(matches!(
        engine.start_run(keyed(&graph, key("k", "x"))).await,
        Err(StartError::Key(KeyError::InFlight(_)))
    ));
    journal.release();
    let run = timeout(PATIENCE, starting).await.unwrap().unwrap().id;
    let again = engine.start_run(keyed(&graph, key("k", "x"))).await.unwrap().id;
    assert_eq!((again, runs(&engine).await), (run, 1));
}

#[tokio::test]
async fn a_key_stays_reserved_until_its_run_is_durable_even_without_a_client() {
    let (journal, _, engine) = fresh();
    let graph = line(&engine, &["a"]).await;
    journal.hold();
    let mut starting = Box::pin(engine.start_run(keyed(&graph, key("k", "x"))));
    assert!(is_pending(&mut starting).await);
    drop(starting);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        engine.start_run(keyed(&graph, key("k", "x"))).await,
        Err(StartError::Key(KeyError::InFlight(_)))
    ));
    journal.release();
    idle(&engine).await;
    let again = timeout(PATIENCE, async {
        loop {
            match engine.start_run(keyed(&graph, key("k", "x"))).await {
                Ok(started) => return started.id,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    let run = again.await.unwrap();
    assert_eq!(runs(&engine).await, 1);
    assert_eq!(all(&engine, run).await.len(), 4);
}

#[tokio::test]
async fn a_start_whose_answer_was_lost_in_a_crash_is_not_carried_out_twice() {
    let (journal, _, first) = fresh();
    let graph = line(&first, &["gate"]).await;
    let mut starting = Box::pin(first.start_run(keyed(&graph, key("k", "x"))));
    assert!(is_pending(&mut starting).await);
    // It becomes durable without a client that waits for it.
    while runs(&first).await == 0 {
        tokio::task::yield_now().await;
    }
    let functions = Arc::new(Scripted::default());
    let second = engine(&Arc::new(journal.after_crash()), &functions, Settings::default());
    second.recover().await.unwrap();
    let again = second.start_run(keyed(&graph, key("k", "x"))).await.unwrap().id;
    functions.gate.add_permits(1);
    all(&second, again).await;
    assert_eq!(runs(&second).await, 1);
}

#[tokio::test]
async fn a_start_that_failed_can_be_sent_again_with_its_key() {
    let (journal, _, engine) = fresh();
    assert!(engine.start_run(keyed("nothing", key("k", "x"))).await.is_err());
    let graph = line(&engine, &["a"]).await;
    journal.stall(heddle_runtime::ports::StoreError::Unavailable(
        "the disk is full".to_owned(),
    ));
    assert!(engine.start_run(keyed(&graph, key("k", "x"))).await.is_err());
    idle(&engine).await;
    journal.release();
    engine.start_run(keyed(&graph, key("k", "x"))).await.unwrap();
}

#[tokio::test]
async fn a_repeated_signal_is_accepted_once() {
    let (journal, _, first) = fresh();
    let graph = graph(
        &first,
        r#"{"nodes": {"w": {"wait": {"signal": "s"}, "output": "all"}}, "edges": {"w": [{"when": "size(state.all) < 2", "to": "w"}, {"to": "end"}]},
            "state": {"all": {"merge": "append"}}}"#,
    )
    .await;
    let (run, other) = (
        start(&first, &graph, "{}").await,
        start(&first, &graph, "{}").await,
    );
    let send = |engine: Engine, run, k: &'static str, body: &'static str| async move {
        engine.signal(run, "s", json(body).unwrap(), key(k, body)).await
    };
    let seq = send(first.clone(), run, "k", "[1]").await.unwrap();
    assert_eq!(send(first.clone(), run, "k", "[1]").await.unwrap(), seq);
    // A key belongs to one run: another run does not know it.
    send(first.clone(), other, "k", "[1]").await.unwrap();
    assert!(matches!(
        send(first.clone(), run, "k", "[2]").await,
        Err(SendError::Key(KeyError::Reused(_)))
    ));
    let second = engine(
        &Arc::new(journal.after_crash()),
        &Arc::new(Scripted::default()),
        Settings::default(),
    );
    assert_eq!(send(second.clone(), run, "k", "[1]").await.unwrap(), seq);
    send(second.clone(), run, "k2", "[2]").await.unwrap();
    all(&second, run).await;
    assert_eq!(view(&second, run).await.state.to_text(), r#"{"all":[1,2]}"#);
    // Also long after the end of the run.
    assert_eq!(send(second.clone(), run, "k", "[1]").await.unwrap(), seq);
}

#[tokio::test]
async fn a_signal_that_is_refused_leaves_its_key_free() {
    let (_, _, engine) = fresh();
    let graph = graph(&engine, r#"{"nodes": {"w": {"wait": {"signal": "s"}}}}"#).await;
    let run = start(&engine, &graph, "{}").await;
    let payload = json("1").unwrap();
    assert!(matches!(
        engine.signal(run, "t", payload.clone(), key("k", "t")).await,
        Err(SendError::Refused(_))
    ));
    engine.signal(run, "s", payload, key("k", "s")).await.unwrap();
    all(&engine, run).await;
}

#[tokio::test]
async fn a_repeated_fork_request_returns_the_same_run() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["a", "b"]).await;
    let run = start(&engine, &graph, "{}").await;
    all(&engine, run).await;
    let fork = |body: &'static str| engine.fork(run, 1, Object::default(), key("k", body));
    let forked = fork("x").await.unwrap().id;
    assert_eq!(fork("x").await.unwrap().id, forked);
    assert!(matches!(
        fork("y").await,
        Err(StepError::Start(StartError::Key(KeyError::Reused(_))))
    ));
    all(&engine, forked).await;
    assert_eq!(*functions.calls.borrow(), 3);
    until("the engine is idle", || engine.stats().runs_in_flight == 0).await;
}

/// A request with the same key was answered by another engine after this engine looked for it: the store refuses the append.
#[tokio::test]
async fn a_request_that_another_engine_answers_at_the_same_time_returns_the_first_result() {
    let journal = Arc::new(Wrapped::of(MemoryJournal::new()));
    let functions = Arc::new(Scripted::default());
    let engine = engine(&journal, &functions, Settings::default());
    let graph = graph(
        &engine,
        r#"{"nodes": {"w": {"wait": {"signal": "s"}, "output": "all"}}, "edges": {"w": [{"when": "size(state.all) < 2", "to": "w"}, {"to": "end"}]},
            "state": {"all": {"merge": "append"}}}"#,
    )
    .await;
    let run = engine.start_run(keyed(&graph, key("k", "x"))).await.unwrap().id;
    let send = async |k: &'static str, body: &'static str| {
        engine.signal(run, "s", json(body).unwrap(), key(k, body)).await
    };
    let seq = send("s1", "[1]").await.unwrap();
    journal.hides_requests.store(true, Ordering::SeqCst);
    let again = engine.start_run(keyed(&graph, key("k", "x"))).await.unwrap();
    assert_eq!((again.id, again.replayed), (run, true));
    assert!(matches!(
        engine.start_run(keyed(&graph, key("k", "y"))).await,
        Err(StartError::Key(KeyError::Reused(_)))
    ));
    assert_eq!(runs(&engine).await, 1);
    assert_eq!(timeout(PATIENCE, send("s1", "[1]")).await.unwrap().unwrap(), seq);
    assert!(matches!(
        timeout(PATIENCE, send("s1", "[3]")).await.unwrap(),
        Err(SendError::Key(KeyError::Reused(_)))
    ));
    // The run is unharmed: the next signal ends it.
    timeout(PATIENCE, send("s2", "[2]")).await.unwrap().unwrap();
    all(&engine, run).await;
    assert_eq!(view(&engine, run).await.state.to_text(), r#"{"all":[1,2]}"#);
    idle(&engine).await;
}
