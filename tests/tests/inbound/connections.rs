//! More idle connections from one address than the server accepts.

use std::{io::Write, net::SocketAddr};

use heddle_tests::Server;

use crate::raw::connect;

#[test]
fn slow_connections_do_not_block_other_clients() {
    let server = Server::start_with(&["--max-connections", "100", "--max-connections-per-address", "60"]);
    let address: SocketAddr = server.address.parse().unwrap();
    let mut slow = Vec::new();
    for at in 0..300 {
        let mut stream = connect(address);
        // The server may close it immediately in favour of another.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: local");
        slow.push(stream);
        if at % 50 == 0 {
            assert_eq!(server.get("/healthz").status, 200);
        }
    }
    assert_eq!(server.get("/readyz").status, 200);
}
