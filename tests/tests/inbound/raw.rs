//! Raw requests on a socket, which no HTTP client would send.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use heddle_tests::TIMEOUT;

/// A connection with read timeouts.
pub(crate) fn connect(address: impl Into<SocketAddr>) -> TcpStream {
    let stream = TcpStream::connect(address.into()).expect("the server accepts");
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Sends the head of a request that closes the connection, and reads the whole response.
pub(crate) fn request(address: impl Into<SocketAddr>, head: &str) -> String {
    let mut stream = connect(address);
    write!(stream, "{head}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("the server ends the answer");
    String::from_utf8(answer).expect("the answer is text")
}

/// The status of a response.
pub(crate) fn status(answer: &str) -> u16 {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no status in {answer:?}"))
}
