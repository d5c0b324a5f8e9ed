//! A disk that takes no writes: clear errors, no new runs, and what is under way loses nothing and goes on when
//! the disk is well again.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
};

use heddle_tests::{
    PATIENCE, Place, Server,
    fault::{Does, Errno, Faults, Of},
    heddle, try_post,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How a disk comes to take no writes, and to take them again.
trait Disk {
    fn break_it(&self);
    fn mend(&self);
}

struct Broken<'f> {
    faults: &'f Faults,
    of: Of,
    errno: Errno,
}

impl Disk for Broken<'_> {
    fn break_it(&self) {
        self.faults.plan(self.of, 1..=u64::MAX, Does::Fail(self.errno));
    }

    fn mend(&self) {
        self.faults.heal();
    }
}

/// A graph that writes something every few milliseconds, for half a second.
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

/// What holds of every disk that takes no writes for a while. `word` is in what is said about it.
fn holds_out(server: &Server, disk: &dyn Disk, word: &str) {
    let (busy, waiting) = (busy(server), waiting(server));
    let under_way: Vec<String> = (0..8).map(|_| server.start_run(&busy, &json!({}))).collect();
    let asked = server.start_run(&waiting, &json!({}));
    let before = server.get("/v1/runs").ok()["runs"].as_array().unwrap().len();

    disk.break_it();
    // The store notices at the next write of a run.
    let began = std::time::Instant::now();
    while server.get("/readyz").status == 200 {
        assert!(began.elapsed() < PATIENCE, "nothing was written");
    }
    let told = server.get("/readyz").problem(503);
    assert!(told["detail"].as_str().unwrap().contains(word), "{told}");
    assert_eq!(server.get("/healthz").status, 200);
    let start = json!({"graph": busy, "state": {}});
    let told = server.post("/v1/runs", &start).problem(503);
    assert!(told["detail"].as_str().unwrap().contains(word), "{told}");
    server.post("/graph/run", &json!({"graph_id": busy})).problem(503);
    server
        .post(
            "/graph/create",
            &json!({"nodes": {"n": {"uses": "bench/echo", "config": {"of": word}}}}),
        )
        .problem(503);
    // What is known can be read, and tells nothing that is not durable.
    let row = server.get(&format!("/v1/runs/{asked}")).ok();
    assert_eq!(row["status"], "waiting");
    // A signal is answered when it is durable, and not before.
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

    disk.mend();
    let answer = answer
        .recv_timeout(PATIENCE)
        .expect("it is answered now")
        .expect("by an answer");
    assert!((200..300).contains(&answer.status), "{answer:?}");
    let began = std::time::Instant::now();
    while server.get("/readyz").status != 200 {
        assert!(began.elapsed() < PATIENCE, "it does not go on");
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
    // Nothing that was refused is there.
    assert_eq!(
        server.get("/v1/runs").ok()["runs"].as_array().unwrap().len(),
        before + 1
    );
}

/// Checks that a journal has every number, and an outcome of every step.
fn whole(events: &[Value], steps: u64) {
    let mut finished = 0;
    for (position, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], position + 1, "{events:?}");
        finished += u64::from(event["type"] == "step_finished");
    }
    assert_eq!(finished, steps, "{events:?}");
}

fn with_faults(of: Of, errno: Errno, word: &str) {
    let mut place = Place::default();
    let faults = Faults::under(&place.store);
    place.environment = faults.environment(false);
    let mut server = Server::start_at(place);
    let faults = &faults;
    holds_out(&server, &Broken { faults, of, errno }, word);
    // And all of it is in the file.
    let runs = server.get("/v1/runs").text;
    server.kill();
    let server = server.restart();
    assert_eq!(server.get("/v1/runs").text, runs);
}

#[test]
fn a_full_disk_refuses_new_runs_and_loses_nothing() {
    with_faults(Of::Writes, Errno::Full, "full");
}

#[test]
fn a_disk_that_can_only_be_read_refuses_new_runs_and_loses_nothing() {
    with_faults(Of::Writes, Errno::ReadOnly, "disk I/O error");
}

#[test]
fn a_disk_that_cannot_be_synced_refuses_new_runs_and_loses_nothing() {
    with_faults(Of::Syncs, Errno::Broken, "disk I/O error");
}

/// A file system of its own, so small that it can be filled. Only root can make one: others get a disk that says
/// that it is full.
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
        // In ever smaller pieces, until not one byte is left.
        let mut piece = vec![0; 1 << 20];
        while !piece.is_empty() {
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
    }

    fn mend(&self) {
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
        return with_faults(Of::Writes, Errno::Full, "full");
    }
    let mut place = Place::default();
    place.store = small.folder.path().join("heddle.db");
    let server = Server::start_at(place);
    holds_out(&server, &small, "full");
}

#[test]
fn a_read_only_store_is_refused_at_startup_with_the_reason() {
    let small = Small::new();
    let store = small.folder.path().join("heddle.db");
    let mut place = Place::default();
    place.store = store.clone();
    let mut server = Server::start_at(place);
    assert_eq!(server.stop("TERM").0, Some(0));
    let faults = Faults::under(&store);
    if small.mounted {
        small.remount("ro");
    } else {
        faults.plan(Of::Writes, 1..=u64::MAX, Does::Fail(Errno::ReadOnly));
    }
    let told = start_in_vain(&store, &faults, small.mounted);
    assert!(told.contains("heddle.db"), "{told}");
    assert!(
        told.to_lowercase().contains("read-only") || told.contains("readonly") || told.contains("disk I/O"),
        "{told}"
    );
    if small.mounted {
        small.remount("rw");
    } else {
        faults.heal();
    }
    drop(server.restart());
}

/// What a server says that does not come up.
fn start_in_vain(store: &Path, faults: &Faults, mounted: bool) -> String {
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
