//! The real binary under load, killed again and again while its clients continue: every acknowledged run ends correctly,
//! and watchers get each event once.
//!
//! Every second kill is a power failure: unsynced contents are lost at random. `HEDDLE_KILL_SEED=N` repeats the choice of
//! graphs and moments.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use heddle_tests::{
    Server, ServerConfig, TIMEOUT,
    fault::{FaultAction, FaultTarget, Faults},
    follow,
    random::{Random, seed},
    try_post,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The number of clients that start runs concurrently.
const CLIENTS: u64 = 4;
/// The number of runs per client.
const RUNS: u64 = 60;
/// The number of kills.
const KILLS: u64 = 6;
/// The delay before a client repeats an unanswered request.
const AGAIN: Duration = Duration::from_millis(20);
/// The time in which writes are expected after the last start.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// A graph and the expected result of its runs.
struct Wanted {
    name: &'static str,
    state: Value,
    /// Whether its runs wait for the signal `go`.
    signal: bool,
}

/// The graphs of the load, by name.
fn graphs(server: &Server) -> Vec<Wanted> {
    let touch = |key: &str| json!({"uses": "bench/touch", "config": {"key": key}});
    let slow = |ms: u32| json!({"uses": "hostile/sleep", "config": {"ms": ms}});
    let set = |step: &str| json!({"uses": "basics/set", "config": {"steps": [step]}});
    let items = json!([{"text": 1}, {"text": 2}, {"text": 3}, {"text": 4}, {"text": 5}]);
    server.create(&json!({"name": "inner", "start": "x", "nodes": {"x": slow(30), "y": touch("y")}, "edges": {"x": "y"}}));
    let all = [
        (
            json!({
                "name": "line", "start": "a",
                "nodes": {"a": touch("a"), "s": slow(40), "count": {"uses": "bench/count", "config": {"until": 30}}, "even": touch("even"), "odd": touch("odd")},
                "edges": {"a": "s", "s": "count", "even": "end", "odd": "end"},
            }),
            json!({"a": 1, "slept_ms": 40, "n": 30, "even": 1}),
            false,
        ),
        (
            json!({
                "name": "fork", "start": "a",
                "nodes": {"a": touch("a"), "b": set("b"), "c": slow(50), "d": set("d"), "e": touch("e"), "join": set("join")},
                "edges": {"a": ["b", "c", "e"], "b": "d", "c": "join", "d": "join", "e": "join"},
                "state": {"steps": {"merge": "append"}},
            }),
            json!({"a": 1, "steps": ["b", "d", "join"], "slept_ms": 50, "e": 1}),
            false,
        ),
        (
            json!({
                "name": "map", "start": "each",
                "nodes": {
                    "each": {"map": {"over": "[1, 2, 3, 4, 5]", "as": "text", "uses": "bench/echo", "at_once": 2, "into": "items"}},
                    "inner": {"graph": "inner", "input": {}, "output": "inner"},
                },
                "edges": {"each": "inner"},
            }),
            json!({"items": items, "inner": {"slept_ms": 30, "y": 1}}),
            false,
        ),
        (
            json!({
                "name": "waits", "start": "nap",
                "nodes": {
                    "nap": {"sleep": "60ms"},
                    "flaky": {"uses": "basics/fail", "config": {"kind": "retryable", "times": 2}, "retry": {"attempts": 99, "backoff": "20ms", "factor": 1}},
                    "ask": {"wait": {"signal": "go"}, "output": "went"},
                    "z": touch("z"),
                },
                "edges": {"nap": "flaky", "flaky": "ask", "ask": "z"},
            }),
            json!({"went": 7, "z": 1}),
            true,
        ),
    ];
    let wanted = all.into_iter().map(|(graph, state, signal)| {
        server.create(&graph);
        let name = match graph["name"].as_str().expect("it has a name") {
            "line" => "line",
            "fork" => "fork",
            "map" => "map",
            _ => "waits",
        };
        Wanted { name, state, signal }
    });
    wanted.collect()
}

/// The shared state of the clients.
struct Load {
    seed: u64,
    wanted: Vec<Wanted>,
    /// The latest address of the server.
    address: Mutex<String>,
    /// The number of acknowledged runs.
    acknowledged: AtomicUsize,
    /// The acknowledged runs with their graphs.
    runs: Mutex<BTreeMap<String, usize>>,
    /// Sends the runs to the watchers, until all runs are started.
    watched: Mutex<Option<mpsc::UnboundedSender<String>>>,
}

impl Load {
    fn address(&self) -> String {
        self.address.lock().unwrap().clone()
    }

    /// Repeats a request until it succeeds.
    fn send(&self, path: &str, body: &Value, key: &str) -> Value {
        let began = Instant::now();
        loop {
            match try_post(&self.address(), path, body, key) {
                Some(answer) if (200..300).contains(&answer.status) => return answer.json(),
                // The engine is stopping, starting, or still processing the same request.
                Some(answer) if [409, 429, 503].contains(&answer.status) => {}
                Some(answer) => panic!("{path} with {key}: {answer:?}"),
                None => {}
            }
            assert!(began.elapsed() < TIMEOUT, "{path} with {key} was never answered");
            std::thread::sleep(AGAIN);
        }
    }

    /// Runs one client: starts its runs one after the other and sends their signals.
    fn client(&self, number: u64) {
        let mut random = Random::new(self.seed ^ (number + 1) << 20);
        for run in 0..RUNS {
            let graph = random.in_range(0..self.wanted.len() as u64) as usize;
            let wanted = &self.wanted[graph];
            let body = json!({"graph": wanted.name, "state": {}});
            let started = self.send("/v1/runs", &body, &format!("start-{number}-{run}"));
            let id = started["run_id"].as_str().expect("a run has an id").to_owned();
            self.runs.lock().unwrap().insert(id.clone(), graph);
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
            if random.one_in(4)
                && let Some(watched) = &*self.watched.lock().unwrap()
            {
                let _ = watched.send(id.clone());
            }
            if wanted.signal {
                let signal = json!({"name": "go", "payload": 7});
                self.send(&format!("/v1/runs/{id}/signal"), &signal, "the-signal");
            }
        }
    }

    /// Watches runs in many tasks, each until the end of its run. Returns the events of each.
    fn watch(self: &Arc<Self>, mut runs: mpsc::UnboundedReceiver<String>) -> BTreeMap<String, Vec<Value>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut watching = tokio::task::JoinSet::new();
            while let Some(run) = runs.recv().await {
                let load = self.clone();
                watching.spawn(async move {
                    let seen = tokio::time::timeout(TIMEOUT, load.watch_one(&run)).await;
                    (
                        run.clone(),
                        seen.unwrap_or_else(|_| panic!("run {run} is never over")),
                    )
                });
            }
            watching.join_all().await.into_iter().collect()
        })
    }

    async fn watch_one(&self, run: &str) -> Vec<Value> {
        let mut seen: Vec<Value> = Vec::new();
        loop {
            let url = format!("ws://{}/ws/logs/{run}?after={}", self.address(), seen.len());
            match follow(&url, &mut seen).await {
                Some((1000, _)) => return seen,
                // The server is down or stopping: watch again at the new address.
                _ => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}

#[test]
fn every_acknowledged_run_ends_as_it_should_however_the_server_dies() {
    let seed = seed("HEDDLE_KILL_SEED");
    let mut random = Random::new(seed);
    let config = ServerConfig::default();
    let mut faults = Faults::new(&config.store);
    let mut server = start(config, &faults);
    let (watched, watching) = mpsc::unbounded_channel();
    let load = Arc::new(Load {
        seed,
        wanted: graphs(&server),
        address: Mutex::new(server.address.clone()),
        acknowledged: AtomicUsize::new(0),
        runs: Mutex::default(),
        watched: Mutex::new(Some(watched)),
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let load = load.clone();
            std::thread::spawn(move || load.client(number))
        })
        .collect();
    let watcher = std::thread::spawn({
        let load = load.clone();
        move || load.watch(watching)
    });
    for kill in 0..KILLS {
        // While the clients are active, each time at another point.
        let at = (CLIENTS * RUNS * kill / KILLS + random.in_range(1..CLIENTS * RUNS / KILLS / 2)) as usize;
        assert!(faults.wait_for(|_| load.acknowledged.load(Ordering::SeqCst) >= at));
        if kill % 2 == 0 {
            server.kill();
        } else {
            let n = faults.writes() + random.in_range(1..40);
            let action = if random.one_in(2) {
                FaultAction::Tear
            } else {
                FaultAction::DieAfter
            };
            // At that write, or at the next one if the server has passed it.
            faults.plan(FaultTarget::Writes, n..=u64::MAX, action);
            let began = Instant::now();
            while !server.has_ended() {
                // The clients may finish before that write.
                let done = load.acknowledged.load(Ordering::SeqCst) as u64 == CLIENTS * RUNS;
                assert!(began.elapsed() < TIMEOUT, "the server did not end");
                if done && began.elapsed() > LAST_WRITES {
                    server.kill();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            power_failure(&faults, server.config(), &mut random);
        }
        let config = server.config().clone();
        faults = Faults::new(&config.store);
        server = restart(server, config, &faults);
        *load.address.lock().unwrap() = server.address.clone();
    }
    for client in clients {
        client.join().expect("a client gets its answers");
    }
    load.watched.lock().unwrap().take();
    let runs = std::mem::take(&mut *load.runs.lock().unwrap());
    assert_eq!(runs.len() as u64, CLIENTS * RUNS, "two starts gave one run");
    let ends: BTreeMap<&String, Value> = runs.keys().map(|run| (run, server.wait(run))).collect();
    let wanted = load
        .wanted
        .iter()
        .map(|wanted| wanted.state.clone())
        .collect::<Vec<_>>();
    let seen = watcher.join().expect("a watcher sees its runs end");
    let mut taken_up = 0;
    for (run, end) in &ends {
        let state = &wanted[runs[*run]];
        assert_eq!(end["status"], "finished", "{end}");
        assert_eq!(&end["state"], state, "{end}");
        let events = end["logs"].as_array().expect("it has events");
        sound(run, events);
        taken_up += usize::from(events.iter().any(|event| event["attempt"].as_u64() > Some(1)));
        if let Some(seen) = seen.get(*run) {
            assert_eq!(seen, events, "run {run}: what its watcher saw");
        }
    }
    assert!(taken_up > 0, "no kill came in the midst of a step");
    assert_eq!(
        all_runs(&server),
        runs.into_keys().collect(),
        "a key gave another number of runs than one"
    );
}

fn start(mut config: ServerConfig, faults: &Faults) -> Server {
    config.environment = faults.environment(true);
    Server::start_with_config(config)
}

fn restart(server: Server, mut config: ServerConfig, faults: &Faults) -> Server {
    config.environment = faults.environment(true);
    server.restart_with_config(config)
}

/// Replaces the store by what a power failure leaves.
fn power_failure(faults: &Faults, config: &ServerConfig, random: &mut Random) {
    let left = tempfile::tempdir().unwrap();
    let store = faults.after_power_failure(left.path(), Some(random));
    for suffix in ["", "-wal", "-journal", "-shm"] {
        let with = |path: &std::path::Path| format!("{}{suffix}", path.display());
        let _ = std::fs::remove_file(with(&config.store));
        if std::fs::exists(with(&store)).unwrap() {
            std::fs::copy(with(&store), with(&config.store)).unwrap();
        }
    }
}

/// Checks that event numbers have no gaps, each step ends at most once, and signals are received once.
fn sound(run: &str, events: &[Value]) {
    let mut over = HashSet::new();
    let mut signals = 0;
    for (position, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], position + 1, "run {run}: a gap or a repeat");
        match event["type"].as_str() {
            Some("step_finished" | "item_finished") => {
                assert!(
                    over.insert(event["step"].as_u64()),
                    "run {run}: a step has two outcomes: {events:?}"
                );
            }
            Some("signal_received") => signals += 1,
            _ => {}
        }
    }
    assert!(signals <= 1, "run {run}: a signal was taken twice");
}

/// All runs in the list of the server.
fn all_runs(server: &Server) -> HashSet<String> {
    let mut all = HashSet::new();
    let mut query = String::new();
    loop {
        let page = server.get(&format!("/v1/runs?page_size=500{query}")).ok();
        let runs = page["runs"].as_array().expect("a list").iter();
        all.extend(runs.map(|run| run["run_id"].as_str().expect("a run has an id").to_owned()));
        match page["next_page_token"].as_str() {
            Some(token) => query = format!("&page_token={token}"),
            None => return all,
        }
    }
}
