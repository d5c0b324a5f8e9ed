//! A hundred thousand starts as fast as possible: no acknowledged run is lost, and the memory of the server stays
//! small.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use heddle_tests::Server;
use serde_json::{Value, json};

const CLIENTS: usize = 8;
const STARTS: usize = 100_000;
/// The limit of the server's memory in MB.
const MOST_MB: u64 = 1024;
/// The limit after which the test counts as hung.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Starts runs over one connection and returns their ids.
fn client(address: &str, body: &str) -> Vec<String> {
    let agent = ureq::Agent::new_with_defaults();
    let start = |_| {
        let request = agent
            .post(format!("http://{address}/v1/runs"))
            .header("content-type", "application/json");
        let mut answer = request.send(body).expect("a start is taken");
        assert_eq!(answer.status(), 202);
        let answer = answer.body_mut().read_to_string().expect("an answer has a body");
        let answer: Value = serde_json::from_str(&answer).expect("it is JSON");
        answer["run_id"].as_str().expect("a run has an id").to_owned()
    };
    (0..STARTS / CLIENTS).map(start).collect()
}

/// The peak memory of the process in MB.
fn most_memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kb: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kb / 1024
}

#[test]
fn a_flood_of_starts_loses_none_and_the_server_stays_small() {
    let server = Server::start_with(&["--max-runs", "64"]);
    let touch = json!({"uses": "bench/touch", "config": {"key": "k"}});
    let graph = server.create(&json!({"nodes": {"t": touch}}));
    let body = json!({"graph": graph, "state": {"filler": "x".repeat(500)}}).to_string();
    let address = &server.address;
    let started: HashSet<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| client(address, &body)))
            .collect();
        let started = clients.into_iter().map(|client| client.join().unwrap());
        started.flatten().collect()
    });
    assert_eq!(started.len(), STARTS, "each start creates a separate run");

    let began = Instant::now();
    loop {
        let now = server.get("/readyz").ok();
        if now["runs_queued"] == 0 && now["runs_in_flight"] == 0 {
            break;
        }
        assert!(began.elapsed() < TIMEOUT, "they are never over: {now}");
        std::thread::yield_now();
    }
    let (mut finished, mut page) = (HashSet::new(), String::new());
    loop {
        let listed = server
            .get(&format!("/v1/runs?status=finished&page_size=500{page}"))
            .ok();
        let runs = listed["runs"].as_array().unwrap().iter();
        finished.extend(runs.map(|run| run["run_id"].as_str().unwrap().to_owned()));
        match listed["next_page_token"].as_str() {
            Some(token) => page = format!("&page_token={token}"),
            None => break,
        }
    }
    assert!(started == finished, "{} of {STARTS} are finished", finished.len());
    let most = most_memory(&server);
    assert!(most < MOST_MB, "the server took {most} MB");
}
