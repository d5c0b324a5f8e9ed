//! `heddle graph check`: what is wrong with a definition, where it is written.

use std::{io::Write, path::Path, process::ExitCode};

use anyhow::bail;
use heddle_display as display;
use heddle_kernel::{Definition, Diagnostic, Function, FunctionKind, Severity, graph};
use serde_json::{Value, json};

use crate::{
    client, definition::Source, output, paint::Paint, refusal::in_commands, server::Server, yaml::Place,
};

/// What a check found.
struct Report {
    findings: Vec<Finding>,
    /// The node that a run begins with.
    start: Option<String>,
}

struct Finding {
    severity: Severity,
    pointer: String,
    message: String,
    place: Option<Place>,
}

/// Checks a file, with the functions and graphs of a server, or without one.
pub(crate) fn run(server: &Server, file: &Path, offline: bool, as_json: bool) -> anyhow::Result<ExitCode> {
    let source = Source::read(file)?;
    let mut report = match &source.json {
        Err(mistakes) => Report {
            findings: mistakes
                .iter()
                .map(|mistake| Finding {
                    severity: Severity::Error,
                    pointer: String::new(),
                    message: mistake.message.clone(),
                    place: mistake.place,
                })
                .collect(),
            start: None,
        },
        Ok(definition) if offline => alone(definition, &source),
        Ok(definition) => read(&*client::check(server, definition)?, &source)?,
    };
    report.findings.sort_by_key(|finding| finding.place);
    if as_json {
        output::print_json(&report.to_json())?;
    } else {
        report.print(&source)?;
    }
    Ok(match report.start {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    })
}

/// The check as far as it goes without knowing which functions and graphs there are.
fn alone(definition: &str, source: &Source) -> Report {
    // A tool of which nothing is known may name any node, so what only it could lead to is a warning.
    let anything = |_: &str| {
        Ok(Function {
            kind: FunctionKind::Tool,
            routes: Vec::new(),
            input: Value::Null,
            output: Value::Null,
        })
    };
    let checked = match Definition::read(definition) {
        (None, found) => Err(found),
        (Some(definition), found) => {
            graph::with_form(found, graph::check(&definition, anything, |_| Ok(None)))
        }
    };
    let (start, found) = match checked {
        Ok((graph, found)) => (Some(graph.node(graph.start).name.to_string()), found),
        Err(found) => (None, found),
    };
    let found = found.into_shown();
    let finding = |found: Diagnostic| Finding {
        severity: found.severity,
        place: source.find(&found.pointer),
        pointer: found.pointer,
        message: in_commands(&found.message),
    };
    Report {
        findings: found.into_iter().map(finding).collect(),
        start,
    }
}

/// What the server answered.
fn read(answer: &Value, source: &Source) -> anyhow::Result<Report> {
    let Some(findings) = answer["findings"].as_array() else {
        bail!("the server's answer is no check: is it an older Heddle?");
    };
    let finding = |found: &Value| {
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Finding {
            severity: match text("severity").as_str() {
                "warning" => Severity::Warning,
                _ => Severity::Error,
            },
            place: source.find(&text("pointer")),
            pointer: text("pointer"),
            message: in_commands(&text("message")),
        }
    };
    Ok(Report {
        findings: findings.iter().map(finding).collect(),
        start: answer["start"].as_str().map(str::to_owned),
    })
}

impl Report {
    fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    }

    fn to_json(&self) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "severity": finding.severity, "pointer": finding.pointer, "message": finding.message,
                "line": finding.place.map(|place| place.line), "column": finding.place.map(|place| place.column),
            })
        };
        let findings: Vec<Value> = self.findings.iter().map(finding).collect();
        json!({"valid": self.start.is_some(), "findings": findings, "start": self.start})
    }

    fn print(&self, source: &Source) -> std::io::Result<()> {
        let paint = Paint::for_stdout();
        let mut out = output::stdout();
        for finding in &self.findings {
            let (name, colour) = match finding.severity {
                Severity::Error => ("error", "1;31"),
                Severity::Warning => ("warning", "1;33"),
            };
            let pointer = match finding.pointer.as_str() {
                "" => String::new(),
                pointer => paint.in_colour("2", &format!(" ({pointer})")),
            };
            writeln!(
                out,
                "{}: {}: {}{pointer}",
                paint.in_colour("1", &source.at(finding.place)),
                paint.in_colour(colour, name),
                display::line(&finding.message)
            )?;
        }
        let several = |n: usize, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        let paint = Paint::for_stderr();
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let warned = match warnings {
            0 => String::new(),
            n => format!(", {}", several(n, "warning")),
        };
        match &self.start {
            Some(start) => output::message(format_args!(
                "{} {}: no errors{warned}; a run begins at `{}`",
                paint.in_colour("32", "✓"),
                display::line(&source.name),
                display::line(start)
            )),
            None => output::message(format_args!(
                "{} {}: {}{warned}",
                paint.in_colour("31", "✗"),
                display::line(&source.name),
                several(errors, "error")
            )),
        }
        Ok(())
    }
}
