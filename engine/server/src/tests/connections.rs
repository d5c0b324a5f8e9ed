//! Limits of connections: many, slow and large requests.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

use super::*;

const SLOW: &[u8] = b"GET /healthz HTTP/1.1\r\nHost:";

/// A connection from an address of this machine.
async fn connect_from(server: &Server, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::from((from, 0)))
        .expect("all of 127.0.0.0/8 is loopback");
    socket.connect(server.address).await.expect("the server listens")
}

/// A connection that begins a request and does not end it.
async fn slow_from(server: &Server, from: [u8; 4]) -> TcpStream {
    let mut stream = connect_from(server, from).await;
    stream.write_all(SLOW).await.expect("the server reads");
    stream
}

async fn healthz_from(server: &Server, from: [u8; 4]) -> String {
    let mut stream = connect_from(server, from).await;
    healthz_on(&mut stream).await;
    rest(&mut stream).await
}

async fn healthz_on(stream: &mut TcpStream) {
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    // The server may have closed it for another connection.
    let _ = stream.write_all(request).await;
}

#[tokio::test]
async fn waiting_connections_are_closed_for_new_ones() {
    let server = Server::start(ServerSettings {
        max_connections: 10,
        ..ServerSettings::default()
    })
    .await;
    let mut slow = Vec::new();
    for _ in 0..40 {
        slow.push(slow_from(&server, [127, 0, 0, 1]).await);
    }
    let answer = healthz_from(&server, [127, 0, 0, 1]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // The oldest were closed.
    for stream in &mut slow[..20] {
        assert_eq!(rest(stream).await, "");
    }
}

#[tokio::test]
async fn the_limit_of_an_address_closes_only_its_own_connections() {
    let server = Server::start(ServerSettings {
        max_connections_per_address: 3,
        ..ServerSettings::default()
    })
    .await;
    let mut other = connect_from(&server, [127, 0, 0, 1]).await;
    other.write_all(SLOW).await.expect("the server reads");
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(slow_from(&server, [127, 0, 0, 2]).await);
    }
    assert_eq!(rest(&mut slow[0]).await, "");
    let answer = healthz_from(&server, [127, 0, 0, 2]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    other
        .write_all(b" localhost\r\nConnection: close\r\n\r\n")
        .await
        .expect("it is open");
    let answer = rest(&mut other).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_new_connection_is_refused_if_all_others_are_busy() {
    let server = Server::start(ServerSettings {
        max_connections: 1,
        ..ServerSettings::default()
    })
    .await;
    let mut busy = server.connect().await;
    let head = "POST /v1/graphs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    busy.write_all(head.as_bytes()).await.expect("the server reads");
    // The server requests the body, so the connection is receiving.
    let mut asked = [0; 12];
    busy.read_exact(&mut asked).await.expect("it is answered");
    assert_eq!(&asked, b"HTTP/1.1 100");
    let mut refused = server.connect().await;
    let answer = rest(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("retry-after: 1") && answer.contains("(max_connections)"),
        "{answer}"
    );
}

#[tokio::test]
async fn request_heads_have_a_limit() {
    let server = Server::start(ServerSettings {
        max_header_bytes: 8 << 10,
        ..ServerSettings::default()
    })
    .await;
    let long = format!("GET /healthz HTTP/1.1\r\nX-Long: {}", "x".repeat(20_000));
    let answer = server.ask(&long, "").await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
    let many: String = (0..200).map(|n| format!("\r\nX-{n}: 1")).collect();
    let answer = server.ask(&format!("GET /healthz HTTP/1.1{many}"), "").await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn watchers_have_a_limit() {
    let server = Server::start(ServerSettings {
        max_watchers: 0,
        ..ServerSettings::default()
    })
    .await;
    let upgrade = "GET /ws/logs/01a20505-02ed-773b-a8ec-000000000000 HTTP/1.1\r\nUpgrade: websocket\r\n\
                   Connection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Host: localhost\r\n\r\n";
    let mut stream = server.connect().await;
    stream
        .write_all(upgrade.as_bytes())
        .await
        .expect("the server reads");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("it is answered");
    assert_eq!(&answer, b"HTTP/1.1 503");
}
