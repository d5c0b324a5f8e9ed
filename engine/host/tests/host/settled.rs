//! A plugin without grants that calls a tool with grants: the tool starts when everything that the call follows from
//! is durable.

use futures_util::future::BoxFuture;
use heddle_kernel::FailureKind;
use heddle_runtime::ports::{Durable, Functions};
use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::server::{Answer, Server};

/// Reports when a call waits, and waits until the test continues it.
struct Held {
    asked: watch::Sender<usize>,
    word: watch::Sender<Option<bool>>,
}

impl Held {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            asked: watch::Sender::new(0),
            word: watch::Sender::new(None),
        })
    }

    async fn is_asked(&self) {
        let mut asked = self.asked.subscribe();
        soon(asked.wait_for(|&asked| asked > 0)).await.unwrap();
    }
}

impl Durable for Held {
    fn wait(&self) -> BoxFuture<'_, bool> {
        self.asked.send_modify(|asked| *asked += 1);
        Box::pin(async {
            let mut word = self.word.subscribe();
            word.wait_for(Option::is_some).await.unwrap().unwrap()
        })
    }
}

async fn host(server: &Server) -> Host {
    let policy = json!({"plugins": {"http": {"http": [server.url("")]}}});
    let names = ["fixtures/hostile", "http", "bench"];
    host_with(granting(&policy.to_string()), &names).await
}

/// The call of a plugin without grants, which calls a tool.
fn calling(host: &Host, held: &Arc<Held>, tool: &str, input: serde_json::Value) -> Call {
    let config = json!({"tool": tool, "input": input}).to_string();
    Call {
        durable: held.clone(),
        ..call(host, "hostile/call", "{}", &config)
    }
}

#[tokio::test]
async fn a_granted_tool_starts_when_the_events_before_its_caller_are_durable() {
    let server = Server::answering(|_| Answer::ok("")).await;
    let host = host(&server).await;
    let held = Held::new();
    let call = calling(&host, &held, "http/request", json!({"url": server.url("/")}));
    let calling = tokio::spawn({
        let host = host.clone();
        async move { outcome(&host, call).await }
    });
    held.is_asked().await;
    for _ in 0..100 {
        run(&host, "touch", "{}", r#"{"key": "k"}"#).await.unwrap();
    }
    assert!(!calling.is_finished() && server.requests().is_empty());
    held.word.send_replace(Some(true));
    calling.await.unwrap().unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_granted_tool_does_not_start_if_those_events_cannot_be_stored() {
    let server = Server::answering(|_| Answer::ok("")).await;
    let host = host(&server).await;
    let held = Held::new();
    held.word.send_replace(Some(false));
    let call = calling(&host, &held, "http/request", json!({"url": server.url("/")}));
    let failure = outcome(&host, call).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert_eq!(
        &*failure.message,
        "`hostile/call` was ended before a side effect: the events that the call follows from cannot be stored"
    );
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_tool_without_grants_does_not_wait_and_no_call_waits_twice() {
    let server = Server::answering(|_| Answer::ok("")).await;
    let host = host(&server).await;
    let held = Held::new();
    outcome(&host, calling(&host, &held, "bench/echo", json!(1)))
        .await
        .unwrap();
    assert_eq!(*held.asked.borrow(), 0, "no effect outside, no wait");
    // The runtime has waited before it called a function with grants: everything is durable, and asking again costs
    // nothing.
    held.word.send_replace(Some(true));
    let direct = Call {
        durable: held.clone(),
        mapped: true,
        ..call(
            &host,
            "http/request",
            &json!({"url": server.url("/")}).to_string(),
            "null",
        )
    };
    host.call(direct).await.unwrap();
    assert_eq!(*held.asked.borrow(), 1);
}
