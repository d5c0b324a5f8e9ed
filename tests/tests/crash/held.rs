//! The commit rule on the real file: while a sync stalls nothing is published, and a chain of ungranted steps continues.

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    net::TcpListener,
    sync::mpsc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use heddle_tests::{
    Server, ServerConfig, TIMEOUT, component,
    fault::{FaultAction, FaultTarget, Faults},
    try_post,
};
use serde_json::{Value, json};

fn server() -> (Faults, Server) {
    let mut config = ServerConfig::default();
    let faults = Faults::new(&config.store);
    config.environment = faults.environment(false);
    (faults, Server::start_with_config(config))
}

/// Stalls every sync from now on.
fn freeze(faults: &Faults) {
    faults.plan(FaultTarget::Syncs, 1..=u64::MAX, FaultAction::Freeze);
}

/// Waits until all threads of the process sleep and have used no CPU time for a while.
fn idle(server: &Server) {
    // A runnable thread that gets no processor on a busy machine is in state R, so it does not count as idle.
    let used = || {
        let threads =
            std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the process is there");
        let mut used = Vec::new();
        for thread in threads.flatten() {
            // A thread may end between the listing and the reading.
            let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else {
                continue;
            };
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
            if fields[1] == "R" {
                return None;
            }
            used.push((thread.file_name(), fields[12].to_owned(), fields[13].to_owned()));
        }
        used.sort();
        Some(used)
    };
    let began = Instant::now();
    let mut before = used();
    let mut same = 0;
    // The unit is 1/100 s.
    while same < 20 {
        std::thread::sleep(Duration::from_millis(10));
        let now = used();
        same = if now.is_some() && now == before {
            same + 1
        } else {
            0
        };
        before = now;
        assert!(began.elapsed() < TIMEOUT, "the server is never idle");
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

#[test]
fn while_a_sync_stalls_no_start_is_answered_and_its_steps_continue() {
    let (faults, server) = server();
    let names: Vec<String> = (0..30).map(|at| format!("s{at}")).collect();
    let nodes: serde_json::Map<_, _> = names
        .iter()
        .map(|name| {
            (
                name.clone(),
                json!({"uses": "bench/touch", "config": {"key": name}}),
            )
        })
        .collect();
    let edges: serde_json::Map<_, _> = names
        .windows(2)
        .map(|pair| (pair[0].clone(), pair[1].clone().into()))
        .collect();
    let graph = server.create(&json!({"start": "s0", "nodes": nodes, "edges": edges}));
    server.run(&graph, &json!({}));

    freeze(&faults);
    let (answered, answer) = mpsc::channel();
    let (address, body) = (server.address.clone(), json!({"graph": graph, "state": {}}));
    std::thread::spawn(move || answered.send(try_post(&address, "/v1/runs", &body, "held")));
    assert!(faults.wait_for(|faults| faults.frozen() > 0));
    idle(&server);
    assert!(
        answer.try_recv().is_err(),
        "a start was acknowledged that is not durable"
    );
    let listed = server.get("/v1/runs").ok();
    assert_eq!(
        listed["runs"].as_array().unwrap().len(),
        1,
        "a run is shown that is not durable"
    );
    let thawed = now_ms();
    faults.heal();

    let answer = answer
        .recv_timeout(TIMEOUT)
        .expect("it is answered now")
        .expect("by an answer");
    assert_eq!(answer.status, 202, "{answer:?}");
    let run = answer.json()["run_id"].as_str().unwrap().to_owned();
    let end = server.wait(&run);
    assert_eq!(end["status"], "finished");
    let events = end["logs"].as_array().unwrap();
    assert_eq!(events.len(), 62);
    // The whole chain was called during the stall.
    for event in events {
        assert!(at_ms(event) <= thawed, "it came after the thaw: {event}");
    }
}

/// The time of an event.
fn at_ms(event: &Value) -> i64 {
    let text = event["at"]
        .as_str()
        .unwrap_or_else(|| panic!("an event has a time: {event}"));
    let at: jiff::Timestamp = text.parse().expect("a time");
    at.as_millisecond()
}

#[test]
fn while_a_sync_stalls_a_watcher_gets_no_new_events() {
    let (faults, server) = server();
    let graph = server.create(&json!({
        "start": "ask",
        "nodes": {"ask": {"wait": {"signal": "go"}, "output": "went"}, "z": {"uses": "bench/touch", "config": {"key": "z"}}},
        "edges": {"ask": "z"},
    }));
    let run = server.start_run(&graph, &json!({}));
    let before = server.get(&format!("/v1/runs/{run}/events")).ok();
    let known = before["events"].as_array().unwrap().len();
    let url = format!("ws://{}/ws/logs/{run}?after={known}", server.address);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        sender.send(runtime.block_on(heddle_tests::watch(&url)))
    });
    freeze(&faults);
    let (answered, answer) = mpsc::channel();
    let (address, path) = (server.address.clone(), format!("/v1/runs/{run}/signal"));
    std::thread::spawn(move || {
        answered.send(try_post(
            &address,
            &path,
            &json!({"name": "go", "payload": 7}),
            "held",
        ))
    });
    assert!(faults.wait_for(|faults| faults.frozen() > 0));
    idle(&server);
    assert!(
        answer.try_recv().is_err(),
        "a signal was acknowledged that is not durable"
    );
    assert!(
        receiver.try_recv().is_err(),
        "a watcher got the end of a run that is not durable"
    );
    let still = server.get(&format!("/v1/runs/{run}/events")).ok();
    assert_eq!(
        still["events"].as_array().unwrap().len(),
        known,
        "events are shown that are not durable"
    );
    faults.heal();
    let answer = answer
        .recv_timeout(TIMEOUT)
        .expect("it is answered now")
        .expect("by an answer");
    assert!((200..300).contains(&answer.status), "{answer:?}");
    let (events, (code, _)) = receiver.recv_timeout(TIMEOUT).expect("the watch ends");
    assert_eq!(code, 1000);
    assert_eq!(events[0]["seq"], known + 1);
    assert_eq!(server.wait(&run)["state"], json!({"went": 7, "z": 1}));
}

#[test]
fn events_lost_in_a_power_failure_were_never_published() {
    // The sync stalls forever: every response was sent before.
    let mut config = ServerConfig::default();
    let faults = Faults::new(&config.store);
    config.environment = faults.environment(true);
    let mut server = Server::start_with_config(config);
    let graph = server.create(&json!({"nodes": {"z": {"uses": "bench/touch", "config": {"key": "z"}}}}));
    let runs: Vec<String> = (0..20).map(|_| server.start_run(&graph, &json!({}))).collect();
    freeze(&faults);
    let (address, body) = (server.address.clone(), json!({"graph": graph, "state": {}}));
    let lost = std::thread::spawn(move || try_post(&address, "/v1/runs", &body, "lost"));
    assert!(faults.wait_for(|faults| faults.frozen() > 0));
    server.kill();
    assert!(
        lost.join().unwrap().is_none(),
        "a start was acknowledged that was never durable"
    );
    let left = tempfile::tempdir().unwrap();
    let mut config = server.config().clone();
    config.store = faults.after_power_failure(left.path(), None);
    config.environment.clear();
    let server = server.restart_with_config(config);
    for run in &runs {
        assert_eq!(
            server.wait(run)["state"],
            json!({"z": 1}),
            "{run} was acknowledged"
        );
    }
    assert_eq!(
        server.get("/v1/runs").ok()["runs"].as_array().unwrap().len(),
        runs.len()
    );
}

#[test]
fn while_a_sync_stalls_no_granted_function_is_called() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let outside = listener.local_addr().unwrap();
    let mut config = ServerConfig::default();
    let policy = config.folder().join("policy.json");
    let granted = json!({"plugins": {"outgoing": {"http": [format!("http://{outside}")]}}});
    std::fs::write(&policy, granted.to_string()).unwrap();
    std::fs::copy(
        component("fixtures/outgoing"),
        config.folder().join("plugins/outgoing.wasm"),
    )
    .unwrap();
    config
        .arguments
        .extend(["--policy".to_owned(), policy.display().to_string()]);
    let faults = Faults::new(&config.store);
    config.environment = faults.environment(false);
    let server = Server::start_with_config(config);
    let graph = server.create(&json!({
        "start": "before",
        "nodes": {
            "before": {"uses": "bench/touch", "config": {"key": "before"}},
            "fetch": {"uses": "outgoing/fetch", "config": {"urls": [format!("http://{outside}/once")]}},
        },
        "edges": {"before": "fetch"},
    }));

    freeze(&faults);
    let (answered, answer) = mpsc::channel();
    let (address, body) = (server.address.clone(), json!({"graph": graph, "state": {}}));
    std::thread::spawn(move || answered.send(try_post(&address, "/v1/runs", &body, "held")));
    assert!(faults.wait_for(|faults| faults.frozen() > 0));
    idle(&server);
    listener.set_nonblocking(true).unwrap();
    let called = listener.accept();
    assert!(
        called.is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
        "a granted function was called before what it follows from was durable"
    );
    listener.set_nonblocking(false).unwrap();
    faults.heal();

    let (mut caller, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(caller.try_clone().unwrap())
        .lines()
        .map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("GET /once HTTP/1.1"));
    let _: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    caller
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        .unwrap();
    drop((lines, caller));
    let answer = answer
        .recv_timeout(TIMEOUT)
        .expect("it is answered now")
        .expect("by an answer");
    let run = answer.json()["run_id"].as_str().unwrap().to_owned();
    let end = server.wait(&run);
    assert_eq!(
        (&end["status"], &end["state"]["answers"]),
        (&json!("finished"), &json!(["ok"])),
        "{end}"
    );
}
