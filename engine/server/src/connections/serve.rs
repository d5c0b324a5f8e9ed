//! Accepts connections and serves each as a task until the server shuts down.
//!
//! Hyper is used directly, because `axum::serve` allows neither timeouts nor a bounded shutdown.

use std::{
    io::{self, Write},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{Router, http::StatusCode};
use hyper::{
    Request,
    body::{Body, Incoming},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::{
    active_request::ActiveRequest,
    shutdown::{Shutdown, ShutdownListener},
    slots::{ConnectionSlot, ConnectionSlots, SlotError},
    timed_stream::TimedStream,
};
use crate::{
    guard::LocalAddress,
    response::problem::{self, Problem, ProblemKind},
    settings::ServerSettings,
};

/// The pause after a failed accept, for example when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all connections of a server share.
pub(crate) struct Connections {
    settings: Arc<ServerSettings>,
    shutdown: Shutdown,
    slots: Arc<ConnectionSlots>,
}

impl Connections {
    pub(crate) fn new(settings: Arc<ServerSettings>, shutdown: Shutdown) -> Self {
        let slots = ConnectionSlots::new(settings.max_connections, settings.max_connections_per_address);
        Self {
            settings,
            shutdown,
            slots,
        }
    }
}

/// Accepts and serves connections until `shutdown` completes, then waits for their end up to the shutdown timeout.
pub(crate) async fn accept(
    listener: TcpListener,
    router: Router,
    shared: Connections,
    shutdown: impl Future<Output = ()>,
) {
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match shared.slots.acquire(peer.ip()) {
                Ok(slot) => {
                    let settings = shared.settings.clone();
                    let listener = shared.shutdown.listen();
                    connections.spawn(serve_connection(stream, slot, router.clone(), settings, listener));
                }
                Err(error) => refuse(stream, error, &shared.settings),
            },
            Err(error) if is_client_error(&error) => {}
            Err(error) => {
                // If no file descriptor is left, closing a waiting connection frees one.
                if !shared.slots.close_one() {
                    tracing::error!(%error, "could not accept a connection");
                }
                tokio::select! {
                    () = &mut shutdown => break,
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    drop(router);
    shared.shutdown.begin();
    let timeout = shared.settings.shutdown_timeout;
    if tokio::time::timeout(timeout, shared.shutdown.listeners_gone())
        .await
        .is_err()
    {
        tracing::warn!(
            timeout_s = timeout.as_secs(),
            "closing connections that did not end before the timeout"
        );
    }
    connections.shutdown().await;
}

/// Answers 503 on a connection that got no slot, if the client accepts the bytes without blocking.
fn refuse(stream: TcpStream, error: SlotError, settings: &ServerSettings) {
    let detail = match error {
        SlotError::Full => format!(
            "all {} connections of the server are busy, which is the limit (max_connections)",
            settings.max_connections
        ),
        SlotError::FullForAddress => format!(
            "all {} connections of this client address are busy, which is the limit (max_connections_per_address)",
            settings.max_connections_per_address
        ),
    };
    let body = Problem::new(ProblemKind::OVERLOADED, format!("{detail}: try again later")).text();
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {}\r\ncontent-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}",
        problem::MEDIA_TYPE,
        body.len()
    );
    if let Ok(mut stream) = stream.into_std() {
        // The client may have disconnected.
        let _ = stream.write(answer.as_bytes());
    }
}

/// Returns whether a failed accept concerns only the one connection.
fn is_client_error(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(
        error.kind(),
        E::ConnectionRefused | E::ConnectionAborted | E::ConnectionReset | E::Interrupted
    )
}

async fn serve_connection(
    stream: TcpStream,
    slot: Arc<ConnectionSlot>,
    router: Router,
    settings: Arc<ServerSettings>,
    mut shutdown: ShutdownListener,
) {
    // Responses and events are small, and clients wait for each of them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the client disconnected at once");
        return;
    }
    let Ok(local) = stream.local_addr() else { return };
    let io = TimedStream::new(
        stream,
        slot.clone(),
        settings.header_timeout,
        settings.write_timeout,
    );
    let (router, request_slot) = (TowerToHyperService::new(router), slot.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let active = ActiveRequest::begin(request_slot.clone(), !request.body().is_end_stream());
        request.extensions_mut().insert(LocalAddress(local));
        request.extensions_mut().insert(active.clone());
        let response = router.call(request);
        async move {
            let (parts, body) = response.await?.into_parts();
            let body = match parts.status {
                StatusCode::SWITCHING_PROTOCOLS => active.upgrade(body),
                _ => active.respond(body),
            };
            Ok::<_, std::convert::Infallible>(hyper::Response::from_parts(parts, body))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.idle_timeout)
        .max_buf_size(settings.max_header_bytes.max(8 << 10))
        .half_close(false)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = slot.closed() => return,
        () = shutdown.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended with an error");
    }
}
