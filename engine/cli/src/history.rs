//! The commands for the history of a run: `show`, `steps`, `diff`, `export` and `import`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use heddle_display as display;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    answer::{list, text},
    client::{download, escape, get, get_text, print_items, upload},
    colours::Colours,
    connection::Server,
    json_text::{Detail, one_line, pretty},
    number::{MAX_NUMBER, whole},
    output, private_file,
    problem::run_error,
};

/// How many steps one request reads.
const PAGE_LEN: usize = 500;
/// The length in characters at which a value in a line is cut.
const VALUE_LEN: usize = 100;
/// How many changes inside one key are printed.
const MAX_LINES: usize = 20;

#[derive(Args)]
pub(crate) struct Show {
    /// The id of the run
    run: String,
    /// Show this step and the state after it; 0 for the beginning of the run
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u64>(0..=MAX_NUMBER))]
    step: Option<u64>,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(crate) struct Steps {
    /// The id of the run
    run: String,
    /// Print the steps as JSON lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(crate) struct Diff {
    /// The id of the run
    run: String,
    /// The first step of the comparison; 0 for the beginning of the run
    #[arg(allow_negative_numbers = true, value_parser = whole::<u64>(0..=MAX_NUMBER))]
    from: u64,
    /// The second step of the comparison
    #[arg(allow_negative_numbers = true, value_parser = whole::<u64>(0..=MAX_NUMBER))]
    to: u64,
    /// Print the server's answer as JSON, with a JSON Patch (RFC 6902)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(crate) struct Export {
    /// The id of the run
    run: String,
    /// The file to write [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(crate) struct Import {
    /// A file that `heddle export` wrote, or `-` for stdin
    file: PathBuf,
    /// Keep the names of the run's graphs, as if they were created now; each becomes the newest graph of its name
    #[arg(long)]
    names: bool,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Show {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = format!("/v1/runs/{}", escape(&self.run));
        let path = match self.step {
            Some(step) => format!("{path}/steps/{step}"),
            None => path,
        };
        let answer = get_text(&self.server, &path)?;
        let mut out = output::stdout();
        if self.json {
            writeln!(out, "{}", display::json(&answer))?;
            return Ok(ExitCode::SUCCESS);
        }
        let shown: Value = serde_json::from_str(&answer)?;
        let parts: BTreeMap<String, &RawValue> = serde_json::from_str(&answer)?;
        let names = [
            "run_id",
            "step",
            "node",
            "graph_name",
            "graph_id",
            "status",
            "attempts",
            "started_at",
            "finished_at",
            "steps",
            "nodes",
            "seq",
            "last_seq",
            "priority",
            "group",
            "origin",
        ];
        let colours = Colours::for_stdout();
        for name in names {
            let value = &shown[name];
            if !is_empty(value) {
                let label = colours.paint("2", &format!("{:<12}", name.replace('_', " ")));
                writeln!(out, "{label} {}", plain(value))?;
            }
        }
        let items: Vec<String> = list(&shown, "items").map(item_place).collect();
        if !items.is_empty() {
            let label = colours.paint("2", &format!("{:<12}", "item"));
            writeln!(out, "{label} {}", display::line(&items.join("/")))?;
        }
        for wait in list(&shown, "waits") {
            let label = colours.paint("33", &format!("{:<12}", "waits"));
            writeln!(out, "{label} {}", display::line(&waits_for(wait)))?;
        }
        let changed: Vec<Branch<'_>> = match parts.get("branches") {
            Some(branches) => serde_json::from_str(branches.get())?,
            None => Vec::new(),
        };
        for (branch, Branch { changed }) in list(&shown, "branches").zip(changed) {
            let label = colours.paint("2", &format!("{:<12}", "branch"));
            writeln!(out, "{label} {}", display::line(&branch_line(branch, changed)))?;
        }
        if let Some(function) = function(&shown["function"]) {
            let label = colours.paint("2", &format!("{:<12}", "function"));
            writeln!(out, "{label} {}", display::line(&function))?;
        }
        for error in [self.failure(&shown), self.error(&shown)].into_iter().flatten() {
            let mut label = colours.paint("31", &format!("{:<12}", "error"));
            for line in display::lines(&error) {
                writeln!(out, "{label} {line}")?;
                label = format!("{:<12}", "");
            }
        }
        for key in ["config", "input", "update", "output", "state"] {
            if let Some(part) = parts.get(key).filter(|_| !is_empty(&shown[key])) {
                let part = pretty(part, Detail::Shortened);
                writeln!(out, "\n{}\n{}", colours.paint("1", key), display::json(&part))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A wait in one line: its id, the items and the node, the signal, the prompt and the time.
fn waits_for(wait: &Value) -> String {
    let place: Vec<String> = list(wait, "items").map(item_place).collect();
    let place: String = place.iter().map(|item| format!("{item}/")).collect();
    let mut line = format!("{}: at {place}{}", wait["id"], text(wait, "node"));
    if let Some(signal) = wait["signal"].as_str() {
        line += &format!(" for the signal {signal}");
    }
    if let Some(prompt) = wait["prompt"].as_str() {
        line += &format!(" ({prompt:?})");
    }
    if let Some(until) = wait["until"].as_str() {
        line += &format!(" until {until}");
    }
    line
}

/// An item of a map, as in `parcels["a"]` or `parcels[2]`.
fn item_place(item: &Value) -> String {
    match item["key"].as_str() {
        Some(key) => format!("{}[{key:?}]", text(item, "node")),
        None => format!("{}[{}]", text(item, "node"), item["index"]),
    }
}

/// The state changes of a branch, with numbers as the server wrote them.
#[derive(Deserialize)]
struct Branch<'a> {
    #[serde(borrow)]
    changed: &'a RawValue,
}

/// A branch in one line: its position, and what it has changed since the fork.
fn branch_line(branch: &Value, changed: &RawValue) -> String {
    let node = text(branch, "node");
    let place = match &*text(branch, "place") {
        "at" => format!("at {node}"),
        "before" => format!("before {node}"),
        other => other.to_owned(),
    };
    let within = match branch["within"].as_u64() {
        Some(step) => format!(" (in the graph of step {step})"),
        None => String::new(),
    };
    format!(
        "{}: {place}{within}, changed {}",
        branch["branch"],
        one_line(changed)
    )
}

impl Show {
    /// Why the step failed, if a failed step is shown.
    fn failure(&self, shown: &Value) -> Option<String> {
        let failure = &shown["failure"];
        let message = failure["message"].as_str()?;
        Some(format!("{message} ({})", text(failure, "kind")))
    }

    /// Where and why the run failed, if a failed run is shown: the node, the step with its attempts and its function, and
    /// the message.
    fn error(&self, shown: &Value) -> Option<String> {
        let error = &shown["error"];
        error["message"].as_str()?;
        let message = run_error(error);
        let node = text(error, "node");
        let place = self.place_of_error(error).map(|place| format!(" ({place})"));
        Some(format!(
            "node {node}{}: {message} ({})",
            place.unwrap_or_default(),
            text(error, "code")
        ))
    }

    /// The step of a run's error, if a step began at the node: its number, attempts and function.
    fn place_of_error(&self, error: &Value) -> Option<String> {
        let number = error["step"].as_u64()?;
        let mut place = format!("step {number}");
        // Runs of earlier versions may name a step of another node.
        let path = format!("/v1/runs/{}/steps/{number}", escape(&self.run));
        let step = get(&self.server, &path).ok();
        if let Some(step) = step.filter(|step| step["node"] == error["node"]) {
            match &step["attempts"] {
                Value::Number(one) if one.as_u64() == Some(1) => place.push_str(", 1 attempt"),
                attempts => place.push_str(&format!(", {attempts} attempts")),
            }
            if let Some(function) = function(&step["function"]) {
                place.push_str(&format!(", {function}"));
            }
        }
        Some(place)
    }
}

/// A function with its plugin's version: `payments/charge 1.2.0`.
fn function(at: &Value) -> Option<String> {
    let name = at["function"].as_str()?;
    Some(format!("{}/{name} {}", text(at, "plugin"), text(at, "version")))
}

impl Steps {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = format!("/v1/runs/{}/steps", escape(&self.run));
        let mut out = output::stdout();
        let mut after = 0;
        loop {
            let page = get_text(&self.server, &format!("{path}?after={after}&limit={PAGE_LEN}"))?;
            if self.json {
                print_items(&mut out, &page, "steps")?;
            }
            let page: Value = serde_json::from_str(&page)?;
            for step in list(&page, "steps").filter(|_| !self.json) {
                writeln!(out, "{}", step_line(step))?;
            }
            if after == 0 && list(&page, "steps").next().is_none() {
                output::empty_list(self.json, "steps");
            }
            match page["next_after"].as_u64() {
                Some(next) => after = next,
                None => return Ok(ExitCode::SUCCESS),
            }
        }
    }
}

/// A step in one line.
fn step_line(step: &Value) -> String {
    let colours = Colours::for_stdout();
    let status = text(step, "status");
    let colour = match &*status {
        "finished" => "32",
        "failed" => "31",
        "running" => "34",
        _ => "2",
    };
    let mut more = Vec::new();
    if step["attempts"].as_u64() > Some(1) {
        more.push(format!("{} attempts", step["attempts"]));
    }
    if let Some(around) = step["within"].as_u64() {
        more.push(format!("within step {around}"));
    }
    let items: Vec<String> = list(step, "items").map(item_place).collect();
    match step["item"]["of"].as_u64() {
        Some(map) => more.push(format!("item {} of step {map}", items.join("/"))),
        None if !items.is_empty() => more.push(format!("in item {}", items.join("/"))),
        None => {}
    }
    if let Some(undone) = step["undoes"].as_u64() {
        more.push(format!("undoes step {undone}"));
    }
    if let Some(message) = step["failure"]["message"].as_str() {
        more.push(display::line(message).into_owned());
    }
    let began = text(step, "started_at");
    let line = format!(
        "{:>6}  {}  {}  {:<24}  {}",
        step["step"].as_u64().unwrap_or_default(),
        // Only the time of day, as in `heddle watch`.
        colours.paint("2", began.get(11..23).unwrap_or(&began)),
        colours.paint(colour, &format!("{:<8}", status.replace('_', " "))),
        text(step, "node"),
        more.join(", ")
    );
    line.trim_end().to_owned()
}

impl Diff {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = format!(
            "/v1/runs/{}/diff?from={}&to={}",
            escape(&self.run),
            self.from,
            self.to
        );
        let answer = get_text(&self.server, &path)?;
        let mut out = output::stdout();
        if self.json {
            writeln!(out, "{}", display::json(&answer))?;
            return Ok(ExitCode::SUCCESS);
        }
        let diff: Difference<'_> = serde_json::from_str(&answer)?;
        if diff.changes.is_empty() {
            output::empty_list(false, "changes");
        }
        for Change {
            key,
            op,
            before,
            after,
        } in &diff.changes
        {
            writeln!(out, "{}", change_line(op, &display::line(key), *before, *after))?;
            let below = format!("/{}/", heddle_json::pointer::escape(key));
            let inside = |patch: &&Patch<'_>| patch.path.starts_with(&below);
            let inner: Vec<&Patch<'_>> = diff.patch.iter().filter(inside).collect();
            for patch in inner.iter().take(MAX_LINES) {
                let line = change_line(&patch.op, &display::line(&patch.path), None, patch.value);
                writeln!(out, "    {line}")?;
            }
            if inner.len() > MAX_LINES {
                writeln!(out, "    … {} more", inner.len() - MAX_LINES)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The state differences between two steps, with numbers as the server wrote them.
#[derive(Deserialize)]
struct Difference<'a> {
    #[serde(borrow)]
    changes: Vec<Change<'a>>,
    #[serde(borrow)]
    patch: Vec<Patch<'a>>,
}

#[derive(Deserialize)]
struct Change<'a> {
    key: String,
    op: String,
    #[serde(borrow, default)]
    before: Option<&'a RawValue>,
    #[serde(borrow, default)]
    after: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Patch<'a> {
    op: String,
    path: String,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

/// A change of a key or of a place inside it, in one line.
fn change_line(op: &str, place: &str, before: Option<&RawValue>, after: Option<&RawValue>) -> String {
    let colours = Colours::for_stdout();
    match (op, before) {
        ("add", _) => format!("{} {place}: {}", colours.paint("32", "+"), excerpt(after)),
        ("remove", None) => format!("{} {place}", colours.paint("31", "-")),
        ("remove", _) => format!("{} {place}: {}", colours.paint("31", "-"), excerpt(before)),
        (_, None) => format!("{} {place}: {}", colours.paint("33", "~"), excerpt(after)),
        _ => format!(
            "{} {place}: {} → {}",
            colours.paint("33", "~"),
            excerpt(before),
            excerpt(after)
        ),
    }
}

/// The beginning of a value. An absent value is printed as null, because the answer does not distinguish them.
fn excerpt(value: Option<&RawValue>) -> String {
    let text = display::json(value.map_or("null", RawValue::get));
    match text.char_indices().nth(VALUE_LEN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// A value in one line: texts without quotes, items of a list separated by commas.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => display::line(text).into_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => display::json(&other.to_string()).into_owned(),
    }
}

impl Export {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = format!("/v1/runs/{}/export", escape(&self.run));
        let mut export = download(&self.server, &path)?;
        match &self.out {
            Some(file) if file != Path::new("-") => {
                let name = output::path(file);
                let mut out = private_file::create(file).with_context(|| format!("cannot write {name}"))?;
                io::copy(&mut export, &mut out).with_context(|| format!("{name} is incomplete"))?;
                // A pipe or a device cannot be synced.
                if out.metadata()?.is_file() {
                    out.sync_all().with_context(|| format!("{name} is incomplete"))?;
                }
            }
            _ if io::stdout().is_terminal() => {
                for line in BufReader::new(export).lines() {
                    output::print(display::json(&line?))?;
                }
            }
            _ => {
                io::copy(&mut export, &mut output::stdout())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Import {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut export = Vec::new();
        let mut reader: Box<dyn io::Read> = if self.file == Path::new("-") {
            Box::new(io::stdin())
        } else {
            let file = File::open(&self.file);
            Box::new(file.with_context(|| format!("cannot read {}", output::path(&self.file)))?)
        };
        reader.read_to_end(&mut export)?;
        let path = match self.names {
            true => "/v1/runs:import?names=true",
            false => "/v1/runs:import",
        };
        let run = upload(&self.server, path, "application/x-ndjson", &export)?;
        let id = text(&run, "run_id");
        match self.json {
            true => run.print()?,
            false => output::print(&id)?,
        }
        if run["status"] == "paused" {
            output::message(format_args!(
                "the imported run is paused: `heddle resume {id}` continues it"
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}
