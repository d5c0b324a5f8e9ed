//! `heddle serve --watch`: a changed file in the plugins folder is a new version for new runs.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{path::PathBuf, time::Instant};

use heddle_tests::{Server, ServerConfig, component};
use serde_json::{Value, json};

/// A component named `shop@VERSION` whose tool `goes-on` returns a key of this name, which has four letters.
fn shop(version: &str, key: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(component("fixtures/raw-tool")).unwrap();
    let (is, becomes) = (b"{\"went\": true", format!("{{\"{key}\": true"));
    assert_eq!(is.len(), becomes.len());
    let at = bytes.windows(is.len()).position(|window| window == is);
    let at = at.expect("the tool's answer stands in the component");
    bytes[at..at + is.len()].copy_from_slice(becomes.as_bytes());
    let (section, identity) = ("heddle-plugin", format!("shop@{version}"));
    let len = |len: usize| u8::try_from(len).unwrap();
    bytes.extend([0, len(1 + section.len() + identity.len()), len(section.len())]);
    bytes.extend(section.bytes().chain(identity.bytes()));
    bytes
}

struct WatchItem {
    server: Server,
    /// The watched file.
    file: PathBuf,
}

impl WatchItem {
    /// A server that watches its folder, which contains `shop@1.0.0`.
    fn start() -> Self {
        let mut config = ServerConfig::default();
        config.arguments.push("--watch".to_owned());
        let file = config.folder().join("plugins/shop.wasm");
        std::fs::write(&file, shop("1.0.0", "went")).unwrap();
        let server = Server::start_with_config(config);
        Self { server, file }
    }

    /// The versions of the plugin, newest first.
    fn versions(&self) -> Vec<String> {
        let plugin = self.server.get("/v1/plugins/shop").ok();
        let versions = plugin["versions"].as_array().unwrap().iter();
        versions
            .map(|version| version["version"].as_str().unwrap().to_owned())
            .collect()
    }

    /// A graph that waits for a signal before it calls the plugin.
    fn graph(&self) -> String {
        self.server.create(&json!({
            "start": "hold",
            "nodes": {"hold": {"wait": {"signal": "go"}}, "work": {"uses": "shop/goes-on"}, "done": {"sleep": "1ms"}},
            "edges": {"hold": "work", "work": "done"},
        }))
    }

    /// Sends the signal, waits for the end of the run, and returns its state.
    fn finish(&self, run: &str) -> Value {
        let signal = json!({"name": "go"});
        let sent = self.server.post(&format!("/v1/runs/{run}/signal"), &signal);
        assert!(sent.status < 300, "{sent:?}");
        let over = self.server.wait(run);
        assert_eq!(over["status"], "finished", "{over}");
        over["state"].clone()
    }
}

#[test]
fn a_changed_file_is_a_new_version_for_new_runs_only() {
    let watched = WatchItem::start();
    let server = &watched.server;
    let graph = watched.graph();
    let before = server.start_run(&graph, &json!({}));

    // Rebuilt plugins often keep their version number.
    let began = Instant::now();
    std::fs::write(&watched.file, shop("1.0.0", "more")).unwrap();
    server.until_logged("registered shop@1.0.0+");
    println!(
        "a changed file was registered after {} ms",
        began.elapsed().as_millis()
    );
    let versions = watched.versions();
    assert_eq!(versions.len(), 2, "{versions:?}");
    assert!(versions[0].starts_with("1.0.0+") && versions[1] == "1.0.0");
    let after = server.start_run(&graph, &json!({}));
    assert_eq!(
        watched.finish(&before)["went"],
        true,
        "a run in flight is untouched"
    );
    assert_eq!(watched.finish(&after)["more"], true);

    // A raised version number is that version.
    std::fs::write(&watched.file, shop("1.1.0", "then")).unwrap();
    server.until_logged("registered shop@1.1.0 with");
    let run = server.start_run(&graph, &json!({}));
    assert_eq!(watched.finish(&run)["then"], true);
}

#[test]
fn earlier_plugin_versions_return() {
    let watched = WatchItem::start();
    let graph = watched.graph();
    std::fs::write(&watched.file, shop("1.0.0", "more")).unwrap();
    watched.server.until_logged("registered shop@1.0.0+");
    std::fs::write(&watched.file, shop("1.0.0", "went")).unwrap();
    watched
        .server
        .until_logged("registered shop@1.0.0 with 5 functions, because");
    let run = watched.server.start_run(&graph, &json!({}));
    assert_eq!(watched.finish(&run)["went"], true);
}

#[test]
fn a_broken_file_removes_no_plugin_and_is_retried_when_it_changes() {
    let watched = WatchItem::start();
    let server = &watched.server;
    // A partial file, as during a slow build or copy.
    let whole = shop("2.0.0", "more");
    std::fs::write(&watched.file, &whole[..whole.len() / 2]).unwrap();
    server.until_logged("shop.wasm is not registered; the plugin that was registered from it stays: ");
    assert_eq!(watched.versions(), ["1.0.0"]);
    let log = server.log.lock().unwrap().clone();
    let log = log
        .lines()
        .find(|line| line.contains("is not registered"))
        .unwrap();
    assert!(log.contains("ERROR") && log.contains("damaged"), "{log}");
    let run = server.start_run(&watched.graph(), &json!({}));
    assert_eq!(watched.finish(&run)["went"], true);

    std::fs::write(&watched.file, &whole).unwrap();
    server.until_logged("registered shop@2.0.0 with");
    assert_eq!(watched.versions(), ["2.0.0", "1.0.0"]);
}

#[test]
fn an_added_file_is_registered_and_a_removed_file_keeps_its_plugin() {
    let watched = WatchItem::start();
    let server = &watched.server;
    let added = watched.file.with_file_name("given.wasm");
    std::fs::copy(component("fixtures/raw-tool"), &added).unwrap();
    server.until_logged("registered given@0.0.0 with");
    let graph = server.create(&json!({"nodes": {"t": {"uses": "given/as-given"}}}));
    assert_eq!(server.run(&graph, &json!({}))["status"], "finished");

    std::fs::remove_file(&added).unwrap();
    server.until_logged("given.wasm was removed; its registered plugin stays");
    assert_eq!(server.run(&graph, &json!({}))["status"], "finished");
}

#[test]
fn a_folder_that_reappears_is_watched_again() {
    let watched = WatchItem::start();
    let server = &watched.server;
    let folder = watched.file.parent().unwrap();
    let away = folder.with_file_name("away");
    std::fs::rename(folder, &away).unwrap();
    server.until_logged("cannot be read; its registered plugins stay");
    std::fs::rename(&away, folder).unwrap();
    server.until_logged("can be read again");
    std::fs::write(&watched.file, shop("1.2.0", "more")).unwrap();
    server.until_logged("registered shop@1.2.0 with");
    assert_eq!(watched.versions(), ["1.2.0", "1.0.0"]);
}

#[test]
fn a_server_that_watches_its_folder_stops_on_request() {
    let mut watched = WatchItem::start();
    // `stop` fails if the process does not exit.
    let (code, _) = watched.server.stop("TERM");
    assert_eq!(code, Some(0));
}
