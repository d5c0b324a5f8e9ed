//! The connections: accepted up to limits, each with timeouts for a client that does not
//! speak or does not listen, and brought to an end when the server stops.

mod open;
mod request;
mod stream;

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

pub(crate) use self::{open::OpenConnections, request::OnConnection};
use self::{
    open::{Place, Refused},
    stream::TimedStream,
};
use crate::{
    App, LocalAddress, ServerSettings,
    closing::Listener,
    problem::{self, Kind, Problem},
};

/// How long to wait where no connection can be accepted, as when there are no file handles left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts and serves until `shutdown` is ready, and then until all is done or the time is up.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    app: &App,
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
            Ok((stream, peer)) => match app.open.admit(peer.ip()) {
                Ok(place) => {
                    let one = connection(stream, place, router.clone(), app.clone(), app.closing.listen());
                    connections.spawn(one);
                }
                Err(refused) => refuse(stream, refused, &app.settings),
            },
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                // Where no file handle is left, one that waits is given up for the new connection.
                if !app.open.close_one() {
                    tracing::error!(%error, "no connection can be accepted");
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
    app.closing.begin();
    if tokio::time::timeout(app.settings.shutdown_timeout, app.closing.done())
        .await
        .is_err()
    {
        tracing::warn!("some connections did not end in time and are cut off");
    }
    connections.shutdown().await;
}

/// Tells a client that there is no room for its connection, as far as it takes that at once.
fn refuse(stream: TcpStream, refused: Refused, settings: &ServerSettings) {
    let detail = match refused {
        Refused::Full => format!(
            "the server has as many connections as it may, {} (max_connections), and all of them are busy",
            settings.max_connections
        ),
        Refused::FullForAddress => format!(
            "this address has as many connections as one may, {} (max_connections_per_address), and all of them are busy",
            settings.max_connections_per_address
        ),
    };
    let body = Problem::new(Kind::OVERLOADED, format!("{detail}: try again in a moment")).text();
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {}\r\ncontent-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}",
        problem::MEDIA_TYPE,
        body.len()
    );
    if let Ok(mut stream) = stream.into_std() {
        // The client may be gone.
        let _ = stream.write(answer.as_bytes());
    }
}

/// Whether an error of accepting is about the connection alone.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(
        error.kind(),
        E::ConnectionRefused | E::ConnectionAborted | E::ConnectionReset | E::Interrupted
    )
}

async fn connection(stream: TcpStream, place: Arc<Place>, router: Router, app: App, mut closing: Listener) {
    // Answers and events are small and someone waits for each.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone at once");
        return;
    }
    let Ok(local) = stream.local_addr() else { return };
    let settings = &app.settings;
    let io = TimedStream::new(
        stream,
        place.clone(),
        settings.header_timeout,
        settings.write_timeout,
    );
    let (router, of_requests) = (TowerToHyperService::new(router), place.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let on = OnConnection::begin(of_requests.clone(), !request.body().is_end_stream());
        request.extensions_mut().insert(LocalAddress(local));
        request.extensions_mut().insert(on.clone());
        let answered = router.call(request);
        async move {
            let (parts, body) = answered.await?.into_parts();
            let body = match parts.status {
                StatusCode::SWITCHING_PROTOCOLS => on.upgrade(body),
                _ => on.answer(body),
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
        () = place.closed() => return,
        () = closing.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke off");
    }
}
