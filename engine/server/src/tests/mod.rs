//! The server on a real socket, over an engine with empty ports: host and origin checks, the problem for each invalid
//! request, limits of connections, and the shutdown. The end-to-end tests have real runs.

mod connections;
mod empty_ports;
mod runs;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use heddle_runtime::{Engine, Ports, RandomIds, Settings, SystemClock};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use self::empty_ports::EmptyPorts;
use crate::{ServerSettings, serve};

struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl Server {
    async fn start(settings: ServerSettings) -> Self {
        let ports = Ports {
            store: Arc::new(EmptyPorts),
            functions: Arc::new(EmptyPorts),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
        };
        let engine = Engine::new(ports, Settings::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            serve(listener, engine, settings, shutdown)
                .await
                .expect("it has an address");
        });
        Self {
            address,
            stop: Some(stop),
            served,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address)
            .await
            .expect("the server listens")
    }

    /// Sends one request with an allowed host, and returns the whole response.
    async fn ask(&self, head: &str, body: &str) -> String {
        let mut stream = self.connect().await;
        let request = format!(
            "{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the server reads");
        rest(&mut stream).await
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A server without a free slot closes the connection without reading the request, which resets it.
    if let Err(error) = stream.read_to_end(&mut answer).await {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asserts that a response is a problem with this status and kind.
#[track_caller]
fn assert_problem(answer: &str, status: u16, slug: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(
        answer.contains("content-type: application/problem+json"),
        "{answer}"
    );
    assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
    assert!(
        answer.contains(&format!(r#""type":"urn:heddle:problem:{slug}""#)),
        "{answer}"
    );
    assert!(answer.contains(r#""detail":""#), "{answer}");
}

#[tokio::test]
async fn each_invalid_request_gets_a_problem() {
    let server = Server::start(ServerSettings {
        max_body_bytes: 100,
        ..ServerSettings::default()
    })
    .await;
    let json = "\r\nContent-Type: application/json";
    let run = "01a20505-02ed-773b-a8ec-000000000000";
    for (head, body, status, slug) in [
        ("GET /nowhere HTTP/1.1", "", 404, "no-such-path"),
        ("GET /docs/nowhere HTTP/1.1", "", 404, "no-such-path"),
        ("PUT /v1/runs HTTP/1.1", "", 405, "method-not-allowed"),
        ("POST /graph/run HTTP/1.1", "{}", 415, "wrong-content-type"),
        (
            "POST /graph/run HTTP/1.1\r\nContent-Type: text/plain",
            "{}",
            415,
            "wrong-content-type",
        ),
        (
            &format!("POST /v1/plugins HTTP/1.1{json}"),
            "{}",
            415,
            "wrong-content-type",
        ),
        (
            "POST /v1/plugins HTTP/1.1\r\nContent-Type: application/wasm",
            "x",
            422,
            "plugin-refused",
        ),
        (
            &format!("POST /graph/run HTTP/1.1{json}"),
            "{\n?",
            400,
            "bad-json",
        ),
        (
            &format!("POST /graph/create HTTP/1.1{json}"),
            "{",
            400,
            "bad-json",
        ),
        (
            &format!("POST /graph/create HTTP/1.1{json}"),
            "[]",
            422,
            "invalid-graph",
        ),
        (
            &format!("POST /graph/run HTTP/1.1{json}"),
            "{}",
            422,
            "invalid-request",
        ),
        (
            &format!("POST /v1/runs HTTP/1.1{json}"),
            r#"{"graph":"g","state":1}"#,
            422,
            "invalid-request",
        ),
        (
            &format!("POST /graph/run HTTP/1.1{json}"),
            r#"{"graph_id":"g"}"#,
            404,
            "no-such-graph",
        ),
        (
            &format!("POST /graph/run HTTP/1.1{json}"),
            &" ".repeat(101),
            413,
            "too-large",
        ),
        ("GET /v1/runs?page_size=many HTTP/1.1", "", 400, "bad-query"),
        ("GET /v1/runs?page=2 HTTP/1.1", "", 400, "bad-query"),
        ("GET /v1/runs/7 HTTP/1.1", "", 400, "bad-id"),
        ("GET /v1/graphs/%ff HTTP/1.1", "", 400, "bad-request"),
        ("GET /graph/state/7 HTTP/1.1", "", 404, "no-such-run"),
        (
            &format!("GET /graph/state/{run} HTTP/1.1"),
            "",
            404,
            "no-such-run",
        ),
        (
            &format!("GET /v1/runs/{run}/events HTTP/1.1"),
            "",
            404,
            "no-such-run",
        ),
        (
            &format!("GET /v1/runs/{run}/events HTTP/1.1\r\nAccept: text/event-stream"),
            "",
            404,
            "no-such-run",
        ),
        (
            &format!("POST /v1/graphs:check HTTP/1.1{json}"),
            "{",
            400,
            "bad-json",
        ),
        ("POST /v1/graphs:check HTTP/1.1", "{}", 415, "wrong-content-type"),
        ("GET /v1/graphs/g/picture HTTP/1.1", "", 404, "no-such-graph"),
        (
            "GET /v1/graphs/g/picture?format=png HTTP/1.1",
            "",
            400,
            "bad-query",
        ),
        (
            &format!("POST /v1/runs/{run}/signal HTTP/1.1{json}"),
            r#"{"name":"go"}"#,
            404,
            "no-such-run",
        ),
        (
            &format!("POST /v1/runs/{run}/signal HTTP/1.1{json}"),
            r#"{"payload":1}"#,
            422,
            "invalid-request",
        ),
        (
            &format!("POST /v1/runs/7/signal HTTP/1.1{json}"),
            r#"{"name":"go"}"#,
            400,
            "bad-id",
        ),
        (
            &format!("POST /v1/runs/{run}/cancel HTTP/1.1{json}"),
            "{}",
            404,
            "no-such-run",
        ),
        (
            &format!("POST /v1/runs/{run}/cancel HTTP/1.1{json}"),
            r#"{"why":"no"}"#,
            422,
            "invalid-request",
        ),
        (
            &format!("GET /ws/logs/{run} HTTP/1.1"),
            "",
            426,
            "web-socket-expected",
        ),
        ("GET /v1/tools/a/b HTTP/1.1", "", 404, "no-such-tool"),
        ("GET /v1/plugins/a HTTP/1.1", "", 404, "no-such-plugin"),
        ("GET /readyz HTTP/1.1", "", 503, "store-unavailable"),
        (
            "GET / HTTP/1.1\r\nOrigin: http://evil.example",
            "",
            403,
            "origin-not-allowed",
        ),
        ("GET http://evil.example/ HTTP/1.1", "", 421, "host-not-allowed"),
    ] {
        assert_problem(&server.ask(head, body).await, status, slug);
    }
}

#[tokio::test]
async fn a_check_returns_its_findings_with_status_200() {
    let server = Server::start(ServerSettings::default()).await;
    let head = "POST /v1/graphs:check HTTP/1.1\r\nContent-Type: application/json";
    let answer = server
        .ask(head, r#"{"nodes": {"a": {"sleep": "1s"}}, "edges": {"a": "b"}}"#)
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains(r#"{"valid":false,"findings":[{"pointer":"/edges/a","#)
            && answer.ends_with(r#""start":null}"#),
        "{answer}"
    );
    let answer = server.ask(head, r#"{"nodes": {"a": {"sleep": "1s"}}}"#).await;
    assert!(
        answer.ends_with(r#"{"valid":true,"findings":[],"start":"a"}"#),
        "{answer}"
    );
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_problem_without_its_message() {
    let server = Server::start(ServerSettings::default()).await;
    let answer = server.ask("GET /v1/graphs HTTP/1.1", "").await;
    assert_problem(&answer, 500, "internal");
    assert!(!answer.contains("insides"), "{answer}");
    assert!(
        server
            .ask("GET /healthz HTTP/1.1", "")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}

#[tokio::test]
async fn pages_of_an_allowed_origin_can_send_preflights_and_requests() {
    let settings = ServerSettings {
        allowed_origins: vec!["https://app.example".to_owned()],
        ..ServerSettings::default()
    };
    let server = Server::start(settings).await;
    let origin = "Origin: https://app.example";
    let preflight = format!("OPTIONS /graph/run HTTP/1.1\r\n{origin}\r\nAccess-Control-Request-Method: POST");
    let answer = server.ask(&preflight, "").await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(
        answer.contains("access-control-allow-origin: https://app.example"),
        "{answer}"
    );
    assert!(
        answer.contains("access-control-allow-headers: authorization, content-type"),
        "{answer}"
    );
    // Every method of some route is allowed, for example PUT for a policy.
    let api: serde_json::Value = serde_json::from_str(&crate::openapi()).expect("it is JSON");
    let items = api["paths"].as_object().expect("there are routes").values();
    for method in items.flat_map(|item| item.as_object().expect("an object").keys()) {
        let method = method.to_uppercase();
        let methods = answer
            .lines()
            .find(|line| line.starts_with("access-control-allow-methods: "));
        assert!(
            methods.is_some_and(|methods| methods.contains(&method)),
            "{method}: {answer}"
        );
    }
    let answer = server
        .ask(&format!("GET /v1/runs HTTP/1.1\r\n{origin}"), "")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("access-control-allow-origin: https://app.example"),
        "{answer}"
    );
    let answer = server.ask("GET /v1/runs HTTP/1.1", "").await;
    assert!(!answer.contains("access-control"), "{answer}");
}

#[tokio::test]
async fn the_console_and_the_docs_are_embedded_in_the_binary() {
    let server = Server::start(ServerSettings::default()).await;
    let page = server.ask("GET / HTTP/1.1", "").await;
    assert!(
        page.contains("content-security-policy: default-src 'none'; script-src 'self'"),
        "{page}"
    );
    for path in [
        "/",
        "/app.js",
        "/rows.js",
        "/json.js",
        "/graph.js",
        "/waits.js",
        "/style.css",
        "/favicon.svg",
        "/docs/",
        "/docs/swagger-ui.css",
    ] {
        let answer = server.ask(&format!("GET {path} HTTP/1.1"), "").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}");
    }
    let api = server.ask("GET /openapi.json HTTP/1.1", "").await;
    let (_, text) = api.split_once("\r\n\r\n").expect("a body");
    let api: serde_json::Value = serde_json::from_str(text).expect("the description is JSON");
    assert_eq!(api["openapi"], "3.1.0");
    for path in [
        "/graph/create",
        "/graph/run",
        "/graph/state/{run_id}",
        "/ws/logs/{run_id}",
        "/v1/graphs:check",
        "/v1/graph.schema.json",
        "/v1/graphs/{graph}/picture",
        "/v1/runs/{run_id}/signal",
        "/v1/runs/{run_id}/cancel",
        "/v1/tools/{plugin}/{tool}/call",
    ] {
        assert!(api["paths"][path].is_object(), "{path}");
    }
}

#[tokio::test]
async fn a_socket_on_an_unknown_run_is_closed_with_a_code_and_a_reason() {
    let server = Server::start(ServerSettings::default()).await;
    for (path, code, reason) in [
        (
            "01a20505-02ed-773b-a8ec-000000000000",
            4404_u16,
            "there is no run 01a20505",
        ),
        ("seven", 4400, "`seven` is not a run id"),
        (
            "01a20505-02ed-773b-a8ec-000000000000?after=x",
            4400,
            "`after`: expected a whole number",
        ),
    ] {
        let mut stream = server.connect().await;
        let request = format!(
            "GET /ws/logs/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the server reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.expect("the upgrade is answered"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        assert_eq!(
            stream.read_u8().await.expect("a frame"),
            0x88,
            "a whole close frame"
        );
        let len = stream.read_u8().await.expect("a length");
        assert_eq!(stream.read_u16().await.expect("a code"), code);
        let mut text = vec![0; usize::from(len) - 2];
        stream.read_exact(&mut text).await.expect("a reason");
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.starts_with(reason), "{text}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let settings = ServerSettings {
        max_connections: 1,
        write_timeout: Duration::from_millis(50),
        ..ServerSettings::default()
    };
    let server = Server::start(settings).await;
    let mut silent = server.connect().await;
    let flood = tokio::spawn(async move {
        // The client sends requests and reads nothing until the server closes the connection.
        let request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
        while silent.write_all(request).await.is_ok() {}
    });
    // The only slot is free again once that connection is closed.
    loop {
        let answer = server.ask("GET /healthz HTTP/1.1", "").await;
        if answer.starts_with("HTTP/1.1 200 ") {
            break;
        }
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 503 "),
            "{answer}"
        );
        tokio::task::yield_now().await;
    }
    flood.await.expect("it does not panic");
}

#[tokio::test]
async fn a_client_that_sends_an_incomplete_head_is_disconnected() {
    let settings = ServerSettings {
        header_timeout: Duration::from_millis(50),
        ..ServerSettings::default()
    };
    let server = Server::start(settings).await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost:")
        .await
        .expect("the server reads");
    rest(&mut slow).await;
}

#[tokio::test]
async fn the_shutdown_does_not_wait_for_idle_connections() {
    let mut server = Server::start(ServerSettings::default()).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .expect("the server reads");
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.expect("it is answered");
    assert_eq!(&first, b"HTTP/1.1 200");
    server
        .stop
        .take()
        .expect("it was not stopped yet")
        .send(())
        .expect("the server runs");
    rest(&mut idle).await;
    server.served.await.expect("the server ends");
}
