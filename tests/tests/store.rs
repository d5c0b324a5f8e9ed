//! `heddle store` on real stores: of a running server, damaged ones, and those of older versions.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use heddle_tests::{Server, heddle, repository};
use serde_json::{Value, json};
use tempfile::TempDir;

fn store(path: &Path, arguments: &[&str]) -> Output {
    Command::new(heddle())
        .arg("store")
        .args(arguments)
        .env("HEDDLE_STORE", format!("sqlite:{}", path.display()))
        .output()
        .expect("the command runs")
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).expect("it is text")
}

/// A copy of the golden file of a format, in its own folder.
fn golden(format: i32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heddle.db");
    let kept = repository().join(format!("engine/store/tests/golden/{format}.db"));
    fs::copy(kept, &path).unwrap();
    (folder, path)
}

#[test]
fn a_store_is_checked_and_copied_while_its_server_runs() {
    let mut server = Server::start();
    let graph = server.create(&json!({"nodes": {"extract": {}}}));
    let run = server.start_run(&graph, &json!({"input": "one two"}));
    server.wait(&run);
    let path = server.folder().join("heddle.db");

    let checked = store(&path, &["check", "--json"]);
    assert!(checked.status.success(), "{checked:?}");
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(
        (&report["sound"], &report["runs"]),
        (&json!(true), &json!(1)),
        "{report}"
    );
    assert!(report["plugins"].as_u64() > Some(1), "{report}");

    let copy = server.folder().join("copy.db");
    let copied = store(&path, &["backup", copy.to_str().unwrap()]);
    assert!(copied.status.success(), "{copied:?}");
    assert!(
        text(&copied.stdout).ends_with("OK, no damage found\n"),
        "{copied:?}"
    );
    // An existing file is not overwritten.
    let bytes = fs::read(&copy).unwrap();
    let refused = store(&path, &["backup", copy.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("exists"), "{refused:?}");
    assert_eq!(fs::read(&copy).unwrap(), bytes);
    // The store of a running server is not migrated.
    let refused = store(&path, &["migrate"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("in use"), "{refused:?}");

    // The server continued meanwhile, and the copy can be served instead.
    let later = server.start_run(&graph, &json!({}));
    server.wait(&later);
    server.kill();
    fs::rename(&copy, &path).unwrap();
    for rest in ["heddle.db-wal", "heddle.db-shm"] {
        let _ = fs::remove_file(path.with_file_name(rest));
    }
    let server = server.restart();
    let listed = server.get("/v1/runs").ok();
    let runs = listed["runs"].as_array().expect("a list");
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert!(runs[0].to_string().contains(&run), "{runs:?}");
}

#[test]
fn damage_is_reported_for_each_run() {
    let (_folder, path) = golden(3);
    let sound = store(&path, &["check"]);
    assert!(sound.status.success(), "{sound:?}");
    assert!(
        text(&sound.stdout).ends_with("OK, no damage found\n"),
        "{sound:?}"
    );

    let mut bytes = fs::read(&path).unwrap();
    let needle = b"let me look";
    let at = bytes
        .windows(needle.len())
        .position(|found| found == needle)
        .unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let output = store(&path, &["check"]);
    assert_eq!(output.status.code(), Some(1));
    let run = "run 01890000-0000-7000-8000-00000000000d: ";
    assert!(text(&output.stdout).contains(run), "{output:?}");
    assert!(text(&output.stdout).ends_with("1 problem found\n"), "{output:?}");
    let output = store(&path, &["check", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        report["problems"][0]["run"],
        "01890000-0000-7000-8000-00000000000d"
    );

    // A file that is not a store, and a missing file.
    let text_file = path.with_file_name("text");
    fs::write(&text_file, "no store ".repeat(1_000)).unwrap();
    for (path, says) in [
        (text_file, "not a store"),
        (path.with_file_name("missing.db"), "no such file"),
    ] {
        let refused = store(&path, &["check"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains(says), "{refused:?}");
    }
    assert!(!path.with_file_name("missing.db").exists());
}

#[test]
fn an_older_store_is_migrated_with_a_copy_beside_it() {
    for format in [1, 2, 3, 4] {
        let (_folder, path) = golden(format);
        let before = store(&path, &["check"]);
        assert!(before.status.success(), "{before:?}");
        assert!(
            text(&before.stdout).contains(&format!("format {format},")),
            "{before:?}"
        );

        let migrated = store(&path, &["migrate"]);
        assert!(migrated.status.success(), "{migrated:?}");
        let stdout = text(&migrated.stdout);
        assert!(
            stdout.contains(&format!("from format {format} to format 7")),
            "{stdout}"
        );
        let backup = path.with_file_name(format!("heddle.db.v{format}.bak"));
        assert!(stdout.contains(&backup.display().to_string()), "{stdout}");
        let kept = store(&backup, &["check"]);
        assert!(
            text(&kept.stdout).contains(&format!("format {format},")),
            "{kept:?}"
        );
        let after = store(&path, &["check"]);
        assert!(after.status.success(), "{after:?}");
        assert!(text(&after.stdout).contains("format 7,"), "{after:?}");

        let again = store(&path, &["migrate"]);
        assert!(text(&again.stdout).contains("the newest"), "{again:?}");
    }
    // Without a copy; an existing copy is not overwritten.
    let (_folder, path) = golden(1);
    let backup = path.with_file_name("heddle.db.v1.bak");
    fs::write(&backup, "something else").unwrap();
    let refused = store(&path, &["migrate"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(fs::read(&backup).unwrap(), b"something else");
    let migrated = store(&path, &["migrate", "--no-backup"]);
    assert!(migrated.status.success(), "{migrated:?}");
}
