//! `at_once` limits the active calls of a plugin; other calls wait.

use std::time::Duration;

use serde_json::json;
use tokio::{sync::Semaphore, task::JoinHandle};

use super::*;
use crate::server::{Answer, Server};

fn spawn(host: &Host, call: Call) -> JoinHandle<Result<Outcome, Failure>> {
    let host = host.clone();
    tokio::spawn(async move { outcome(&host, call).await })
}

#[tokio::test]
async fn a_plugin_has_no_more_active_calls_than_its_policy_allows() {
    let server = Server::answering(|_| Answer::Never).await;
    let policy = json!({"plugins": {"outgoing": {"limits": {"at_once": 3}, "http": [server.url("")]}}});
    let host = host_with(granting(&policy.to_string()), &["fixtures/outgoing", "bench"]).await;
    let config = json!({"urls": [server.url("/")]}).to_string();
    let calls: Vec<_> = (0..20)
        .map(|_| spawn(&host, call(&host, "fetch", "{}", &config)))
        .collect();
    for _ in 0..3 {
        server.next().await;
    }
    // Other calls run in the meantime, so a fourth one would have been called, too.
    for _ in 0..100 {
        run(&host, "touch", "{}", r#"{"key": "k"}"#).await.unwrap();
    }
    assert_eq!(server.requests().len(), 3);
    // A call that ends makes room for one more.
    calls[0].abort();
    server.next().await;
    run(&host, "touch", "{}", r#"{"key": "k"}"#).await.unwrap();
    assert_eq!(server.requests().len(), 4);
    calls.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn calls_that_wait_for_their_plugin_start_in_order_and_delay_no_other_plugin() {
    let gate = Arc::new(Semaphore::new(0));
    let (host, gated) = (host_for_order(&gate).await, gate.clone());
    let first = spawn(&host.host, host.call("/first", None));
    host.server.next().await;
    // The time limit of a call starts with the call: these wait longer than their limit.
    let waiting: Vec<_> = (0..10)
        .map(|n| {
            spawn(
                &host.host,
                host.call(&format!("/{n}"), Some(Duration::from_millis(500))),
            )
        })
        .collect();
    // Two calls may be active: one is, and no waiting call counts as the other.
    for _ in 0..2 {
        soon(run(&host.host, "sleep", "{}", r#"{"ms": 400}"#))
            .await
            .unwrap();
    }
    waiting[4].abort();
    gated.add_permits(100);
    assert!(soon(first).await.unwrap().is_ok());
    for (n, waiting) in waiting.into_iter().enumerate() {
        assert_eq!(
            soon(waiting).await.is_ok_and(|answer| answer.is_ok()),
            n != 4,
            "{n}"
        );
    }
    let order: Vec<_> = host
        .server
        .requests()
        .into_iter()
        .map(|request| request.line)
        .collect();
    let expected = ["first", "0", "1", "2", "3", "5", "6", "7", "8", "9"];
    assert_eq!(order, expected.map(|name| format!("GET /{name}")));
}

struct Ordered {
    server: Server,
    host: Host,
}

/// A host for two calls at once, whose plugin may have one, and a server that responds to its first request when the
/// gate is open.
async fn host_for_order(gate: &Arc<Semaphore>) -> Ordered {
    let gate = gate.clone();
    let server = Server::answering(move |request| match request.line.as_str() {
        "GET /first" => {
            let gate = gate.clone();
            Answer::When(Box::pin(async move { gate.acquire().await.unwrap().forget() }))
        }
        _ => Answer::ok(""),
    })
    .await;
    let policy = json!({"plugins": {"outgoing": {"limits": {"at_once": 1}, "http": [server.url("")]}}});
    let settings = HostSettings {
        calls_at_once: 2,
        ..granting(&policy.to_string())
    };
    let host = host_with(settings, &["fixtures/outgoing", "fixtures/hostile"]).await;
    Ordered { server, host }
}

impl Ordered {
    fn call(&self, path: &str, timeout: Option<Duration>) -> Call {
        let config = json!({"urls": [self.server.url(path)]}).to_string();
        Call {
            timeout,
            ..call(&self.host, "fetch", "{}", &config)
        }
    }
}
