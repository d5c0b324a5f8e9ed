//! Backtests: a new version of a plugin runs the recorded steps of runs.
#![allow(clippy::unwrap_used)] // a test may panic

use std::process::{Command, Output};

use heddle_tests::{Server, component, heddle};
use serde_json::{Value, json};

fn backtest(server: &Server, arguments: &[&str]) -> Output {
    Command::new(heddle())
        .arg("backtest")
        .args(arguments)
        .env("HEDDLE_SERVER", format!("http://{}", server.address))
        .output()
        .expect("the command runs")
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output:?}"))
}

#[test]
fn the_same_version_gives_the_same_outcomes_and_a_different_one_is_compared() {
    let server = Server::start();
    let line = server.create_file("plugins/bench/w1.json");
    let count = server.create_file("plugins/bench/w2.json");
    let runs = [&line, &count].map(|graph| server.start_run(graph, &json!({"seed": 1})));
    runs.iter().for_each(|run| drop(server.wait(run)));
    let bench = component("bench").display().to_string();

    let same = backtest(&server, &[&bench, "--json", "--runs", &runs[0], &runs[1]]);
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    let result = report(&same);
    // Ten nodes in sequence; a hundred rounds and one of the two ends.
    assert_eq!(
        (&result["attempts"], &result["runs"], &result["differences"]),
        (&json!(111), &json!(2), &json!([]))
    );
    let newest = backtest(&server, &[&bench, "--last", "1", "--graph", "w2"]);
    let result = String::from_utf8_lossy(&newest.stdout);
    assert!(
        result.contains("0 of 101 calls in 1 runs have a different outcome"),
        "{newest:?}"
    );

    // A different component with the plugin's name: its counter has another key, and it has no `touch`.
    let basics = component("basics").display().to_string();
    let other = backtest(
        &server,
        &[&basics, "--name", "bench", "--json", "--runs", &runs[1]],
    );
    assert_eq!(other.status.code(), Some(1), "{other:?}");
    let result = report(&other);
    let differences = result["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 101);
    assert_eq!(
        differences[0]["recorded"],
        json!({"update": {"n": 1}, "next": ["count"]})
    );
    assert_eq!(differences[0]["node"], "count");
    let last = &differences[100];
    assert_eq!(last["node"], "even");
    assert_eq!(last["now"]["failure"]["kind"], "unavailable", "{last}");
    let as_text = backtest(&server, &[&basics, "--name", "bench", "--runs", &runs[1]]);
    let text = String::from_utf8_lossy(&as_text.stdout);
    assert!(
        text.contains("… and 51 more") && text.contains("101 of 101 calls"),
        "{text}"
    );
}

#[test]
fn recorded_steps_are_read_from_an_exported_file_without_a_server() {
    let server = Server::start();
    let graph = server.create(&json!({
        "nodes": {"probe": {"uses": "hostile/clock"}, "flaky": {"uses": "basics/fail", "config": {"kind": "retryable", "times": 1}, "retry": {"attempts": 2, "backoff": "1ms"}},
                  "each": {"map": {"over": "[1, 2, 3]", "as": "text", "uses": "bench/echo", "into": "all"}}},
        "edges": {"probe": "flaky", "flaky": "each"},
    }));
    let run = server.start_run(&graph, &json!({}));
    assert_eq!(server.wait(&run)["status"], "finished");
    let export = server.get(&format!("/v1/runs/{run}/export"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.ndjson");
    std::fs::write(&file, export.text).unwrap();
    let file = file.display().to_string();
    drop(server);

    // Randomness, a failed attempt and the items of a map give identical results.
    for (plugin, attempts) in [("fixtures/hostile", 1), ("basics", 2), ("bench", 3)] {
        let plugin = component(plugin).display().to_string();
        let output = Command::new(heddle())
            .args(["backtest", &plugin, "--json", "--runs", &file])
            .env("HEDDLE_SERVER", "http://127.0.0.1:9")
            .output()
            .unwrap();
        let result = report(&output);
        assert_eq!(
            (&result["attempts"], &result["differences"]),
            (&json!(attempts), &json!([])),
            "{plugin}"
        );
    }
    // A truncated file is reported as such.
    let lines = std::fs::read_to_string(&file).unwrap();
    let (lines, all) = (lines.lines().collect::<Vec<_>>(), lines.lines().count());
    let cut = folder.path().join("cut.ndjson");
    for kept in [1, all / 2, all - 1] {
        std::fs::write(&cut, lines[..kept].join("\n")).unwrap();
        let output = Command::new(heddle())
            .args([
                "backtest",
                &component("basics").display().to_string(),
                "--json",
                "--runs",
                &cut.display().to_string(),
            ])
            .output()
            .unwrap();
        let result = String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(0), "{result}");
        let expected = match kept {
            1 => "the run's events are not there".to_owned(),
            kept => format!(
                "it ends with event {}, and line 1 says that it has {}",
                kept - 1,
                all - 1
            ),
        };
        assert!(result.contains(&expected), "{result}");
    }
    let starter = component("starter").display().to_string();
    let none = Command::new(heddle())
        .args(["backtest", &starter, "--runs", &file])
        .output()
        .unwrap();
    assert_eq!(none.status.code(), Some(1));
    let result = String::from_utf8_lossy(&none.stderr);
    assert!(result.contains("called a function of `starter`"), "{result}");
}
