//! Schedules, the queue and retention, over HTTP and with the command, against the real binary.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{process::Command, time::Instant};

use heddle_tests::{Server, TIMEOUT, heddle, stdout};
use serde_json::{Value, json};

/// A graph with one node that sets a key.
fn sets(server: &Server, name: &str) -> String {
    let node = json!({"uses": "basics/set", "config": {"done": true}});
    server.create(&json!({"name": name, "nodes": {"a": node}}))
}

/// Repeats a request until the response is as expected.
fn until(server: &Server, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let answer = server.get(path);
        let answer: Value = serde_json::from_str(&answer.text).unwrap();
        if holds(&answer) {
            return answer;
        }
        assert!(began.elapsed() < TIMEOUT, "{path}: {answer}");
        std::thread::yield_now();
    }
}

#[test]
fn a_schedule_is_created_starts_runs_and_is_deleted() {
    let server = Server::start();
    sets(&server, "report");
    let schedule = json!({
        "name": "often", "graph": "report", "state": {"of": "today"}, "priority": 7,
        "when": {"every": "1s"}, "overlap": "allow", "catch_up": "none",
    });
    let created = server.post("/v1/schedules", &schedule);
    assert_eq!(
        (created.status, created.location.as_str()),
        (201, "/v1/schedules/often")
    );
    let created = created.ok();
    assert_eq!(created["next"].as_array().unwrap().len(), 5);
    assert_eq!(created["next_at"], created["next"][0]);
    assert_eq!(server.post("/v1/schedules", &schedule).status, 200);

    let shown = until(&server, "/v1/schedules/often", |shown| {
        !shown["last_run"].is_null()
    });
    let run = shown["last_run"].as_str().unwrap();
    let state = server.wait(run);
    assert_eq!(state["state"], json!({"of": "today", "done": true}));
    let row = server.get(&format!("/v1/runs/{run}")).ok();
    assert_eq!(row["status"], "finished");

    let paused = server.post("/v1/schedules/often/pause", &json!({})).ok();
    assert_eq!(
        (&paused["paused"], &paused["next_at"]),
        (&json!(true), &Value::Null)
    );
    let by_hand = server.post("/v1/schedules/often/run", &json!({}));
    assert_eq!(by_hand.status, 202);
    let by_hand = by_hand.ok()["run_id"].as_str().unwrap().to_owned();
    server.wait(&by_hand);

    // It still exists and is paused after a restart.
    let server = server.restart();
    let listed = server.get("/v1/schedules").ok();
    assert_eq!(listed["schedules"][0]["last_run"], json!(by_hand));
    assert_eq!(listed["schedules"][0]["paused"], true);
    server.post("/v1/schedules/often/resume", &json!({})).ok();
    until(&server, "/v1/schedules/often", |shown| {
        shown["last_run"] != json!(by_hand)
    });
    assert_eq!(server.delete("/v1/schedules/often").status, 204);
    server.delete("/v1/schedules/often").problem(404);
    assert_eq!(server.get("/v1/schedules").ok(), json!({"schedules": []}));
}

#[test]
fn null_in_a_schedule_means_the_default() {
    let server = Server::start();
    sets(&server, "report");
    let created = server.post(
        "/v1/schedules",
        &json!({
            "name": "daily", "graph": "report", "state": null, "priority": null, "overlap": null, "catch_up": null,
            "paused": null,
            "when": {"cron": "0 0 L * *", "time_zone": null, "every": null, "from": null, "at": null},
        }),
    );
    assert_eq!(created.status, 201, "{}", created.text);
    let created = created.ok();
    let shown = ["state", "priority", "overlap", "catch_up", "paused", "when"].map(|key| &created[key]);
    let when = json!({"cron": "0 0 L * *", "time_zone": "UTC"});
    assert_eq!(
        shown,
        [
            &json!({}),
            &json!(0),
            &json!("skip"),
            &json!("one"),
            &json!(false),
            &when
        ]
    );
}

#[test]
fn a_wrong_schedule_is_refused_with_a_pointer() {
    let server = Server::start();
    sets(&server, "report");
    let with = |key: &str, value: Value| {
        let mut schedule = json!({"name": "a", "graph": "report", "when": {"every": "1h"}});
        schedule[key] = value;
        schedule
    };
    for (schedule, place, message) in [
        (with("name", json!("a b")), "/name", "letters, digits"),
        (with("graph", json!("nothing")), "/graph", "no graph `nothing`"),
        (with("priority", json!(101)), "/priority", "-100 to 100"),
        (with("state", json!(1)), "/state", "JSON object"),
        (
            with("when", json!({})),
            "/when",
            "one of `cron`, `every` and `at`",
        ),
        (
            with("when", json!({"cron": "0 9 32 * *"})),
            "/when/cron",
            "day of the month, `32`",
        ),
        (
            with("when", json!({"cron": "@daily", "time_zone": "Europe/Zurch"})),
            "/when/time_zone",
            "`Europe/Zurich`?",
        ),
        (
            with("when", json!({"every": "soon"})),
            "/when/every",
            "a duration",
        ),
        (
            with("when", json!({"at": "2020-01-01T00:00:00Z"})),
            "/when/at",
            "has passed",
        ),
    ] {
        let problem = server.post("/v1/schedules", &schedule).problem(422);
        let found = &problem["errors"][0];
        assert_eq!(found["pointer"], place, "{problem}");
        assert!(found["message"].as_str().unwrap().contains(message), "{problem}");
    }
    server.get("/v1/schedules/a").problem(404);
    let api = server.get("/openapi.json").ok();
    for (path, method) in [
        ("/v1/schedules", "post"),
        ("/v1/schedules/{name}", "delete"),
        ("/v1/runs/{run_id}", "delete"),
        ("/v1/runs/{run_id}", "get"),
    ] {
        assert!(
            api["paths"][path][method]["responses"]["default"].is_object(),
            "{method} {path}"
        );
    }
}

#[test]
fn the_command_creates_shows_and_controls_schedules() {
    let server = Server::start();
    sets(&server, "report");
    let created = stdout(&server.run_command(&[
        "schedule",
        "create",
        "morning",
        "report",
        "--cron",
        "0 9 * * 1-5",
        "--time-zone",
        "Europe/Zurich",
        "--state",
        "{\"a\": 1}",
        "--overlap",
        "queue",
        "--catch-up",
        "all",
    ]));
    assert!(created.starts_with("next at 2"), "{created}");
    let listed = stdout(&server.run_command(&["schedule", "list"]));
    assert_eq!(listed, format!("morning  {created}"));
    let shown: Value =
        serde_json::from_str(&stdout(&server.run_command(&["schedule", "show", "morning"]))).unwrap();
    assert_eq!(
        (&shown["overlap"], &shown["catch_up"], &shown["state"]),
        (&json!("queue"), &json!("all"), &json!({"a": 1}))
    );
    assert_eq!(
        stdout(&server.run_command(&["schedule", "pause", "morning"])),
        "paused\n"
    );
    assert_eq!(
        stdout(&server.run_command(&["schedule", "resume", "morning"])),
        created
    );
    let run = stdout(&server.run_command(&["schedule", "run", "morning"]));
    assert_eq!(server.wait(run.trim())["state"], json!({"a": 1, "done": true}));
    stdout(&server.run_command(&["schedule", "delete", "morning"]));
    let gone = server.run_command(&["schedule", "show", "morning"]);
    assert_eq!(gone.status.code(), Some(1));
    // One of `--cron`, `--every` and `--at` is needed.
    let wrong = server.run_command(&["schedule", "create", "morning", "report"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_server_with_few_slots_queues_and_then_refuses() {
    let server = Server::start_with(&["--max-runs", "1", "--max-queued", "1"]);
    let slow = server.create(&json!({"nodes": {"ask": {"wait": {"signal": "go"}}}, "limits": {"group": {}}}));
    let body = json!({"graph": slow});
    let first = server.post("/v1/runs", &body).ok();
    let path = format!("/v1/runs/{}", first["run_id"].as_str().unwrap());
    until(&server, &path, |run| run["status"] == "waiting");
    let second = server.post("/v1/runs", &body);
    assert_eq!(second.status, 202);
    let second = second.ok();
    assert_eq!(second["status"], "queued", "its group is full");
    let refused = server.post("/v1/runs", &body);
    refused.problem(429);
    // A kill does not change the queue.
    let mut server = server;
    server.kill();
    let server = server.restart();
    let queued = server.get("/v1/runs?status=queued").ok();
    assert_eq!(queued["runs"][0]["run_id"], second["run_id"]);
    for run in [&first, &second] {
        let path = format!("/v1/runs/{}", run["run_id"].as_str().unwrap());
        until(&server, &path, |run| run["status"] == "waiting");
        server
            .post(&format!("{path}/signal"), &json!({"name": "go"}))
            .ok();
        until(&server, &path, |run| run["status"] == "finished");
    }
}

#[test]
fn a_run_is_deleted_on_request_or_when_its_retention_ends() {
    let folder = tempfile::tempdir().unwrap();
    let exports = folder.path().join("exports");
    let server = Server::start_with(&[
        "--keep",
        "graph:brief=1s",
        "--export-before-forgetting",
        exports.to_str().unwrap(),
    ]);
    let (brief, other) = (sets(&server, "brief"), sets(&server, "other"));
    let asks = server.create(&json!({"nodes": {"ask": {"wait": {"signal": "go"}}}}));
    let by_hand = server.start_run(&other, &json!({}));
    server.wait(&by_hand);
    let going = server.start_run(&asks, &json!({}));
    let problem = server.delete(&format!("/v1/runs/{going}")).problem(409);
    assert_eq!(problem["type"], "urn:heddle:problem:run-not-over");
    assert_eq!(server.delete(&format!("/v1/runs/{by_hand}")).status, 204);
    server.delete(&format!("/v1/runs/{by_hand}")).problem(404);

    let run = server.start_run(&brief, &json!({}));
    server.wait(&run);
    until(&server, &format!("/v1/runs/{run}"), |run| run["status"] == 404);
    let export = std::fs::read(exports.join(format!("{run}.ndjson"))).unwrap();
    let kept = server.post_with(
        "/v1/runs:import",
        &export,
        &[("content-type", "application/x-ndjson")],
    );
    assert_eq!(kept.ok()["run_id"], json!(run));

    let wrong = Command::new(heddle())
        .args(["serve", "--keep", "running=1d"])
        .output()
        .unwrap();
    assert!(!wrong.status.success());
    let stderr = String::from_utf8_lossy(&wrong.stderr);
    assert!(stderr.contains("--keep `running=1d`"), "{stderr}");
}
