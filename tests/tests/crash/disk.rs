//! A disk that refuses writes: errors are clear, new runs are refused, and active runs lose nothing and continue when the
//! disk works again.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
};

use heddle_tests::{
    Server, ServerConfig, TIMEOUT,
    fault::{Errno, FaultAction, FaultTarget, Faults},
    heddle, try_post,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Makes a disk refuse writes, and accept them again.
trait Disk {
    fn break_it(&self);
    fn repair(&self);
}

struct Broken<'f> {
    faults: &'f Faults,
    target: FaultTarget,
    errno: Errno,
}

impl Disk for Broken<'_> {
    fn break_it(&self) {
        self.faults
            .plan(self.target, 1..=u64::MAX, FaultAction::Fail(self.errno));
    }

    fn repair(&self) {
        self.faults.heal();
    }
}

/// A graph that writes every few milliseconds for half a second.
fn busy(server: &Server) -> String {
    let sleep = json!({"uses": "hostile/sleep", "config": {"ms": 25}});
    let names: Vec<String> = (0..20).map(|at| format!("s{at}")).collect();
    let nodes: serde_json::Map<_, _> = names.iter().map(|name| (name.clone(), sleep.clone())).collect();
    let edges: serde_json::Map<_, _> = names
        .windows(2)
        .map(|pair| (pair[0].clone(), pair[1].clone().into()))
        .collect();
    server.create(&json!({"start": "s0", "nodes": nodes, "edges": edges}))
}

fn waiting(server: &Server) -> String {
    server.create(&json!({
        "start": "ask",
        "nodes": {"ask": {"wait": {"signal": "go"}, "output": "went"}, "z": {"uses": "bench/touch", "config": {"key": "z"}}},
        "edges": {"ask": "z"},
    }))
}

/// Checks the behaviour on any disk that refuses writes for a while. `word` is a part of the expected error message.
fn check_refused_writes(server: &Server, disk: &dyn Disk, word: &str) {
    let (busy, waiting) = (busy(server), waiting(server));
    let under_way: Vec<String> = (0..8).map(|_| server.start_run(&busy, &json!({}))).collect();
    let asked = server.start_run(&waiting, &json!({}));
    let before = server.get("/v1/runs").ok()["runs"].as_array().unwrap().len();

    disk.break_it();
    // The store notices the problem at the next write of a run.
    let began = std::time::Instant::now();
    while server.get("/readyz").status == 200 {
        assert!(began.elapsed() < TIMEOUT, "nothing was written");
    }
    let problem = server.get("/readyz").problem(503);
    assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    assert_eq!(server.get("/healthz").status, 200);
    let start = json!({"graph": busy, "state": {}});
    let problem = server.post("/v1/runs", &start).problem(503);
    assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    server.post("/graph/run", &json!({"graph_id": busy})).problem(503);
    server
        .post(
            "/graph/create",
            &json!({"nodes": {"n": {"uses": "bench/echo", "config": {"of": word}}}}),
        )
        .problem(503);
    // Known runs can be read, and nothing that is not durable is shown.
    let row = server.get(&format!("/v1/runs/{asked}")).ok();
    assert_eq!(row["status"], "waiting");
    // A signal is acknowledged only when it is durable.
    let (answered, answer) = mpsc::channel();
    let (address, path) = (server.address.clone(), format!("/v1/runs/{asked}/signal"));
    std::thread::spawn(move || {
        let _ = answered.send(try_post(
            &address,
            &path,
            &json!({"name": "go", "payload": 7}),
            "key",
        ));
    });
    server.post("/v1/runs", &start).problem(503);
    assert!(
        answer.try_recv().is_err(),
        "a signal was acknowledged that is not durable"
    );
    let log = server.log.lock().unwrap().clone();
    assert!(log.contains("the store cannot be written"), "{log}");

    disk.repair();
    let answer = answer
        .recv_timeout(TIMEOUT)
        .expect("it is answered now")
        .expect("by an answer");
    assert!((200..300).contains(&answer.status), "{answer:?}");
    let began = std::time::Instant::now();
    while server.get("/readyz").status != 200 {
        assert!(began.elapsed() < TIMEOUT, "it does not go on");
    }
    let new = server.start_run(&busy, &json!({}));
    for run in under_way.iter().chain([&new]) {
        let end = server.wait(run);
        assert_eq!(
            (&end["status"], &end["state"]),
            (&json!("finished"), &json!({"slept_ms": 25}))
        );
        whole(end["logs"].as_array().unwrap(), 20);
    }
    let end = server.wait(&asked);
    assert_eq!(end["state"], json!({"went": 7, "z": 1}));
    whole(end["logs"].as_array().unwrap(), 2);
    // No refused run is stored.
    assert_eq!(
        server.get("/v1/runs").ok()["runs"].as_array().unwrap().len(),
        before + 1
    );
}

/// Checks that event numbers have no gaps and every step has ended.
fn whole(events: &[Value], steps: u64) {
    let mut finished = 0;
    for (position, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], position + 1, "{events:?}");
        finished += u64::from(event["type"] == "step_finished");
    }
    assert_eq!(finished, steps, "{events:?}");
}

fn with_faults(target: FaultTarget, errno: Errno, word: &str) {
    let mut config = ServerConfig::default();
    let faults = Faults::new(&config.store);
    config.environment = faults.environment(false);
    let mut server = Server::start_with_config(config);
    let faults = &faults;
    check_refused_writes(
        &server,
        &Broken {
            faults,
            target,
            errno,
        },
        word,
    );
    // Everything is in the file.
    let runs = server.get("/v1/runs").text;
    server.kill();
    let server = server.restart();
    assert_eq!(server.get("/v1/runs").text, runs);
}

#[test]
fn a_full_disk_refuses_new_runs_and_loses_nothing() {
    with_faults(FaultTarget::Writes, Errno::Full, "full");
}

#[test]
fn a_disk_that_can_only_be_read_refuses_new_runs_and_loses_nothing() {
    with_faults(FaultTarget::Writes, Errno::ReadOnly, "disk I/O error");
}

#[test]
fn a_disk_that_cannot_be_synced_refuses_new_runs_and_loses_nothing() {
    with_faults(FaultTarget::Syncs, Errno::Broken, "disk I/O error");
}

/// A small file system that can be filled. Only root can mount one; without root the test injects "disk full" errors.
struct Small {
    folder: TempDir,
    mounted: bool,
}

impl Small {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "heddle-test"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        Self { folder, mounted }
    }

    fn filling(&self) -> PathBuf {
        self.folder.path().join("filling")
    }

    fn remount(&self, how: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(self.folder.path())
            .status();
        assert!(done.unwrap().success());
    }
}

impl Disk for Small {
    fn break_it(&self) {
        let mut file = File::create(self.filling()).unwrap();
        // In smaller and smaller pieces, until no byte is free.
        let mut piece = vec![0; 1 << 20];
        while !piece.is_empty() {
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
    }

    fn repair(&self) {
        std::fs::remove_file(self.filling()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        }
    }
}

#[test]
fn a_file_system_that_is_full_to_the_last_byte_refuses_new_runs_and_loses_nothing() {
    let small = Small::new();
    if !small.mounted {
        return with_faults(FaultTarget::Writes, Errno::Full, "full");
    }
    let mut config = ServerConfig::default();
    config.store = small.folder.path().join("heddle.db");
    let server = Server::start_with_config(config);
    check_refused_writes(&server, &small, "full");
}

#[test]
fn a_read_only_store_is_refused_at_startup_with_the_reason() {
    let small = Small::new();
    let store = small.folder.path().join("heddle.db");
    let mut config = ServerConfig::default();
    config.store = store.clone();
    let mut server = Server::start_with_config(config);
    assert_eq!(server.stop("TERM").0, Some(0));
    let faults = Faults::new(&store);
    if small.mounted {
        small.remount("ro");
    } else {
        faults.plan(
            FaultTarget::Writes,
            1..=u64::MAX,
            FaultAction::Fail(Errno::ReadOnly),
        );
    }
    let problem = failing_start(&store, &faults, small.mounted);
    assert!(problem.contains("heddle.db"), "{problem}");
    assert!(
        problem.to_lowercase().contains("read-only")
            || problem.contains("readonly")
            || problem.contains("disk I/O"),
        "{problem}"
    );
    if small.mounted {
        small.remount("rw");
    } else {
        faults.heal();
    }
    drop(server.restart());
}

/// The output of a server that fails to start.
fn failing_start(store: &Path, faults: &Faults, mounted: bool) -> String {
    let mut command = Command::new(heddle());
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--store"])
        .arg(format!("sqlite:{}", store.display()));
    if !mounted {
        command.envs(faults.environment(false));
    }
    let output = command.output().expect("the heddle binary starts");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}
