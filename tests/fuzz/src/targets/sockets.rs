//! The bytes of a WebSocket client, from the handshake on.
//!
//! An input is the path in its first line, additional headers on separate lines, an empty line, and the bytes after
//! the handshake. The server follows HTTP and RFC 6455: its frames are not masked, its messages are described events,
//! and its close codes are documented. Another socket and plain requests on other connections are served meanwhile.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use anyhow::{Context, Result};
use heddle_server::ServerSettings;
use heddle_tests::openapi::OpenApi;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    time::timeout,
};

use super::{Target, Verdict, served};
use crate::{
    mutate::{bytes, text},
    pool::Pool,
    random::Random,
};

/// The time limit of every operation.
const PATIENCE: Duration = Duration::from_secs(30);
/// The number of cases after which the other connections are checked.
const LOOK: u64 = 16;
/// The close codes that may be sent (RFC 6455, 7.4): a server echoes the code of the client.
const CLOSE_CODES: [RangeInclusive<u16>; 3] = [1000..=1003, 1007..=1014, 3000..=4999];
/// The maximum size of an input in bytes.
const MAX_INPUT: usize = 32 << 10;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

pub(crate) struct Sockets {
    runtime: Runtime,
    world: served::World,
    openapi: OpenApi,
    address: SocketAddr,
    /// A socket that watches a run during all cases.
    other: TcpStream,
    cases: u64,
}

impl Sockets {
    pub(crate) fn new() -> Result<Self> {
        let (runtime, host) = (served::runtime()?, served::host()?);
        let openapi = serde_json::from_str(&heddle_server::openapi())?;
        let (world, address, other) = runtime.block_on(async {
            served::register(&host, served::guest("fixtures/contract")?, "contract").await?;
            let world = served::World::new(&host).await?;
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let engine = world.engine.clone();
            tokio::spawn(heddle_server::serve(
                listener,
                engine,
                ServerSettings::default(),
                std::future::pending(),
            ));
            let mut other = TcpStream::connect(address).await?;
            let request = handshake(&format!("/ws/logs/{}", world.waiting), "");
            other.write_all(request.as_bytes()).await?;
            anyhow::Ok((world, address, other))
        })?;
        Ok(Self {
            runtime,
            world,
            openapi: OpenApi::new(openapi),
            address,
            other,
            cases: 0,
        })
    }
}

impl Target for Sockets {
    fn mutate(&self, random: &mut Random, pool: &Pool) -> Vec<u8> {
        let (own, donor) = (pool.any(random).to_vec(), pool.any(random));
        let (head, sent) = split(&own);
        let (donor_head, donor_sent) = split(donor);
        let (mut head, mut sent) = (head.to_vec(), sent.to_vec());
        match random.below(0..8) {
            0 => {
                let (own, other) = (
                    String::from_utf8_lossy(&head),
                    String::from_utf8_lossy(donor_head),
                );
                head = text::mutate(random, &own, &other, 4_000).into_bytes();
            }
            1..=3 => bytes::mutate(random, &mut sent, donor_sent, MAX_INPUT),
            4 => sent = frames(random),
            _ => {
                let mut more = frames(random);
                if random.one_in(2) {
                    more.extend_from_slice(&sent);
                    sent = more;
                } else {
                    sent.extend_from_slice(&more);
                }
            }
        }
        sent.truncate(MAX_INPUT);
        head.extend_from_slice(b"\n\n");
        head.extend_from_slice(&sent);
        head
    }

    fn run(&mut self, input: &[u8]) -> Verdict {
        let (head, sent) = split(input);
        let Ok(head) = str::from_utf8(head) else {
            return Verdict::refused("no head");
        };
        let head = self.world.filled(head);
        let (path, headers) = head.split_once('\n').unwrap_or((&head, ""));
        let request = handshake(path, headers);
        let address = self.address;
        let answer = self
            .runtime
            .block_on(converse(address, request.into_bytes(), sent));
        self.cases += 1;
        if self.cases.is_multiple_of(LOOK) {
            let seen = self
                .runtime
                .block_on(check_other_connections(address, &mut self.other));
            seen.expect("the other connections are answered");
        }
        check(&self.openapi, &answer)
    }
}

/// The head of an input, and the bytes after it.
fn split(input: &[u8]) -> (&[u8], &[u8]) {
    match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (input, b""),
    }
}

/// The handshake request. Headers of the input replace those of the same name.
fn handshake(path: &str, headers: &str) -> String {
    let mut request = format!("GET {path} HTTP/1.1\r\n");
    for (name, value) in [
        ("host", "localhost"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        let is_own = |line: &str| line.to_lowercase().starts_with(&format!("{name}:"));
        if !headers.lines().any(is_own) {
            request += &format!("{name}: {value}\r\n");
        }
    }
    for line in headers.lines() {
        request += &format!("{line}\r\n");
    }
    request + "\r\n"
}

/// Sends everything and reads until the server is done or closes the connection.
async fn converse(address: SocketAddr, request: Vec<u8>, sent: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&request).await?;
        stream.write_all(sent).await?;
        // The head first: a client that disconnects immediately gets no response.
        while find(&answer, b"\r\n\r\n").is_none() && stream.read_buf(&mut answer).await? > 0 {}
        stream.shutdown().await?;
        stream.read_to_end(&mut answer).await
    };
    let ended: std::io::Result<usize> = timeout(PATIENCE, talk)
        .await
        .expect("the server ends the connection");
    drop(ended);
    answer
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|part| part == what)
}

/// Pings the other socket and checks the server's health.
async fn check_other_connections(address: SocketAddr, other: &mut TcpStream) -> Result<()> {
    timeout(PATIENCE, async {
        let token = b"still there?";
        other.write_all(&frame(PING, true, token, true)).await?;
        let mut read = Vec::new();
        let mut pong = vec![0x80 | PONG, token.len() as u8];
        pong.extend_from_slice(token);
        while find(&read, &pong).is_none() {
            anyhow::ensure!(
                other.read_buf(&mut read).await? > 0,
                "the other socket was closed"
            );
        }
        let mut stream = TcpStream::connect(address).await?;
        let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        Ok(())
    })
    .await
    .context("nothing came")?
}

fn check(openapi: &OpenApi, answer: &[u8]) -> Verdict {
    let Some(end) = find(answer, b"\r\n\r\n") else {
        return Verdict::refused("no answer");
    };
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let status = status.unwrap_or_else(|| panic!("no HTTP: {head}"));
    assert_ne!(status, "500", "{head}");
    if status != "101" {
        return Verdict::refused(status);
    }
    let (mut rest, mut kinds) = (&answer[end + 4..], String::new());
    while let Some((opcode, payload, after)) = server_frame(rest) {
        rest = after;
        match opcode {
            TEXT => {
                let event: Value = serde_json::from_slice(payload).expect("a message is JSON");
                openapi.check_event(&event);
                kinds += event["type"].as_str().unwrap_or("?");
            }
            CLOSE => {
                let code = payload
                    .first_chunk::<2>()
                    .map_or(1000, |code| u16::from_be_bytes(*code));
                assert!(
                    CLOSE_CODES.iter().any(|codes| codes.contains(&code)),
                    "close code {code}"
                );
                str::from_utf8(payload.get(2..).unwrap_or_default()).expect("a reason is UTF-8");
                kinds += &format!("close {code}");
            }
            PING | PONG => kinds += if opcode == PING { "ping" } else { "pong" },
            other => panic!("a frame of opcode {other}"),
        }
    }
    Verdict::accepted(kinds)
}

/// The first complete frame of the server: opcode, payload, and the remaining bytes.
fn server_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    assert_eq!(
        first & 0xf0,
        0x80,
        "the server sends whole messages without extensions"
    );
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (len, rest) = match second {
        126 => {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk::<8>()?;
            (usize::try_from(u64::from_be_bytes(*len)).ok()?, rest)
        }
        len => (usize::from(len), rest),
    };
    let (payload, rest) = rest.split_at_checked(len)?;
    Some((first & 0x0f, payload, rest))
}

/// A frame of a client.
fn frame(opcode: u8, fin: bool, payload: &[u8], masked: bool) -> Vec<u8> {
    let mut bytes = vec![opcode & 0x7f | if fin { 0x80 } else { 0 }];
    let mask = if masked { 0x80 } else { 0 };
    match payload.len() {
        len @ ..126 => bytes.push(mask | len as u8),
        len @ ..0x1_0000 => {
            bytes.push(mask | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(mask | 127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    if masked {
        let key = [7, 77, 177, 0];
        bytes.extend_from_slice(&key);
        bytes.extend(
            payload
                .iter()
                .zip(key.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
    } else {
        bytes.extend_from_slice(payload);
    }
    bytes
}

/// Frames, most of them valid.
fn frames(random: &mut Random) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..random.below(1..8) {
        let opcode = match random.below(0..8) {
            0 => random.byte(),
            1 => 0,
            2 | 3 => TEXT,
            4 => 2,
            5 => PING,
            6 => PONG,
            _ => CLOSE,
        };
        let len = match random.below(0..6) {
            0 => 0,
            1..=3 => random.below(1..130),
            4 => *random.of(&[125, 126, 127, 4095, 4096, 4097]),
            _ => random.below(1..10_000),
        };
        let mut payload: Vec<u8> = match random.below(0..3) {
            0 => (0..len).map(|_| random.byte()).collect(),
            _ => vec![b'x'; len],
        };
        if opcode == CLOSE && random.one_in(2) {
            let code = *random.of(&[1000, 1001, 1005, 1006, 1015, 3000, 4999, 0, 999, 65_535_u16]);
            payload.splice(..payload.len().min(2), code.to_be_bytes());
        }
        let mut one = frame(opcode, !random.one_in(5), &payload, !random.one_in(12));
        if random.one_in(10) && one.len() > 1 {
            // A wrong length.
            one[1] = random.byte();
        }
        all.extend_from_slice(&one);
    }
    all
}
