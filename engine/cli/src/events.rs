//! A run's events on a terminal: one line each, then the final state.

use std::io::{IsTerminal, Write};

use serde_json::Value;

/// How long a string of the final state may be before it is cut, in characters.
const STRING_LEN: usize = 240;
/// How many items of a list of the final state are shown.
const LIST_LEN: usize = 3;

/// Prints events to stdout.
pub(crate) struct Printer {
    json: bool,
    colour: bool,
    began: Option<String>,
    over: bool,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            json,
            colour,
            began: None,
            over: false,
        }
    }

    /// Whether the run's last event was printed.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    pub(crate) fn event(&mut self, event: &Value) -> std::io::Result<()> {
        let kind = event["type"].as_str().unwrap_or_default();
        self.over |= matches!(kind, "run_finished" | "run_failed");
        let mut out = std::io::stdout().lock();
        if self.json {
            return writeln!(out, "{event}");
        }
        let at = event["at"].as_str().unwrap_or_default();
        // The time of day is enough beside a run that goes on now: 2026-11-22T19:33:00.123Z
        let time = at.get(11..23).unwrap_or(at);
        self.began.get_or_insert_with(|| at.to_owned());
        let (mark, colour) = match (kind, event["level"].as_str()) {
            ("run_started", _) => ("●", "36"),
            ("run_finished", _) => ("●", "32"),
            ("run_failed" | "step_failed", _) => ("✗", "31"),
            ("step_started", _) => ("▸", "2"),
            ("step_finished", _) => ("✓", "32"),
            ("log", Some("error")) => ("!", "31"),
            ("log", Some("warn")) => ("!", "33"),
            ("chunk", _) => ("…", "35"),
            _ => ("·", "2"),
        };
        let node = event["node"].as_str().unwrap_or_default();
        let message = event["message"].as_str().unwrap_or_default();
        writeln!(
            out,
            "{} {} {} {message}",
            self.paint("2", time),
            self.paint(colour, mark),
            self.paint("1", &format!("{node:<22}"))
        )
    }

    /// Prints how the run ended and its final state.
    pub(crate) fn end(&self, run: &Value) -> std::io::Result<()> {
        if self.json {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        if let Some(error) = run["error"].as_object() {
            let part = |key: &str| error.get(key).map(ToString::to_string).unwrap_or_default();
            let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
            writeln!(
                out,
                "\n{} at node {}, step {}, attempt {} ({}):\n  {message}",
                self.paint("1;31", "The run failed"),
                part("node"),
                part("step"),
                part("attempt"),
                part("code")
            )?;
        }
        writeln!(out, "\n{}", self.paint("1", "Final state"))?;
        let shown = serde_json::to_string_pretty(&shorten(&run["state"])).unwrap_or_default();
        writeln!(out, "{shown}")
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A value with long strings and lists cut, so that a terminal can show it. The API has the whole.
fn shorten(value: &Value) -> Value {
    match value {
        Value::String(text) => match text.char_indices().nth(STRING_LEN) {
            Some((end, _)) => Value::String(format!("{}… ({} bytes)", &text[..end], text.len())),
            None => value.clone(),
        },
        Value::Array(items) => {
            let mut shown: Vec<Value> = items.iter().take(LIST_LEN).map(shorten).collect();
            if items.len() > LIST_LEN {
                shown.push(Value::String(format!("… {} more", items.len() - LIST_LEN)));
            }
            Value::Array(shown)
        }
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), shorten(value)))
            .collect(),
        other => other.clone(),
    }
}
