//! `heddle graph check`: reports errors and warnings of a definition with their positions in the file.

use std::{io::Write, path::Path, process::ExitCode};

use anyhow::bail;
use heddle_display as display;
use heddle_kernel::{Definition, Diagnostic, Function, FunctionKind, Severity, graph};
use serde_json::{Value, json};

use super::{definition::DefinitionFile, yaml::Position};
use crate::{client, colours::Colours, connection::Server, output, problem::with_commands};

/// The result of a check.
struct Report {
    findings: Vec<Finding>,
    /// The first node of a run; none if the definition has errors.
    start: Option<String>,
}

struct Finding {
    severity: Severity,
    pointer: String,
    message: String,
    position: Option<Position>,
}

/// Checks a file against the functions and graphs of a server, or without a server.
pub(crate) fn run(server: &Server, file: &Path, offline: bool, as_json: bool) -> anyhow::Result<ExitCode> {
    let source = DefinitionFile::read(file)?;
    let mut report = match &source.json {
        Err(errors) => Report {
            findings: errors
                .iter()
                .map(|error| Finding {
                    severity: Severity::Error,
                    pointer: String::new(),
                    message: error.message.clone(),
                    position: error.position,
                })
                .collect(),
            start: None,
        },
        Ok(definition) if offline => check_offline(definition, &source),
        Ok(definition) => {
            let answer = client::post(server, "/v1/graphs:check", definition, &[])?;
            read_answer(&answer, &source)?
        }
    };
    report.findings.sort_by_key(|finding| finding.position);
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

/// Checks as much as is possible without knowing the functions and graphs of a server.
fn check_offline(definition: &str, source: &DefinitionFile) -> Report {
    // An unknown tool may route to any node. So a node that only such a tool can reach is a warning, not an error.
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
        position: source.find(&found.pointer),
        pointer: found.pointer,
        message: with_commands(&found.message),
    };
    Report {
        findings: found.into_iter().map(finding).collect(),
        start,
    }
}

/// Reads the server's answer.
fn read_answer(answer: &Value, source: &DefinitionFile) -> anyhow::Result<Report> {
    let Some(findings) = answer["findings"].as_array() else {
        bail!("the server's answer has no findings: is it an older version of Heddle?");
    };
    let finding = |found: &Value| {
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Finding {
            severity: match text("severity").as_str() {
                "warning" => Severity::Warning,
                _ => Severity::Error,
            },
            position: source.find(&text("pointer")),
            pointer: text("pointer"),
            message: with_commands(&text("message")),
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
                "line": finding.position.map(|position| position.line), "column": finding.position.map(|position| position.column),
            })
        };
        let findings: Vec<Value> = self.findings.iter().map(finding).collect();
        json!({"valid": self.start.is_some(), "findings": findings, "start": self.start})
    }

    fn print(&self, source: &DefinitionFile) -> std::io::Result<()> {
        let colours = Colours::for_stdout();
        let mut out = output::stdout();
        for finding in &self.findings {
            let (name, colour) = match finding.severity {
                Severity::Error => ("error", "1;31"),
                Severity::Warning => ("warning", "1;33"),
            };
            let pointer = match finding.pointer.as_str() {
                "" => String::new(),
                pointer => colours.paint("2", &format!(" ({pointer})")),
            };
            writeln!(
                out,
                "{}: {}: {}{pointer}",
                colours.paint("1", &source.location(finding.position)),
                colours.paint(colour, name),
                display::line(&finding.message)
            )?;
        }
        let several = |n: usize, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        let colours = Colours::for_stderr();
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let warned = match warnings {
            0 => String::new(),
            n => format!(", {}", several(n, "warning")),
        };
        match &self.start {
            Some(start) => output::message(format_args!(
                "{} {}: no errors{warned}; runs start at node `{}`",
                colours.paint("32", "✓"),
                display::line(&source.name),
                display::line(start)
            )),
            None => output::message(format_args!(
                "{} {}: {}{warned}",
                colours.paint("31", "✗"),
                display::line(&source.name),
                several(errors, "error")
            )),
        }
        Ok(())
    }
}
