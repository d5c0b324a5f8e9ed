//! `heddle plugin new`: a project in each language builds at once, by its one command, and what comes out is registered
//! and runs in the graph that the project has.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

use std::{
    path::Path,
    process::{Command, Output},
};

use heddle_tests::{Server, heddle, target};
use serde_json::{Value, json};

/// Runs a program to its good end.
fn done(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{printed}{told}",
        output.status
    );
    output
}

/// Makes a project, builds it with `build`, registers `component` and runs the project's graph.
fn made_built_and_run(language: &str, build: &mut Command, component: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let name = format!("fresh-{language}");
    done(
        Command::new(heddle())
            .args(["plugin", "new", "--lang", language, &name, "--in"])
            .arg(scratch.path()),
    );
    let project = scratch.path().join(&name);
    done(build.current_dir(&project).env("HEDDLE", heddle()));

    let server = Server::start();
    let address = format!("http://{}", server.address);
    let add = done(
        Command::new(heddle())
            .args(["plugin", "add"])
            .arg(project.join(component))
            .env("HEDDLE_SERVER", address),
    );
    assert_eq!(String::from_utf8_lossy(&add.stdout), format!("{name}@0.1.0\n"));
    let graph = std::fs::read_to_string(project.join("graph.json")).unwrap();
    let graph = server.create(&serde_json::from_str(&graph).unwrap());
    let greeted = server.run(&graph, &json!({"name": "Ada"}));
    assert_eq!(
        greeted["state"]["greeting"], "Good morning, Ada!",
        "{}",
        greeted["error"]
    );
    let logged = |event: &Value| event["type"] == "log" && event["message"] == "greeting Ada";
    assert!(greeted["logs"].as_array().unwrap().iter().any(logged));
    let nobody = server.run(&graph, &json!({"name": ""}));
    assert_eq!(nobody["error"]["code"], "invalid_input", "{nobody}");
}

/// The build program of an SDK, with the tools that `cargo xtask plugins` installed.
fn build(program: &str, words: &[&str], language: &str) -> Command {
    let mut build = Command::new(program);
    build
        .args(words)
        .env("HEDDLE_TOOLS", target().join("languages").join(language));
    build
}

#[test]
fn a_project_in_python_builds_at_once() {
    let mut build = build("python3", &["sdk/python/build.py"], "python");
    made_built_and_run("python", &mut build, "build/fresh-python.wasm");
}

#[test]
fn a_project_in_javascript_builds_at_once() {
    let mut build = build("npm", &["run", "build"], "js");
    made_built_and_run("js", &mut build, "build/fresh-js.wasm");
}

#[test]
fn a_project_in_c_builds_at_once() {
    let mut build = build("python3", &["sdk/c/build.py"], "c");
    made_built_and_run("c", &mut build, "build/fresh-c.wasm");
}

#[test]
fn a_project_in_rust_builds_at_once() {
    let mut build = Command::new("bash");
    build.arg("build.sh");
    // The engine's own cargo and its flags are none of the project's.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name.ends_with("RUSTFLAGS")
        {
            build.env_remove(name);
        }
    }
    build
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    // The packages that the guests were built of are not compiled again.
    let shared = target().join("guests");
    build.env("CARGO_TARGET_DIR", &shared);
    let component = shared.join("wasm32-wasip2/release/fresh_rust.wasm");
    made_built_and_run("rust", &mut build, component.to_str().unwrap());
}

#[test]
fn a_folder_that_is_there_and_a_name_that_no_plugin_has_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let new = |name: &str| {
        let mut new = Command::new(heddle());
        new.args(["plugin", "new", "--lang", "c", name, "--in"])
            .arg(scratch.path());
        new.output().unwrap()
    };
    assert!(new("mine").status.success());
    std::fs::write(scratch.path().join("mine/plugin.c"), "of my own").unwrap();
    for (name, says) in [
        ("mine", "is there already"),
        ("Not Mine", "no name for a plugin"),
        ("std", "taken"),
    ] {
        let refused = new(name);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(told.contains(says), "{told}");
    }
    let kept = std::fs::read_to_string(scratch.path().join("mine/plugin.c")).unwrap();
    assert_eq!(kept, "of my own");
    assert!(Path::new(&scratch.path().join("mine/.gitignore")).exists());
}
