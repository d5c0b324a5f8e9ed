//! Admission: runs beyond the limits are queued, and start in order when slots are released.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use heddle_json::{Object, object::json};
use heddle_kernel::{Event, RunId, Status};
use heddle_runtime::{Engine, SendError, Settings, Start, StartError, WatchItem};
use heddle_store::{MemoryJournal, SqliteJournal, SqliteSettings};
use tokio::time::timeout;

use crate::script::{PATIENCE, Scripted, all, engine, graph, is_pending, line, until};

/// A graph with at most two active runs per `group`.
const GROUPED: &str = r#"{"name": "grouped", "nodes": {"gate": {}},
    "limits": {"group": {"by": "state.group", "at_once": 2}}}"#;

fn settings(max_runs_in_flight: usize, max_queued: usize) -> Settings {
    Settings {
        max_runs_in_flight,
        max_queued,
        ..Settings::default()
    }
}

/// An engine that has recovered, so that it starts queued runs.
async fn world(settings: Settings) -> (Arc<MemoryJournal>, Arc<Scripted>, Engine) {
    let (journal, functions) = (Arc::new(MemoryJournal::new()), Arc::new(Scripted::default()));
    let engine = engine(&journal, &functions, settings);
    engine.recover().await.unwrap();
    (journal, functions, engine)
}

async fn start(engine: &Engine, graph: &str, state: &str, priority: i32) -> RunId {
    let start = Start {
        priority,
        ..Start::of(graph, Object::parse(state).unwrap())
    };
    engine.start_run(start).await.unwrap().id
}

async fn status(engine: &Engine, run: RunId) -> Status {
    engine.run(run).await.unwrap().unwrap().status
}

/// The numbers of active and queued runs.
fn stats(engine: &Engine) -> (usize, usize) {
    let stats = engine.stats();
    (stats.runs_in_flight, stats.runs_queued)
}

#[tokio::test]
async fn runs_beyond_the_limit_are_queued_and_start_by_priority_and_arrival() {
    let (_, functions, engine) = world(settings(1, 10)).await;
    let graph = line(&engine, &["gate"]).await;
    let mut runs = Vec::new();
    for priority in [0, 0, 5, -100, 5] {
        runs.push(start(&engine, &graph, "{}", priority).await);
    }
    functions.at_gate(1).await;
    assert_eq!(stats(&engine), (1, 4));
    assert_eq!(status(&engine, runs[0]).await, Status::Running);
    assert_eq!(status(&engine, runs[1]).await, Status::Queued);
    functions.gate.add_permits(5);
    for run in &runs {
        // A watcher of a queued run also gets all events.
        assert_eq!(all(&engine, *run).await.len(), 4);
    }
    let order = functions.order.lock().unwrap().clone();
    assert_eq!(order, [runs[0], runs[2], runs[4], runs[1], runs[3]]);
    until("nothing is left", || stats(&engine) == (0, 0)).await;
}

#[tokio::test]
async fn a_full_queue_refuses_with_retry_after() {
    let (_, functions, engine) = world(settings(1, 2)).await;
    let graph = line(&engine, &["gate"]).await;
    for _ in 0..3 {
        start(&engine, &graph, "{}", 0).await;
    }
    let refused = engine.start_run(Start::of(&graph, Object::default())).await;
    let Err(StartError::Busy { limit, retry_after_s }) = refused else {
        panic!("a fourth was taken");
    };
    assert_eq!((limit, (1..=60).contains(&retry_after_s)), (2, true));
    functions.gate.add_permits(1);
    until("one is taken from the queue", || stats(&engine).1 == 1).await;
    start(&engine, &graph, "{}", 0).await;
}

#[tokio::test]
async fn a_group_stays_within_its_limit_of_active_runs_and_blocks_no_other() {
    let (_, functions, engine) = world(settings(100, 100)).await;
    let grouped = graph(&engine, GROUPED).await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(start(&engine, &grouped, r#"{"group": "a"}"#, 0).await);
    }
    let other = start(&engine, &grouped, r#"{"group": "b"}"#, 0).await;
    functions.at_gate(3).await;
    assert_eq!(stats(&engine), (3, 2));
    assert_eq!(status(&engine, other).await, Status::Running);
    let row = engine.runs(Default::default(), None, 1).await.unwrap().remove(0);
    assert_eq!(row.group.as_deref(), Some("grouped/b"));
    // A paused run counts in its group although it holds no slot.
    engine.cancel(runs[0], "to make room", None).await.unwrap();
    all(&engine, runs[0]).await;
    functions.called(4).await;
    assert_eq!(status(&engine, runs[2]).await, Status::Running);
    assert_eq!(status(&engine, runs[3]).await, Status::Queued);
    functions.gate.add_permits(10);
    for run in runs {
        all(&engine, run).await;
    }
}

#[tokio::test]
async fn a_waiting_run_counts_in_its_group_and_holds_no_slot() {
    let (_, functions, engine) = world(settings(1, 10)).await;
    let asks = graph(
        &engine,
        r#"{"name": "asks", "nodes": {"ask": {"wait": {"signal": "go"}}}, "limits": {"group": {}}}"#,
    )
    .await;
    let gate = line(&engine, &["gate"]).await;
    let first = start(&engine, &asks, "{}", 0).await;
    // A watcher keeps it in memory.
    let watch = engine.watch(first, 0).await.unwrap().unwrap();
    let second = start(&engine, &asks, "{}", 0).await;
    let other = start(&engine, &gate, "{}", 0).await;
    functions.at_gate(1).await;
    assert_eq!(status(&engine, other).await, Status::Running);
    assert_eq!(status(&engine, second).await, Status::Queued, "its group is full");
    // A resumed run is admitted even above the limit.
    engine
        .signal(first, "go", json("1").unwrap(), None)
        .await
        .unwrap();
    all(&engine, first).await;
    drop(watch);
    functions.gate.add_permits(1);
    all(&engine, other).await;
    until_waiting(&engine, second).await;
}

/// Waits until a run waits for its signal.
async fn until_waiting(engine: &Engine, run: RunId) {
    let mut watch = engine.watch(run, 0).await.unwrap().unwrap();
    loop {
        let next = timeout(PATIENCE, watch.next()).await.expect("it begins").unwrap();
        if let WatchItem::Event(event) = next.unwrap()
            && matches!(event.event, Event::StepStarted { .. })
        {
            return;
        }
    }
}

#[tokio::test]
async fn a_crash_does_not_change_the_queue_and_the_groups() {
    let (journal, functions, first) = world(settings(3, 100)).await;
    let grouped = graph(&first, GROUPED).await;
    let free = line(&first, &["gate"]).await;
    let mut group = Vec::new();
    for _ in 0..4 {
        group.push(start(&first, &grouped, r#"{"group": "a"}"#, 0).await);
    }
    let begun = start(&first, &free, "{}", 0).await;
    functions.at_gate(3).await;
    let low = start(&first, &free, "{}", 0).await;
    let high = start(&first, &free, "{}", 9).await;
    let left = Arc::new(journal.after_crash());
    drop(first);

    let functions = Arc::new(Scripted::default());
    let second = engine(&left, &functions, settings(3, 100));
    let recovered = second.recover().await.unwrap();
    assert_eq!((recovered.runs, recovered.queued), (3, 4));
    functions.at_gate(3).await;
    assert_eq!(stats(&second), (3, 4));
    // The slot of the run without a group goes to the run with the highest priority, and the group stays full.
    second.cancel(begun, "to make room", None).await.unwrap();
    functions.called(4).await;
    assert_eq!(status(&second, high).await, Status::Running);
    assert_eq!(status(&second, group[2]).await, Status::Queued);
    functions.gate.add_permits(10);
    for run in [low, high].into_iter().chain(group) {
        all(&second, run).await;
        assert_eq!(status(&second, run).await, Status::Finished);
    }
    until("nothing is left", || stats(&second) == (0, 0)).await;
}

#[tokio::test]
async fn a_queued_run_that_is_cancelled_leaves_the_queue_and_its_group() {
    let (journal, functions, engine) = world(settings(10, 10)).await;
    let grouped = graph(&engine, GROUPED).await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(start(&engine, &grouped, r#"{"group": "a"}"#, 0).await);
    }
    functions.at_gate(2).await;
    engine.cancel(runs[2], "not wanted", None).await.unwrap();
    until("it is out of the queue", || stats(&engine) == (2, 1)).await;
    assert_eq!(status(&engine, runs[2]).await, Status::Cancelled);
    assert_eq!(all(&engine, runs[2]).await.len(), 2, "no step of it began");
    functions.gate.add_permits(4);
    for run in [runs[0], runs[1], runs[3]] {
        all(&engine, run).await;
    }
    let order = functions.order.lock().unwrap().clone();
    assert_eq!(order, [runs[0], runs[1], runs[3]]);
    // Another engine finds no trace of it in the queue.
    let left = Arc::new(journal.after_crash());
    let other = crate::script::engine(&left, &functions, Settings::default());
    assert_eq!(other.recover().await.unwrap().queued, 0);
}

#[tokio::test]
async fn a_signal_to_a_queued_run_is_kept_until_it_has_begun() {
    let (_, functions, engine) = world(settings(1, 10)).await;
    let gate = line(&engine, &["gate"]).await;
    let asks = graph(
        &engine,
        r#"{"nodes": {"ask": {"wait": {"signal": "go"}, "output": "got"}}}"#,
    )
    .await;
    start(&engine, &gate, "{}", 0).await;
    let run = start(&engine, &asks, "{}", 0).await;
    engine.signal(run, "go", json("7").unwrap(), None).await.unwrap();
    assert_eq!(status(&engine, run).await, Status::Queued);
    assert!(
        matches!(engine.pause(run, "").await, Err(SendError::Refused(_))),
        "it has not begun, so there is nothing to pause"
    );
    functions.gate.add_permits(1);
    all(&engine, run).await;
    let view = engine.run(run).await.unwrap().unwrap();
    assert_eq!(view.state.to_text(), r#"{"got":7}"#);
}

#[tokio::test]
async fn watching_a_queued_run_does_not_start_it_and_shows_its_start() {
    let (_, functions, engine) = world(settings(1, 10)).await;
    let graph = line(&engine, &["gate"]).await;
    start(&engine, &graph, "{}", 0).await;
    let run = start(&engine, &graph, "{}", 0).await;
    let mut watch = engine.watch(run, 1).await.unwrap().unwrap();
    functions.at_gate(1).await;
    assert!(is_pending(&mut Box::pin(watch.next())).await);
    assert_eq!(stats(&engine), (1, 1));
    functions.gate.add_permits(1);
    let next = timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(next, WatchItem::Event(event) if matches!(event.event, Event::StepStarted { .. })));
    functions.gate.add_permits(1);
    all(&engine, run).await;
    until("nothing is left", || stats(&engine) == (0, 0)).await;
}

#[tokio::test]
async fn a_start_that_waits_for_the_end_also_waits_in_the_queue() {
    let (_, functions, engine) = world(settings(1, 10)).await;
    let graph = line(&engine, &["gate"]).await;
    start(&engine, &graph, "{}", 0).await;
    let run = engine
        .start_run(Start::of(&graph, Object::default()))
        .await
        .unwrap();
    functions.gate.add_permits(2);
    timeout(PATIENCE, run.over()).await.unwrap();
    assert_eq!(run.view().await.unwrap().status, Status::Finished);
}

#[tokio::test]
async fn a_durable_start_is_queued_even_if_its_client_disconnected() {
    let (journal, functions, engine) = world(settings(1, 10)).await;
    let graph = line(&engine, &["gate"]).await;
    start(&engine, &graph, "{}", 0).await;
    journal.hold();
    let mut starting = Box::pin(engine.start_run(Start::of(&graph, Object::default())));
    assert!(is_pending(&mut starting).await);
    drop(starting);
    functions.gate.add_permits(2);
    journal.release();
    functions.called(2).await;
    until("nothing is left", || stats(&engine) == (0, 0)).await;
    // A run that could not be stored is not queued.
    start(&engine, &graph, "{}", 0).await;
    journal.stall(heddle_runtime::ports::StoreError::Unavailable(
        "the disk is full".to_owned(),
    ));
    let refused = engine.start_run(Start::of(&graph, Object::default())).await;
    assert!(matches!(refused, Err(StartError::Store(_))));
    assert_eq!(stats(&engine).1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_starts_loses_nothing_and_passes_no_limit() {
    const RUNS: usize = 100_000;
    const GROUPS: usize = 50;
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(SqliteSettings::new(folder.path().join("flood.db"))).unwrap();
    let (journal, functions) = (Arc::new(journal), Arc::new(Scripted::default()));
    let engine = engine(&journal, &functions, settings(100, RUNS));
    engine.recover().await.unwrap();
    let graph = graph(
        &engine,
        r#"{"name": "flood", "nodes": {"busy": {}},
            "limits": {"group": {"by": "state.group", "at_once": 3}}}"#,
    )
    .await;
    // As many clients as a server would have, each waiting for its response.
    let clients = (0..500).map(|client| {
        let (engine, graph) = (engine.clone(), graph.clone());
        tokio::spawn(async move {
            for n in 0..RUNS / 500 {
                let group = (client + n) % GROUPS;
                let state = Object::parse(&format!("{{\"group\":\"{group}\"}}")).unwrap();
                engine.start_run(Start::of(&graph, state)).await.unwrap();
            }
        })
    });
    for client in join_all(clients).await {
        client.unwrap();
    }
    let drained = async {
        while stats(&engine) != (0, 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(120), drained)
        .await
        .expect("all are over");
    assert_eq!(functions.order.lock().unwrap().len(), RUNS, "each has begun once");
    for (group, (now, most)) in functions.busy.lock().unwrap().iter() {
        let limit = if group.is_empty() { 100 } else { 3 };
        assert!(
            *now == 0 && *most <= limit,
            "{group}: {most} at once, more than {limit}"
        );
    }
    let finished = heddle_runtime::ports::RunFilter::of_status(Status::Finished);
    assert_eq!(engine.runs(finished, None, RUNS + 1).await.unwrap().len(), RUNS);
}

#[tokio::test]
async fn queued_runs_count_their_bytes_after_a_restart_as_well() {
    let limited = Settings {
        max_queued_bytes: 3_000,
        ..settings(1, 10)
    };
    let (journal, functions, engine) = world(limited).await;
    let graph = line(&engine, &["gate"]).await;
    let state = format!("{{\"text\": \"{}\"}}", "x".repeat(1_000));
    start(&engine, &graph, "{}", 0).await;
    functions.at_gate(1).await;
    for _ in 0..2 {
        start(&engine, &graph, &state, 0).await;
    }
    let refused = async |engine: &Engine| {
        let start = Start::of(&graph, Object::parse(&state).unwrap());
        matches!(
            engine.start_run(start).await,
            Err(StartError::BusyBytes { limit: 3_000, .. })
        )
    };
    assert!(refused(&engine).await);

    let left = Arc::new(journal.after_crash());
    let functions = Arc::new(Scripted::default());
    let engine = crate::script::engine(&left, &functions, limited);
    engine.recover().await.unwrap();
    functions.at_gate(1).await;
    assert_eq!(stats(&engine), (1, 2));
    assert!(refused(&engine).await, "the queued runs of before do not count");
    // A run that leaves the queue makes room.
    functions.gate.add_permits(1);
    functions.at_gate(1).await;
    until("one run is queued", || stats(&engine) == (1, 1)).await;
    assert!(!refused(&engine).await);
}
