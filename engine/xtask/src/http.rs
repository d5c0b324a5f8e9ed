//! A minimal HTTP client for the demo's own server on this machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The timeout of each read and write.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Gets a path and returns the response's JSON. Any status but 200 is an error.
pub(crate) fn get(server: SocketAddr, path: &str) -> Result<Value> {
    let answer = request(server, path).with_context(|| format!("no answer from http://{server}{path}"))?;
    let (status, body) =
        parse(&answer).with_context(|| format!("http://{server}{path} did not answer with HTTP"))?;
    ensure!(
        status == 200,
        "http://{server}{path} answered {status}: {}",
        String::from_utf8_lossy(body)
    );
    serde_json::from_slice(body).with_context(|| format!("http://{server}{path} did not answer with JSON"))
}

fn request(server: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // A server answers HTTP/1.0 without chunks and closes the connection.
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {server}\r\nAccept: application/json\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Parses the status and the body of a response to an HTTP/1.0 request.
fn parse(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut status_line = head.lines().next()?.splitn(3, ' ');
    status_line
        .next()
        .filter(|version| version.starts_with("HTTP/1."))?;
    Some((status_line.next()?.parse().ok()?, &answer[end + 4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_a_status_and_the_body_after_the_empty_line() {
        let answer = b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"a\":\r\n\r\n1}";
        assert_eq!(parse(answer), Some((200, b"{\"a\":\r\n\r\n1}".as_slice())));
        assert_eq!(
            parse(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"),
            Some((503, b"".as_slice()))
        );
    }

    #[test]
    fn a_response_that_is_not_http_is_rejected() {
        for answer in [
            "",
            "HTTP/1.0 200 OK\r\n",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.0\r\n\r\n",
            "HTTP/1.0 ok\r\n\r\n",
        ] {
            assert_eq!(parse(answer.as_bytes()), None, "{answer:?}");
        }
    }
}
