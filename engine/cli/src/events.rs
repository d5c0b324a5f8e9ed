//! A run's events on a terminal: one line each, then the final state.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
};

use heddle_display as display;
use serde_json::{Value, value::RawValue};

use crate::{
    client::text,
    output,
    paint::Paint,
    refusal::run_error,
    shown::{Much, pretty},
};

/// A node that waits for a signal.
pub(crate) struct Wait {
    pub(crate) signal: Option<String>,
    /// What a person is asked.
    pub(crate) prompt: Option<String>,
}

/// Prints events to stdout.
pub(crate) struct Printer {
    json: bool,
    paint: Paint,
    run: String,
    /// The name of its graph.
    graph: Option<String>,
    waits: HashMap<String, Wait>,
    /// The place of each step under way, as in `parcels[2]/label`: the nodes and items that it is in.
    places: HashMap<u64, String>,
    /// The keys of the items of each map that goes over an object.
    keys: HashMap<u64, Vec<String>>,
    /// Why it was cancelled.
    reason: Option<String>,
}

impl Printer {
    pub(crate) fn new(json: bool, run: &str, graph: Option<String>, waits: HashMap<String, Wait>) -> Self {
        Self {
            json,
            paint: Paint::for_stdout(),
            run: run.to_owned(),
            graph,
            waits,
            places: HashMap::new(),
            keys: HashMap::new(),
            reason: None,
        }
    }

    /// Prints an event; `data` is what the server wrote.
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
        // The time of day is enough beside a run that goes on now: 2026-11-22T19:33:00.123Z
        let time = at.get(11..23).unwrap_or(&at);
        let place = self.place(event);
        let quiet = matches!(kind, "step_started" | "graph_started" | "map_started");
        let mut message = display::line(brief(event)).into_owned();
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
            message = self.paint.in_colour("2", &message);
        }
        writeln!(
            out,
            "{} {} {} {message}",
            self.paint.in_colour("2", time),
            self.paint.in_colour(colour, mark),
            self.paint
                .in_colour(if quiet { "0" } else { "1" }, &format!("{place:<22}"))
        )?;
        let Some(Wait { signal, prompt }) = wait else {
            return Ok(());
        };
        let margin = " ".repeat(38);
        let given = |key: &str| event[key].as_str();
        let prompt = given("wait_prompt").or(prompt.as_deref());
        // In one line, so that no line of it passes for the hint below.
        if let Some(prompt) = prompt {
            writeln!(out, "{margin}{}", self.paint.in_colour("33", prompt))?;
        }
        let signal = given("wait_signal").or(signal.as_deref()).unwrap_or("SIGNAL");
        let (run, signal) = (output::shell_word(&self.run), output::shell_word(signal));
        let command = format!("heddle signal {run} {signal} --payload JSON");
        writeln!(out, "{margin}{}", self.paint.in_colour("2", &command))
    }

    /// Where an event happened.
    fn place(&mut self, event: &Value) -> String {
        let known = |step: &Value| step.as_u64().and_then(|step| self.places.get(&step));
        let node = event["node"].as_str().unwrap_or_default();
        let item = &event["item"];
        let place = match (known(&event["step"]), known(&item["of"]), known(&event["within"])) {
            (Some(place), _, _) => place.clone(),
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
                self.places.insert(step, place.clone());
            }
            (Some("map_started"), Some(step)) => {
                if let Some(items) = event["items"].as_object() {
                    self.keys.insert(step, items.keys().cloned().collect());
                }
            }
            (Some("step_finished" | "item_finished"), Some(step)) => {
                self.places.remove(&step);
                self.keys.remove(&step);
            }
            _ => {}
        }
        place
    }

    /// Prints how the run ended and its final state; `parts` has the run's fields as the server wrote them.
    pub(crate) fn end(&self, run: &Value, parts: &BTreeMap<String, &RawValue>) -> std::io::Result<()> {
        if self.json {
            return Ok(());
        }
        let mut out = output::stdout();
        if let Some(error) = run["error"].as_object() {
            let part = |key: &str| error.get(key).map(ToString::to_string).unwrap_or_default();
            writeln!(
                out,
                "\n{} at node {}, step {}, attempt {} ({}):",
                self.paint.in_colour("1;31", "The run failed"),
                text(&run["error"], "node"),
                part("step"),
                part("attempt"),
                text(&run["error"], "code"),
            )?;
            // A failure may have many lines, as a trace has. Indented, none of them passes for a line of this command.
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
                self.paint.in_colour("1;33", "The run was cancelled")
            )?;
        }
        // A graph that declares its output has the rest of its state for itself.
        let (title, shown) = match run.get("output").filter(|output| output.is_object()) {
            Some(_) => ("Output", parts.get("output")),
            None => ("Final state", parts.get("state")),
        };
        writeln!(out, "\n{}", self.paint.in_colour("1", title))?;
        let shown = shown.map_or_else(String::new, |shown| pretty(shown, Much::Cut));
        writeln!(out, "{}", display::json(&shown))
    }
}

/// What an event says besides its place, which has a column of its own.
fn brief(event: &Value) -> &str {
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

/// The sign that stands before an event, and its colour.
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
