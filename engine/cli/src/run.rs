//! `heddle run` and `heddle watch`: start a run, and print the events of a run until it ends.

use std::{
    collections::{BTreeMap, HashMap},
    io::BufReader,
    process::ExitCode,
    time::Duration,
};

use anyhow::{anyhow, bail};
use clap::Args;
use heddle_display as display;
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use ureq::http::StatusCode;

use crate::{
    answer::text,
    client::{
        check_status, escape, get, get_text, json_argument, post_with_key, read_json, read_members, to_json,
    },
    connection::{Connection, Server},
    event_printer::{EventPrinter, Wait},
    interrupt,
    number::{MAX_NUMBER, whole},
    output,
    sse::EventReader,
};

/// How often the command connects again to an interrupted event stream before it gives up.
const RECONNECTS: u32 = 10;
/// The pause before the command connects again to an event stream.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(crate) struct Run {
    /// The graph: its id or its name
    graph: String,
    /// The initial state: JSON, @FILE, or @- for stdin
    #[arg(long, default_value = "{}")]
    state: String,
    /// The priority in the queue, from -100 to 100; the run with the highest priority starts first
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true,
        value_parser = whole::<i32>(-100..=100))]
    priority: i32,
    /// An idempotency key of your choice: a repeated request with the same key returns the same run
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Print the events of the run until it ends, then its final state
    #[arg(long, short)]
    follow: bool,
    /// Print the server's answer as JSON; with --follow, the events as JSON lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(crate) struct Watch {
    /// The id of the run
    run: String,
    /// Start after the event with this number
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = whole::<u64>(0..=MAX_NUMBER))]
    after: u64,
    /// Print the events as JSON lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Watch {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        watch(&self.server, &self.run, self.after, self.json)
    }
}

/// The body of a start. The state is sent unchanged.
#[derive(Serialize)]
struct StartBody<'b> {
    graph: &'b str,
    state: &'b RawValue,
    priority: i32,
}

impl Run {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let state = json_argument("--state", &self.state)?;
        let body = StartBody {
            graph: &self.graph,
            state: &state,
            priority: self.priority,
        };
        let started = post_with_key(
            &self.server,
            "/v1/runs",
            &to_json(&body),
            self.idempotency_key.as_deref(),
            &[
                ("/graph", "GRAPH"),
                ("/state", "--state"),
                ("/priority", "--priority"),
            ],
        )?;
        let id = text(&started, "run_id");
        if !self.follow {
            match self.json {
                true => started.print()?,
                false => output::print(&id)?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        output::message(format_args!("run {id}"));
        if started["status"] == "queued" {
            output::message("the run is queued; it starts when a slot is free");
        }
        watch(&self.server, &id, 0, self.json)
    }
}

/// The name of a run's graph, if it has one, and the graph's waits by node name.
fn graph_of(server: &Server, run: &str) -> anyhow::Result<(Option<String>, HashMap<String, Wait>)> {
    let run = get(server, &format!("/v1/runs/{}", escape(run)))?;
    let name = run["graph_name"].as_str().map(str::to_owned);
    let graph = run["graph_id"].as_str().unwrap_or_default();
    let graph = get(server, &format!("/v1/graphs/{}", escape(graph)))?;
    let nodes = graph["definition"]["nodes"].as_object().into_iter().flatten();
    let waits = nodes.filter_map(|(name, node)| {
        let wait = node["wait"].as_object()?;
        let text = |key: &str| wait.get(key).and_then(Value::as_str).map(str::to_owned);
        // If the signal or prompt is an expression, its value is in the event that starts the step.
        let wait = Wait {
            signal: text("signal"),
            prompt: text("prompt"),
        };
        Some((name.clone(), wait))
    });
    Ok((name, waits.collect()))
}

/// Prints the events of a run after the event `after`, until the run ends.
fn watch(server: &Server, run: &str, after: u64, json: bool) -> anyhow::Result<ExitCode> {
    // If the graph cannot be loaded, waits are printed like other steps. The event stream then reports the error.
    let (graph, waits) = match json {
        true => (None, HashMap::new()),
        false => graph_of(server, run).unwrap_or_default(),
    };
    let connection = server.connection()?;
    output::exit_when_stdout_closes();
    let id = display::line(run);
    interrupt::set_hint(format!(
        "the run continues: `heddle watch {id}` watches it again, `heddle cancel {id}` cancels it"
    ));
    let mut printer = EventPrinter::new(json, run, graph, waits);
    let mut last = after;
    let mut interruptions = 0;
    loop {
        match stream(connection, run, &mut last, &mut printer) {
            Ok(()) => break,
            Err(StreamError::Interrupted) if interruptions < RECONNECTS => {
                interruptions += 1;
                std::thread::sleep(RECONNECT_PAUSE);
            }
            Err(StreamError::Interrupted) => bail!("the server at {} no longer answers", connection.url()),
            Err(StreamError::Failed(error)) => return Err(error),
        }
    }
    let answer = get_text(server, &format!("/v1/runs/{}", escape(run)))?;
    let run = read_json(&answer)?;
    let parts: BTreeMap<String, &RawValue> = read_members(&answer)?;
    printer.end(&run, &parts)?;
    Ok(match &*text(&run, "status") {
        "failed" | "cancelled" => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// Why an event stream ended before the run.
enum StreamError {
    /// The connection was lost; a new one can continue after the last event.
    Interrupted,
    /// Another attempt would fail too.
    Failed(anyhow::Error),
}

/// Prints the server-sent events of a run until it ends. `last` is the number of the last event that was printed.
fn stream(
    connection: &Connection,
    run: &str,
    last: &mut u64,
    printer: &mut EventPrinter,
) -> Result<(), StreamError> {
    let request = connection
        .get(&format!("/v1/runs/{}/events", escape(run)))
        .query("after", last.to_string())
        .header("accept", "text/event-stream");
    let answered = request.call();
    if answered.is_err() && *last > 0 {
        return Err(StreamError::Interrupted);
    }
    let mut response = check_status(connection, answered, &[]).map_err(StreamError::Failed)?;
    if response.status() == StatusCode::NO_CONTENT {
        return Ok(());
    }
    let mut messages = EventReader::of(BufReader::new(response.body_mut().as_reader()));
    while let Some(message) = messages.next().map_err(|_| StreamError::Interrupted)? {
        if message.kind == "end" {
            return Ok(());
        }
        let event: Value = serde_json::from_str(&message.data).map_err(|error| {
            let line = message.line;
            StreamError::Failed(anyhow!(
                "line {line} of the event stream of run {}, after event {last}, is not JSON: {error}",
                display::line(run)
            ))
        })?;
        if let Some(seq) = event["seq"].as_u64() {
            *last = seq;
        }
        printer
            .event(&event, &message.data)
            .map_err(|error| StreamError::Failed(error.into()))?;
    }
    Err(StreamError::Interrupted)
}
