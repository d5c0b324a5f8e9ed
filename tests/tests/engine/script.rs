//! The fake functions of these tests, and an engine with them over a journal that can be delayed.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use heddle_json::{
    Object,
    object::{json, to_json},
};
use heddle_kernel::{Digest, Event, Failure, FailureKind, Level, Outcome, Route, RunId, event::FunctionRef};
use heddle_runtime::{
    Engine, Ports, RandomIds, RunView, Settings, Start, SystemClock, WatchItem,
    ports::{BuiltPlugin, Call, NewPlugin, PluginInfo, RegisterError, Store},
};
use heddle_store::MemoryJournal;
use heddle_tests::functions::{FakeFunctions, Script};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A graph whose runs count up to `to` of their state.
pub(crate) const FOREVER: &str = r#"{"nodes": {"count": {}}, "limits": {"steps": 1000000}}"#;

/// The input, the config and the function of a call.
pub(crate) type Given = (String, String, FunctionRef);

/// The fake functions of these tests.
pub(crate) type Scripted = FakeFunctions<ScriptedCalls>;

/// The functions by name, and what the tests observe of their calls:
///
/// - `count` adds one to `n` up to `to` of the state (default 300)
/// - `gate` waits until the test adds a permit to the semaphore
/// - `busy` counts its concurrent calls
/// - `grow` enlarges the state
/// - `say` logs and emits; `stream` does so many times
/// - `broken` fails, `flaky` fails twice, `mend` fails until the test sets `mended`, `panic` panics
/// - `twice` doubles an item
/// - `block` blocks its thread while `blocked` is set
/// - `version` returns the version that was called
/// - `mail` has grants
/// - any other adds a key of its name
pub(crate) struct ScriptedCalls {
    pub(crate) gate: Semaphore,
    pub(crate) calls: watch::Sender<usize>,
    pub(crate) by_step: Mutex<HashMap<(RunId, u64), usize>>,
    /// The latest call of each step.
    pub(crate) given: Mutex<HashMap<(RunId, u64), Given>>,
    pub(crate) registered: AtomicUsize,
    /// The number of calls of `mail`.
    pub(crate) mails: watch::Sender<usize>,
    pub(crate) mended: AtomicBool,
    /// The major version of the plugin.
    pub(crate) version: AtomicUsize,
    /// While this is set, `block` blocks its thread.
    pub(crate) blocked: AtomicBool,
    /// The number of calls that wait in `gate`.
    waits: AtomicUsize,
    /// The runs in the order of their calls of `gate` and `busy`.
    pub(crate) order: Mutex<Vec<RunId>>,
    /// For each `group` of the state, and for all together under "": the current and the maximum number of concurrent
    /// calls of `busy`.
    pub(crate) busy: Mutex<HashMap<String, (usize, usize)>>,
    /// Whether components can be registered.
    pub(crate) takes_components: AtomicBool,
    /// Whether building a component never ends.
    pub(crate) never_builds: AtomicBool,
    /// The digests of the components that were published.
    pub(crate) published: Arc<Mutex<Vec<Digest>>>,
}

/// Counts a call that waits in `gate`, until it is dropped.
struct WaitingCall<'s>(&'s AtomicUsize);

impl<'s> WaitingCall<'s> {
    fn begin(waits: &'s AtomicUsize) -> Self {
        waits.fetch_add(1, Ordering::SeqCst);
        Self(waits)
    }
}

impl Drop for WaitingCall<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Default for ScriptedCalls {
    fn default() -> Self {
        Self {
            gate: Semaphore::new(0),
            calls: watch::Sender::new(0),
            by_step: Mutex::default(),
            given: Mutex::default(),
            registered: AtomicUsize::new(0),
            mails: watch::Sender::new(0),
            mended: AtomicBool::new(false),
            version: AtomicUsize::new(1),
            blocked: AtomicBool::new(false),
            waits: AtomicUsize::new(0),
            order: Mutex::default(),
            busy: Mutex::default(),
            takes_components: AtomicBool::new(false),
            never_builds: AtomicBool::new(false),
            published: Arc::default(),
        }
    }
}

impl ScriptedCalls {
    /// The number of calls that wait in `gate`.
    pub(crate) fn waiting(&self) -> usize {
        self.waits.load(Ordering::SeqCst)
    }

    /// Waits for this number of calls of any function.
    pub(crate) async fn called(&self, times: usize) {
        let mut calls = self.calls.subscribe();
        timeout(PATIENCE, calls.wait_for(|calls| *calls >= times))
            .await
            .expect("the calls come")
            .unwrap();
    }

    /// Waits until this number of calls wait in `gate`.
    pub(crate) async fn at_gate(&self, calls: usize) {
        until("the calls come to the gate", || self.waiting() == calls).await;
    }

    async fn answer(&self, call: &Call) -> Result<Outcome, Failure> {
        let mut update = Object::default();
        let mut route = Route::Edges;
        match &*call.function.function {
            "busy" => {
                let group = call.input.get("group").map_or("none", |group| group.get());
                self.order.lock().unwrap().push(call.run);
                let change = |by: isize| {
                    let mut busy = self.busy.lock().unwrap();
                    for key in ["", group] {
                        let (now, most) = busy.entry(key.to_owned()).or_default();
                        *now = now.strict_add_signed(by);
                        *most = (*most).max(*now);
                    }
                };
                change(1);
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                change(-1);
            }
            "gate" => {
                self.order.lock().unwrap().push(call.run);
                let _waits = WaitingCall::begin(&self.waits);
                self.gate.acquire().await.unwrap().forget();
            }
            "panic" => panic!("on purpose"),
            "grow" => update.insert("large", to_json(&"x".repeat(2_000))),
            "say" => {
                call.sink.log(Level::Info, "hello");
                call.sink.emit(json("{\"token\":1}").unwrap());
                self.gate.acquire().await.unwrap().forget();
            }
            "stream" => {
                self.gate.acquire().await.unwrap().forget();
                for n in 0..9 {
                    match n % 3 {
                        1 => call.sink.log(Level::Info, &n.to_string()),
                        _ => call.sink.emit(to_json(&n)),
                    }
                }
                self.gate.acquire().await.unwrap().forget();
                (0..1_000).for_each(|n| call.sink.emit(to_json(&n)));
            }
            "count" => {
                let n = call.input.get("n").map_or(0, |n| n.get().parse().unwrap()) + 1;
                update.insert("n", to_json(&n));
                let to = call.input.get("to").map_or(300, |to| to.get().parse().unwrap());
                if n < to {
                    route = Route::Again;
                }
            }
            "broken" => return Err(Failure::new(FailureKind::Permanent, "it broke")),
            "mend" if !self.mended.load(Ordering::SeqCst) => {
                return Err(Failure::new(FailureKind::Permanent, "it is broken"));
            }
            "block" => {
                // At least 1 ms, so that the run's driver notices that the call takes long.
                let began = Instant::now();
                while self.blocked.load(Ordering::SeqCst) || began.elapsed() < Duration::from_millis(1) {
                    std::thread::yield_now();
                }
            }
            "version" => update.insert("version", to_json(&call.function.version)),
            "mail" => {
                self.mails.send_modify(|mails| *mails += 1);
                update.insert("mail", to_json(&call.attempt));
            }
            "flaky" if call.attempt < 3 => return Err(Failure::new(FailureKind::Retryable, "busy")),
            "twice" => {
                let item: u32 = call.input.get("item").unwrap().get().parse().unwrap();
                update.insert("twice", to_json(&(2 * item)));
            }
            name => update.insert(name, to_json(&call.step)),
        }
        Ok(Outcome { update, route })
    }
}

/// A component that a test builds: publishing it adds its digest to the list.
struct Built(Arc<Mutex<Vec<Digest>>>, Arc<[u8]>);

impl BuiltPlugin for Built {
    fn preview(&self) -> Result<PluginInfo, RegisterError> {
        Ok(PluginInfo {
            name: "built".into(),
            version: "1.0.0".into(),
            digest: Digest::of(&self.1),
            size: self.1.len() as u64,
            imports: Vec::new(),
            requested_permissions: Vec::new(),
            functions: Vec::new(),
            left_out: Vec::new(),
            grants: Vec::new(),
            limits: Vec::new(),
        })
    }

    fn publish(self: Box<Self>) -> Result<PluginInfo, RegisterError> {
        let info = self.preview()?;
        self.0.lock().unwrap().push(info.digest.clone());
        Ok(info)
    }
}

impl Script for ScriptedCalls {
    fn version(&self) -> String {
        format!("{}.0.0", self.version.load(Ordering::SeqCst))
    }

    fn is_granted(&self, function: &str) -> bool {
        function == "mail"
    }

    fn build(&self, new: NewPlugin) -> BoxFuture<'_, Result<Box<dyn BuiltPlugin>, RegisterError>> {
        self.registered.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            if self.never_builds.load(Ordering::SeqCst) {
                return std::future::pending().await;
            }
            match self.takes_components.load(Ordering::SeqCst) {
                true => Ok(Box::new(Built(self.published.clone(), new.component)) as Box<dyn BuiltPlugin>),
                false => Err(RegisterError::Refused("this is a script".to_owned())),
            }
        })
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Outcome, Failure>> {
        *self
            .by_step
            .lock()
            .unwrap()
            .entry((call.run, call.step))
            .or_default() += 1;
        let config = call.config.get().to_owned();
        let given = (call.input.to_text(), config, call.function.clone());
        self.given.lock().unwrap().insert((call.run, call.step), given);
        self.calls.send_modify(|calls| *calls += 1);
        Box::pin(async move { self.answer(&call).await })
    }
}

pub(crate) fn engine<J: Store>(journal: &Arc<J>, functions: &Arc<Scripted>, settings: Settings) -> Engine {
    Engine::new(ports(journal, functions), settings)
}

pub(crate) fn ports<J: Store>(journal: &Arc<J>, functions: &Arc<Scripted>) -> Ports {
    Ports {
        store: journal.clone(),
        functions: functions.clone(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
    }
}

pub(crate) fn fresh() -> (Arc<MemoryJournal>, Arc<Scripted>, Engine) {
    let (journal, functions) = (Arc::new(MemoryJournal::new()), Arc::new(Scripted::default()));
    let engine = engine(&journal, &functions, Settings::default());
    (journal, functions, engine)
}

/// Creates a graph with these nodes in sequence and returns its id.
pub(crate) async fn line(engine: &Engine, nodes: &[&str]) -> String {
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

/// Everything that a watcher gets from the first event on.
pub(crate) async fn all(engine: &Engine, run: RunId) -> Vec<WatchItem> {
    let mut watch = engine.watch(run, 0).await.unwrap().expect("the run is known");
    let mut watched = Vec::new();
    while let Some(next) = timeout(PATIENCE, watch.next()).await.expect("the watch goes on") {
        watched.push(next.expect("the watch is not broken"));
    }
    let seqs: Vec<u64> = watched.iter().filter_map(seq).collect();
    assert_eq!(
        seqs,
        (1..=seqs.len() as u64).collect::<Vec<_>>(),
        "a gap or a repeat"
    );
    watched
}

pub(crate) fn seq(watched: &WatchItem) -> Option<u64> {
    match watched {
        WatchItem::Event(event) => Some(event.seq),
        WatchItem::Chunk(_) | WatchItem::Missed(_) => None,
    }
}

pub(crate) async fn is_pending<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_pending())).await
}

/// Creates a graph and returns its id.
pub(crate) async fn graph(engine: &Engine, definition: &str) -> String {
    let created = engine.create_graph(definition).await;
    created
        .unwrap_or_else(|error| panic!("{error}"))
        .graph
        .id
        .to_string()
}

/// Waits until the engine has no run in memory.
pub(crate) async fn idle(engine: &Engine) {
    until("the engine unloads its runs", || {
        engine.stats().runs_in_flight == 0
    })
    .await;
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waits = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waits).await.expect(what);
}

/// Starts a run with an initial state.
pub(crate) async fn start(engine: &Engine, graph: &str, state: &str) -> RunId {
    let state = Object::parse(state).unwrap();
    engine.start_run(Start::of(graph, state)).await.unwrap().id
}

/// The run, which must exist.
pub(crate) async fn view(engine: &Engine, run: RunId) -> RunView {
    engine.run(run).await.unwrap().expect("the run is known")
}

/// The names of a run's events, in order.
pub(crate) async fn names(engine: &Engine, run: RunId) -> Vec<String> {
    let events = engine.events(run, 0, 10_000).await.unwrap();
    let name = |event: &Event| match serde_json::to_value(event).unwrap() {
        serde_json::Value::Object(named) => named.keys().next().unwrap().clone(),
        name => name.as_str().unwrap().to_owned(),
    };
    events.iter().map(|recorded| name(&recorded.event)).collect()
}
