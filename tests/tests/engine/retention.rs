//! Retention: old runs are deleted, with a clock that the test moves.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{TryStreamExt, future::BoxFuture};
use heddle_kernel::{RunId, retention::Retention};
use heddle_runtime::{
    Engine, Ports, Settings,
    ports::{Archive, Journal, Pieces},
};
use heddle_store::MemoryJournal;
use tokio::time::timeout;

use crate::{
    clock::ManualClock,
    script::{PATIENCE, Scripted, all, graph, idle, ports, start},
};

async fn world() -> (Arc<MemoryJournal>, Arc<ManualClock>, Arc<Scripted>, Engine) {
    let (journal, functions) = (Arc::new(MemoryJournal::new()), Arc::new(Scripted::default()));
    // Ids contain the machine's time, and an import compares them with the clock.
    let clock = ManualClock::at(&jiff::Timestamp::now().to_string());
    let ports = Ports {
        clock: clock.clone(),
        ..ports(&journal, &functions)
    };
    let engine = Engine::new(ports, Settings::default());
    engine.recover().await.unwrap();
    (journal, clock, functions, engine)
}

/// Waits until exactly these runs exist.
async fn wait_for_runs(engine: &Engine, expected: &[RunId]) {
    let found = async {
        loop {
            let rows = engine.runs(Default::default(), None, 1_000).await.unwrap();
            let mut ids: Vec<RunId> = rows.iter().map(|row| row.id).collect();
            ids.sort_unstable();
            if ids == expected {
                return;
            }
            assert!(
                expected.iter().all(|run| ids.contains(run)),
                "a run was deleted too early"
            );
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, found)
        .await
        .expect("runs are deleted after their retention time");
}

const HOUR: i64 = 3_600_000;

/// Moves the clock after the sweeper has finished its work up to now.
async fn advance(clock: &ManualClock, ms: i64) {
    clock.watched_by(1).await;
    clock.forward(ms);
}

#[tokio::test]
async fn runs_are_deleted_by_status_and_graph() {
    let (journal, clock, functions, engine) = world().await;
    let good = graph(&engine, r#"{"name": "good", "nodes": {"a": {}}}"#).await;
    let bad = graph(&engine, r#"{"name": "bad", "nodes": {"broken": {}}}"#).await;
    let dear = graph(&engine, r#"{"name": "dear", "nodes": {"a": {}}}"#).await;
    let open = graph(&engine, r#"{"name": "open", "nodes": {"gate": {}}}"#).await;
    let mut runs = Vec::new();
    for graph in [&good, &bad, &dear] {
        let run = start(&engine, graph, "{}").await;
        all(&engine, run).await;
        runs.push(run);
    }
    let going = start(&engine, &open, "{}").await;
    functions.at_gate(1).await;
    let [first, failed, kept] = runs[..] else { panic!() };
    let rules = ["1h", "failed=2h", "graph:dear=forever"];
    engine.start_retention(Retention::read(rules).unwrap(), None);
    clock.watched_by(1).await;
    wait_for_runs(&engine, &[first, failed, kept, going]).await;
    advance(&clock, HOUR).await;
    wait_for_runs(&engine, &[failed, kept, going]).await;
    assert!(engine.run(first).await.unwrap().is_none());
    assert!(journal.events(first, 0, 10).await.unwrap().is_empty());
    advance(&clock, HOUR).await;
    wait_for_runs(&engine, &[kept, going]).await;
    // An active run is never deleted; its age counts from its end.
    advance(&clock, 100 * HOUR).await;
    functions.gate.add_permits(1);
    all(&engine, going).await;
    idle(&engine).await;
    advance(&clock, HOUR - 1).await;
    wait_for_runs(&engine, &[kept, going]).await;
    advance(&clock, HOUR).await;
    wait_for_runs(&engine, &[kept]).await;
}

/// An archive that accepts or refuses runs.
#[derive(Default)]
struct Shelf {
    runs: Mutex<Vec<(RunId, Vec<u8>)>>,
    full: AtomicBool,
    asked: AtomicBool,
}

impl Archive for Shelf {
    fn put(&self, run: RunId, export: Pieces) -> BoxFuture<'_, Result<(), String>> {
        self.asked.store(true, Ordering::SeqCst);
        if self.full.load(Ordering::SeqCst) {
            return Box::pin(async { Err("the disk is full".to_owned()) });
        }
        Box::pin(async move {
            let export = export.try_concat().await.map_err(|error| error.to_string())?;
            self.runs.lock().unwrap().push((run, export));
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_run_is_deleted_only_after_its_export() {
    let (_, clock, _, engine) = world().await;
    let good = graph(&engine, r#"{"name": "good", "nodes": {"a": {}}}"#).await;
    let run = start(&engine, &good, "{}").await;
    all(&engine, run).await;
    idle(&engine).await;
    let shelf = Arc::new(Shelf::default());
    shelf.full.store(true, Ordering::SeqCst);
    engine.start_retention(Retention::read(["1h"]).unwrap(), Some(shelf.clone()));
    advance(&clock, HOUR).await;
    crate::script::until("it is exported", || shelf.asked.load(Ordering::SeqCst)).await;
    clock.watched_by(1).await;
    wait_for_runs(&engine, &[run]).await;
    shelf.full.store(false, Ordering::SeqCst);
    advance(&clock, HOUR).await;
    wait_for_runs(&engine, &[]).await;
    let (exported, export) = shelf.runs.lock().unwrap().remove(0);
    assert_eq!(exported, run);
    // Another engine can continue from here.
    let (_, _, _, other) = world().await;
    assert_eq!(other.import(export.clone()).await.unwrap(), run);
}

#[tokio::test]
async fn thousands_of_old_runs_are_deleted_while_others_continue() {
    let (_, clock, _, engine) = world().await;
    let good = graph(&engine, r#"{"name": "good", "nodes": {"a": {}}}"#).await;
    let started = (0..1_200).map(|_| start(&engine, &good, "{}"));
    futures_util::future::join_all(started).await;
    idle(&engine).await;
    engine.start_retention(Retention::read(["1h"]).unwrap(), None);
    advance(&clock, HOUR).await;
    let run = start(&engine, &good, "{}").await;
    assert_eq!(all(&engine, run).await.len(), 4);
    wait_for_runs(&engine, &[run]).await;
}
