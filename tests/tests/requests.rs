//! How the `heddle` command connects to a server: URL, TLS, tokens and headers, and its messages on failure.
#![allow(clippy::unwrap_used)] // a test may panic

use std::process::{Command, Output};

use heddle_tests::{
    Server, heddle, stdout,
    stub::{Reply, Request, Stub, authority},
};
use serde_json::json;

/// A command without the settings of the test's environment.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(heddle());
    for name in [
        "HEDDLE_SERVER",
        "HEDDLE_TOKEN",
        "HEDDLE_HEADERS",
        "HEDDLE_CA_CERT",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ] {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the command runs")
}

/// The message of a command that failed with this exit code.
fn refusal(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stderr.clone()).expect("stderr is text")
}

/// A TLS proxy that serves Heddle under `/heddle` to clients with the token.
fn proxy(server: &Server) -> Stub {
    let behind = format!("http://{}", server.address);
    Stub::start_tls(move |request| match request.path.strip_prefix("/heddle") {
        None => Reply::new(404, "text/html", "<html>"),
        Some(_) if request.header("authorization") != Some("Bearer open-sesame") => {
            Reply::new(401, "text/html", "<html>")
        }
        Some(path) => forward(request, &format!("{behind}{path}")),
    })
}

fn forward(request: &Request, url: &str) -> Reply {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let kind = request.header("content-type").unwrap_or("application/json");
    let answered = match &*request.method {
        "POST" => agent.post(url).header("content-type", kind).send(&request.body),
        _ => agent
            .get(url)
            .header("accept", request.header("accept").unwrap_or("*/*"))
            .call(),
    };
    let mut answer = answered.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    Reply::new(
        answer.status().as_u16(),
        &kind,
        answer.body_mut().read_to_vec().unwrap(),
    )
}

#[test]
fn a_server_is_reached_over_tls_under_the_path_of_a_proxy_with_a_token() {
    let server = Server::start();
    let proxy = proxy(&server);
    let url = format!("https://localhost:{}/heddle/", proxy.address.port());
    let (authority, file) = (
        authority(),
        heddle_tests::repository().join("plugins/starter/graph.json"),
    );
    let (authority, file) = (authority.to_str().unwrap(), file.to_str().unwrap());

    let create = [
        "--server",
        &url,
        "--ca-cert",
        authority,
        "--token",
        "open-sesame",
        "graph",
        "create",
        file,
    ];
    stdout(&run(&create));
    let followed = command(&["run", "starter", "--state", r#"{"input": "one 2"}"#, "--follow"])
        .env("HEDDLE_SERVER", &url)
        .env("HEDDLE_CA_CERT", authority)
        .env("HEDDLE_TOKEN", "open-sesame")
        .output()
        .unwrap();
    assert!(stdout(&followed).contains("run finished"), "{followed:?}");
    // The certificate authorities of the machine, which a variable names.
    let listed = command(&[
        "graph",
        "list",
        "--server",
        &url,
        "--header",
        "Authorization: Bearer open-sesame",
    ])
    .env("SSL_CERT_FILE", authority)
    .output()
    .unwrap();
    assert!(stdout(&listed).contains("starter"), "{listed:?}");

    let untrusted = refusal(
        &run(&["graph", "list", "--server", &url, "--token", "open-sesame"]),
        1,
    );
    assert!(untrusted.contains("--ca-cert"), "{untrusted}");
    let nobody = refusal(
        &run(&["graph", "list", "--server", &url, "--ca-cert", authority]),
        1,
    );
    assert!(nobody.contains("401") && nobody.contains("--token"), "{nobody}");
    let elsewhere = url.replace("/heddle/", "");
    let wrong = [
        "graph",
        "list",
        "--server",
        &elsewhere,
        "--ca-cert",
        authority,
        "--token",
        "open-sesame",
    ];
    let wrong = refusal(&run(&wrong), 1);
    assert!(wrong.contains("404") && wrong.contains("--server"), "{wrong}");
    let plain = format!("https://{}", server.address);
    let plain = refusal(
        &run(&["graph", "list", "--server", &plain, "--ca-cert", authority]),
        1,
    );
    assert!(plain.contains("http://"), "{plain}");
    let none = refusal(&run(&["graph", "list", "--server", &url, "--ca-cert", file]), 2);
    assert!(none.contains("--ca-cert expects a PEM file"), "{none}");
}

#[test]
fn the_server_is_named_before_or_after_the_command_and_without_a_scheme() {
    let server = Server::start();
    let port = server.address.rsplit_once(':').unwrap().1;
    let (localhost, url) = (format!("localhost:{port}"), format!("http://{}/", server.address));
    for arguments in [
        ["--server", &localhost, "plugin", "list"],
        ["plugin", "--server", &server.address, "list"],
        ["plugin", "list", "--server", &url],
    ] {
        assert!(stdout(&run(&arguments)).contains("starter@"), "{arguments:?}");
    }
    for (arguments, expected) in [
        (
            ["--server", "x", "serve"],
            "`heddle serve` does not connect to a server: remove --server",
        ),
        (["serve", "--token", "x"], "remove --token"),
        (
            ["store", "check", "--server=x"],
            "`heddle store check` does not connect to a server",
        ),
        (["graph", "list", "--server=ftp://x"], "neither http nor https"),
        (["graph", "list", "--header=x"], "expected 'NAME: VALUE'"),
        (
            ["graph", "list", "--header=X: y\r\nZ: 1"],
            "the value of `x` has a character that is not allowed in a header",
        ),
    ] {
        let stderr = refusal(&run(&arguments), 2);
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn headers_go_to_the_server_alone() {
    let elsewhere = Stub::start(|_| Reply::json(&json!({"graphs": []})));
    let to = format!("http://{}/", elsewhere.address);
    let server = Stub::start(move |request| match &*request.path {
        path if path.starts_with("/moved/") => Reply::new(302, "text/plain", "").with("location", &to),
        _ => Reply::json(&json!({"graphs": []})),
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headers");
    std::fs::write(&file, "X-One: 1\n\nX-Two: a:b\n").unwrap();
    let (file, url) = (
        format!("@{}", file.display()),
        format!("http://me:pa%20ss@{}", server.address),
    );
    stdout(&run(&[
        "graph",
        "list",
        "--server",
        &url,
        "--header",
        &file,
        "--header",
        "X-Three: 3",
    ]));
    let of_variable = command(&["graph", "list", "--server", &format!("http://{}", server.address)])
        .env("HEDDLE_HEADERS", "X-Four: 4\nX-Five: 5")
        .output()
        .unwrap();
    stdout(&of_variable);
    let requests = server.requests();
    let header = |n: usize, name| requests[n].header(name).unwrap_or("none").to_owned();
    assert_eq!(
        ["x-one", "x-two", "x-three", "authorization"].map(|name| header(0, name)),
        ["1", "a:b", "3", "Basic bWU6cGEgc3M="]
    );
    assert_eq!(["x-four", "x-five"].map(|name| header(1, name)), ["4", "5"]);

    let moved = format!("http://{}/moved", server.address);
    let moved = refusal(
        &run(&["graph", "list", "--server", &moved, "--header", "X-Key: 1"]),
        1,
    );
    assert!(
        moved.contains("redirects to") && moved.contains(&elsewhere.address.to_string()),
        "{moved}"
    );
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn no_password_is_shown_wherever_it_is_written() {
    // The proxy echoes the request.
    let parrot = Stub::start(|request| {
        let detail = format!("you are {:?}", request.header("authorization"));
        Reply::new(
            403,
            "application/problem+json",
            json!({"detail": detail}).to_string(),
        )
    });
    let parrot = parrot.address.to_string();
    let with_password = format!("http://me:hunter22@{parrot}");
    let mut commands = vec![
        command(&["graph", "list", "--server", "http://me:hunter22@127.0.0.1:1"]),
        command(&["graph", "list", "--server", "http://me:hunter22@127.0.0.1:port"]),
        command(&["graph", "list", "--server", "me:hunter22@127.0.0.1:1/?x"]),
        command(&["graph", "list", "--server", &with_password]),
        command(&["graph", "list", "--server", &parrot, "--token", "hunter22"]),
        command(&[
            "graph",
            "list",
            "--server",
            &parrot,
            "--header",
            "Authorization: Bearer hunter22",
        ]),
        command(&["graph", "list", "--server", &parrot, "--header", "hunter22"]),
        command(&["graph", "list", "http://me:hunter22@host"]),
        command(&["serve", "--store", "postgres://me:hunter22@host/db"]),
        command(&["serve", "--store", "me:hunter22@host"]),
        command(&[
            "store",
            "check",
            "--store",
            "postgres://me:hun/ter22@host/db?password=hunter22",
        ]),
        command(&["plugin", "add", "oci://me:hunter22@127.0.0.1:1/shout:1"]),
        command(&["plugin", "add", "https://me:hunter22@host/shout.wasm"]),
        command(&["plugin", "push", file!(), "me:hunter22@127.0.0.1:1/shout:1"]),
    ];
    let mut through_proxy = command(&["graph", "list", "--server", "http://heddle.invalid"]);
    through_proxy.env("HTTP_PROXY", "http://me:hunter22@127.0.0.1:1");
    commands.push(through_proxy);
    for mut command in commands {
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{command:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("error: "), "{command:?}: {stderr}");
        assert!(
            !stderr.contains("ter22") && output.stdout.is_empty(),
            "{command:?}: {output:?}"
        );
    }
    let help = command(&["graph", "list", "--help"])
        .env("HEDDLE_SERVER", "http://me:hunter22@host")
        .env("HEDDLE_TOKEN", "hunter22")
        .env("HEDDLE_HEADERS", "X-Key: hunter22")
        .output()
        .unwrap();
    let help = stdout(&help);
    assert!(
        help.contains("HEDDLE_TOKEN") && !help.contains("hunter22"),
        "{help}"
    );
}

#[test]
fn an_unreachable_server_is_reported_with_a_hint() {
    let nobody = refusal(&run(&["graph", "list", "--server", "http://127.0.0.1:1"]), 1);
    assert!(
        nobody.contains("is a server running at http://127.0.0.1:1?") && nobody.contains("`heddle serve`"),
        "{nobody}"
    );
    let no_heddle = Stub::start(|_| Reply::new(200, "text/html", "<html>"));
    let no_heddle = refusal(
        &run(&["graph", "list", "--server", &no_heddle.address.to_string()]),
        1,
    );
    assert!(no_heddle.contains("is it Heddle?"), "{no_heddle}");
}
