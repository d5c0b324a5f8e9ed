//! The requests that commands make, and what their answers are read as.
//!
//! Text that [`text`] takes from an answer is safe to print; what is sent back to the server, or printed as JSON, is
//! taken as it is.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    io::{self, BufReader, ErrorKind, Read, Write},
    ops::Deref,
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use heddle_display as display;
use heddle_json::{Json, object};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use ureq::{
    Body, Timeout,
    http::{Response, StatusCode, header},
};

use crate::{
    Run, Usage,
    definition::Source,
    events::{Printer, Wait},
    interrupt, output,
    paint::Paint,
    refusal::{Flags, Refusal, in_commands},
    server::{Connection, Server},
    sse::Messages,
};

/// How often a broken event stream is taken up again before the command gives up.
const RECONNECTS: u32 = 10;
/// The pause before an event stream is taken up again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// What an answer that is no JSON means.
const NO_JSON: &str = "the server's answer is not JSON: is it Heddle?";
/// How much is read of an error response.
const MAX_PROBLEM: u64 = 1 << 20;

pub(crate) fn create_graph(server: &Server, file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let source = Source::read(file)?;
    let graph = post(server, "/v1/graphs", source.json()?, &[]).map_err(|error| in_source(error, &source))?;
    for warning in list(&graph, "warnings") {
        output::message(finding(warning, &source, "warning", "1;33"));
    }
    match json {
        true => output::print_json(&graph)?,
        false => output::print(text(&graph, "graph_id"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What a server found wrong with a definition, with the places in its file.
fn in_source(error: anyhow::Error, source: &Source) -> anyhow::Error {
    let Some(refusal) = error.downcast_ref::<Refusal>() else {
        return error;
    };
    let name = |found: &Value| match &*text(found, "severity") {
        "warning" => ("warning", "1;33"),
        _ => ("error", "1;31"),
    };
    let findings = refusal.findings().map(|found| {
        let (name, colour) = name(found);
        finding(found, source, name, colour)
    });
    let findings: Vec<String> = findings.collect();
    match findings.is_empty() {
        true => error,
        false => anyhow!(
            "{} is not created:\n{}",
            display::line(&source.name),
            findings.join("\n")
        ),
    }
}

/// A finding in a line, as `graph check` prints it.
fn finding(found: &Value, source: &Source, name: &str, colour: &str) -> String {
    let paint = Paint::for_stderr();
    let pointer = found["pointer"].as_str().unwrap_or_default();
    let place = paint.in_colour("1", &source.at(source.find(pointer)));
    let message = in_commands(&text(found, "message"));
    let pointer = match pointer {
        "" => String::new(),
        pointer => paint.in_colour("2", &format!(" ({pointer})")),
    };
    format!("{place}: {}: {message}{pointer}", paint.in_colour(colour, name))
}

pub(crate) fn delete_graph(server: &Server, graph: &str) -> anyhow::Result<ExitCode> {
    delete(server, &format!("/v1/graphs/{}", escape(graph)))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn list_graphs(server: &Server, json: bool) -> anyhow::Result<ExitCode> {
    let mut page = String::new();
    let mut is_empty = true;
    let mut out = output::stdout();
    loop {
        let answer = get_text(server, &format!("/v1/graphs?page_size=100{page}"))?;
        if json {
            print_items(&mut out, &answer, "graphs")?;
        }
        let answer = read_json(&answer)?;
        for graph in list(&answer, "graphs").filter(|_| !json) {
            let line = format!("{}  {}", text(graph, "graph_id"), text(graph, "name"));
            writeln!(out, "{}", line.trim_end())?;
        }
        is_empty &= list(&answer, "graphs").next().is_none();
        match answer["next_page_token"].as_str() {
            Some(token) => page = format!("&page_token={}", escape(token)),
            None => {
                if is_empty {
                    output::none(json, "graphs");
                }
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

/// Prints each item of a list as a line of JSON, as the server wrote it.
pub(crate) fn print_items(out: &mut impl Write, answer: &str, key: &str) -> anyhow::Result<()> {
    let lists: HashMap<&str, &RawValue> = serde_json::from_str(answer).context(NO_JSON)?;
    let items = lists.get(key).map_or("[]", |items| items.get());
    let items: Vec<&RawValue> = serde_json::from_str(items).context(NO_JSON)?;
    for item in items {
        // A line break in JSON stands between two values only.
        let item = item.get().replace(['\n', '\r'], " ");
        writeln!(out, "{}", display::json(&item))?;
    }
    Ok(())
}

/// The body of a start: the state is sent as it was given.
#[derive(Serialize)]
struct StartBody<'b> {
    graph: &'b str,
    state: &'b RawValue,
    priority: i32,
}

/// A request's body. What it has as a [`RawValue`] keeps its text, and so its numbers.
pub(crate) fn body_of(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("the keys of a body are strings")
}

pub(crate) fn run(run: &Run) -> anyhow::Result<ExitCode> {
    let server = &run.server;
    let state = given("--state", &run.state)?;
    let body = StartBody {
        graph: &run.graph,
        state: &state,
        priority: run.priority,
    };
    let started = post_keyed(
        server,
        "/v1/runs",
        &body_of(&body),
        run.idempotency_key.as_deref(),
        &[
            ("/graph", "GRAPH"),
            ("/state", "--state"),
            ("/priority", "--priority"),
        ],
    )?;
    let id = text(&started, "run_id");
    if !run.follow {
        match run.json {
            true => started.print()?,
            false => output::print(&id)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    output::message(format_args!("run {id}"));
    if started["status"] == "queued" {
        output::message("it is queued, and begins when its turn comes");
    }
    watch(server, &id, 0, run.json)
}

/// Asks the server what is wrong with a definition.
pub(crate) fn check(server: &Server, definition: &str) -> anyhow::Result<Answer> {
    post(server, "/v1/graphs:check", definition, &[])
}

/// The picture of a graph that the server keeps.
pub(crate) fn picture(server: &Server, graph: &str, format: &str) -> anyhow::Result<String> {
    get_text(
        server,
        &format!("/v1/graphs/{}/picture?format={format}", escape(graph)),
    )
}

/// The name of a run's graph, where it has one, and its waits: for each node that waits for a signal, the signal and
/// what a person is asked.
fn graph_of(server: &Server, run: &str) -> anyhow::Result<(Option<String>, HashMap<String, Wait>)> {
    let run = get(server, &format!("/v1/runs/{}", escape(run)))?;
    let name = run["graph_name"].as_str().map(str::to_owned);
    let graph = run["graph_id"].as_str().unwrap_or_default();
    let graph = get(server, &format!("/v1/graphs/{}", escape(graph)))?;
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
    Ok((name, waits.collect()))
}

pub(crate) fn watch(server: &Server, run: &str, after: u64, json: bool) -> anyhow::Result<ExitCode> {
    // Without them a wait is a step as any other: so where they cannot be had, the stream tells why.
    let (graph, waits) = match json {
        true => (None, HashMap::new()),
        false => graph_of(server, run).unwrap_or_default(),
    };
    let connection = server.connection()?;
    output::exit_when_closed();
    let id = display::line(run);
    interrupt::hint(format!(
        "the run goes on: `heddle watch {id}` watches it again, `heddle cancel {id}` cancels it"
    ));
    let mut printer = Printer::new(json, run, graph, waits);
    let mut last = after;
    let mut broken = 0;
    loop {
        match stream(connection, run, &mut last, &mut printer) {
            Ok(()) => break,
            Err(Broken::ByNetwork) if broken < RECONNECTS => {
                broken += 1;
                std::thread::sleep(RECONNECT_PAUSE);
            }
            Err(Broken::ByNetwork) => bail!("the server at {} does not answer any more", connection.url()),
            Err(Broken::ForGood(error)) => return Err(error),
        }
    }
    let answer = get_text(server, &format!("/v1/runs/{}", escape(run)))?;
    let run = read_json(&answer)?;
    let parts: BTreeMap<String, &RawValue> = serde_json::from_str(&answer).context(NO_JSON)?;
    printer.end(&run, &parts)?;
    Ok(match &*text(&run, "status") {
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
fn stream(connection: &Connection, run: &str, last: &mut u64, printer: &mut Printer) -> Result<(), Broken> {
    let request = connection
        .get(&format!("/v1/runs/{}/events", escape(run)))
        .query("after", last.to_string())
        .header("accept", "text/event-stream");
    let answered = request.call();
    if answered.is_err() && *last > 0 {
        return Err(Broken::ByNetwork);
    }
    let mut response = successful(connection, answered, &[]).map_err(Broken::ForGood)?;
    if response.status() == StatusCode::NO_CONTENT {
        return Ok(());
    }
    let mut messages = Messages::of(BufReader::new(response.body_mut().as_reader()));
    while let Some(message) = messages.next().map_err(|_| Broken::ByNetwork)? {
        if message.kind == "end" {
            return Ok(());
        }
        let event: Value = serde_json::from_str(&message.data).map_err(|error| {
            let line = message.line;
            Broken::ForGood(anyhow!(
                "line {line} of the event stream of run {}, after event {last}, is not JSON: {error}",
                display::line(run)
            ))
        })?;
        if let Some(seq) = event["seq"].as_u64() {
            *last = seq;
        }
        printer
            .event(&event, &message.data)
            .map_err(|error| Broken::ForGood(error.into()))?;
    }
    Err(Broken::ByNetwork)
}

/// The JSON that an argument is, or that is in the file that it names: as it is written, in one line.
///
/// # Errors
/// Where it is not JSON, or the server would not let it in.
pub(crate) fn given(argument: &str, text: &str) -> anyhow::Result<Json> {
    let text = match text.strip_prefix('@') {
        Some(file) => read(Path::new(file))?,
        None => text.to_owned(),
    };
    object::admit(&text).map_err(|refused| {
        Usage::error(match refused.place {
            Some(_) => format!("{argument} is {refused}"),
            None => format!("{argument}: {refused}"),
        })
    })
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        return io::read_to_string(io::stdin()).context("cannot read stdin");
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", output::path(file)))
}

pub(crate) fn get(server: &Server, path: &str) -> anyhow::Result<Value> {
    read_json(&get_text(server, path)?)
}

/// The answer as it is written: numbers stay exact.
pub(crate) fn get_text(server: &Server, path: &str) -> anyhow::Result<String> {
    let connection = server.connection()?;
    body(connection, connection.get(path).call(), &[])
}

pub(crate) fn post(server: &Server, path: &str, body: &str, flags: Flags) -> anyhow::Result<Answer> {
    post_keyed(server, path, body, None, flags)
}

/// Posts JSON, with the key by which the request is known when it is sent again. `flags` says which argument each
/// part of the body comes from, for what the server may say of it.
pub(crate) fn post_keyed(
    server: &Server,
    path: &str,
    json_body: &str,
    key: Option<&str>,
    flags: Flags,
) -> anyhow::Result<Answer> {
    let connection = server.connection()?;
    let mut request = connection.post(path).header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    Answer::read(body(connection, request.send(json_body), flags)?)
}

/// Posts bytes of a content type.
pub(crate) fn upload(server: &Server, path: &str, kind: &str, bytes: &[u8]) -> anyhow::Result<Answer> {
    let connection = server.connection()?;
    let request = connection.post(path).header("content-type", kind);
    Answer::read(body(connection, request.send(bytes), &[("/name", "--name")])?)
}

/// The body of an answer, to be read as it comes.
pub(crate) fn download(server: &Server, path: &str) -> anyhow::Result<impl Read + use<>> {
    let connection = server.connection()?;
    let answered = successful(connection, connection.get(path).call(), &[])?;
    Ok(answered.into_body().into_reader())
}

pub(crate) fn delete(server: &Server, path: &str) -> anyhow::Result<()> {
    let connection = server.connection()?;
    body(connection, connection.delete(path).call(), &[]).map(|_| ())
}

/// Deletes, and gives what the server tells of what is gone.
pub(crate) fn remove(server: &Server, path: &str) -> anyhow::Result<Value> {
    let connection = server.connection()?;
    read_json(&body(connection, connection.delete(path).call(), &[])?)
}

/// The JSON that the server answered. The text keeps the digits of numbers that no double holds.
pub(crate) struct Answer {
    text: String,
    value: Value,
}

impl Answer {
    fn read(text: String) -> anyhow::Result<Self> {
        let value = read_json(&text)?;
        Ok(Self { text, value })
    }

    pub(crate) fn into_value(self) -> Value {
        self.value
    }

    /// Prints it to stdout as the server wrote it, in one line.
    pub(crate) fn print(&self) -> io::Result<()> {
        output::print(display::json(&self.text))
    }
}

impl Deref for Answer {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

/// Reads an answer as JSON.
fn read_json(body: &str) -> anyhow::Result<Value> {
    serde_json::from_str(body).map_err(|error| match serde_json::from_str::<&RawValue>(body) {
        Ok(_) => anyhow!("the server's answer cannot be read: {error}"),
        Err(error) => anyhow!(error).context(NO_JSON),
    })
}

/// The text of an answer, or why there is none.
fn body(
    connection: &Connection,
    result: Result<Response<Body>, ureq::Error>,
    flags: Flags,
) -> anyhow::Result<String> {
    let mut response = successful(connection, result, flags)?;
    let mut body = String::new();
    let read = response.body_mut().as_reader().read_to_string(&mut body);
    read.with_context(|| format!("the answer of {} broke off", connection.url()))?;
    Ok(body)
}

/// An answer that has what was asked for, or why there is none.
fn successful(
    connection: &Connection,
    result: Result<Response<Body>, ureq::Error>,
    flags: Flags,
) -> anyhow::Result<Response<Body>> {
    let mut response = result.map_err(|error| unreachable(connection, &error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status.is_redirection() {
        let to = response.headers().get(header::LOCATION);
        let to = to.and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
        return Err(anyhow!(
            "{} redirects to {}: name the server that is there with --server",
            connection.url(),
            display::line(&display::redact(to))
        ));
    }
    let mut body = String::new();
    let reader = response.body_mut().as_reader();
    // Details that cannot be read are left out; the status is still reported.
    let _ = reader.take(MAX_PROBLEM).read_to_string(&mut body);
    let refusal = Refusal::of(status, &connection.masked(&body), flags);
    if refusal.is_elsewhere(connection.has_path()) {
        bail!(
            "{} is not a Heddle server, it answered 404: check the path in --server",
            connection.url()
        );
    }
    Err(refusal.into())
}

/// Why a server cannot be reached, and what to do.
fn unreachable(connection: &Connection, error: &ureq::Error) -> anyhow::Error {
    let url = connection.url();
    let of_tls = tls_error(error);
    if let (Some(proxy), None) = (connection.proxy(), of_tls) {
        let said = display::redact(&error.to_string()).into_owned();
        return anyhow!(
            "no answer from {url} through the proxy {proxy} ({said}): are both right, and running?"
        );
    }
    match error {
        ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => anyhow!(
            "cannot connect to {url}: connection refused; is a server running at {url}? Start one with `heddle serve`, \
             or name another one with --server"
        ),
        ureq::Error::HostNotFound => {
            anyhow!("cannot connect to {url}: there is no such host; is --server right?")
        }
        ureq::Error::Timeout(Timeout::Connect) => {
            anyhow!(
                "cannot connect to {url}: nothing answers; is --server right, and is it reachable from here?"
            )
        }
        _ => match of_tls {
            Some(rustls::Error::InvalidCertificate(error)) => anyhow!(
                "cannot trust {url}: its certificate is not valid ({error}); --ca-cert FILE names the certificate \
                 authority that signed it"
            ),
            Some(error) => {
                anyhow!(
                    "cannot speak TLS with {url} ({error}): does the server speak plain HTTP? Then it is http://"
                )
            }
            None => anyhow!(
                "no answer from {url} ({}): is a Heddle server running there? Start one with `heddle serve`, or name \
                 another one with --server",
                display::line(&display::redact(&error.to_string()))
            ),
        },
    }
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
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

/// The text at a key, safe to print as a part of a line; nothing where there is none.
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> Cow<'v, str> {
    display::line(value[key].as_str().unwrap_or_default())
}

/// The items at a key.
pub(crate) fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

/// The texts at a key, each safe to print as a part of a line.
pub(crate) fn texts<'v>(value: &'v Value, key: &str) -> Vec<Cow<'v, str>> {
    list(value, key)
        .filter_map(Value::as_str)
        .map(display::line)
        .collect()
}
