//! The commands that talk to a running server over HTTP.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json, value::RawValue};
use ureq::{
    Agent, Body,
    http::{Response, StatusCode},
};

use crate::{
    Run,
    definition::Source,
    events::{Printer, Wait},
    paint::Paint,
};

/// How often a broken event stream is taken up again before the command gives up.
const RECONNECTS: u32 = 10;
/// The pause before an event stream is taken up again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

pub(crate) fn create_graph(server: &str, file: &Path) -> anyhow::Result<ExitCode> {
    let source = Source::read(file)?;
    let graph = post(server, "/v1/graphs", source.json()?)?;
    let paint = Paint::for_stderr();
    for warning in list(&graph, "warnings") {
        let pointer = text(warning, "pointer");
        eprintln!(
            "{}: {}: {} ({pointer})",
            source.at(source.find(pointer)),
            paint.in_colour("1;33", "warning"),
            text(warning, "message")
        );
    }
    println!("{}", text(&graph, "graph_id"));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn list_graphs(server: &str) -> anyhow::Result<ExitCode> {
    let mut page = String::new();
    let mut out = std::io::stdout().lock();
    loop {
        let answer = get(server, &format!("/v1/graphs?page_size=100{page}"))?;
        for graph in list(&answer, "graphs") {
            writeln!(out, "{}  {}", text(graph, "graph_id"), text(graph, "name"))?;
        }
        match answer["next_page_token"].as_str() {
            Some(token) => page = format!("&page_token={token}"),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

pub(crate) fn run(run: &Run) -> anyhow::Result<ExitCode> {
    let server = &run.server.url;
    let state = given("--state", &run.state)?;
    let body = json!({"graph": run.graph, "state": state, "priority": run.priority});
    let started = post_keyed(
        server,
        "/v1/runs",
        &body.to_string(),
        run.idempotency_key.as_deref(),
    )?;
    let id = text(&started, "run_id");
    if !run.follow {
        println!("{id}");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("run {id}");
    if text(&started, "status") == "queued" {
        eprintln!("it is queued, and begins when its turn comes");
    }
    watch(server, id, 0, run.json)
}

/// Asks the server what is wrong with a definition.
pub(crate) fn check(server: &str, definition: &str) -> anyhow::Result<Value> {
    post(server, "/v1/graphs:check", definition)
}

/// The picture of a graph that the server keeps.
pub(crate) fn picture(server: &str, graph: &str, format: &str) -> anyhow::Result<String> {
    let request = agent()
        .get(format!("{server}/v1/graphs/{}/picture", escape(graph)))
        .query("format", format);
    body(request.call(), server)
}

/// The JSON that an argument is, or that is in the file that it names.
pub(crate) fn given(argument: &str, text: &str) -> anyhow::Result<Box<RawValue>> {
    let text = match text.strip_prefix('@') {
        Some(file) => read(Path::new(file))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&text).with_context(|| format!("{argument} is not JSON"))
}

/// The waits of a run's graph: for each node that waits for a signal, the signal and what a person is asked.
fn waits(server: &str, run: &str) -> anyhow::Result<HashMap<String, Wait>> {
    let run = get(server, &format!("/v1/runs/{}", escape(run)))?;
    let graph = get(server, &format!("/v1/graphs/{}", text(&run, "graph_id")))?;
    let nodes = graph["definition"]["nodes"].as_object().into_iter().flatten();
    let waits = nodes.filter_map(|(name, node)| {
        let wait = node["wait"].as_object()?;
        let text = |key: &str| wait.get(key).and_then(Value::as_str).map(str::to_owned);
        // What an expression gives stands in the event that begins the step.
        let wait = Wait {
            signal: text("signal"),
            prompt: text("prompt"),
        };
        Some((name.clone(), wait))
    });
    Ok(waits.collect())
}

pub(crate) fn watch(server: &str, run: &str, after: u64, json: bool) -> anyhow::Result<ExitCode> {
    // Without them a wait is a step as any other: so where they cannot be had, the stream tells why.
    let waits = match json {
        true => HashMap::new(),
        false => waits(server, run).unwrap_or_default(),
    };
    let mut printer = Printer::new(json, run, waits);
    let mut last = after;
    let mut broken = 0;
    loop {
        match stream(server, run, &mut last, &mut printer) {
            Ok(()) => break,
            Err(Broken::ByNetwork) if broken < RECONNECTS => {
                broken += 1;
                std::thread::sleep(RECONNECT_PAUSE);
            }
            Err(Broken::ByNetwork) => bail!("the server at {server} does not answer any more"),
            Err(Broken::ForGood(error)) => return Err(error),
        }
    }
    let run = get(server, &format!("/v1/runs/{run}"))?;
    printer.end(&run)?;
    Ok(match text(&run, "status") {
        "failed" | "cancelled" => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// Why an event stream ended before the run did.
enum Broken {
    /// The connection broke: it can be taken up where it was.
    ByNetwork,
    /// It is no use to try again.
    ForGood(anyhow::Error),
}

/// Reads a run's server-sent events until the run is over.
fn stream(server: &str, run: &str, last: &mut u64, printer: &mut Printer) -> Result<(), Broken> {
    let request = agent()
        .get(format!("{server}/v1/runs/{run}/events"))
        .query("after", last.to_string())
        .header("accept", "text/event-stream");
    let mut response = match request.call() {
        Ok(response) if response.status().is_success() => response,
        Ok(response) => return Err(Broken::ForGood(problem(response))),
        Err(_) if *last > 0 => return Err(Broken::ByNetwork),
        Err(error) => return Err(Broken::ForGood(unreachable(server, &error))),
    };
    if response.status() == StatusCode::NO_CONTENT {
        return Ok(());
    }
    let reader = BufReader::new(response.body_mut().as_reader());
    for line in reader.lines() {
        let line = line.map_err(|_| Broken::ByNetwork)?;
        if line
            .strip_prefix("event:")
            .is_some_and(|kind| kind.trim() == "end")
        {
            return Ok(());
        }
        let Some(data) = line.strip_prefix("data:") else {
            continue;
        };
        let Ok(event) = serde_json::from_str::<Value>(data) else {
            continue;
        };
        if let Some(seq) = event["seq"].as_u64() {
            *last = seq;
        }
        printer
            .event(&event)
            .map_err(|error| Broken::ForGood(error.into()))?;
    }
    Err(Broken::ByNetwork)
}

fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).build().into()
}

pub(crate) fn get(server: &str, path: &str) -> anyhow::Result<Value> {
    answer(agent().get(format!("{server}{path}")).call(), server)
}

/// The answer as it is written: numbers stay exact.
pub(crate) fn get_text(server: &str, path: &str) -> anyhow::Result<String> {
    body(agent().get(format!("{server}{path}")).call(), server)
}

pub(crate) fn post(server: &str, path: &str, body: &str) -> anyhow::Result<Value> {
    post_keyed(server, path, body, None)
}

/// Posts JSON, with the key by which the request is known when it is sent again.
pub(crate) fn post_keyed(server: &str, path: &str, body: &str, key: Option<&str>) -> anyhow::Result<Value> {
    let mut request = agent()
        .post(format!("{server}{path}"))
        .header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    answer(request.send(body), server)
}

/// Posts bytes of a content type.
pub(crate) fn upload(server: &str, path: &str, kind: &str, bytes: &[u8]) -> anyhow::Result<Value> {
    let request = agent()
        .post(format!("{server}{path}"))
        .header("content-type", kind);
    answer(request.send(bytes), server)
}

/// The body of an answer, to be read as it comes.
pub(crate) fn download(server: &str, path: &str) -> anyhow::Result<impl Read> {
    let response = agent().get(format!("{server}{path}")).call();
    let response = response.map_err(|error| unreachable(server, &error))?;
    match response.status().is_success() {
        true => Ok(response.into_body().into_reader()),
        false => Err(problem(response)),
    }
}

pub(crate) fn delete(server: &str, path: &str) -> anyhow::Result<()> {
    body(agent().delete(format!("{server}{path}")).call(), server).map(|_| ())
}

/// Deletes, and gives what the server tells of what is gone.
pub(crate) fn remove(server: &str, path: &str) -> anyhow::Result<Value> {
    answer(agent().delete(format!("{server}{path}")).call(), server)
}

/// The JSON of an answer, or the problem that it tells of.
fn answer(result: Result<Response<Body>, ureq::Error>, server: &str) -> anyhow::Result<Value> {
    let body = body(result, server)?;
    serde_json::from_str(&body).context("the server's answer is not JSON: is it Heddle?")
}

/// The text of an answer, or the problem that it tells of.
fn body(result: Result<Response<Body>, ureq::Error>, server: &str) -> anyhow::Result<String> {
    let mut response = result.map_err(|error| unreachable(server, &error))?;
    if !response.status().is_success() {
        return Err(problem(response));
    }
    let mut body = String::new();
    response.body_mut().as_reader().read_to_string(&mut body)?;
    Ok(body)
}

/// A name as one part of a path (RFC 3986, 2.3).
pub(crate) fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn unreachable(server: &str, error: &ureq::Error) -> anyhow::Error {
    anyhow!("no answer from {server} ({error}): is `heddle serve` running there? --server names another")
}

/// An RFC 9457 problem as an error: its detail, and each finding on a line of its own.
fn problem(mut response: Response<Body>) -> anyhow::Error {
    let status = response.status();
    let mut body = String::new();
    let _ = response
        .body_mut()
        .as_reader()
        .take(1 << 20)
        .read_to_string(&mut body);
    let Ok(problem) = serde_json::from_str::<Value>(&body) else {
        return anyhow!("the server answered {status}");
    };
    let mut message = match text(&problem, "detail") {
        "" => format!("the server answered {status}"),
        detail => detail.to_owned(),
    };
    for finding in list(&problem, "errors") {
        message.push_str(&format!(
            "\n  {}: {}",
            text(finding, "pointer"),
            text(finding, "message")
        ));
    }
    anyhow!(message)
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        return std::io::read_to_string(std::io::stdin()).context("cannot read stdin");
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

pub(crate) fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}
