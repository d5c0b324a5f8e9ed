//! WebSocket clients of `/ws/logs/{run_id}`.

use futures_util::StreamExt;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::{Server, TIMEOUT};

impl Server {
    /// All messages of a run's WebSocket. `begun` is called after the first message; nothing is read during the call.
    pub fn watch_from(&self, run: &str, begun: impl FnOnce()) -> Vec<Value> {
        let url = format!("ws://{}/ws/logs/{run}", self.address);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut messages = Vec::new();
        let mut socket = runtime.block_on(async {
            let (mut socket, _) = tokio_tungstenite::connect_async(&url)
                .await
                .expect("the socket opens");
            let first = tokio::time::timeout(TIMEOUT, socket.next()).await;
            if let Ok(Some(Ok(Message::Text(text)))) = first {
                messages.push(serde_json::from_str(&text).expect("a message is JSON"));
            }
            socket
        });
        begun();
        runtime.block_on(async {
            let rest = async {
                while let Some(Ok(message)) = socket.next().await {
                    if let Message::Text(text) = message {
                        messages.push(serde_json::from_str(&text).expect("a message is JSON"));
                    }
                }
            };
            let ended = tokio::time::timeout(TIMEOUT, rest).await;
            ended.unwrap_or_else(|_| panic!("{url} hung"));
        });
        messages
    }
}

/// Reads a WebSocket until an event matches.
pub fn wait_for_event(url: &str, wanted: impl Fn(&Value) -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let found = async {
        let (mut socket, _) = tokio_tungstenite::connect_async(url)
            .await
            .expect("the socket opens");
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message
                && wanted(&serde_json::from_str(&text).expect("a message is JSON"))
            {
                return true;
            }
        }
        false
    };
    let found = runtime.block_on(async { tokio::time::timeout(TIMEOUT, found).await });
    assert!(
        found.unwrap_or_else(|_| panic!("{url} hung")),
        "{url} closed before the event"
    );
}

/// Reads a WebSocket to its close.
pub async fn watch(url: &str) -> (Vec<Value>, (u16, String)) {
    watch_and(url, |_| {}).await
}

/// Reads a WebSocket to its close and calls `seen` with each event.
pub async fn watch_and(url: &str, mut seen: impl FnMut(&Value)) -> (Vec<Value>, (u16, String)) {
    let mut events = Vec::new();
    let close = read_socket(url, |event| {
        seen(&event);
        events.push(event);
    });
    let close = close.await.expect("the socket opens");
    (events, close)
}

/// Reads a WebSocket to its close and adds its messages to `seen`. None if the connection fails.
pub async fn follow(url: &str, seen: &mut Vec<Value>) -> Option<(u16, String)> {
    read_socket(url, |event| seen.push(event)).await
}

async fn read_socket(url: &str, mut seen: impl FnMut(Value)) -> Option<(u16, String)> {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.ok()?;
    while let Some(message) = socket.next().await {
        match message {
            Ok(Message::Text(text)) => seen(serde_json::from_str(&text).expect("a message is JSON")),
            Ok(Message::Close(Some(frame))) => return Some((frame.code.into(), frame.reason.to_string())),
            Ok(Message::Close(None)) | Err(_) => break,
            Ok(_) => {}
        }
    }
    Some((1006, "the connection broke".to_owned()))
}
