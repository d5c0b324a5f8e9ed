//! Damage stops only the run that it affects.

use std::sync::Arc;

use heddle_json::{Object, object::json};
use heddle_kernel::{RunId, Status};
use heddle_runtime::{
    Engine, Ports, ReadError, SendError, Settings, Start, StartError,
    ports::{Ids, StoreError},
};
use heddle_store::MemoryJournal;
use tokio::time::timeout;

use crate::{
    script::{PATIENCE, Scripted, all, engine, graph, line, ports, start, until, view},
    wrapped::Wrapped,
};

#[tokio::test]
async fn a_damaged_run_is_dropped_and_its_waiters_get_an_error() {
    let journal = Arc::new(Wrapped::of(MemoryJournal::new()));
    let functions = Arc::new(Scripted::default());
    let engine = engine(&journal, &functions, Settings::default());
    let graph_ = line(&engine, &["gate", "b"]).await;
    let (bad, good) = (
        start(&engine, &graph_, "{}").await,
        start(&engine, &graph_, "{}").await,
    );
    functions.at_gate(2).await;
    let mut watch = engine.watch(bad, 2).await.unwrap().unwrap();
    let next = tokio::spawn(async move { watch.next().await });
    journal.damaged.lock().unwrap().insert(bad);
    functions.gate.add_permits(2);
    assert!(matches!(
        timeout(PATIENCE, next).await.unwrap().unwrap(),
        Some(Err(StoreError::Unavailable(_)))
    ));
    all(&engine, good).await;
    until("the engine lets go of it", || engine.stats().runs_in_flight == 0).await;
    assert_eq!(view(&engine, good).await.status, Status::Finished);
    assert!(matches!(engine.run(bad).await, Err(ReadError::Damaged { run, .. }) if run == bad));
    assert!(matches!(
        engine.cancel(bad, "", None).await,
        Err(SendError::Read(ReadError::Damaged { .. }))
    ));
}

#[tokio::test]
async fn requests_to_a_run_that_proves_damaged_are_answered() {
    let journal = Arc::new(Wrapped::of(MemoryJournal::new()));
    let functions = Arc::new(Scripted::default());
    let engine = engine(&journal, &functions, Settings::default());
    let graph = graph(
        &engine,
        r#"{"start": "a", "nodes": {"a": {}, "gate": {}, "w": {"wait": {"signal": "s"}}}, "edges": {"a": ["gate", "w"]}}"#,
    )
    .await;
    let run = start(&engine, &graph, "{}").await;
    functions.at_gate(1).await;
    journal.damaged.lock().unwrap().insert(run);
    let sent = engine.signal(run, "s", json("1").unwrap(), None);
    assert!(matches!(
        timeout(PATIENCE, sent).await.unwrap(),
        Err(SendError::Read(ReadError::Damaged { .. }))
    ));
}

#[tokio::test]
async fn at_the_start_damaged_runs_are_named_and_the_others_go_on() {
    let journal = Arc::new(Wrapped::of(MemoryJournal::new()));
    let functions = Arc::new(Scripted::default());
    let first = engine(&journal, &functions, Settings::default());
    let graph = line(&first, &["gate", "b"]).await;
    let (bad, good) = (
        start(&first, &graph, "{}").await,
        start(&first, &graph, "{}").await,
    );
    functions.at_gate(2).await;
    let left = Arc::new(Wrapped::of(journal.journal.after_crash()));
    left.damaged.lock().unwrap().insert(bad);
    let functions = Arc::new(Scripted::default());
    let second = engine(&left, &functions, Settings::default());
    let recovered = second.recover().await.unwrap();
    assert_eq!(recovered.runs, 1);
    assert_eq!(recovered.damaged.len(), 1);
    assert_eq!(recovered.damaged[0].0, bad);
    functions.gate.add_permits(1);
    all(&second, good).await;
}

#[tokio::test]
async fn a_start_that_finds_damage_returns_an_error() {
    struct OneId;
    impl Ids for OneId {
        fn run_id(&self) -> RunId {
            RunId(uuid::Uuid::nil())
        }
    }
    let journal = Arc::new(Wrapped::of(MemoryJournal::new()));
    let ports = Ports {
        ids: Arc::new(OneId),
        ..ports(&journal, &Arc::new(Scripted::default()))
    };
    let engine = Engine::new(ports, Settings::default());
    let graph = line(&engine, &["a"]).await;
    journal.damaged.lock().unwrap().insert(OneId.run_id());
    let started = engine.start_run(Start::of(&graph, Object::default()));
    assert!(matches!(
        timeout(PATIENCE, started).await.unwrap(),
        Err(StartError::Store(StoreError::Damaged(_)))
    ));
}
