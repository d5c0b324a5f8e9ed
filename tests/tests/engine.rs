//! The engine over a journal that a test can hold back, and functions that a test scripts.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use heddle_kernel::{
    Answer, Digest, Event, Failure, FailureKind, FunctionKind, Json, Level, Object, Outcome, Route, RunId,
    Status,
    event::FunctionRef,
    object::{json, to_json},
};
use heddle_runtime::{
    Engine, Ports, RandomIds, Settings, StartError, SystemClock, Watched,
    ports::{
        Call, FunctionInfo, Functions, NewPlugin, PluginInfo, RegisterError, ResolveError, Resolved,
        StoreError, ToolCall,
    },
};
use heddle_store::MemoryJournal;
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Functions by name: `count` adds one to `n` until 300, `gate` waits for the test, `panic`
/// panics, `grow` doubles the state, `say` logs and emits, and any other adds a key of its name.
struct Scripted {
    gate: Semaphore,
    calls: watch::Sender<usize>,
    by_step: Mutex<HashMap<(RunId, u64), usize>>,
    registered: AtomicUsize,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            gate: Semaphore::new(0),
            calls: watch::Sender::new(0),
            by_step: Mutex::default(),
            registered: AtomicUsize::new(0),
        }
    }
}

impl Scripted {
    /// Waits until functions were called this many times.
    async fn called(&self, times: usize) {
        let mut calls = self.calls.subscribe();
        timeout(PATIENCE, calls.wait_for(|calls| *calls >= times))
            .await
            .expect("the calls come")
            .unwrap();
    }

    async fn answer(&self, call: &Call) -> Result<Outcome, Failure> {
        let mut update = Object::default();
        let mut route = Route::Edges;
        match &*call.function.function {
            "gate" => self.gate.acquire().await.unwrap().forget(),
            "panic" => panic!("on purpose"),
            "grow" => update.insert("large", to_json(&"x".repeat(2_000))),
            "say" => {
                call.sink.log(Level::Info, "hello");
                call.sink.emit(json("{\"token\":1}").unwrap());
                self.gate.acquire().await.unwrap().forget();
            }
            "count" => {
                let n = call.input.get("n").map_or(0, |n| n.get().parse().unwrap()) + 1;
                update.insert("n", to_json(&n));
                if n < 300 {
                    route = Route::Again;
                }
            }
            name => update.insert(name, to_json(&call.step)),
        }
        Ok(Outcome { update, route })
    }
}

impl Functions for Scripted {
    fn register(&self, _: NewPlugin) -> BoxFuture<'_, Result<PluginInfo, RegisterError>> {
        self.registered.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Err(RegisterError::Refused("this is a script".to_owned())) })
    }

    fn has(&self, _: &Digest) -> bool {
        true
    }

    fn plugins(&self) -> Vec<Arc<PluginInfo>> {
        Vec::new()
    }

    fn resolve(&self, uses: &str) -> Result<Resolved, ResolveError> {
        let function = FunctionRef {
            digest: Digest::of(b"script"),
            plugin: "script".into(),
            version: "1.0.0".into(),
            function: uses.into(),
        };
        let any = json("{}").unwrap();
        let info = FunctionInfo {
            name: uses.into(),
            kind: FunctionKind::Node,
            summary: String::new(),
            input: any.clone(),
            output: any,
            config: None,
            read_only: false,
            idempotent: false,
            routes: Vec::new(),
        };
        Ok(Resolved { function, info })
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, Failure>> {
        *self
            .by_step
            .lock()
            .unwrap()
            .entry((call.run, call.step))
            .or_default() += 1;
        self.calls.send_modify(|calls| *calls += 1);
        Box::pin(async move { self.answer(&call).await.map(Answer::Outcome) })
    }

    fn call_tool(&self, _: ToolCall) -> BoxFuture<'_, Result<Json, Failure>> {
        Box::pin(async { Err(Failure::new(FailureKind::Permanent, "this is a script")) })
    }
}

fn engine(journal: &Arc<MemoryJournal>, functions: &Arc<Scripted>, settings: Settings) -> Engine {
    let ports = Ports {
        journal: journal.clone(),
        functions: functions.clone(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
    };
    Engine::new(ports, settings)
}

fn fresh() -> (Arc<MemoryJournal>, Arc<Scripted>, Engine) {
    let (journal, functions) = (Arc::new(MemoryJournal::new()), Arc::new(Scripted::default()));
    let engine = engine(&journal, &functions, Settings::default());
    (journal, functions, engine)
}

/// Creates a graph of these nodes in a line and gives its id.
async fn line(engine: &Engine, nodes: &[&str]) -> String {
    let all: serde_json::Map<_, _> = nodes
        .iter()
        .map(|node| ((*node).to_owned(), serde_json::json!({})))
        .collect();
    let edges: serde_json::Map<_, _> = nodes
        .windows(2)
        .map(|pair| (pair[0].to_owned(), pair[1].into()))
        .collect();
    let graph = serde_json::json!({"start": nodes[0], "nodes": all, "edges": edges}).to_string();
    engine
        .create_graph(&graph)
        .await
        .expect("a graph")
        .graph
        .id
        .to_string()
}

/// Everything that a watcher is told from the beginning.
async fn all(engine: &Engine, run: RunId) -> Vec<Watched> {
    let mut watch = engine.watch(run, 0).await.unwrap().expect("the run is known");
    let mut told = Vec::new();
    while let Some(next) = timeout(PATIENCE, watch.next()).await.expect("the watch goes on") {
        told.push(next.expect("the watch is not broken"));
    }
    let seqs: Vec<u64> = told.iter().filter_map(seq).collect();
    assert_eq!(
        seqs,
        (1..=seqs.len() as u64).collect::<Vec<_>>(),
        "a gap or a repeat"
    );
    told
}

fn seq(told: &Watched) -> Option<u64> {
    match told {
        Watched::Event(event) => Some(event.seq),
        Watched::Chunk(_) => None,
    }
}

async fn is_pending<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_pending())).await
}

#[tokio::test]
async fn nothing_leaves_before_it_is_durable_while_ungranted_steps_run_ahead() {
    let (journal, functions, engine) = fresh();
    let graph = line(&engine, &["a", "b", "c"]).await;
    journal.hold();
    let starting = engine.start_run(&graph, Object::default());
    let mut starting = Box::pin(starting);
    assert!(is_pending(&mut starting).await);
    // The disk stands still and the whole chain is called all the same.
    functions.called(3).await;
    assert!(
        is_pending(&mut starting).await,
        "an answer was given before the start was durable"
    );
    assert!(
        engine
            .runs(Default::default(), None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    journal.release();
    let run = timeout(PATIENCE, starting)
        .await
        .expect("the start goes through")
        .unwrap()
        .id;
    assert_eq!(all(&engine, run).await.len(), 8);
    assert_eq!(engine.run(run).await.unwrap().unwrap().status, Status::Finished);
}

#[tokio::test]
async fn a_run_is_no_further_ahead_of_the_disk_than_its_limit() {
    let (journal, functions) = (Arc::new(MemoryJournal::new()), Arc::new(Scripted::default()));
    let settings = Settings {
        run_ahead_bytes: 1,
        ..Settings::default()
    };
    let engine = engine(&journal, &functions, settings);
    let graph = line(&engine, &["gate", "b"]).await;
    let run = engine.start_run(&graph, Object::default()).await.unwrap().id;
    journal.hold();
    functions.gate.add_permits(1);
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        *functions.calls.borrow(),
        1,
        "the next step did not wait for the disk"
    );
    journal.release();
    assert_eq!(all(&engine, run).await.len(), 6);
}

#[tokio::test]
async fn a_watcher_and_a_reader_are_told_only_what_is_durable() {
    let (journal, functions, engine) = fresh();
    let graph = line(&engine, &["gate", "b"]).await;
    let run = engine.start_run(&graph, Object::default()).await.unwrap().id;
    let mut watch = engine.watch(run, 0).await.unwrap().unwrap();
    assert_eq!(seq(&watch.next().await.unwrap().unwrap()), Some(1));
    assert_eq!(seq(&watch.next().await.unwrap().unwrap()), Some(2));
    journal.hold();
    functions.gate.add_permits(1);
    functions.called(2).await;
    let mut next = Box::pin(watch.next());
    assert!(
        is_pending(&mut next).await,
        "a watcher was told of an event before it was durable"
    );
    let mut read = Box::pin(engine.run(run));
    assert!(
        is_pending(&mut read).await,
        "a reader was told of a state before it was durable"
    );
    journal.release();
    assert_eq!(
        seq(&timeout(PATIENCE, next).await.unwrap().unwrap().unwrap()),
        Some(3)
    );
    assert!(timeout(PATIENCE, read).await.unwrap().unwrap().unwrap().last_seq >= 3);
}

#[tokio::test]
async fn a_start_that_cannot_be_kept_is_refused_and_what_is_under_way_goes_on_later() {
    let (journal, functions, engine) = fresh();
    let graph = line(&engine, &["gate", "b"]).await;
    let under_way = engine.start_run(&graph, Object::default()).await.unwrap().id;
    journal.stall(StoreError::Unavailable("the disk is full".to_owned()));
    let refused = timeout(PATIENCE, engine.start_run(&graph, Object::default()))
        .await
        .unwrap();
    assert!(matches!(
        refused,
        Err(StartError::Store(StoreError::Unavailable(_)))
    ));
    assert!(engine.health().is_err());
    // One for each of the two runs, and one that the call of the refused run may still take.
    functions.gate.add_permits(3);
    journal.release();
    assert_eq!(all(&engine, under_way).await.len(), 6);
    let run = engine.start_run(&graph, Object::default()).await.unwrap().id;
    assert_eq!(all(&engine, run).await.len(), 6);
    assert_eq!(engine.runs(Default::default(), None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn after_a_crash_every_run_goes_on_from_what_was_durable() {
    let (journal, functions, first) = fresh();
    let graph = line(&first, &["a", "gate", "z"]).await;
    let mut runs = Vec::new();
    for _ in 0..20 {
        runs.push(first.start_run(&graph, Object::default()).await.unwrap().id);
    }
    functions.called(40).await;
    for run in &runs {
        // What is told is durable: the first step of each.
        assert_eq!(first.run(*run).await.unwrap().unwrap().steps, 2);
    }
    let left = Arc::new(journal.after_crash());
    let functions = Arc::new(Scripted::default());
    functions.gate.add_permits(20);
    let second = engine(&left, &functions, Settings::default());
    assert_eq!(second.recover().await.unwrap().runs, 20);
    for run in runs {
        let told = all(&second, run).await;
        let finished = told.iter().filter(
            |told| matches!(told, Watched::Event(event) if matches!(event.event, Event::StepFinished { .. })),
        );
        assert_eq!(finished.count(), 3, "every step has one outcome");
        let view = second.run(run).await.unwrap().unwrap();
        assert_eq!(
            (view.status, view.state.to_text()),
            (Status::Finished, r#"{"a":1,"z":3}"#.to_owned())
        );
        assert!(
            functions.by_step.lock().unwrap().get(&(run, 1)).is_none(),
            "a step that was over was called again"
        );
    }
}

#[tokio::test]
async fn the_engines_limits_refuse_by_name() {
    let functions = Arc::new(Scripted::default());
    let journal = Arc::new(MemoryJournal::new());
    let settings = Settings {
        max_runs_in_flight: 1,
        max_state_bytes: 1_000,
        ..Settings::default()
    };
    let engine = engine(&journal, &functions, settings);
    let large = Object::parse(&format!("{{\"x\":\"{}\"}}", "x".repeat(1_000))).unwrap();
    let gate = line(&engine, &["gate"]).await;
    assert!(matches!(
        engine.start_run(&gate, large).await,
        Err(StartError::TooLarge { limit: 1_000, .. })
    ));
    let run = engine.start_run(&gate, Object::default()).await.unwrap().id;
    assert!(matches!(
        engine.start_run(&gate, Object::default()).await,
        Err(StartError::Busy { limit: 1 })
    ));
    functions.gate.add_permits(1);
    all(&engine, run).await;

    let grow = line(&engine, &["grow"]).await;
    // The place of the run that is over comes free right after its last event.
    let run = loop {
        match engine.start_run(&grow, Object::default()).await {
            Err(StartError::Busy { .. }) => tokio::task::yield_now().await,
            started => break started.unwrap().id,
        }
    };
    all(&engine, run).await;
    let error = engine.run(run).await.unwrap().unwrap().error.expect("it failed");
    assert_eq!(&*error.code, "limit");
    assert!(error.message.contains("max_state_bytes"), "{}", error.message);
}

#[tokio::test]
async fn a_panic_of_the_functions_port_fails_the_step_and_nothing_else() {
    let (_, _, engine) = fresh();
    let bad = line(&engine, &["panic"]).await;
    let run = engine.start_run(&bad, Object::default()).await.unwrap().id;
    all(&engine, run).await;
    assert_eq!(
        &*engine.run(run).await.unwrap().unwrap().error.unwrap().code,
        "unavailable"
    );
    let good = line(&engine, &["a"]).await;
    let run = engine.start_run(&good, Object::default()).await.unwrap().id;
    assert_eq!(all(&engine, run).await.len(), 4);
}

#[tokio::test]
async fn a_watcher_that_is_far_behind_reads_the_journal_and_misses_nothing() {
    let (_, _, engine) = fresh();
    let graph = line(&engine, &["count"]).await;
    let run = engine.start_run(&graph, Object::default()).await.unwrap().id;
    let mut slow = engine.watch(run, 0).await.unwrap().unwrap();
    // It reads one event, and the rest when the run is long over.
    assert_eq!(seq(&slow.next().await.unwrap().unwrap()), Some(1));
    assert_eq!(all(&engine, run).await.len(), 602);
    let mut last = 1;
    while let Some(next) = slow.next().await {
        last += 1;
        assert_eq!(seq(&next.unwrap()), Some(last));
    }
    assert_eq!(last, 602);
}

#[tokio::test]
async fn a_watch_that_begins_at_or_past_the_end_ends_with_the_run() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["gate"]).await;
    let run = engine.start_run(&graph, Object::default()).await.unwrap().id;
    let mut at = engine.watch(run, 4).await.unwrap().unwrap();
    let mut past = engine.watch(run, 999_999).await.unwrap().unwrap();
    functions.gate.add_permits(1);
    assert!(timeout(PATIENCE, at.next()).await.expect("it ends").is_none());
    assert!(timeout(PATIENCE, past.next()).await.expect("it ends").is_none());
}

#[tokio::test]
async fn log_lines_and_chunks_of_a_long_step_come_while_it_runs() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["gate", "say"]).await;
    let run = engine.start_run(&graph, Object::default()).await.unwrap().id;
    let mut watch = engine.watch(run, 2).await.unwrap().unwrap();
    functions.gate.add_permits(1);
    let (mut chunk, mut line) = (false, false);
    while !(chunk && line) {
        match timeout(PATIENCE, watch.next())
            .await
            .expect("they come while the step waits")
            .unwrap()
            .unwrap()
        {
            Watched::Chunk(told) => chunk = &*told.node == "say" && told.data.get() == "{\"token\":1}",
            Watched::Event(event) => {
                line |= matches!(&event.event, Event::Log { message, .. } if &**message == "hello");
            }
        }
    }
    functions.gate.add_permits(1);
    let kept = all(&engine, run).await;
    assert!(kept.iter().all(|told| seq(told).is_some()), "chunks are not kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_runs_go_on_at_once() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["a", "gate", "z"]).await;
    let starts = (0..3_000).map(|_| engine.start_run(&graph, Object::default()));
    let runs: Vec<RunId> = join_all(starts)
        .await
        .into_iter()
        .map(|started| started.unwrap().id)
        .collect();
    functions.called(6_000).await;
    assert_eq!(engine.stats().runs_in_flight, 3_000);
    functions.gate.add_permits(3_000);
    for run in runs {
        assert_eq!(all(&engine, run).await.len(), 8);
    }
}

#[tokio::test]
async fn a_drained_engine_begins_nothing_and_keeps_everything() {
    let (journal, functions, first) = fresh();
    let graph = line(&first, &["gate", "z"]).await;
    let run = first.start_run(&graph, Object::default()).await.unwrap().id;
    functions.called(1).await;
    let draining = tokio::spawn({
        let first = first.clone();
        async move { first.drain(PATIENCE).await }
    });
    while !first.is_draining() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        first.start_run(&graph, Object::default()).await,
        Err(StartError::Draining)
    ));
    // The step under way may finish; the next one is for the next start.
    functions.gate.add_permits(1);
    draining.await.unwrap();
    assert_eq!(*functions.calls.borrow(), 1);
    let left = Arc::new(journal.after_crash());
    let second = engine(&left, &functions, Settings::default());
    assert_eq!(second.recover().await.unwrap().runs, 1);
    all(&second, run).await;
    assert_eq!(
        second.run(run).await.unwrap().unwrap().state.to_text(),
        r#"{"z":2}"#
    );
}
