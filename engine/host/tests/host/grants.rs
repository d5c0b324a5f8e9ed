//! Granted access works and is logged; access that is not granted fails.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    time::Duration,
};

use heddle_kernel::graph::Bounds;
use heddle_runtime::ports::{Functions, PolicyRefused, PolicySource};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::server::{Answer, ReceivedRequest, Server};

/// The fixtures, each with these grants.
async fn host(policy: Value) -> Host {
    let policy = json!({"plugins": {"granted": policy, "outgoing": policy, "hostile": {}}});
    let names = ["fixtures/granted", "fixtures/outgoing", "fixtures/hostile"];
    host_with(granting(&policy.to_string()), &names).await
}

struct Seen {
    update: Value,
    lines: Vec<String>,
}

/// The result of a call and its log lines, or its failure.
async fn try_call(host: &Host, uses: &str, config: Value, grants: Option<Value>) -> Result<Seen, String> {
    let heard = Arc::new(Heard::default());
    let bounds = grants.map(|grants| {
        Arc::new(Bounds {
            of: format!("graph/{uses}/{grants}").into(),
            limits: None,
            grants: Some(object::to_json(&grants)),
        })
    });
    let call = Call {
        sink: heard.clone(),
        bounds,
        ..call(host, uses, "{}", &config.to_string())
    };
    let outcome = outcome(host, call).await.map_err(|failure| failure.to_string())?;
    let lines = heard.lines().into_iter();
    Ok(Seen {
        update: serde_json::from_str(&outcome.update.to_text()).unwrap(),
        lines: lines
            .map(|(level, line)| format!("{} {line}", level.as_str()))
            .collect(),
    })
}

async fn seen(host: &Host, uses: &str, config: Value) -> Seen {
    try_call(host, uses, config, None).await.unwrap()
}

async fn came_to(host: &Host, tries: &[&str]) -> (Vec<String>, Vec<String>) {
    let Seen { update, lines } = seen(host, "granted/files", json!({ "tries": tries })).await;
    (serde_json::from_value(update["came_to"].clone()).unwrap(), lines)
}

#[tokio::test]
async fn a_plugin_has_the_environment_that_it_is_granted() {
    let own = env!("CARGO_MANIFEST_DIR");
    let host = host(json!({"env": {"LANG": "C.UTF-8", "ROOT": {"from": "CARGO_MANIFEST_DIR"}}})).await;
    let Seen { update, lines } = seen(&host, "granted/env", json!(null)).await;
    assert_eq!(update, json!({"env": {"LANG": "C.UTF-8", "ROOT": own}}));
    assert_eq!(lines, ["info the environment was read: LANG, ROOT"]);
    let other = seen(&host, "hostile/clock", json!(null)).await;
    assert_eq!(other.update["env"], json!({}), "another plugin has none of it");
    let grants = &host.plugins()[0].grants;
    assert_eq!(*grants, ["env: LANG", "env: ROOT"], "without the values");
}

#[tokio::test]
async fn a_missing_variable_fails_the_step_with_a_policy_entry_to_add() {
    let host = host(json!({})).await;
    let failure = try_call(&host, "granted/variable", json!({"name": "LANG"}), None).await;
    let failure = failure.err().unwrap();
    assert!(
        failure.contains("environment variable not found; plugin `granted` has an empty environment")
            && failure.contains(r#"plugins: {"granted": {env: {NAME: value}}}"#),
        "{failure}"
    );
}

/// A folder with a file in it, and a file beside the folder that is not granted.
fn folder() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("data")).unwrap();
    fs::write(root.path().join("data/here.txt"), "here").unwrap();
    fs::write(root.path().join("secret.txt"), "secret").unwrap();
    symlink("../secret.txt", root.path().join("data/out")).unwrap();
    symlink(root.path().join("secret.txt"), root.path().join("data/far")).unwrap();
    symlink("..", root.path().join("data/up")).unwrap();
    symlink("here.txt", root.path().join("data/near")).unwrap();
    root
}

#[tokio::test]
async fn a_folder_is_read_only_and_nothing_leads_out_of_it() {
    let root = folder();
    let host = host(json!({"dirs": [{"path": root.path().join("data"), "at": "/data"}]})).await;
    let (came, lines) = came_to(&host, &["read /data/here.txt", "read /data/near", "list /data"]).await;
    assert_eq!(came, ["here", "here", "far here.txt near out up"]);
    assert!(
        lines.contains(&"info /data/here.txt was opened to read".to_owned()),
        "{lines:?}"
    );
    let outside = root.path().join("secret.txt");
    let outside = format!("read {}", outside.display());
    let (came, lines) = came_to(
        &host,
        &[
            "read /data/../secret.txt",
            "read /data/out",
            "read /data/far",
            "read /data/up/secret.txt",
            "list /data/up",
            "list /data/..",
            &outside,
            "read /etc/passwd",
            "write /data/here.txt",
            "write /data/new.txt",
            "remove /data/here.txt",
            "make /data/sub",
        ],
    )
    .await;
    for came in &came {
        assert!(came.starts_with("no: "), "{came}");
    }
    let refused = "warn /data/new.txt was not opened to write: it is not permitted".to_owned();
    assert!(lines.contains(&refused), "{lines:?}");
    assert_eq!(
        fs::read_to_string(root.path().join("data/here.txt")).unwrap(),
        "here"
    );
    assert_eq!(fs::read_dir(root.path().join("data")).unwrap().count(), 5);
}

#[tokio::test]
async fn a_folder_that_may_be_written_to_is_and_still_nothing_leads_out_of_it() {
    let root = folder();
    let dir = json!({"path": root.path().join("data"), "at": "/data", "write": true});
    let host = host(json!({ "dirs": [dir] })).await;
    let tries = [
        "write /data/new.txt",
        "make /data/sub",
        "remove /data/near",
        "write /data/out",
        "write /data/../x",
    ];
    let (came, lines) = came_to(&host, &tries).await;
    assert_eq!(came[..3], ["done", "done", "done"]);
    assert!(came[3..].iter().all(|came| came.starts_with("no: ")), "{came:?}");
    assert!(
        lines.contains(&"info /data/new.txt was opened to write".to_owned()),
        "{lines:?}"
    );
    assert_eq!(
        fs::read_to_string(root.path().join("data/new.txt")).unwrap(),
        "written"
    );
    assert_eq!(
        fs::read_to_string(root.path().join("secret.txt")).unwrap(),
        "secret"
    );
    assert!(!root.path().join("x").exists());
}

#[tokio::test]
async fn a_missing_file_fails_the_step_with_a_policy_entry_to_add() {
    let root = folder();
    let none = host(json!({})).await;
    let file = |what: &str| json!({ "tries": [what] });
    let failure = try_call(&none, "granted/file", file("read /data/here.txt"), None).await;
    let failure = failure.err().unwrap();
    assert!(
        failure.contains(
            "plugin `granted` has no folder. To grant one, add to the policy: plugins: {\"granted\": {dirs:"
        ),
        "{failure}"
    );
    let reads = host(json!({"dirs": [{"path": root.path().join("data"), "at": "/data"}]})).await;
    let failure = try_call(&reads, "granted/file", file("write /data/new.txt"), None).await;
    let failure = failure.err().unwrap();
    assert!(
        failure.contains("To let it write, add `write: true`"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_pipe_a_socket_or_a_device_in_a_folder_is_not_opened_and_holds_up_nothing() {
    let root = folder();
    let data = root.path().join("data");
    let mkfifo = std::process::Command::new("mkfifo")
        .arg(data.join("pipe"))
        .status();
    assert!(mkfifo.unwrap().success());
    symlink("pipe", data.join("to-pipe")).unwrap();
    let _listener = UnixListener::bind(data.join("socket")).unwrap();
    let host = host(json!({"dirs": [
        {"path": data, "at": "/data", "write": true},
        {"path": "/dev", "at": "/dev", "write": true},
    ]}))
    .await;
    let tries = [
        "read /data/pipe",
        "write /data/pipe",
        "read /data/to-pipe",
        "write /data/to-pipe",
        "read /data/socket",
        "read /dev/zero",
        "write /dev/null",
        "read /dev/tty",
        "list /data/pipe",
    ];
    let (came, lines) = soon(came_to(&host, &tries)).await;
    for (what, came) in tries.iter().zip(&came) {
        assert!(came.starts_with("no: "), "{what}: {came}");
    }
    for (path, to, what) in [
        ("/data/pipe", "read", "a pipe (FIFO)"),
        ("/data/pipe", "write", "a pipe (FIFO)"),
        ("/data/to-pipe", "read", "a pipe (FIFO)"),
        ("/data/socket", "read", "a socket"),
        ("/dev/zero", "read", "a device"),
        ("/dev/null", "write", "a device"),
    ] {
        let line = format!(
            "warn {path} was not opened to {to}: it is {what}, and only regular files and directories are opened"
        );
        assert!(lines.contains(&line), "{line}: {lines:?}");
    }
    // Everything else in the folder is unchanged.
    let (came, _) = came_to(&host, &["list /data", "read /data/here.txt", "remove /data/pipe"]).await;
    assert_eq!(
        came,
        ["far here.txt near out pipe socket to-pipe up", "here", "done"]
    );
    let file = json!({"tries": ["read /data/socket"]});
    let failure = try_call(&host, "granted/file", file, None).await.err().unwrap();
    assert!(
        failure.ends_with(
            "; /data/socket was not opened: it is a socket, and only regular files and directories are opened"
        ),
        "{failure}"
    );
}

#[tokio::test]
async fn a_file_is_read_written_and_added_to_in_any_size() {
    let root = folder();
    let data = root.path().join("data");
    let host = host(json!({"dirs": [{"path": data, "at": "/data", "write": true}]})).await;
    let text = "warp and weft\n".repeat(100_000);
    fs::write(data.join("long.txt"), &text).unwrap();
    fs::write(data.join("empty.txt"), "").unwrap();
    let (came, _) = came_to(&host, &["read /data/long.txt", "read /data/empty.txt"]).await;
    assert!(came[0] == text && came[1].is_empty());
}

#[tokio::test]
async fn a_flood_of_opened_files_is_logged_up_to_a_limit() {
    let root = folder();
    let host = host(json!({"dirs": [{"path": root.path().join("data"), "at": "/data"}]})).await;
    let (came, lines) = came_to(&host, &["read /data/here.txt"; 150]).await;
    assert_eq!(came.len(), 150);
    assert_eq!(lines.len(), 101);
    assert!(lines[100].contains("more than 100 files"), "{}", lines[100]);
}

#[tokio::test]
async fn clocks_and_randomness_are_real_where_they_are_granted_and_repeatable_elsewhere() {
    let pure = host(json!({})).await;
    let real = host(json!({"clock": true, "random": true})).await;
    let one = seen(&pure, "granted/moment", json!(null)).await;
    let other = seen(&pure, "granted/moment", json!(null)).await;
    assert_eq!(one.update, other.update, "bit for bit");
    assert_eq!(one.update["wall_ms"], json!(1_700_000_000_123_u64));
    assert!(one.lines.is_empty());
    let before = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let one = seen(&real, "granted/moment", json!(null)).await;
    let other = seen(&real, "granted/moment", json!(null)).await;
    assert_ne!(one.update["random"], other.update["random"]);
    let wall = Duration::from_millis(one.update["wall_ms"].as_u64().unwrap());
    assert!(wall + Duration::from_millis(1) >= before, "{wall:?}");
    assert!(one.update["slept_us"].as_u64().unwrap() >= 20_000);
    assert_eq!(one.lines.len(), 2, "each use is logged once: {:?}", one.lines);
    for line in ["info the real clock was read", "info real randomness was drawn"] {
        assert!(one.lines.iter().any(|logged| logged == line), "{:?}", one.lines);
    }
}

#[tokio::test]
async fn a_socket_is_never_had_and_the_step_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = host(json!({"http": [format!("http://127.0.0.1:{port}")]})).await;
    for to in [
        format!("tcp 127.0.0.1:{port}"),
        format!("udp 127.0.0.1:{port}"),
        format!("lookup localhost:{port}"),
    ] {
        let failure = try_call(&host, "granted/socket", json!({ "to": to }), None).await;
        let failure = failure.err().unwrap();
        assert!(
            failure.contains("asked for a socket, which no policy can grant"),
            "{to}: {failure}"
        );
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody came");
}

/// The value of the secret in the tests.
const VALUE: &str = "sk-correct-horse-battery";

/// A policy that allows requests to both hosts, and the secret to the first one.
fn secretive(file: &Path, to: &Server, other: &Server) -> Value {
    json!({
        "http": [to.url(""), other.url("")],
        "secrets": {"key": {"file": file, "hosts": [to.url("")]}},
    })
}

fn secret_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{VALUE}\n")).unwrap();
    file
}

/// Returns what it received.
fn echo(request: &ReceivedRequest) -> Answer {
    Answer::ok(request.header("authorization").unwrap_or("nothing"))
}

fn with_header(url: &str, value: &str) -> Value {
    json!({"urls": [url], "headers": [["authorization", value]]})
}

#[tokio::test]
async fn a_secret_goes_to_its_host_and_the_guest_never_sees_it() {
    let file = secret_file();
    let (server, other) = (Server::answering(echo).await, Server::answering(echo).await);
    let host = host(secretive(file.path(), &server, &other)).await;
    let config = with_header(&server.url("/v1"), "Bearer ${secret.key}");
    let Seen { update, lines } = seen(&host, "outgoing/fetch", config).await;
    let sent = server.requests();
    let sent = sent[0].header("authorization");
    assert_eq!(sent, Some(format!("Bearer {VALUE}").as_str()));
    assert_eq!(update["answers"], json!(["Bearer [secret]"]), "what came back");
    let expected = format!("info the secret `key` is sent to {}", server.url(""));
    assert_eq!(lines[0], expected);
    assert!(!update.to_string().contains(VALUE) && !lines.concat().contains(VALUE));
    let plugins = format!("{:?}", host.plugins());
    assert!(plugins.contains("secret: key for ") && !plugins.contains(VALUE));
    assert!(!format!("{:?}", host.settings()).contains(VALUE));
}

#[tokio::test]
async fn a_secret_is_sent_to_its_hosts_only_and_an_unknown_one_is_refused_with_a_policy_entry() {
    let file = secret_file();
    let (server, other) = (Server::answering(echo).await, Server::answering(echo).await);
    let host = host(secretive(file.path(), &server, &other)).await;
    for (url, value, expected) in [
        (
            other.url("/"),
            "${secret.key}",
            format!(
                "may not go to {0}. To allow it, add \"{0}\" to the `hosts`",
                other.url("")
            ),
        ),
        (
            server.url("/"),
            "${secret.open-ai}",
            format!(
                "was not granted the secret `open-ai`. To allow it, add to the policy: plugins: {{\"outgoing\": \
                 {{secrets: {{\"open-ai\": {{from_env: OPEN_AI, hosts: [\"{}\"]}}}}}}}}",
                server.url("")
            ),
        ),
        (
            server.url("/"),
            "${secret.key",
            "is not followed by `}`".to_owned(),
        ),
    ] {
        let Seen { update, lines } = seen(&host, "outgoing/fetch", with_header(&url, value)).await;
        let answer = update["answers"][0].as_str().unwrap();
        assert!(
            answer.starts_with("Permanent: ") && answer.contains(&expected),
            "{answer}"
        );
        assert!(
            lines[0].starts_with("warn ") && lines[0].contains(&expected),
            "{lines:?}"
        );
    }
    assert!(server.requests().is_empty() && other.requests().is_empty());
    // A reference in a path is not replaced.
    let config = json!({"urls": [server.url("/$%7Bsecret.key%7D")]});
    seen(&host, "outgoing/fetch", config).await;
    assert!(!server.requests()[0].line.contains(VALUE));
}

#[tokio::test]
async fn a_policy_that_grants_something_absent_prevents_the_start() {
    for (policy, expected) in [
        (
            json!({"env": {"A": {"from": "HEDDLE_NOT_SET_ANYWHERE"}}}),
            "env: A: the server's environment has no",
        ),
        (
            json!({"dirs": ["/no/such/folder"]}),
            "the folder /no/such/folder is not available",
        ),
        (
            json!({"secrets": {"a": {"file": "/no/such/file", "hosts": ["a.org"]}}}),
            "secrets: a: the file /no/such/file cannot be read",
        ),
    ] {
        let policy = json!({"plugins": {"granted": policy}}).to_string();
        let error = Host::new(granting(&policy)).err().unwrap().to_string();
        assert!(
            error.starts_with("the policy of plugin `granted`: ") && error.contains(expected),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_node_narrows_the_grants_of_its_plugin_and_never_widens_them() {
    let root = folder();
    let (server, file) = (Server::answering(echo).await, secret_file());
    let host = host(json!({
        "http": [server.url("")],
        "secrets": {"key": {"file": file.path(), "hosts": [server.url("")]}},
        "env": {"A": "1", "B": "2"},
        "dirs": [{"path": root.path().join("data"), "at": "/data"}],
        "clock": true,
    }))
    .await;
    let env = async |grants: Value| {
        let seen = try_call(&host, "granted/env", json!(null), Some(grants)).await;
        seen.unwrap().update["env"].clone()
    };
    assert_eq!(env(json!({})).await, json!({}));
    assert_eq!(env(json!({"env": ["B", "C"]})).await, json!({"B": "2"}));
    let write = json!({"tries": ["write /data/new.txt"]});
    let wider = json!({"dirs": [{"at": "/data", "write": true}], "random": true});
    let failure = try_call(&host, "granted/file", write, Some(wider.clone())).await;
    assert!(failure.is_err(), "the plugin may only read");
    let moment = async |grants: Value| {
        let seen = try_call(&host, "granted/moment", json!(null), Some(grants)).await;
        seen.unwrap().update
    };
    assert_eq!(
        moment(wider.clone()).await,
        moment(wider).await,
        "no clock is left, and randomness is not granted"
    );

    let url = server.url("/v1/a");
    let plain = json!({ "urls": [url] });
    let grants = json!({"http": [{"host": server.url(""), "paths": ["/v2/"]}]});
    let fetched = try_call(&host, "outgoing/fetch", plain.clone(), Some(grants))
        .await
        .unwrap();
    let answer = fetched.update["answers"][0].as_str().unwrap().to_owned();
    assert!(
        answer.contains("the node's `grants` leave out the request"),
        "{answer}"
    );
    let grants = json!({"http": [server.url("")]});
    let fetched = try_call(&host, "outgoing/fetch", plain, Some(grants.clone()))
        .await
        .unwrap();
    assert_eq!(fetched.update["answers"], json!(["nothing"]));
    let secret = with_header(&url, "${secret.key}");
    let fetched = try_call(&host, "outgoing/fetch", secret, Some(grants))
        .await
        .unwrap();
    let answer = fetched.update["answers"][0].as_str().unwrap().to_owned();
    assert!(answer.contains("leave out the secret `key`"), "{answer}");
    let failure = try_call(
        &host,
        "granted/file",
        json!({"tries": ["read /data/here.txt"]}),
        Some(json!({})),
    );
    let failure = failure.await.err().unwrap();
    assert!(
        failure.contains("has no folder (the node's `grants` narrow what it has)"),
        "{failure}"
    );
}

#[tokio::test]
async fn invalid_grants_of_a_node_are_reported_with_their_pointers() {
    let host = host(json!({})).await;
    let check = |grants: Value| host.check_bounds("granted/env", None, Some(&object::to_json(&grants)));
    assert_eq!(check(json!({"http": ["a.org"], "clock": true})), Ok(()));
    let problems = check(json!({"http": ["a.org/v1"], "sockets": []})).unwrap_err();
    let places: Vec<_> = problems.iter().map(|(at, _)| at.as_str()).collect();
    assert_eq!(places, ["/grants/http/0", "/grants/sockets"]);
}

#[tokio::test]
async fn grants_can_be_set_while_the_host_runs() {
    let policy = json!({"plugins": {"hostile": {"clock": true}}}).to_string();
    let host = host_with(granting(&policy), &["fixtures/granted", "fixtures/hostile"]).await;
    let function = host.resolve("granted/env").unwrap().function;
    assert!(!host.is_granted(&function));
    let body = |body: Value| object::to_json(&body);
    host.set_policy("granted", Some(body(json!({"env": {"A": "1"}}))))
        .await
        .unwrap();
    assert!(host.is_granted(&function));
    let update = seen(&host, "granted/env", json!(null)).await.update;
    assert_eq!(update, json!({"env": {"A": "1"}}));
    let info = host.policy("granted");
    assert_eq!(
        (info.source, info.grants),
        (PolicySource::Set, vec!["env: A".to_owned()])
    );
    assert_eq!(host.plugins()[0].grants, ["env: A"]);

    for (name, policy, expected) in [
        ("hostile", json!({}), "the policy file says"),
        ("granted", json!({"htp": []}), "/htp: unknown field"),
        (
            "granted",
            json!({"env": {"A": {"from": "HEDDLE_NOT_SET_ANYWHERE"}}}),
            "has no HEDDLE_NOT_SET",
        ),
        ("A b", json!({}), "is not a valid name for a plugin"),
    ] {
        let refused = host.check_policy(name, body(policy.clone())).await.unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
        assert_eq!(
            host.set_policy(name, Some(body(policy))).await.unwrap_err(),
            refused
        );
    }
    assert!(matches!(
        host.set_policy("hostile", None).await,
        Err(PolicyRefused::Fixed(_))
    ));
    host.set_policy("granted", None).await.unwrap();
    assert!(!host.is_granted(&function) && host.plugins()[0].grants.is_empty());
    assert_eq!(
        seen(&host, "granted/env", json!(null)).await.update,
        json!({"env": {}})
    );

    // A policy that is set before the plugin is registered applies to it.
    host.set_policy("outgoing", Some(body(json!({"random": true}))))
        .await
        .unwrap();
    let info = register(&host, component("fixtures/outgoing"), None)
        .await
        .unwrap();
    assert_eq!(info.grants, ["random: the real one"]);
}
