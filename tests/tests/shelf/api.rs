//! A fake OpenAI-compatible API on loopback that also serves the orders of a shop.
//!
//! Streamed responses are split into HTTP chunks at difficult positions: within a character, within a field name, and
//! within the empty line after an event.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
};

use heddle_tests::TIMEOUT;
use serde_json::{Value, json};

/// The API key.
pub(crate) const KEY: &str = "sk-loom-7f3a";

/// The reply of the model, piece by piece.
pub(crate) const PIECES: [&str; 5] = [
    "Ada Lovelace and ",
    "Müller & Söhne",
    " ordered three looms 🧶",
    " and ten kilograms",
    " of wool.",
];

/// A received request.
pub(crate) struct ReceivedRequest {
    /// The method and the target.
    pub(crate) line: String,
    /// The headers with lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, or null if absent.
    pub(crate) body: Value,
}

impl ReceivedRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

pub(crate) struct Api {
    /// `http://127.0.0.1:PORT`.
    pub(crate) origin: String,
    pub(crate) requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    /// Releases the next piece of a streamed response. Dropping it releases all.
    pub(crate) gate: Option<Sender<()>>,
}

impl Api {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<ReceivedRequest>>> = Arc::default();
        let (gate, opened) = channel();
        let kept = requests.clone();
        std::thread::spawn(move || {
            // One request at a time: a client closes its connection after each.
            for stream in listener.incoming().map_while(Result::ok) {
                let request = read(&stream);
                let is_first = !kept
                    .lock()
                    .unwrap()
                    .iter()
                    .any(|other| other.body["model"] == request.body["model"]);
                // Disconnected clients are ignored.
                let _ = answer(&stream, &request, is_first, &opened, &kept);
            }
        });
        Self {
            origin,
            requests,
            gate: Some(gate),
        }
    }

    /// The bodies of the chat requests so far.
    pub(crate) fn chats(&self) -> Vec<Value> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .filter(|request| !request.body.is_null())
            .map(|request| request.body.clone())
            .collect()
    }
}

fn read(stream: &TcpStream) -> ReceivedRequest {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    ReceivedRequest {
        line: lines[0].trim_end_matches(" HTTP/1.1").to_owned(),
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

fn answer(
    mut stream: &TcpStream,
    request: &ReceivedRequest,
    is_first: bool,
    gate: &Receiver<()>,
    requests: &Mutex<Vec<ReceivedRequest>>,
) -> std::io::Result<()> {
    let body = request.body.clone();
    let (line, is_known) = (
        request.line.clone(),
        request.header("authorization") == Some(&format!("Bearer {KEY}")),
    );
    requests.lock().unwrap().push(ReceivedRequest {
        line: line.clone(),
        headers: request.headers.clone(),
        body: body.clone(),
    });
    let error = |message: &str, kind: &str, code: Value| json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    match line.as_str() {
        "GET /orders?state=open" => whole(stream, 200, "", &orders()),
        "POST /v1/chat/completions" if !is_known => whole(
            stream,
            401,
            "",
            &error(
                "Incorrect API key provided.",
                "invalid_request_error",
                json!("invalid_api_key"),
            ),
        ),
        "POST /v1/chat/completions" => match body["model"].as_str().unwrap_or_default() {
            "loom-busy" if is_first => whole(
                stream,
                429,
                "retry-after: 1\r\n",
                &error("Rate limit reached.", "requests", json!("rate_limit_exceeded")),
            ),
            "loom-down" => whole(
                stream,
                503,
                "",
                &error("The server is overloaded.", "server_error", Value::Null),
            ),
            model if !model.starts_with("loom-") => whole(
                stream,
                404,
                "",
                &error(
                    &format!("The model `{model}` does not exist."),
                    "invalid_request_error",
                    json!("model_not_found"),
                ),
            ),
            model if body["stream"] == true => streamed(stream, model, gate),
            model => {
                let text = match body["response_format"]["type"].as_str() {
                    Some("json_schema") => "{\"looms\": 3}".to_owned(),
                    _ => PIECES.concat(),
                };
                let message = json!({"role": "assistant", "content": text, "refusal": null});
                let choice =
                    json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
                let completion = json!({
                    "id": "chatcmpl-2", "object": "chat.completion", "created": 1_774_000_000, "model": model, "choices": [choice],
                    "usage": usage(),
                });
                whole(stream, 200, "", &completion)
            }
        },
        _ => stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
    }
}

fn usage() -> Value {
    json!({"prompt_tokens": 38, "completion_tokens": 19, "total_tokens": 57})
}

fn orders() -> Value {
    json!([
        {"id": 7, "customer": "Ada Lovelace", "items": ["a loom", "10 kg of wool"], "total": 1250.5, "placed": "2026-03-20T16:00:00Z"},
        {"id": 8, "customer": "Grace Hopper", "items": ["a shuttle"], "total": 12, "placed": "2026-03-20T17:00:00Z"},
        {"id": 9, "customer": "Müller & Söhne", "items": ["2 looms"], "total": 1999, "placed": "2026-03-21T09:30:00Z"},
    ])
}

fn whole(mut stream: &TcpStream, status: u16, headers: &str, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

fn streamed(mut stream: &TcpStream, model: &str, gate: &Receiver<()>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n",
    )?;
    let event = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_774_000_000, "model": model,
            "system_fingerprint": null, "choices": choices, "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value, finish_reason: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
    let mut send = |text: &str| {
        for piece in pieces(text.as_bytes()) {
            write!(stream, "{:x}\r\n", piece.len())?;
            stream.write_all(piece)?;
            stream.write_all(b"\r\n")?;
        }
        stream.flush()
    };
    send(&event(
        delta(json!({"role": "assistant", "content": ""}), Value::Null),
        Value::Null,
    ))?;
    for piece in PIECES {
        // An error means that the sender was dropped, so the gate is open; a gate that never opens fails the test by
        // its deltas.
        let _ = gate.recv_timeout(TIMEOUT);
        send(&event(delta(json!({"content": piece}), Value::Null), Value::Null))?;
    }
    send(&event(delta(json!({}), json!("stop")), Value::Null))?;
    send(&event(json!([]), usage()))?;
    send("data: [DONE]\n\n")?;
    stream.write_all(b"0\r\n\r\n")
}

/// Splits the bytes: after the second byte, within each multi-byte character, and before the last byte.
fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let mut cuts = vec![0, 2];
    cuts.extend((3..bytes.len() - 1).filter(|&at| bytes[at] & 0b1100_0000 == 0b1000_0000));
    cuts.extend([bytes.len() - 1, bytes.len()]);
    cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect()
}
