//! `heddle plugin new`: the README of a project in each language works. The project builds with one command, its own
//! tests pass, and the component is registered and runs in the graph of the project.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{path::Path, process::Command};

use heddle_tests::{docs, heddle};
use serde_json::{Value, json};

/// Creates a project, follows its README, and runs its graph once more.
fn does_as_its_readme_says(language: &str) {
    let name = format!("fresh-{language}");
    let mut page = docs::run_project(language, &name);
    let server = page.server();
    let greeted = server.run(&name, &json!({"name": "Ada"}));
    assert_eq!(
        greeted["state"]["greeting"], "Good morning, Ada!",
        "{}",
        greeted["error"]
    );
    let logged = |event: &Value| event["type"] == "log" && event["message"] == "greeting Ada";
    assert!(greeted["logs"].as_array().unwrap().iter().any(logged));
    let nobody = server.run(&name, &json!({"name": ""}));
    assert_eq!(nobody["error"]["code"], "invalid_input", "{nobody}");
}

#[test]
fn the_readme_of_a_project_in_python_works() {
    does_as_its_readme_says("python");
}

#[test]
fn the_readme_of_a_project_in_javascript_works() {
    does_as_its_readme_says("js");
}

#[test]
fn the_readme_of_a_project_in_c_works() {
    does_as_its_readme_says("c");
}

#[test]
fn the_readme_of_a_project_in_rust_works() {
    does_as_its_readme_says("rust");
}

#[test]
fn an_existing_folder_and_an_invalid_name_are_refused() {
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
        ("mine", "exists: choose another name"),
        ("Not Mine", "not a valid plugin name"),
        ("std", "reserved"),
    ] {
        let refused = new(name);
        assert!(matches!(refused.status.code(), Some(1 | 2)), "{refused:?}");
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(stderr.contains(says), "{stderr}");
    }
    let kept = std::fs::read_to_string(scratch.path().join("mine/plugin.c")).unwrap();
    assert_eq!(kept, "of my own");
    assert!(Path::new(&scratch.path().join("mine/.gitignore")).exists());
}
