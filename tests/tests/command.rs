//! The `heddle` command against a running server: its output and exit codes.
#![allow(clippy::unwrap_used)] // a test may panic

use std::process::{Command, Output};

use heddle_tests::{Server, component, heddle, repository, stdout};
use serde_json::Value;

fn file(path: &str) -> String {
    repository().join(path).display().to_string()
}

#[test]
fn a_plugin_is_added_and_listed() {
    let server = Server::start();
    let raw = component("fixtures/raw-tool").display().to_string();
    assert_eq!(
        stdout(&server.run_command(&["plugin", "add", &raw, "--name", "given"])),
        "given@0.0.0\n"
    );
    let listed = stdout(&server.run_command(&["plugin", "list"]));
    assert!(
        listed.contains("given@0.0.0") && listed.contains("as-given"),
        "{listed}"
    );
    assert!(
        listed.contains("bench@0.1.0") && listed.contains("touch"),
        "{listed}"
    );

    let elsewhere = component("fixtures/elsewhere").display().to_string();
    let refused = server.run_command(&["plugin", "add", &elsewhere, "--name", "elsewhere"]);
    assert_eq!(refused.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&refused.stderr);
    assert!(
        printed.starts_with("error: ") && printed.contains("nothing is fetched"),
        "{printed}"
    );
}

#[test]
fn a_graph_is_created_run_and_followed_to_its_final_state() {
    let server = Server::start();
    let id = stdout(&server.run_command(&["graph", "create", &file("plugins/starter/graph.json")]));
    assert!(stdout(&server.run_command(&["graph", "list"])).contains(id.trim()));
    let followed = stdout(&server.run_command(&[
        "run",
        "starter",
        "--state",
        r#"{"input": "one 2 three"}"#,
        "--follow",
    ]));
    assert!(
        followed.contains("run finished") && followed.contains("Final state"),
        "{followed}"
    );
    assert!(followed.contains("\"three\""), "{followed}");

    let started = stdout(&server.run_command(&["run", "starter", "--state", r#"{"input": "x"}"#]));
    let lines = stdout(&server.run_command(&["watch", started.trim(), "--json"]));
    let events: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["type"], "run_started");
    assert_eq!(events[events.len() - 1]["type"], "run_finished");
    let rest = stdout(&server.run_command(&["watch", started.trim(), "--json", "--after", "3"]));
    assert_eq!(rest.lines().count(), events.len() - 3);
}

#[test]
fn errors_are_printed_on_stderr_with_an_exit_code() {
    let server = Server::start();
    let code = |arguments: &[&str]| server.run_command(arguments).status.code();
    let broken = server.folder().join("graph.json");
    std::fs::write(&broken, r#"{"nodes": {"extrakt": {}}}"#).unwrap();
    let refused = server.run_command(&["graph", "create", &broken.display().to_string()]);
    let printed = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        printed.contains("graph.json:1:12: error: ") && printed.contains("extract"),
        "{printed}"
    );
    assert_eq!(
        printed.matches("(/nodes/extrakt)").count(),
        1,
        "it is reported once: {printed}"
    );

    std::fs::write(&broken, r#"{"name": "bad", "nodes": {"panic": {}}}"#).unwrap();
    stdout(&server.run_command(&["graph", "create", &broken.display().to_string()]));
    assert_eq!(code(&["run", "bad", "--follow"]), Some(1), "a run that failed");
    assert_eq!(code(&["run", "bad", "--state", "nonsense"]), Some(2));
    assert_eq!(code(&["watch", "018f0000-0000-7000-8000-000000000000"]), Some(1));
    assert_eq!(code(&["no-such-command"]), Some(2));
    let nobody = Command::new(heddle())
        .args(["plugin", "list", "--server", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&nobody.stderr).contains("heddle serve"),
        "{nobody:?}"
    );
}

const YAML: &str = "\
# Asks before it publishes.
name: ask
nodes:
  ask: {wait: {signal: on, prompt: Publish it?}}
  publish: {uses: basics/set, config: {published: yes}}
edges: {ask: publish}
";

#[test]
fn a_graph_is_written_in_yaml_and_its_run_signalled() {
    let server = Server::start();
    let path = server.folder().join("ask.yaml").display().to_string();
    std::fs::write(&path, YAML).unwrap();
    let id = stdout(&server.run_command(&["graph", "create", &path]));
    let stored = server.get(&format!("/v1/graphs/{}", id.trim())).ok();
    assert_eq!(stored["definition"]["nodes"]["ask"]["wait"]["signal"], "on");
    assert_eq!(
        stored["definition"]["nodes"]["publish"]["config"]["published"],
        "yes"
    );

    let started = stdout(&server.run_command(&["run", "ask"]));
    let refused = server.run_command(&["signal", started.trim(), "off"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("`off`"),
        "{refused:?}"
    );
    assert_eq!(
        server
            .run_command(&["signal", started.trim(), "on", "--payload", "{"])
            .status
            .code(),
        Some(2)
    );
    let sent = stdout(&server.run_command(&["signal", started.trim(), "on", "--payload", "[1]"]));
    assert!(
        sent.starts_with(&format!("Sent signal on to run {} (event ", started.trim())),
        "{sent}"
    );
    let watched = stdout(&server.run_command(&["watch", started.trim()]));
    for printed in [
        "Publish it?",
        "heddle signal ",
        "signal on received",
        "run finished",
        "\"yes\"",
    ] {
        assert!(watched.contains(printed), "{printed} in {watched}");
    }
}

#[test]
fn a_cancelled_run_is_reported_and_exits_with_a_failure() {
    let server = Server::start();
    let path = server.folder().join("ask.yml").display().to_string();
    std::fs::write(&path, YAML).unwrap();
    stdout(&server.run_command(&["graph", "create", &path]));
    let started = stdout(&server.run_command(&["run", "ask"]));
    let cancel = ["cancel", started.trim(), "--reason", "not today"];
    let cancelled = stdout(&server.run_command(&cancel));
    assert!(
        cancelled.starts_with(&format!("Cancelled run {} (event ", started.trim())),
        "{cancelled}"
    );
    assert_eq!(server.run_command(&cancel).status.code(), Some(1), "it is over");
    let watched = server.run_command(&["watch", started.trim()]);
    assert_eq!(watched.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&watched.stdout);
    assert!(printed.contains("The run was cancelled: not today"), "{printed}");
}

#[test]
fn a_check_points_at_lines_of_json_and_yaml() {
    let server = Server::start();
    let write = |name: &str, text: &str| {
        let path = server.folder().join(name).display().to_string();
        std::fs::write(&path, text).unwrap();
        path
    };
    let good = write("good.yaml", YAML);
    assert_eq!(stdout(&server.run_command(&["graph", "check", &good])), "");

    let yaml = write("bad.yaml", "nodes:\n  a: {uses: basics/sett}\nedges:\n  a: b\n");
    let found = server.run_command(&["graph", "check", &yaml]);
    assert_eq!(found.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(printed.starts_with(&format!("{yaml}:2:7: error: ")), "{printed}");
    assert!(
        printed.contains("basics/set") && printed.contains("(/nodes/a/uses)"),
        "{printed}"
    );
    assert!(printed.contains(&format!("{yaml}:4:3: error: ")), "{printed}");

    let json = write("bad.json", "{\n  \"nodes\": {\n    \"a\": {\"slep\": 1}}}");
    let found = server.run_command(&["graph", "check", &json, "--json"]);
    let printed: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(printed["valid"], false);
    // Errors of form and of meaning are reported together, in the order of the file.
    let places: Vec<_> = printed["findings"].as_array().unwrap().iter().collect();
    let places = places
        .iter()
        .map(|found| (found["pointer"].as_str(), &found["line"], &found["column"]));
    assert_eq!(
        places.collect::<Vec<_>>(),
        [
            (Some("/nodes/a"), &3.into(), &5.into()),
            (Some("/nodes/a/slep"), &3.into(), &11.into())
        ]
    );

    let nobody = ["--server", "http://127.0.0.1:1"];
    let offline = server.run_command(&["graph", "check", &yaml, "--offline", nobody[0], nobody[1]]);
    let printed = String::from_utf8_lossy(&offline.stdout).into_owned();
    assert!(
        printed.contains(":4:3: error: ") && !printed.contains("sett"),
        "{printed}"
    );
    assert_eq!(
        server
            .run_command(&["graph", "check", &good, nobody[0], nobody[1]])
            .status
            .code(),
        Some(1)
    );

    let twice = write("twice.yaml", "name: a\nnodes: {a: {}}\nname: b\n");
    let refused = server.run_command(&["graph", "create", &twice]);
    let printed = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        printed.contains("twice.yaml:3:1: `name` is given twice"),
        "{printed}"
    );
}

#[test]
fn a_graph_is_drawn_from_its_file_without_a_server_and_by_its_name_with_one() {
    let server = Server::start();
    let path = server.folder().join("ask.yaml").display().to_string();
    let out = server.folder().join("ask.svg").display().to_string();
    std::fs::write(&path, YAML).unwrap();
    let draw = |arguments: &[&str]| {
        Command::new(heddle())
            .args(["graph", "draw", "--server", "http://127.0.0.1:1"])
            .args(arguments)
            .output()
            .unwrap()
    };
    assert_eq!(stdout(&draw(&[&path, "--out", &out])), "");
    let svg = std::fs::read_to_string(&out).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.contains(r#"data-node="publish""#),
        "{svg}"
    );
    let mermaid = stdout(&draw(&[&path, "--format", "mermaid"]));
    assert!(mermaid.contains("flowchart"), "{mermaid}");
    assert_eq!(draw(&["ask"]).status.code(), Some(1), "there is no server");
    stdout(&server.run_command(&["graph", "create", &path]));
    assert_eq!(
        stdout(&server.run_command(&["graph", "draw", "ask", "--format", "mermaid"])),
        mermaid
    );
}

#[test]
fn a_run_is_controlled_inspected_exported_and_imported_by_commands() {
    let (server, other) = (Server::start(), Server::start());
    let path = server.folder().join("ask.yaml").display().to_string();
    std::fs::write(
        &path,
        "name: ask\nstart: a\nnodes:\n  a: {uses: basics/set, config: {n: 1}}\n  \
         b: {uses: basics/fail, config: {message: no luck, times: 1}}\n  \
         ask: {wait: {signal: on}}\n  c: {uses: basics/set, config: {n: 2, list: [1]}}\n\
         edges: {a: b, b: ask, ask: c}\n",
    )
    .unwrap();
    stdout(&server.run_command(&["graph", "create", &path]));
    let start = ["run", "ask", "--priority", "-3", "--idempotency-key", "once"];
    let id = stdout(&server.run_command(&start)).trim().to_owned();
    assert_eq!(stdout(&server.run_command(&start)).trim(), id);
    assert_eq!(
        server.run_command(&["watch", &id]).status.code(),
        Some(1),
        "it fails"
    );
    let refused = server.run_command(&["resume", &id]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).starts_with("error: "),
        "{refused:?}"
    );
    let steps = stdout(&server.run_command(&["steps", &id]));
    assert!(steps.lines().nth(1).unwrap().ends_with("no luck"), "{steps}");

    let upgraded = stdout(&server.run_command(&["upgrade", &id]));
    assert!(
        upgraded.starts_with(&format!(
            "Upgraded run {id} to the newest versions of its plugins (event "
        )),
        "{upgraded}"
    );
    let retried: Value =
        serde_json::from_str(&stdout(&server.run_command(&["retry", &id, "--json"]))).unwrap();
    assert!(retried["seq"].is_u64(), "{retried}");
    let paused = stdout(&server.run_command(&["pause", &id, "--reason", "not now"]));
    assert!(
        paused.starts_with(&format!("Paused run {id} (event ")),
        "{paused}"
    );
    let shown = stdout(&server.run_command(&["show", &id]));
    assert!(
        shown.contains("status       paused\n") && shown.contains("priority     -3\n"),
        "{shown}"
    );
    let signal = ["signal", &id, "on", "--payload", "7", "--idempotency-key", "yes"];
    assert_eq!(
        stdout(&server.run_command(&signal)),
        stdout(&server.run_command(&signal))
    );
    let resumed = stdout(&server.run_command(&["resume", &id]));
    assert!(
        resumed.starts_with(&format!("Resumed run {id} (event ")),
        "{resumed}"
    );
    assert_eq!(server.run_command(&["watch", &id]).status.code(), Some(0));

    let step: Value = serde_json::from_str(&stdout(
        &server.run_command(&["show", &id, "--step", "1", "--json"]),
    ))
    .unwrap();
    assert_eq!((&step["node"], &step["state"]["n"]), (&"a".into(), &1.into()));
    let lines = stdout(&server.run_command(&["steps", &id, "--json"]));
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&last["step"], &last["status"]), (&4.into(), &"finished".into()));
    assert_eq!(
        stdout(&server.run_command(&["diff", &id, "1", "4"])),
        "+ list: [1]\n~ n: 1 → 2\n+ on: 7\n"
    );

    let fork = ["fork", &id, "--step", "3", "--state", r#"{"extra": true}"#];
    let fork = stdout(&server.run_command(&fork));
    assert_eq!(server.run_command(&["watch", fork.trim()]).status.code(), Some(0));
    let shown: Value =
        serde_json::from_str(&stdout(&server.run_command(&["show", fork.trim(), "--json"]))).unwrap();
    assert_eq!(
        (&shown["state"]["extra"], &shown["origin"]),
        (&true.into(), &format!("fork:{id}").into())
    );

    let file = server.folder().join("run.jsonl").display().to_string();
    stdout(&server.run_command(&["export", &id, "--out", &file]));
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        stdout(&server.run_command(&["export", &id]))
    );
    assert_eq!(stdout(&other.run_command(&["import", &file])).trim(), id);
    assert_eq!(
        stdout(&other.run_command(&["steps", &id])),
        stdout(&server.run_command(&["steps", &id]))
    );
    let paused = stdout(&server.run_command(&["run", "ask"]));
    assert_eq!(
        server
            .run_command(&["cancel", paused.trim(), "--grace", "soon"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn every_list_is_printed_as_json_lines_on_demand() {
    let server = Server::start();
    let path = server.folder().join("ask.yaml").display().to_string();
    std::fs::write(&path, YAML).unwrap();
    let created = stdout(&server.run_command(&["graph", "create", &path, "--json"]));
    let created: Value = serde_json::from_str(&created).unwrap();
    let started = stdout(&server.run_command(&["run", "ask", "--json"]));
    let started: Value = serde_json::from_str(&started).unwrap();
    let schedule = ["schedule", "create", "later", "ask", "--every", "7d", "--json"];
    stdout(&server.run_command(&schedule));
    let id = started["run_id"].as_str().unwrap();
    for (arguments, key, expected) in [
        (
            &["graph", "list", "--json"] as &[&str],
            "graph_id",
            &created["graph_id"],
        ),
        (&["schedule", "list", "--json"], "name", &"later".into()),
        (&["plugin", "list", "--json"], "name", &"basics".into()),
        (&["steps", id, "--json"], "node", &"ask".into()),
        (&["watch", id, "--json"], "type", &"run_started".into()),
    ] {
        // The run waits, so its event stream stays open until it is cancelled.
        if arguments[0] == "watch" {
            stdout(&server.run_command(&["cancel", id]));
        }
        let lines = text_of(&server.run_command(arguments));
        let items: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(
            items.iter().any(|item| item[key] == *expected),
            "{arguments:?}: {lines}"
        );
    }
}

#[test]
fn a_refusal_of_the_server_names_the_flags_of_the_command() {
    let server = Server::start();
    let id = stdout(&server.run_command(&["graph", "create", &file("plugins/starter/graph.json")]));
    let refusal = |code: i32, arguments: &[&str]| {
        let refused = server.run_command(arguments);
        assert_eq!(refused.status.code(), Some(code), "{refused:?}");
        String::from_utf8(refused.stderr).unwrap()
    };
    let needed = refusal(1, &["plugin", "remove", "starter"]);
    assert!(
        needed.contains("(`--force`)") && !needed.contains("?force"),
        "{needed}"
    );
    let state = refusal(2, &["run", id.trim(), "--state", "[1]"]);
    assert!(state.starts_with("error: --state: "), "{state}");
    assert_eq!(state.lines().count(), 1, "it is reported once: {state}");
    let cron = refusal(2, &["schedule", "create", "s", id.trim(), "--cron", "99 * * * *"]);
    assert!(
        cron.starts_with("error: --cron: ") && cron.lines().count() == 1,
        "{cron}"
    );
    let none = refusal(1, &["run", "nothing"]);
    assert!(none.contains("`heddle graph create FILE`"), "{none}");
    let none = refusal(1, &["plugin", "inspect", "nothing"]);
    assert!(none.contains("`heddle plugin list`"), "{none}");
}

/// The output of a command, whatever its exit code.
fn text_of(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("stdout is text")
}

#[test]
fn help_lists_every_command_in_a_group() {
    let help = Command::new(heddle()).arg("--help").output().unwrap();
    let help = stdout(&help);
    for line in [
        "Runs:",
        "Control of runs:",
        "History of runs:",
        "Graphs, plugins and schedules:",
        "The server:",
    ] {
        assert!(help.contains(&format!("\n{line}\n")), "{help}");
    }
    for command in [
        "run", "watch", "retry", "fork", "diff", "import", "graph", "schedule", "serve", "help",
    ] {
        assert_eq!(
            help.matches(&format!("\n  {command} ")).count(),
            1,
            "{command} in {help}"
        );
    }
}
