//! Prints the events of a run: one line each, then the final state.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
};

use heddle_display as display;
use serde_json::{Value, value::RawValue};

use crate::{
    answer::text,
    colours::Colours,
    json_text::{Detail, pretty},
    output,
    problem::run_error,
};

/// A node that waits for a signal.
pub(crate) struct Wait {
    pub(crate) signal: Option<String>,
    /// The text for the person who sends the signal.
    pub(crate) prompt: Option<String>,
}

/// Prints events to stdout.
pub(crate) struct EventPrinter {
    json: bool,
    colours: Colours,
    run: String,
    /// The name of the run's graph.
    graph: Option<String>,
    /// The nodes that wait for a signal, by name.
    waits: HashMap<String, Wait>,
    /// The path of each active step, as in `parcels[2]/label`: the enclosing nodes and items.
    paths: HashMap<u64, String>,
    /// The item keys of each active map over an object.
    keys: HashMap<u64, Vec<String>>,
    /// The reason of the cancellation.
    reason: Option<String>,
}

impl EventPrinter {
    pub(crate) fn new(json: bool, run: &str, graph: Option<String>, waits: HashMap<String, Wait>) -> Self {
        Self {
            json,
            colours: Colours::for_stdout(),
            run: run.to_owned(),
            graph,
            waits,
            paths: HashMap::new(),
            keys: HashMap::new(),
            reason: None,
        }
    }

    /// Prints an event; `data` is its text.
    pub(crate) fn event(&mut self, event: &Value, data: &str) -> std::io::Result<()> {
        let kind = event["type"].as_str().unwrap_or_default();
        if kind == "run_cancelled" {
            self.reason = event["reason"].as_str().map(str::to_owned);
        }
        let mut out = output::stdout();
        if self.json {
            return writeln!(out, "{}", display::json(data));
        }
        let at = text(event, "at");
        // Only the time of day: 2026-11-22T19:33:00.123Z
        let time = at.get(11..23).unwrap_or(&at);
        let path = self.path(event);
        let quiet = matches!(kind, "step_started" | "graph_started" | "map_started");
        let mut message = display::line(message_without_path(event)).into_owned();
        if let ("run_started", Some(graph), Some(id)) = (kind, &self.graph, event["graph_id"].as_str()) {
            message = display::line(&format!("run started on graph {graph} ({id})")).into_owned();
        }
        let (mut mark, mut colour) = mark(event);
        let wait = match (kind, event["within"].is_null(), event["node"].as_str()) {
            ("step_started", true, Some(node)) => self.waits.get(node),
            _ => None,
        };
        if wait.is_some() {
            (mark, colour) = ("‖", "33");
        } else if quiet {
            message = self.colours.paint("2", &message);
        }
        writeln!(
            out,
            "{} {} {} {message}",
            self.colours.paint("2", time),
            self.colours.paint(colour, mark),
            self.colours
                .paint(if quiet { "0" } else { "1" }, &format!("{path:<22}"))
        )?;
        let Some(Wait { signal, prompt }) = wait else {
            return Ok(());
        };
        let margin = " ".repeat(38);
        let given = |key: &str| event[key].as_str();
        let prompt = given("wait_prompt").or(prompt.as_deref());
        // In one line, so that no part of the prompt looks like the command below.
        if let Some(prompt) = prompt {
            writeln!(out, "{margin}{}", self.colours.paint("33", prompt))?;
        }
        let signal = given("wait_signal").or(signal.as_deref()).unwrap_or("SIGNAL");
        let (run, signal) = (output::shell_word(&self.run), output::shell_word(signal));
        let command = format!("heddle signal {run} {signal} --payload JSON");
        writeln!(out, "{margin}{}", self.colours.paint("2", &command))
    }

    /// The path of the step that an event belongs to.
    fn path(&mut self, event: &Value) -> String {
        let known = |step: &Value| step.as_u64().and_then(|step| self.paths.get(&step));
        let node = event["node"].as_str().unwrap_or_default();
        let item = &event["item"];
        let path = match (known(&event["step"]), known(&item["of"]), known(&event["within"])) {
            (Some(path), _, _) => path.clone(),
            (None, Some(map), _) => {
                let index = item["index"]
                    .as_u64()
                    .and_then(|index| usize::try_from(index).ok());
                let keys = item["of"].as_u64().and_then(|of| self.keys.get(&of));
                match keys.zip(index).and_then(|(keys, index)| keys.get(index)) {
                    Some(key) => format!("{map}[{key:?}]"),
                    None => format!("{map}[{}]", item["index"]),
                }
            }
            (None, None, Some(around)) => format!("{around}/{node}"),
            (None, None, None) => node.to_owned(),
        };
        match (event["type"].as_str(), event["step"].as_u64()) {
            (Some("step_started"), Some(step)) => {
                self.paths.insert(step, path.clone());
            }
            (Some("map_started"), Some(step)) => {
                if let Some(items) = event["items"].as_object() {
                    self.keys.insert(step, items.keys().cloned().collect());
                }
            }
            (Some("step_finished" | "item_finished"), Some(step)) => {
                self.paths.remove(&step);
                self.keys.remove(&step);
            }
            _ => {}
        }
        path
    }

    /// Prints how the run ended and its final state; `parts` has the texts of the run's members.
    pub(crate) fn end(&self, run: &Value, parts: &BTreeMap<String, &RawValue>) -> std::io::Result<()> {
        if self.json {
            return Ok(());
        }
        let mut out = output::stdout();
        if let Some(error) = run["error"].as_object() {
            // Without a step, no step began at the node.
            let part = |key: &str| error.get(key).map(|value| format!(", {key} {value}"));
            writeln!(
                out,
                "\n{} at node {}{}{} ({}):",
                self.colours.paint("1;31", "The run failed"),
                text(&run["error"], "node"),
                part("step").unwrap_or_default(),
                part("attempt").unwrap_or_default(),
                text(&run["error"], "code"),
            )?;
            // An error may have many lines, such as a stack trace. Indented lines cannot look like output of this command.
            for line in display::lines(&run_error(&run["error"])) {
                writeln!(out, "  {line}")?;
            }
        } else if run["status"] == "cancelled" {
            let reason = match self.reason.as_deref() {
                None | Some("") => String::new(),
                Some(reason) => format!(": {}", display::line(reason)),
            };
            writeln!(
                out,
                "\n{}{reason}",
                self.colours.paint("1;33", "The run was cancelled")
            )?;
        }
        // If the graph declares an output, the rest of the state is private.
        let (title, shown) = match run.get("output").filter(|output| output.is_object()) {
            Some(_) => ("Output", parts.get("output")),
            None => ("Final state", parts.get("state")),
        };
        writeln!(out, "\n{}", self.colours.paint("1", title))?;
        let shown = shown.map_or_else(String::new, |shown| pretty(shown, Detail::Shortened));
        writeln!(out, "{}", display::json(&shown))
    }
}

/// The message of an event without its path, which has a separate column.
fn message_without_path(event: &Value) -> &str {
    let message = event["message"].as_str().unwrap_or_default();
    let node = event["node"].as_str().unwrap_or_default();
    let end = match event["type"].as_str() {
        Some("graph_started" | "map_started") => message.rfind(" started at step "),
        Some("step_started") => message.rfind(", item "),
        _ => None,
    };
    let message = &message[..end.unwrap_or(message.len())];
    message
        .strip_prefix(node)
        .and_then(|rest| rest.strip_prefix(' '))
        .unwrap_or(message)
}

/// The symbol for an event, and its colour.
fn mark(event: &Value) -> (&'static str, &'static str) {
    match (
        event["type"].as_str().unwrap_or_default(),
        event["level"].as_str(),
    ) {
        ("run_started" | "run_forked", _) => ("●", "36"),
        ("run_paused", _) => ("‖", "33"),
        ("run_resumed" | "run_retried" | "run_upgraded", _) => ("▶", "36"),
        ("run_finished", _) => ("●", "32"),
        ("run_cancelled" | "cancel_requested", _) => ("■", "33"),
        ("run_failed", _) => ("✗", "31"),
        ("step_failed", _) => match event["then"].as_str() {
            Some("retry") => ("↻", "33"),
            Some("goto" | "item") => ("✗", "33"),
            _ => ("✗", "31"),
        },
        ("step_started", _) if !event["undoes"].is_null() => ("↺", "33"),
        ("step_started" | "graph_started" | "map_started", _) => ("▸", "2"),
        ("step_finished" | "item_finished", _) => ("✓", "32"),
        ("signal_received", _) => ("◆", "36"),
        ("undo_started", _) => ("↺", "33"),
        ("log", Some("error")) => ("!", "31"),
        ("log", Some("warn")) => ("!", "33"),
        ("chunk", _) => ("…", "35"),
        _ => ("·", "2"),
    }
}
