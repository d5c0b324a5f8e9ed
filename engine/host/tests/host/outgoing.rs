//! Plugins that make requests: granted requests are sent with the call's idempotency key, and no others.

use std::time::{Duration, Instant};

use heddle_kernel::FailureKind;
use heddle_runtime::ports::Functions;
use serde_json::{Value, json};

use super::*;
use crate::server::{Answer, Server, tls};

/// The idempotency key of the calls that `call` makes.
const KEY: &str = "00000000-0000-0000-0000-000000000007-3";

/// A policy with these HTTP grants for the fixture and for the plugin `http`.
fn http(grants: &Value) -> HostSettings {
    granting(&json!({"plugins": {"outgoing": {"http": grants}, "http": {"http": grants}}}).to_string())
}

async fn host(settings: HostSettings) -> Host {
    host_with(settings, &["fixtures/outgoing", "fixtures/hostile", "http"]).await
}

/// A host that may send any request to the server.
async fn host_for(server: &Server) -> Host {
    host(http(&json!([server.url("")]))).await
}

struct Fetched {
    key: String,
    answers: Vec<String>,
    lines: Vec<(Level, String)>,
}

impl Fetched {
    /// The only error, which is also logged as a warning.
    fn refusal(&self) -> &str {
        let refusal = self.answers[0]
            .strip_prefix("Permanent: ")
            .expect("it was refused");
        assert_eq!(self.lines, [(Level::Warn, refusal.to_owned())]);
        refusal
    }
}

/// What a call of the fixture's `fetch` sees, and its log lines.
async fn fetch(host: &Host, config: Value) -> Fetched {
    let heard = Arc::new(Heard::default());
    let call = Call {
        sink: heard.clone(),
        ..call(host, "outgoing/fetch", "{}", &config.to_string())
    };
    let update = outcome(host, call).await.unwrap().update.to_text();
    let update: Value = serde_json::from_str(&update).unwrap();
    Fetched {
        key: update["key"].as_str().unwrap().to_owned(),
        answers: serde_json::from_value(update["answers"].clone()).unwrap(),
        lines: heard.lines(),
    }
}

fn some(keys: &[&str]) -> Vec<Option<String>> {
    keys.iter().map(|&key| Some(key.to_owned())).collect()
}

/// A call of `http/request` as a node.
fn request(host: &Host, url: &str, attempt: u32) -> Call {
    Call {
        mapped: true,
        attempt,
        ..call(host, "http/request", &json!({ "url": url }).to_string(), "null")
    }
}

#[tokio::test]
async fn each_request_of_a_call_carries_the_calls_key_with_its_number() {
    let server = Server::answering(|request| Answer::ok(&request.line)).await;
    let host = host_for(&server).await;
    let urls = [server.url("/a?b=c"), server.url("/d"), server.url("")];
    let fetched = fetch(&host, json!({ "urls": urls })).await;
    assert_eq!(fetched.answers, ["GET /a?b=c", "GET /d", "GET /"]);
    assert_eq!(fetched.key, KEY, "the guest sees it");
    let keys = some(&[KEY, &format!("{KEY}:2"), &format!("{KEY}:3")]);
    assert_eq!(server.keys(), keys);
    for (request, (level, line)) in server.requests().iter().zip(&fetched.lines) {
        assert_eq!(request.header("host"), Some(server.address.to_string().as_str()));
        let path = request.line.split(['?', ' ']).nth(1).unwrap();
        let shown = format!("GET {} answered 200 in ", server.url(path));
        assert!(*level == Level::Info && line.starts_with(&shown), "{line}");
    }
    let own = json!({"urls": [server.url("/")], "headers": [["Idempotency-Key", "the-guests-own"]]});
    fetch(&host, own).await;
    assert_eq!(server.keys()[3..], some(&["the-guests-own"]));
}

#[tokio::test]
async fn a_second_attempt_carries_the_same_key_on_this_host_and_on_another() {
    let answered = std::sync::atomic::AtomicUsize::new(0);
    let server =
        Server::answering(
            move |_| match answered.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => Answer::Of(503, "", b"later".to_vec()),
                _ => Answer::Of(200, "content-type: application/json\r\n", b"{\"n\": 1}".to_vec()),
            },
        )
        .await;
    let host = host_for(&server).await;
    let failure = outcome(&host, request(&host, &server.url("/"), 1))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Retryable, "{failure}");
    let second = outcome(&host, request(&host, &server.url("/"), 2)).await.unwrap();
    assert_eq!(second.update.get("body").unwrap().get(), r#"{"n":1}"#);
    drop(host);
    let fresh = host_for(&server).await;
    outcome(&fresh, request(&fresh, &server.url("/"), 3))
        .await
        .unwrap();
    assert_eq!(server.keys(), some(&[KEY, KEY, KEY]));
}

#[tokio::test]
async fn a_tool_that_a_plugin_calls_has_a_key_of_its_own() {
    let server = Server::answering(|_| Answer::ok("")).await;
    let host = host_for(&server).await;
    let config = json!({"tool": "http/request", "input": {"url": server.url("/")}});
    run(&host, "hostile/call", "{}", &config.to_string())
        .await
        .unwrap();
    assert_eq!(server.keys(), some(&[&format!("{KEY}/1")]));
}

#[tokio::test]
async fn a_tool_called_outside_of_any_run_has_no_key() {
    let server = Server::answering(|_| Answer::ok("hello")).await;
    let host = host_for(&server).await;
    let input = json!({ "url": server.url("/") }).to_string();
    let answer = call_tool(&host, "http/request", &input).await.unwrap();
    let answer: Value = serde_json::from_str(answer.get()).unwrap();
    assert_eq!(
        (&answer["status"], &answer["body"]),
        (&json!(200), &json!("hello"))
    );
    assert_eq!(
        server.keys(),
        [None],
        "made again, it is meant to be another request"
    );
}

#[tokio::test]
async fn a_plugin_without_a_grant_registers_and_its_requests_are_refused() {
    let server = Server::answering(|_| Answer::ok("")).await;
    let host = host(settings()).await;
    let fetched = fetch(&host, json!({"urls": [server.url("/a?secret")]})).await;
    let (url, origin) = (server.url("/a"), server.url(""));
    assert_eq!(
        fetched.refusal(),
        format!(
            "plugin `outgoing` was not granted the request GET {url}. To allow it, add to the policy: \
             plugins: {{\"outgoing\": {{http: [{{host: \"{origin}\", methods: [GET], exact: [\"/a\"]}}]}}}}"
        )
    );
    let failure = outcome(&host, request(&host, &url, 1)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert!(
        failure.message.starts_with("plugin `http` was not granted"),
        "{failure}"
    );
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn grants_are_shown_and_make_a_function_one_that_waits() {
    let host = host(granting(
        "plugins: {http: {limits: {at_once: 3}, http: [api.example.org]}}",
    ))
    .await;
    let plugins = host.plugins();
    let shown = |name: &str| {
        let info = plugins.iter().find(|info| *info.name == *name).unwrap();
        (info.grants.clone(), info.limits.clone())
    };
    assert_eq!(
        shown("http"),
        (
            vec!["http: https://api.example.org".to_owned()],
            vec!["at_once: 3".to_owned()]
        )
    );
    assert_eq!(shown("hostile"), (Vec::new(), Vec::new()));
    for (uses, granted) in [("http/request", true), ("hostile/call", false)] {
        let function = host.resolve(uses).unwrap().function;
        assert_eq!((function.granted, host.is_granted(&function)), (granted, granted));
    }
}

#[tokio::test]
async fn another_host_method_or_path_than_the_granted_one_is_refused() {
    let server = Server::answering(|_| Answer::ok("yes")).await;
    let other = Server::answering(|_| Answer::ok("no")).await;
    let origin = server.url("");
    let grant = json!([{"host": origin, "methods": ["GET"], "paths": ["/v1/"]}]);
    let host = host(http(&grant)).await;
    let granted = fetch(&host, json!({"urls": [server.url("/v1/a")]})).await;
    assert_eq!(granted.answers, ["yes"]);
    for (method, url) in [
        ("GET", other.url("/v1/a")),
        ("POST", server.url("/v1/a")),
        ("GET", server.url("/v2/a")),
        ("GET", server.url("/v1/../v2/a")),
        ("GET", server.url("/v1/a").replace("http:", "https:")),
        ("GET", server.url("/v1/a").replace("127.0.0.1", "localhost")),
    ] {
        let fetched = fetch(&host, json!({"method": method, "urls": [url]})).await;
        let refusal = fetched.refusal();
        let expected = format!("plugin `outgoing` was not granted the request {method} {url}. ");
        assert!(refusal.starts_with(&expected), "{refusal}");
    }
    let user = server.url("/v1/a").replace("http://", "http://me:hunter2@");
    let fetched = fetch(&host, json!({ "urls": [user] })).await;
    let refusal = fetched.refusal();
    assert!(
        refusal.contains("has a user name") && !refusal.contains("hunter2"),
        "{refusal}"
    );
    assert_eq!((server.requests().len(), other.requests().len()), (1, 0));
}

#[tokio::test]
async fn a_name_leads_to_no_private_address_that_its_grant_does_not_name() {
    let server = Server::answering(|_| Answer::ok("yes")).await;
    let port = server.address.port();
    let urls = json!({ "urls": [format!("http://localhost:{port}/")] });
    let by_name = host(http(&json!([format!("http://localhost:{port}")]))).await;
    let fetched = fetch(&by_name, urls.clone()).await;
    let refusal = fetched.refusal();
    assert!(
        refusal.contains("`localhost` is at ")
            && refusal.contains(", a loopback address, which its grant does not name"),
        "{refusal}"
    );
    assert!(refusal.contains("add `private: [\""), "{refusal}");
    assert!(server.requests().is_empty());
    let named = json!([{"host": format!("http://localhost:{port}"), "private": ["127.0.0.0/8"]}]);
    let named = host(http(&named)).await;
    assert_eq!(fetch(&named, urls).await.answers, ["yes"]);
    assert_eq!(
        server.requests()[0].header("host"),
        Some(format!("localhost:{port}").as_str())
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let other = Server::answering(|_| Answer::ok("")).await;
    let server = Server::answering(|_| Answer::Of(302, "location: http://127.0.0.1/\r\n", Vec::new())).await;
    let host = host_for(&server).await;
    let answer = outcome(&host, request(&host, &server.url("/"), 1)).await.unwrap();
    assert_eq!(answer.update.get("status").unwrap().get(), "302");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_body_that_is_too_large_ends_the_request_with_the_limits_name() {
    let server = Server::answering(|request| match request.line.as_str() {
        "GET /said" => Answer::Of(200, "", vec![b'x'; 2001]),
        "GET /unsaid" => Answer::Unsaid(200_000),
        _ => Answer::Unsaid(2000),
    })
    .await;
    let limits = HostSettings {
        http_response_bytes: 2000,
        http_request_bytes: 1000,
        ..http(&json!([server.url("")]))
    };
    let host = host(limits).await;
    let one = async |path: &str, bytes: usize| {
        fetch(&host, json!({"urls": [server.url(path)], "bytes": bytes})).await
    };
    assert_eq!(
        one("/", 1000).await.answers,
        ["x".repeat(2000)],
        "the limits are allowed"
    );
    for (path, bytes, what, limit) in [
        (
            "/said",
            0,
            "answer",
            "2000 bytes (http_response_bytes, the server's default)",
        ),
        (
            "/unsaid",
            0,
            "answer",
            "2000 bytes (http_response_bytes, the server's default)",
        ),
        (
            "/",
            1001,
            "body",
            "1000 bytes (http_request_bytes, the server's default)",
        ),
    ] {
        let fetched = one(path, bytes).await;
        let url = server.url(path);
        let expected = format!(
            "the {what} of GET {url}, a request of plugin `outgoing`, is larger than its limit of {limit}"
        );
        assert!(
            fetched.answers[0].starts_with("Permanent: ") && fetched.answers[0].contains(&expected),
            "{:?}",
            fetched.answers
        );
        assert_eq!(fetched.lines.last(), Some(&(Level::Warn, expected)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_responds_delays_its_call_to_the_deadline_and_no_other_call() {
    let server = Server::answering(|_| Answer::Never).await;
    let host = host_with(http(&json!([server.url("")])), &["fixtures/outgoing", "bench"]).await;
    let heard = Arc::new(Heard::default());
    let hanging = Call {
        sink: heard.clone(),
        timeout: Some(Duration::from_secs(2)),
        ..call(
            &host,
            "fetch",
            "{}",
            &json!({"urls": [server.url("/slow")]}).to_string(),
        )
    };
    let began = Instant::now();
    let hanging = tokio::spawn({
        let host = host.clone();
        async move { host.call(hanging).await }
    });
    server.next().await;
    for _ in 0..100 {
        run(&host, "touch", "{}", r#"{"key": "k"}"#).await.unwrap();
    }
    assert!(
        !hanging.is_finished(),
        "the others were done before it: {:?}",
        began.elapsed()
    );
    let failure = hanging.await.unwrap().unwrap_err();
    assert_eq!(
        (failure.kind, &*failure.message),
        (
            FailureKind::Timeout,
            "`outgoing/fetch` ran longer than its limit of 2 s (the node's timeout)"
        )
    );
    let lines = heard.lines();
    let shown = format!("GET {} had no response after ", server.url("/slow"));
    assert!(
        matches!(&lines[..], [(Level::Warn, line)] if line.starts_with(&shown)),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_host_that_is_not_there_may_be_tried_again() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let grants = json!([format!("http://{gone}"), "http://no-such-host.invalid"]);
    let host = host(http(&grants)).await;
    let urls = [
        format!("http://{gone}/"),
        "http://no-such-host.invalid/".to_owned(),
    ];
    let fetched = fetch(&host, json!({ "urls": urls })).await;
    for (answer, (level, line)) in fetched.answers.iter().zip(&fetched.lines) {
        assert!(answer.starts_with("Retryable: "), "{answer}");
        assert!(*level == Level::Warn && line.contains(" failed ("), "{line}");
    }
    assert!(
        fetched.lines[1]
            .1
            .contains("`no-such-host.invalid` has no address"),
        "{:?}",
        fetched.lines
    );
}

#[tokio::test]
async fn requests_at_once_and_in_all_have_limits() {
    let server = Server::answering(|_| Answer::Never).await;
    let limits = HostSettings {
        http_at_once: 2,
        ..http(&json!([server.url("")]))
    };
    let many = host(limits).await;
    let config = json!({"authority": server.address.to_string(), "count": 3}).to_string();
    let begun = run(&many, "begin", "{}", &config).await.unwrap().update.to_text();
    assert!(
        begun.contains("while 2 requests of this call were active") && begun.contains("(http_at_once)"),
        "{begun}"
    );

    let server = Server::answering(|_| Answer::ok("yes")).await;
    let limits = HostSettings {
        http_requests: 2,
        ..http(&json!([server.url("")]))
    };
    let few = host(limits).await;
    let config = json!({"urls": vec![server.url("/"); 4]}).to_string();
    let failure = run(&few, "outgoing/fetch", "{}", &config).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Limit);
    assert_eq!(
        &*failure.message,
        "`outgoing/fetch` made more requests than its limit of 2 (http_requests, the server's default)"
    );
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_servers_certificate_must_match_its_name() {
    let server = Server::secret(|_| Answer::ok("a secret")).await;
    let origin = format!("https://{}", server.address);
    let urls = json!({ "urls": [format!("{origin}/")] });
    let trusting = HostSettings {
        http_authorities: Some(tls("authority.pem")),
        ..http(&json!([origin]))
    };
    assert_eq!(
        fetch(&host(trusting).await, urls.clone()).await.answers,
        ["a secret"]
    );
    // An authority that did not sign the certificate.
    let strict = HostSettings {
        http_authorities: Some(tls("server.pem")),
        ..http(&json!([origin]))
    };
    let fetched = fetch(&host(strict).await, urls.clone()).await;
    assert!(
        fetched.answers[0].starts_with("Permanent: ") && fetched.answers[0].contains("TlsCertificateError"),
        "{:?}",
        fetched.answers
    );
    assert!(
        fetched.lines[0].1.contains("invalid peer certificate"),
        "{:?}",
        fetched.lines
    );
    let nobody = HostSettings {
        http_authorities: Some(tls("README.md")),
        ..http(&json!([origin]))
    };
    let fetched = fetch(&host(nobody).await, urls).await;
    assert!(
        fetched.answers[0].contains("has no certificate authority to trust"),
        "{:?}",
        fetched.answers
    );
    assert_eq!(server.requests().len(), 1);
}
