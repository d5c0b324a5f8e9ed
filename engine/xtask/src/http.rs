//! Just enough HTTP to ask the demo's own server on this machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// How long the server may take to answer, the sending of each part counted on its own.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks for a path and gives the answer's JSON. Any status but 200 is an error.
pub(crate) fn get(server: SocketAddr, path: &str) -> Result<Value> {
    let answer = ask(server, path).with_context(|| format!("no answer from http://{server}{path}"))?;
    let (status, body) =
        parse(&answer).with_context(|| format!("http://{server}{path} did not answer with HTTP"))?;
    ensure!(
        status == 200,
        "http://{server}{path} answered {status}: {}",
        String::from_utf8_lossy(body)
    );
    serde_json::from_slice(body).with_context(|| format!("http://{server}{path} did not answer with JSON"))
}

fn ask(server: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // To HTTP/1.0 a server answers unchunked and closes.
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {server}\r\nAccept: application/json\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The status and the body of an answer to an HTTP/1.0 request.
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
    fn an_answer_is_a_status_and_what_follows_the_empty_line() {
        let answer = b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"a\":\r\n\r\n1}";
        assert_eq!(parse(answer), Some((200, b"{\"a\":\r\n\r\n1}".as_slice())));
        assert_eq!(
            parse(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"),
            Some((503, b"".as_slice()))
        );
    }

    #[test]
    fn what_is_not_http_is_no_answer() {
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
