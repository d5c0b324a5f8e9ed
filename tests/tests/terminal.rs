//! Output of the `heddle` command to a terminal, a file and a pipe: text from outside cannot control the terminal.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Output, Stdio},
};

use heddle_tests::{
    Server, heddle,
    stub::{Reply, Stub},
};
use serde_json::{Value, json};

/// A hostile text: it imitates lines, moves the cursor, changes colours, sets the title and reorders letters.
const HOSTILE: &str = "x\nerror: forged\r\u{1b}[2J\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}1A\u{85}\u{202e}drow\u{2066}\u{200b}\u{2028}y";

fn run(server: &str, arguments: &[&str]) -> Output {
    Command::new(heddle())
        .args(arguments)
        .env("HEDDLE_SERVER", server)
        .output()
        .expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it is text")
}

/// Asserts that an output has no control sequences and no forged line.
fn assert_harmless(output: &Output, of: &[&str]) {
    for stream in [&output.stdout, &output.stderr] {
        let text = text(stream);
        let is_bad = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!text.contains(is_bad), "{of:?}: {text:?}");
        assert!(
            !text.lines().any(|line| line.starts_with("error: forged")),
            "{of:?}: {text}"
        );
    }
}

/// A response in which every text is hostile.
fn hostile() -> Value {
    let finding = json!({"pointer": format!("/a{HOSTILE}"), "message": HOSTILE, "severity": "warning"});
    let function = json!({"name": HOSTILE, "kind": HOSTILE, "summary": HOSTILE, "routes": [HOSTILE],
        "input": {"properties": {HOSTILE: {"type": HOSTILE}}}});
    let plugin = json!({"name": HOSTILE, "version": HOSTILE, "digest": HOSTILE, "grants": [HOSTILE], "asks": [HOSTILE, "http"],
        "limits": [HOSTILE], "imports": [HOSTILE], "left_out": [HOSTILE], "functions": [function]});
    let step = json!({"step": 1, "node": HOSTILE, "status": HOSTILE, "started_at": HOSTILE,
        "failure": {"message": HOSTILE}});
    json!({
        "run_id": HOSTILE, "graph_id": HOSTILE, "name": HOSTILE, "status": "paused", "origin": HOSTILE, "node": HOSTILE,
        "nodes": [HOSTILE], "group": HOSTILE, "error": {"message": HOSTILE, "code": HOSTILE, "node": HOSTILE},
        "state": {HOSTILE: HOSTILE}, "waits": [{"node": HOSTILE, "signal": HOSTILE, "until": HOSTILE}],
        "warnings": [finding], "findings": [finding], "valid": true, "start": HOSTILE,
        "graphs": [{"graph_id": HOSTILE, "name": HOSTILE}], "plugins": [plugin], "versions": [plugin],
        "runs": [{"run_id": HOSTILE, "graph_name": HOSTILE, "status": HOSTILE, "started_at": HOSTILE,
            "origin": HOSTILE, "error": {"message": HOSTILE, "node": HOSTILE}}],
        "function": {"function": HOSTILE, "plugin": HOSTILE, "version": HOSTILE}, "failure": {"message": HOSTILE},
        "config": {HOSTILE: HOSTILE}, "input": {HOSTILE: HOSTILE}, "branches": [{"node": HOSTILE, "place": HOSTILE,
            "changed": {HOSTILE: HOSTILE}}],
        "removed": [{"name": HOSTILE, "version": HOSTILE}], "steps": [step],
        "schedules": [{"name": HOSTILE, "next_at": HOSTILE, "last_error": {"message": HOSTILE}}],
        "next_at": HOSTILE, "last_error": {"message": HOSTILE},
        "changes": [{"op": "replace", "key": HOSTILE, "before": HOSTILE, "after": {HOSTILE: HOSTILE}}],
        "patch": [{"op": "add", "path": format!("/{HOSTILE}/x"), "value": HOSTILE}],
        "definition": {"nodes": {HOSTILE: {"wait": {"signal": HOSTILE, "prompt": HOSTILE}}}},
        "seq": 7,
    })
}

fn events() -> String {
    let event = |seq: u64, kind: &str, more: Value| {
        let mut event = json!({"seq": seq, "type": kind, "at": HOSTILE, "message": HOSTILE, "node": HOSTILE});
        event
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        format!("id: {seq}\ndata: {event}\n\n")
    };
    [
        event(1, "run_started", json!({})),
        event(2, "step_started", json!({"step": 1})),
        event(3, "log", json!({"step": 1, "level": "error"})),
        event(4, "chunk", json!({"step": 1})),
        event(5, "run_cancelled", json!({"reason": HOSTILE})),
        "event: end\ndata: {}\n\n".to_owned(),
    ]
    .concat()
}

const COMMANDS: [&[&str]; 25] = [
    &["runs"],
    &["graph", "list"],
    &["graph", "draw", "g", "--format", "mermaid", "--out", "/dev/null"],
    &["plugin", "list"],
    &["plugin", "inspect", "p"],
    &["plugin", "remove", "p"],
    &["schedule", "list"],
    &["schedule", "show", "s"],
    &["schedule", "pause", "s"],
    &["schedule", "resume", "s"],
    &["schedule", "run", "s"],
    &["schedule", "create", "s", "g", "--every", "1m"],
    &["run", "g"],
    &["run", "g", "--follow"],
    &["watch", "r"],
    &["show", "r"],
    &["show", "r", "--step", "1"],
    &["steps", "r"],
    &["diff", "r", "1", "2"],
    &["fork", "r", "--step", "1"],
    &["signal", "r", "s"],
    &["pause", "r"],
    &["cancel", "r"],
    &["upgrade", "r"],
    &["retry", "r"],
];

#[test]
fn no_text_of_a_server_acts_on_the_terminal() {
    let server = Stub::start(|request| match request.path.contains("/events") {
        true => Reply::new(200, "text/event-stream", events()),
        false => Reply::json(&hostile()),
    });
    let server = server.address.to_string();
    for arguments in COMMANDS {
        let output = run(&server, arguments);
        assert!(
            output.status.success() || arguments.contains(&"--follow"),
            "{arguments:?}: {output:?}"
        );
        assert_harmless(&output, arguments);
        if arguments.contains(&"--out") {
            continue;
        }
        // As JSON the text is complete and harmless.
        let output = run(&server, &[arguments, &["--json"]].concat());
        assert_harmless(&output, arguments);
        let texts = text(&output.stdout);
        let json = serde_json::Deserializer::from_str(&texts).into_iter::<Value>();
        let values: Vec<Value> = json.map(|value| value.expect("it is JSON")).collect();
        assert!(!values.is_empty(), "{arguments:?}");
        let whole = values.iter().any(|value| contains(value, HOSTILE));
        assert!(whole, "{arguments:?}: {texts}");
    }
    let log = text(&run(&server, &["watch", "r"]).stdout);
    assert_eq!(
        log.lines().filter(|line| line.contains('!')).count(),
        1,
        "a log line is one line: {log}"
    );
    assert!(
        log.contains("\n                                      x\\nerror: forged"),
        "a prompt is one line: {log}"
    );
    assert!(
        log.contains("signal r 'x\\nerror"),
        "a signal's name is one word of a shell: {log}"
    );
}

fn contains(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found == text,
        Value::Array(items) => items.iter().any(|item| contains(item, text)),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| key == text || contains(value, text)),
        _ => false,
    }
}

#[test]
fn no_text_of_a_problem_acts_on_the_terminal() {
    let finding = |pointer: &str| json!({"pointer": pointer, "message": HOSTILE, "severity": "error"});
    for errors in [
        json!([]),
        json!([finding("/state")]),
        json!([finding("/a"), finding(HOSTILE)]),
    ] {
        let problem = json!({"title": HOSTILE, "detail": format!("/state: {HOSTILE}"), "errors": errors});
        let server = Stub::start(move |_| Reply::new(422, "application/problem+json", problem.to_string()));
        for arguments in COMMANDS {
            let output = run(&server.address.to_string(), arguments);
            assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}");
            assert_harmless(&output, arguments);
        }
    }
}

#[test]
fn no_argument_that_a_message_repeats_acts_on_the_terminal() {
    let (option, limit) = (format!("--{HOSTILE}"), format!("--limit={HOSTILE}"));
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("heddle.db").display());
    for arguments in [
        &["plugin", "add", HOSTILE] as &[&str],
        &["plugin", "push", HOSTILE, "oci://127.0.0.1/a:1"],
        &["graph", "check", HOSTILE, "--offline"],
        &["graph", "check", HOSTILE, "--ca-cert", HOSTILE],
        &["graph", HOSTILE],
        &[HOSTILE],
        &["runs", &option],
        &["runs", &limit],
        &["run", "g", "--priority", HOSTILE],
        &["run", "g", "--state", HOSTILE],
        &["run", "g", "--state", &format!("@{HOSTILE}")],
        &["backtest", HOSTILE],
        &["import", HOSTILE],
        &["store", "check", "--store", HOSTILE],
        &["serve", "--listen", HOSTILE, "--store", HOSTILE],
        &["serve", "--policy", HOSTILE, "--store", &store],
        &["serve", "--store", "sqlite::memory:"],
    ] {
        let output = run("http://127.0.0.1:9", arguments);
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        assert_harmless(&output, arguments);
    }
}

#[test]
fn messages_of_plugins_are_recorded_without_passwords_of_urls() {
    let server = Server::start();
    let graph = server.create(&json!({"nodes": {"fail": {"uses": "basics/fail",
        "config": {"message": "GET http://u:s3cretpw@ho st/ cannot be sent"}}}}));
    let run_id = server.start_run(&graph, &json!({}));
    server.wait(&run_id);
    let run_of = |arguments: &[&str]| text(&run(&server.address, arguments).stdout);
    let shown = run_of(&["show", &run_id, "--json"]);
    assert!(shown.contains("GET http://***@ho st/ cannot be sent"), "{shown}");
    for arguments in [&["export", &run_id] as &[&str], &["watch", &run_id, "--json"]] {
        let events = run_of(arguments);
        let failures = events.lines().filter(|line| line.contains("cannot be sent"));
        let failures: Vec<&str> = failures.filter(|line| !line.contains("basics/fail")).collect();
        assert!(
            !failures.is_empty() && !failures.concat().contains("s3cretpw"),
            "{failures:?}"
        );
    }
    let path = format!("{}/nothing/here", server.address);
    let refused = text(&run(&path, &["graph", "list"]).stderr);
    assert!(
        refused.contains("is not a Heddle server, it answered 404: check the path in --server"),
        "{refused}"
    );
}

#[cfg(unix)]
#[test]
fn serve_refuses_a_missing_policy_file_and_an_unknown_log_level() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("policy");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let serve = |variable: &str| {
        let store = format!("sqlite:{}", folder.path().join("heddle.db").display());
        Command::new(heddle())
            .args(["serve", "--listen", "127.0.0.1:0", "--store", &store, "--policy"])
            .arg(&pipe)
            .env("HEDDLE_LOG", variable)
            .output()
            .unwrap()
    };
    let refused = serve("");
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("expected a regular file"),
        "{refused:?}"
    );
    let refused = serve("loud");
    assert_eq!(refused.status.code(), Some(2));
    let stderr = text(&refused.stderr);
    assert!(
        stderr.contains("`loud` is not a log level: use error, warn, info, debug, trace or off"),
        "{stderr}"
    );
}

#[test]
fn each_log_line_and_each_message_of_a_plugin_is_one_line() {
    let server = Server::start();
    let graph = server.create(&json!({"name": "loud", "nodes": {
        "say": {"uses": "basics/log", "config": {"message": HOSTILE, "level": "warn"}},
        "fail": {"uses": "basics/fail", "config": {"message": HOSTILE}}}, "edges": {"say": "fail"}}));
    let run_id = server.start_run(&graph, &json!({"text": HOSTILE}));
    server.wait(&run_id);
    for arguments in [
        &["watch", &*run_id] as &[&str],
        &["watch", &run_id, "--json"],
        &["show", &run_id],
        &["steps", &run_id],
        &["show", &run_id, "--step", "1", "--json"],
    ] {
        let output = run(&server.address, arguments);
        assert_harmless(&output, arguments);
        assert!(
            text(&output.stdout).contains("forged"),
            "{arguments:?}: {output:?}"
        );
    }
    assert_eq!(
        text(&run(&server.address, &["watch", &run_id]).stdout)
            .lines()
            .filter(|line| line.contains('!'))
            .count(),
        1
    );
}

#[test]
fn a_log_that_is_redirected_has_no_colours() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new(heddle())
        .args(["serve", "--listen", "127.0.0.1:0", "--plugins"])
        .arg(folder.path())
        .arg("--store")
        .arg(format!("sqlite:{}", folder.path().join("heddle.db").display()))
        .env_remove("NO_COLOR")
        .env("TERM", "xterm-256color")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = String::new();
    for line in BufReader::new(server.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        log += &format!("{line}\n");
        if line.contains("listening on") {
            break;
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(log.contains(" INFO ") && !log.contains('\u{1b}'), "{log:?}");
    for arguments in [&["--help"] as &[&str], &["run", "--help"], &["no-such-command"]] {
        let output = Command::new(heddle())
            .args(arguments)
            .env_remove("NO_COLOR")
            .output()
            .unwrap();
        assert!(!text(&output.stdout).contains('\u{1b}') && !text(&output.stderr).contains('\u{1b}'));
    }
}

#[test]
fn a_closed_pipe_ends_a_command_silently() {
    let many: String = (1..50_000)
        .map(|seq| {
            format!(
                "data: {}\n\n",
                json!({"seq": seq, "type": "log", "message": "again and again"})
            )
        })
        .collect();
    let graphs: Vec<Value> = (0..50_000)
        .map(|n| json!({"graph_id": format!("g{n}"), "name": "x"}))
        .collect();
    let server = Stub::start(move |request| match request.path.contains("/events") {
        true => Reply::new(200, "text/event-stream", many.clone()),
        false => Reply::json(&json!({"graphs": graphs})),
    });
    for arguments in [
        &["watch", "r"] as &[&str],
        &["watch", "r", "--json"],
        &["graph", "list"],
        &["graph", "list", "--json"],
    ] {
        let mut child = Command::new(heddle())
            .args(arguments)
            .env("HEDDLE_SERVER", server.address.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut first)
            .unwrap();
        assert!(!first.is_empty());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(
            (ended.status.code(), text(&ended.stderr)),
            (Some(0), String::new()),
            "{arguments:?}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_closed_pipe_ends_a_watch_without_output() {
    let server = Server::start();
    let graph = server.create(&json!({"nodes": {"ask": {"wait": {"signal": "go"}}}}));
    let run_id = server.start_run(&graph, &json!({}));
    let mut child = Command::new(heddle())
        .args(["watch", &run_id])
        .env("HEDDLE_SERVER", &server.address)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("heddle signal ") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "it goes on");
    }
    drop(reader);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(
        (ended.status.code(), text(&ended.stderr)),
        (Some(0), String::new())
    );
}

#[test]
fn an_interrupt_exits_with_130_and_names_the_run_that_continues() {
    let server = Server::start();
    let graph = server.create(&json!({"nodes": {"ask": {"wait": {"signal": "go"}}}}));
    let run_id = server.start_run(&graph, &json!({}));
    let mut child = Command::new(heddle())
        .args(["watch", &run_id, "--json"])
        .env("HEDDLE_SERVER", &server.address)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(stderr.contains(&format!("heddle watch {run_id}")), "{stderr}");
}
