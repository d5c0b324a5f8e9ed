//! `heddle graph`: checks, creates, draws, lists and deletes graphs.

mod check;
mod definition;
mod draw;
mod yaml;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::anyhow;
use clap::Subcommand;
use heddle_display as display;
use serde_json::Value;

use self::definition::DefinitionFile;
use crate::{
    answer::{list, text},
    client::{delete, escape, get_text, post, print_items, read_json},
    colours::Colours,
    connection::Server,
    output,
    problem::{Problem, with_commands},
};

#[derive(Subcommand)]
pub(crate) enum Graph {
    /// Check a definition and print every error and warning with its position; stores nothing
    Check {
        /// The definition: a JSON or YAML file, or `-` for stdin
        file: PathBuf,
        /// Check without a server; functions and graphs that the definition names are assumed to exist
        #[arg(long)]
        offline: bool,
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Draw a graph from a file (no server needed) or from the server
    Draw {
        /// A JSON or YAML file, `-` for stdin, or the name or id of a graph
        graph: String,
        /// The format [default: the one that the extension of OUT names, otherwise svg]
        #[arg(long, value_enum)]
        format: Option<draw::Format>,
        /// The file to write [default: stdout]
        #[arg(long, short)]
        out: Option<PathBuf>,
        #[command(flatten)]
        server: Server,
    },
    /// Delete a graph that no run, schedule or other graph uses
    Delete {
        /// The id of the graph
        graph: String,
        #[command(flatten)]
        server: Server,
    },
    /// Create a graph from a JSON or YAML file and print its id
    Create {
        /// The definition: a JSON or YAML file, or `-` for stdin
        file: PathBuf,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// List the graphs, newest first
    List {
        /// Print the graphs as JSON lines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
}

impl Graph {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check {
                file,
                offline,
                json,
                server,
            } => check::run(&server, &file, offline, json),
            Self::Draw {
                graph,
                format,
                out,
                server,
            } => draw::run(&server, &graph, format, out),
            Self::Create { file, json, server } => create(&server, &file, json),
            Self::Delete { graph, server } => {
                delete(&server, &format!("/v1/graphs/{}", escape(&graph)))?;
                Ok(ExitCode::SUCCESS)
            }
            Self::List { json, server } => list_all(&server, json),
        }
    }
}

fn create(server: &Server, file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let source = DefinitionFile::read(file)?;
    let graph =
        post(server, "/v1/graphs", source.json()?, &[]).map_err(|error| with_positions(error, &source))?;
    for warning in list(&graph, "warnings") {
        output::message(finding_line(warning, &source, "warning", "1;33"));
    }
    match json {
        true => output::print_json(&graph)?,
        false => output::print(text(&graph, "graph_id"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds positions in the file to the findings that the server reports for a definition.
fn with_positions(error: anyhow::Error, source: &DefinitionFile) -> anyhow::Error {
    let Some(problem) = error.downcast_ref::<Problem>() else {
        return error;
    };
    let severity = |found: &Value| match &*text(found, "severity") {
        "warning" => ("warning", "1;33"),
        _ => ("error", "1;31"),
    };
    let findings = problem.findings().map(|found| {
        let (name, colour) = severity(found);
        finding_line(found, source, name, colour)
    });
    let findings: Vec<String> = findings.collect();
    match findings.is_empty() {
        true => error,
        false => anyhow!(
            "{}: the graph was not created:\n{}",
            display::line(&source.name),
            findings.join("\n")
        ),
    }
}

/// A finding in one line, as `graph check` prints it.
fn finding_line(found: &Value, source: &DefinitionFile, name: &str, colour: &str) -> String {
    let colours = Colours::for_stderr();
    let pointer = found["pointer"].as_str().unwrap_or_default();
    let position = colours.paint("1", &source.location(source.find(pointer)));
    let message = with_commands(&text(found, "message"));
    let pointer = match pointer {
        "" => String::new(),
        pointer => colours.paint("2", &format!(" ({pointer})")),
    };
    format!("{position}: {}: {message}{pointer}", colours.paint(colour, name))
}

fn list_all(server: &Server, json: bool) -> anyhow::Result<ExitCode> {
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
                    output::empty_list(json, "graphs");
                }
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}
