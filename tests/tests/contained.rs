//! Attacks on the operator's files and grants: the cache, folders, plugin names with grants, exports.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use heddle_tests::{Server, ServerConfig, component, heddle};
use serde_json::{Value, json};

fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().unwrap()
}

/// The fixture with another name and version, which is a different component.
fn built(identity: &str) -> Vec<u8> {
    let mut bytes = fs::read(component("fixtures/raw-tool")).unwrap();
    let section = "heddle-plugin";
    let len = |len: usize| u8::try_from(len).unwrap();
    bytes.extend([0, len(1 + section.len() + identity.len()), len(section.len())]);
    bytes.extend(section.bytes().chain(identity.bytes()));
    bytes
}

fn register(server: &Server, identity: &str, query: &str) -> heddle_tests::Response {
    let path = format!("/v1/plugins{query}");
    server.post_with(&path, &built(identity), &[("content-type", "application/wasm")])
}

fn command(server: &Server, arguments: &[&str]) -> Output {
    server
        .command(arguments)
        .current_dir(server.folder())
        .output()
        .unwrap()
}

/// A server with this policy.
fn with_policy(policy: &str) -> Server {
    let mut config = ServerConfig::default();
    let file = config.folder().join("policy.yaml");
    fs::write(&file, policy).unwrap();
    let arguments = ["--policy".to_owned(), file.display().to_string()];
    config.arguments.extend(arguments);
    Server::start_with_config(config)
}

#[test]
fn a_plugin_with_grants_is_neither_replaced_nor_removed_without_confirmation() {
    let server = with_policy("plugins: {granted: {clock: true}, later: {random: true}}");
    for identity in ["granted@99.0.0", "later@1.0.0"] {
        let problem = register(&server, identity, "").problem(409);
        assert_eq!(problem["type"], "urn:heddle:problem:name-granted", "{problem}");
        assert!(detail(&problem).contains("replace_granted=true"), "{problem}");
    }
    let problem = server.delete("/v1/plugins/granted?force=true").problem(409);
    assert!(detail(&problem).contains("clock: the real one"), "{problem}");
    server.get("/v1/plugins/granted").ok();
    let grants = server.get("/v1/plugins/later/grants").ok();
    assert_eq!(
        grants,
        json!({"plugin": "later", "grants": ["random: the real one"]})
    );
    // Names without grants can be replaced.
    assert_eq!(register(&server, "free@1.0.0", "").status, 201);

    let file = server.folder().join("later.wasm");
    fs::write(&file, built("later@1.0.0")).unwrap();
    let file = file.display().to_string();
    let refused = command(&server, &["plugin", "add", &file]);
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("grants of the name `later`:\n  random: the real one")
            && stderr.contains("--replace-granted"),
        "{stderr}"
    );
    let added = command(&server, &["plugin", "add", &file, "--replace-granted"]);
    assert_eq!(added.stdout, b"later@1.0.0\n", "{added:?}");
    let kept = command(&server, &["plugin", "remove", "later"]);
    assert_eq!(kept.status.code(), Some(1), "{kept:?}");
    let removed = command(&server, &["plugin", "remove", "later", "--replace-granted"]);
    assert!(removed.status.success(), "{removed:?}");
    // A confirmed registration survives a restart.
    assert_eq!(
        register(&server, "later@1.0.0", "?replace_granted=true").status,
        201
    );
    let server = server.restart();
    let later = server.get("/v1/plugins/later").ok();
    assert_eq!(later["versions"][0]["grants"], json!(["random: the real one"]));
}

#[test]
fn a_policy_with_digests_applies_only_to_these_components() {
    let digest = Command::new("sha256sum")
        .arg(component("fixtures/granted"))
        .output()
        .unwrap();
    let digest = String::from_utf8(digest.stdout).unwrap();
    let digest = &digest[..64];
    let policy = format!("plugins: {{granted: {{digest: 'sha256:{digest}', clock: true}}}}");
    let server = with_policy(&policy);
    let granted = server.get("/v1/plugins/granted").ok();
    assert_eq!(granted["versions"][0]["grants"], json!(["clock: the real one"]));
    let problem = register(&server, "granted@99.0.0", "?replace_granted=true").problem(409);
    assert!(
        detail(&problem).contains("to `digest` of plugin `granted`"),
        "{problem}"
    );
}

#[test]
fn no_policy_grants_a_folder_of_the_engine() {
    for (folder, what) in [
        ("", "contains the store"),
        ("plugins", "is in the plugins folder"),
        ("heddle.db.cache", "the cache of compiled plugins"),
        ("exports", "the folder of exported runs"),
    ] {
        let config = ServerConfig::default();
        let root = config.folder();
        for name in ["heddle.db.cache", "exports", "elsewhere"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        // A symbolic link to the folder is refused as well.
        let link = root.join("elsewhere/link");
        std::os::unix::fs::symlink(root.join(folder), &link).unwrap();
        for granted in [root.join(folder), link] {
            let policy = json!({"plugins": {"granted": {"dirs": [{"path": granted, "at": "/x"}]}}});
            let outside = tempfile::tempdir().unwrap();
            let file = outside.path().join("policy.json");
            fs::write(&file, policy.to_string()).unwrap();
            let output = Command::new(heddle())
                .args(["serve", "--listen", "127.0.0.1:0", "--store"])
                .arg(format!("sqlite:{}", config.store.display()))
                .arg("--plugins")
                .arg(root.join("plugins"))
                .arg("--export-before-forgetting")
                .arg(root.join("exports"))
                .arg("--policy")
                .arg(&file)
                .output()
                .unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{folder}: {stderr}");
            let named = granted.display().to_string();
            assert!(
                stderr.contains(&named) && (stderr.contains(what) || folder == "plugins"),
                "{folder}: {stderr}"
            );
        }
    }
}

#[test]
fn no_folder_of_the_engine_is_granted_over_http() {
    let server = Server::start_with(&["--grant-over-http"]);
    let policy = json!({"dirs": [{"path": server.folder(), "at": "/x", "write": true}]});
    let problem = server.put("/v1/plugins/granted/policy", &policy).problem(422);
    assert!(detail(&problem).contains("contains the store"), "{problem}");
}

/// The cache files of compiled components.
fn compiled(cache: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    let folders = folders.filter(|path| path.is_dir() && !path.ends_with("processes"));
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end == "code"))
        .collect();
    files.sort();
    files
}

#[test]
fn compiled_code_that_was_changed_or_replaced_is_compiled_again() {
    let mut config = ServerConfig::default();
    for plugin in fs::read_dir(config.folder().join("plugins")).unwrap() {
        let path = plugin.unwrap().path();
        if !path.ends_with("raw.wasm") && !path.ends_with("granted.wasm") {
            fs::remove_file(path).unwrap();
        }
    }
    // Its own cache and cache key.
    config.arguments.clear();
    let cache = config.folder().join("heddle.db.cache");
    let mut server = Server::start_with_config(config.clone());
    let [one, other] = &compiled(&cache)[..] else {
        panic!("{:?}", compiled(&cache))
    };
    let whole = [fs::read(one).unwrap(), fs::read(other).unwrap()];
    server.stop("TERM");
    // One file is that of another component. In the other, one bit of the code is flipped and the unkeyed checksum
    // corrected.
    fs::write(one, &whole[1]).unwrap();
    let mut flipped = whole[1].clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(other, &flipped).unwrap();
    let server = Server::start_with_config(config);
    for file in [one, other] {
        server.until_logged(&format!("{} is not used", file.display()));
    }
    assert_eq!(
        [fs::read(one).unwrap(), fs::read(other).unwrap()],
        whole,
        "both are mended"
    );
    assert_eq!(server.get("/v1/plugins/raw").status, 200);
}

#[cfg(unix)]
#[test]
fn files_with_content_of_runs_are_readable_only_by_their_owner() {
    use std::os::unix::fs::PermissionsExt;

    let server = Server::start();
    let graph = server.create(&json!({"nodes": {"extract": {}}}));
    let run = server.start_run(&graph, &json!({"input": "one two"}));
    server.wait(&run);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = server.folder().join("run.ndjson");
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let exported = command(&server, &["export", &run, "-o", "run.ndjson"]);
    assert!(exported.status.success(), "{exported:?}");
    assert_eq!(mode(&file), 0o600);
    let copy = server.folder().join("copy.db");
    let store = format!("sqlite:{}", server.folder().join("heddle.db").display());
    let copied = command(
        &server,
        &["store", "backup", "--store", &store, copy.to_str().unwrap()],
    );
    assert!(copied.status.success(), "{copied:?}");
    assert_eq!(mode(&copy), 0o600);
    assert_eq!(mode(&server.folder().join("heddle.db")), 0o600);
}
