//! `WS /ws/logs/{run_id}`: all events of a run from its beginning, then live events until its end.
//!
//! Each message is one JSON object, sent as fast as the client reads. The close code says why the stream ended: 1000 the
//! run is over and all events were sent, 1011 the store failed, 1012 the server is stopping (connect again with
//! `?after=`), 4400 the path or query is invalid, 4404 there is no such run.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use heddle_runtime::{Watch, WatchItem};
use serde::Deserialize;
use tokio::sync::Notify;

use crate::{
    app::App,
    connections::shutdown::ShutdownListener,
    request::{
        path::{PathParams, RunIdParam, run_id},
        query::QueryParams,
    },
    response::problem::{Problem, ProblemKind},
    view::{
        chunk::{ChunkView, MissedView},
        event::EventView,
    },
};

/// The largest message that a client may send, in bytes. Its content is ignored.
const MAX_MESSAGE: usize = 4 << 10;
/// The number of messages after which the socket is flushed and the task yields.
const BATCH_LEN: usize = 256;
/// A client that sends nothing for this time, not even pongs, is disconnected.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest time of the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest reason of a close frame, in bytes (RFC 6455, section 5.5).
const MAX_REASON: usize = 123;

const RUN_OVER: u16 = 1000;
const STORE_FAILED: u16 = 1011;
const RESTART: u16 = 1012;
const INVALID_REQUEST: u16 = 4400;
const NO_SUCH_RUN: u16 = 4404;

/// The parameters of the stream.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SocketParams {
    /// Only events after the one with this number.
    after: Option<u64>,
}

/// Watch a run (WebSocket)
///
/// Sends all events from the beginning, then live events until the end of the run. Each message is one JSON object. Chunks
/// that functions send while they run are objects of type `chunk`, without a number; an object of type `chunks_missed` says
/// how many chunks a slow client has missed. Close codes: 1000 the run is over, 1011 the store failed, 1012 the server is
/// stopping (connect again with `?after=`), 4400 the path or query is invalid, 4404 there is no such run.
#[utoipa::path(
    get, path = "/ws/logs/{run_id}", tag = "Original API", operation_id = "ws_logs",
    params(RunIdParam, SocketParams),
    responses(
        (status = 101, description = "The connection is a WebSocket; each message is an event", body = EventView),
        (status = 503, description = "Too many clients are watching runs"),
        (status = 426, description = "The request is not a WebSocket upgrade"),
    )
)]
pub(crate) async fn logs(
    State(app): State<App>,
    path: Result<PathParams<String>, Problem>,
    query: Result<QueryParams<SocketParams>, Problem>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            let detail = format!(
                "this route requires a WebSocket upgrade: {}",
                rejection.body_text()
            );
            let upgrade = [("upgrade", "websocket"), ("connection", "upgrade")];
            return (upgrade, Problem::new(ProblemKind::NOT_A_WEB_SOCKET, detail)).into_response();
        }
    };
    let watcher = match app.acquire_watcher() {
        Ok(watcher) => watcher,
        Err(problem) => return problem.into_response(),
    };
    let shutdown = app.shutdown.listen();
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    upgrade.on_upgrade(async move |socket| {
        serve(socket, app, path, query, shutdown).await;
        drop(watcher);
    })
}

async fn serve(
    socket: WebSocket,
    app: App,
    path: Result<PathParams<String>, Problem>,
    query: Result<QueryParams<SocketParams>, Problem>,
    shutdown: ShutdownListener,
) {
    let (mut sink, mut source) = socket.split();
    let too_slow = Arc::new(Notify::new());
    let close_frame = {
        let reader = pin!(wait_for_close(&mut source));
        let writer = pin!(send_events(
            &mut sink,
            app,
            path,
            query,
            shutdown,
            too_slow.clone()
        ));
        tokio::select! {
            frame = writer => frame,
            () = reader => None,
            // The client does not read, so it would not get a close frame either.
            () = too_slow.notified() => return,
        }
    };
    let handshake = async {
        // Without a frame, the client has closed the socket, and this answers its close frame.
        let sent = match close_frame {
            Some(frame) => sink.send(Message::Close(Some(frame))).await,
            None => sink.close().await,
        };
        if sent.is_ok() {
            while let Some(Ok(_)) = source.next().await {}
        }
    };
    // A client that does not answer in time is disconnected.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, handshake).await;
}

/// Reads and ignores the client's messages until it closes the socket, disconnects or is silent for too long.
async fn wait_for_close<E>(source: &mut (impl Stream<Item = Result<Message, E>> + Unpin)) {
    while let Ok(Some(Ok(message))) = tokio::time::timeout(SILENCE_TIMEOUT, source.next()).await {
        if matches!(message, Message::Close(_)) {
            break;
        }
    }
}

/// Sends the run's events. Returns the close frame that says why the stream ended; none if the client has disconnected.
async fn send_events(
    sink: &mut (impl Sink<Message> + Unpin),
    app: App,
    path: Result<PathParams<String>, Problem>,
    query: Result<QueryParams<SocketParams>, Problem>,
    mut shutdown: ShutdownListener,
    too_slow: Arc<Notify>,
) -> Option<CloseFrame> {
    let run = match path.and_then(|PathParams(text)| run_id(&text)) {
        Ok(run) => run,
        Err(problem) => return close(INVALID_REQUEST, problem.detail()),
    };
    let after = match query {
        Ok(QueryParams(params)) => params.after.unwrap_or_default(),
        Err(problem) => return close(INVALID_REQUEST, problem.detail()),
    };
    let mut watch = match app.engine.watch(run, after).await {
        Ok(Some(watch)) => watch.closed_by(too_slow),
        Ok(None) => return close(NO_SUCH_RUN, &format!("there is no run {run}")),
        Err(error) => {
            tracing::error!(%run, %error, "a run could not be watched");
            return close(STORE_FAILED, "the store failed");
        }
    };
    let heartbeat = app.settings.heartbeat;
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + heartbeat, heartbeat);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut written = 0;
    loop {
        // Available messages are flushed together, before the task waits for more.
        let next = match next_ready(&mut watch, written) {
            Some(next) => next,
            None => {
                written = 0;
                sink.flush().await.ok()?;
                tokio::select! {
                    () = shutdown.begun() => return close(RESTART, "the server is stopping: connect again with ?after="),
                    next = watch.next() => next,
                    _ = ping.tick() => {
                        sink.send(Message::Ping(Default::default())).await.ok()?;
                        continue;
                    }
                }
            }
        };
        let text = match next {
            None => return close(RUN_OVER, "the run is over"),
            Some(Ok(WatchItem::Event(event))) => {
                let bytes = event.event.size();
                app.responses
                    .serialize(bytes, move || EventView::of(run, &event).text())
                    .await
            }
            Some(Ok(WatchItem::Chunk(chunk))) => ChunkView::of(run, &chunk).text(),
            Some(Ok(WatchItem::Missed(item_count))) => MissedView::of(run, item_count).text(),
            Some(Err(_)) if app.engine.is_draining() => {
                return close(RESTART, "the engine is stopping: connect again with ?after=");
            }
            Some(Err(error)) => {
                tracing::error!(%run, %error, "a WebSocket ended because the run could not be read");
                return close(STORE_FAILED, "the store failed");
            }
        };
        written += 1;
        sink.feed(Message::text(text)).await.ok()?;
    }
}

/// Returns the next item of a watch if it is available and the batch is not full.
fn next_ready(
    watch: &mut Watch,
    written: usize,
) -> Option<Option<Result<WatchItem, heddle_runtime::ports::StoreError>>> {
    if written >= BATCH_LEN {
        return None;
    }
    watch.next().now_or_never()
}

fn close(code: u16, reason: &str) -> Option<CloseFrame> {
    let end = reason.floor_char_boundary(MAX_REASON);
    Some(CloseFrame {
        code,
        reason: reason[..end].into(),
    })
}
