//! Which host names a request may use, by the address on which it arrived; and on which addresses a server may listen.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
};

use heddle_tests::{Server, ServerConfig, heddle};

use crate::raw::{request, status};

/// A server that listens on all addresses.
fn exposed(arguments: &[&str]) -> Server {
    let config = ServerConfig::default();
    let mut serve = Command::new(heddle());
    serve
        .args(["serve", "--listen", "0.0.0.0:0", "--insecure-no-auth", "--store"])
        .arg(format!("sqlite:{}", config.store.display()))
        .arg("--plugins")
        .arg(config.folder().join("plugins"))
        .args(&config.arguments)
        .args(arguments)
        .env("NO_COLOR", "1");
    Server::launch(serve, config)
}

/// A non-loopback address of this machine, if any: the source address of outgoing packets.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // This only looks up a route and sends nothing.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().unwrap().ip()).filter(|ip| !ip.is_loopback())
}

fn get(address: SocketAddr, host: &str) -> u16 {
    status(&request(
        address,
        &format!("GET /v1/runs HTTP/1.1\r\nhost: {host}"),
    ))
}

#[test]
fn a_loopback_host_is_answered_on_loopback_alone() {
    let server = exposed(&["--allow-host", "flows.example:8000"]);
    let port = server.address.rsplit_once(':').unwrap().1.parse().unwrap();
    server.until_logged("--insecure-no-auth");
    let log = server.log.lock().unwrap().clone();
    assert!(
        log.contains("WARN") && log.contains("--insecure-no-auth"),
        "{log}"
    );

    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for host in ["localhost", "LOCALHOST.:1", "127.0.0.1", "flows.example.:8000"] {
        assert_eq!(get(loopback, host), 200, "{host}");
    }
    for host in [
        "evil.example",
        "flows.example",
        "0.0.0.0",
        "localhost.evil.example",
    ] {
        assert_eq!(get(loopback, host), 421, "{host}");
    }

    // A machine without a network has no other address.
    let Some(ip) = own_address() else { return };
    let own = SocketAddr::from((ip, port));
    for host in [&*own.to_string(), &ip.to_string(), "Flows.Example:8000"] {
        assert_eq!(get(own, host), 200, "{host}");
    }
    for host in [
        "localhost",
        "localhost.",
        "LocalHost:8000",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "evil.example",
    ] {
        assert_eq!(get(own, host), 421, "{host}");
    }
    let absolute = |host: &str, target: &str| {
        status(&request(
            own,
            &format!("GET http://{target}/v1/runs HTTP/1.1\r\nhost: {host}"),
        ))
    };
    assert_eq!(absolute("flows.example:8000", "localhost"), 421);
    assert_eq!(absolute("localhost", "flows.example:8000"), 200);
    let several = request(
        own,
        "GET /v1/runs HTTP/1.1\r\nhost: flows.example:8000\r\nhost: localhost",
    );
    assert_eq!(status(&several), 400);
    let socket = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==";
    let socket = request(
        own,
        &format!("GET /ws/logs/018f0000-0000-7000-8000-000000000000 HTTP/1.1\r\nhost: localhost\r\n{socket}"),
    );
    assert_eq!(status(&socket), 421);
}

#[test]
fn a_public_address_is_refused_without_an_explicit_flag() {
    let folder = tempfile::TempDir::new().unwrap();
    let store = folder.path().join("heddle.db");
    for listen in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0", "192.0.2.7:8123"] {
        let output = Command::new(heddle())
            .args(["serve", "--listen", listen, "--store"])
            .arg(format!("sqlite:{}", store.display()))
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{listen}: {stderr}");
        assert!(
            stderr.contains(listen) && stderr.contains("--insecure-no-auth") && stderr.contains("127.0.0.1:"),
            "{listen}: {stderr}"
        );
    }
    assert!(!store.exists(), "nothing is created before the refusal");
}
