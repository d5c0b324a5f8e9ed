//! `WS /ws/logs/{run_id}`: every event of a run from its beginning, then live, then the end.
//!
//! One JSON object per message, read from the run at the client's own pace. The close code
//! tells how it ended: 1000 the run is over and everything was told, 1011 the store failed,
//! 1012 the server stops (come back with `?after=`), 4400 the address is wrong, 4404 there is
//! no such run.

use std::{pin::pin, time::Duration};

use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    response::{IntoResponse, Response},
};
use futures_util::{
    FutureExt, Sink, SinkExt, Stream, StreamExt,
    future::{Either, select},
};
use heddle_runtime::{Watch, Watched};
use serde::Deserialize;

use crate::{
    App,
    closing::Listener,
    extract::{Params, Parted, run_id},
    problem::{Kind, Problem, ProblemBody},
    view::{ChunkView, EventView, MissedView},
};

/// The largest message that a client may send; whatever it says is ignored.
const MAX_MESSAGE: usize = 4 << 10;
/// How many messages are written before they are flushed and others get a turn.
const BATCH_LEN: usize = 256;
/// How long a client that says nothing at all, not even to pings, is taken to be there.
const SILENCE: Duration = Duration::from_secs(600);
/// How long the closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest reason that a close frame holds, in bytes (RFC 6455, 5.5).
const MAX_REASON: usize = 123;

const OVER: u16 = 1000;
const STORE_FAILED: u16 = 1011;
const RESTART: u16 = 1012;
const BAD_ADDRESS: u16 = 4400;
const NO_SUCH_RUN: u16 = 4404;

/// Where to begin.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SocketParams {
    /// Go on after the event with this number.
    after: Option<u64>,
}

/// Watch a run (WebSocket)
///
/// Every event from the beginning, one JSON object per message, then live; then the socket is
/// closed. What functions send while they run comes between as objects of type `chunk`,
/// without a number; who is too slow for them is told by one of type `chunks_missed` how many. Close codes: 1000 the run is over, 1011 the store failed, 1012 the server
/// stops (come back with `?after=`), 4400 the address is wrong, 4404 there is no such run.
#[utoipa::path(
    get, path = "/ws/logs/{run_id}", tag = "original", operation_id = "ws_logs",
    params(("run_id" = String, Path, format = "uuid", description = "The run"), SocketParams),
    responses(
        (status = 101, description = "The connection becomes a WebSocket; each message is an event", body = EventView),
        (status = 503, description = "As many clients watch runs as may", body = ProblemBody, content_type = "application/problem+json"),
        (status = 426, description = "The request is no WebSocket upgrade", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn logs(
    State(app): State<App>,
    path: Result<Parted<String>, Problem>,
    query: Result<Params<SocketParams>, Problem>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            let detail = format!("connect a WebSocket here: {}", rejection.body_text());
            let upgrade = [("upgrade", "websocket"), ("connection", "upgrade")];
            return (upgrade, Problem::new(Kind::NOT_A_WEB_SOCKET, detail)).into_response();
        }
    };
    let watcher = match app.watcher() {
        Ok(watcher) => watcher,
        Err(problem) => return problem.into_response(),
    };
    let closing = app.closing.listen();
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    upgrade.on_upgrade(async move |socket| {
        serve(socket, app, path, query, closing).await;
        drop(watcher);
    })
}

async fn serve(
    socket: WebSocket,
    app: App,
    path: Result<Parted<String>, Problem>,
    query: Result<Params<SocketParams>, Problem>,
    closing: Listener,
) {
    let (mut sink, mut source) = socket.split();
    let ended = {
        let reader = pin!(until_gone(&mut source));
        let writer = pin!(tell(&mut sink, app, path, query, closing));
        match select(writer, reader).await {
            Either::Left((frame, _)) => frame,
            Either::Right(((), _)) => None,
        }
    };
    let goodbye = async {
        // Without a frame the client has gone or is going: this answers its close.
        let said = match ended {
            Some(frame) => sink.send(Message::Close(Some(frame))).await,
            None => sink.close().await,
        };
        if said.is_ok() {
            while let Some(Ok(_)) = source.next().await {}
        }
    };
    // Whoever does not answer in time is dropped.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
}

/// Reads and ignores what the client says, until it closes or is gone.
async fn until_gone<E>(source: &mut (impl Stream<Item = Result<Message, E>> + Unpin)) {
    while let Ok(Some(Ok(message))) = tokio::time::timeout(SILENCE, source.next()).await {
        if matches!(message, Message::Close(_)) {
            break;
        }
    }
}

/// Tells the run to the client. The close frame says how it ended; none where the client is gone.
async fn tell(
    sink: &mut (impl Sink<Message> + Unpin),
    app: App,
    path: Result<Parted<String>, Problem>,
    query: Result<Params<SocketParams>, Problem>,
    mut closing: Listener,
) -> Option<CloseFrame> {
    let run = match path.and_then(|Parted(text)| run_id(&text)) {
        Ok(run) => run,
        Err(problem) => return close(BAD_ADDRESS, problem.detail()),
    };
    let after = match query {
        Ok(Params(params)) => params.after.unwrap_or_default(),
        Err(problem) => return close(BAD_ADDRESS, problem.detail()),
    };
    let mut watch = match app.engine.watch(run, after).await {
        Ok(Some(watch)) => watch,
        Ok(None) => return close(NO_SUCH_RUN, &format!("there is no run {run}")),
        Err(error) => {
            tracing::error!(%run, %error, "a run cannot be watched");
            return close(STORE_FAILED, "the store failed");
        }
    };
    let heartbeat = app.settings.heartbeat;
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + heartbeat, heartbeat);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut written = 0;
    loop {
        // What is there goes out together; only then is there a wait.
        let told = match at_once(&mut watch, written) {
            Some(told) => told,
            None => {
                written = 0;
                sink.flush().await.ok()?;
                tokio::select! {
                    () = closing.begun() => return close(RESTART, "the server is stopping: come back with ?after="),
                    told = watch.next() => told,
                    _ = ping.tick() => {
                        sink.send(Message::Ping(Default::default())).await.ok()?;
                        continue;
                    }
                }
            }
        };
        let text = match told {
            None => return close(OVER, "the run is over"),
            Some(Ok(Watched::Event(event))) => {
                let bytes = event.event.size();
                app.large
                    .text(bytes, move || EventView::of(run, &event).text())
                    .await
            }
            Some(Ok(Watched::Chunk(chunk))) => ChunkView::of(run, &chunk).text(),
            Some(Ok(Watched::Missed(count))) => MissedView::of(run, count).text(),
            Some(Err(_)) if app.engine.is_draining() => {
                return close(RESTART, "the engine is stopping: come back with ?after=");
            }
            Some(Err(error)) => {
                tracing::error!(%run, %error, "a run cannot be watched any more");
                return close(STORE_FAILED, "the store failed");
            }
        };
        written += 1;
        sink.feed(Message::text(text)).await.ok()?;
    }
}

/// The next thing that a watch has, if it is there already and the batch is not full.
fn at_once(
    watch: &mut Watch,
    written: usize,
) -> Option<Option<Result<Watched, heddle_runtime::ports::StoreError>>> {
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
