//! The commit rule: calls with possible effects outside wait for the disk, others do not.

use std::sync::Arc;

use heddle_json::{Object, object::json};
use heddle_kernel::Status;
use heddle_runtime::{Settings, Start, ports::StoreError};
use heddle_store::MemoryJournal;
use tokio::time::timeout;

use crate::script::{
    FOREVER, PATIENCE, Scripted, all, engine, fresh, graph, idle, is_pending, line, seq, start, view,
};

#[tokio::test]
async fn a_granted_function_is_called_after_everything_before_it_is_durable() {
    let (journal, functions, engine) = fresh();
    let graph = line(&engine, &["count", "mail", "z"]).await;
    journal.hold();
    let starting = engine.start_run(Start::of(&graph, Object::default()));
    let mut starting = Box::pin(starting);
    assert!(is_pending(&mut starting).await);
    // The ungranted steps before it continue, hundreds of them.
    functions.called(300).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*functions.mails.borrow(), 0, "it was called before the disk was");
    assert_eq!(*functions.calls.borrow(), 300);
    assert!(is_pending(&mut starting).await, "an answer was given");
    journal.release();
    let run = timeout(PATIENCE, starting).await.unwrap().unwrap().id;
    all(&engine, run).await;
    assert_eq!(*functions.mails.borrow(), 1);
    let state = view(&engine, run).await.state;
    assert_eq!(state.get("mail").unwrap().get(), "1");
    assert_eq!(state.get("n").unwrap().get(), "300");
}

#[tokio::test]
async fn nothing_is_published_while_the_disk_stalls_and_ungranted_steps_continue() {
    let (journal, functions, engine) = fresh();
    let graph = graph(
        &engine,
        r#"{"nodes": {"w": {"wait": {"signal": "s"}}, "count": {}, "mail": {}}, "edges": {"w": "count", "count": "mail"}}"#,
    )
    .await;
    let run = start(&engine, &graph, "{}").await;
    let mut watch = engine.watch(run, 2).await.unwrap().unwrap();
    journal.hold();
    let mut signal = Box::pin(engine.signal(run, "s", json("1").unwrap(), None));
    assert!(is_pending(&mut signal).await);
    functions.called(300).await;
    let mut next_event = Box::pin(watch.next());
    let mut read = Box::pin(engine.run(run));
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(is_pending(&mut signal).await, "the signal was answered");
    assert!(is_pending(&mut next_event).await, "a watcher got an event");
    assert!(is_pending(&mut read).await, "a reader got a state");
    assert_eq!(*functions.mails.borrow(), 0);
    journal.release();
    assert!(timeout(PATIENCE, signal).await.unwrap().unwrap() >= 3);
    assert_eq!(
        seq(&timeout(PATIENCE, next_event).await.unwrap().unwrap().unwrap()),
        Some(3)
    );
    timeout(PATIENCE, read).await.unwrap().unwrap();
    all(&engine, run).await;
    assert_eq!(*functions.mails.borrow(), 1);
}

#[tokio::test]
async fn other_branches_do_not_wait_for_a_granted_call() {
    let (journal, functions, engine) = fresh();
    let graph = graph(
        &engine,
        r#"{"start": "a", "nodes": {"a": {}, "mail": {}, "count": {}}, "edges": {"a": ["mail", "count"]}}"#,
    )
    .await;
    journal.hold();
    let mut starting = Box::pin(engine.start_run(Start::of(&graph, Object::default())));
    assert!(is_pending(&mut starting).await);
    functions.called(301).await;
    assert_eq!(*functions.mails.borrow(), 0);
    journal.release();
    let run = timeout(PATIENCE, starting).await.unwrap().unwrap().id;
    all(&engine, run).await;
    assert_eq!(*functions.mails.borrow(), 1);
}

#[tokio::test]
async fn a_granted_function_of_a_lost_run_is_never_called() {
    let (journal, functions, engine) = fresh();
    let graph = line(&engine, &["mail"]).await;
    journal.stall(StoreError::Unavailable("the disk is full".to_owned()));
    assert!(
        engine
            .start_run(Start::of(&graph, Object::default()))
            .await
            .is_err()
    );
    idle(&engine).await;
    journal.release();
    assert_eq!(*functions.calls.borrow(), 0);
}

#[tokio::test]
async fn ungranted_steps_run_ahead_up_to_the_limit_in_bytes_and_no_further() {
    let (journal, functions) = (Arc::new(MemoryJournal::new()), Arc::new(Scripted::default()));
    let settings = Settings {
        run_ahead_bytes: 32 << 10,
        ..Settings::default()
    };
    let engine = engine(&journal, &functions, settings);
    let graph = graph(&engine, FOREVER).await;
    journal.hold();
    let state = Object::parse(r#"{"to": 1000000}"#).unwrap();
    let mut starting = Box::pin(engine.start_run(Start::of(&graph, state)));
    assert!(is_pending(&mut starting).await);
    // Each turn runs hundreds of steps; a step takes about 400 bytes.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let ahead = *functions.calls.borrow();
    assert!((20..100).contains(&ahead), "it is {ahead} steps ahead");
    journal.release();
    let run = timeout(PATIENCE, starting).await.unwrap().unwrap().id;
    functions.called(ahead + 1_000).await;
    // It never pauses by itself and can be cancelled.
    engine.cancel(run, "enough", None).await.unwrap();
    assert_eq!(view(&engine, run).await.status, Status::Cancelled);
}
