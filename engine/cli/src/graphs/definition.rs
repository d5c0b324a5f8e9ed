//! Reads the definition of a graph from a JSON or YAML file. YAML is converted to JSON.

use std::{io::Read, path::Path};

use anyhow::{Context, bail};
use heddle_display as display;
use serde::de::IgnoredAny;

use super::yaml::{self, ParseError, Position, Tree};
use crate::output;

/// The largest definition in bytes, the same as for the server.
const MAX_BYTES: u64 = 16 << 20;

/// The content of a definition file.
pub(crate) struct DefinitionFile {
    /// The name of the file in messages.
    pub(crate) name: String,
    /// The definition as JSON, or the syntax errors.
    pub(crate) json: Result<String, Vec<ParseError>>,
    tree: Option<Tree>,
}

impl DefinitionFile {
    /// Reads a file, or stdin for `-`. The extension decides between JSON and YAML. Without a known extension, a text that
    /// begins with `{` is JSON.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let mut text = String::new();
        let name = if file == Path::new("-") {
            let stdin = std::io::stdin().lock();
            stdin
                .take(MAX_BYTES + 1)
                .read_to_string(&mut text)
                .context("cannot read stdin")?;
            "stdin".to_owned()
        } else {
            let cannot = || format!("cannot read {}", output::path(file));
            let opened = std::fs::File::open(file).with_context(cannot)?;
            opened
                .take(MAX_BYTES + 1)
                .read_to_string(&mut text)
                .with_context(cannot)?;
            output::path(file)
        };
        if text.len() as u64 > MAX_BYTES {
            bail!(
                "{name} is larger than the limit of {} MiB for a graph",
                MAX_BYTES >> 20
            );
        }
        let extension = file.extension().map(|extension| extension.to_ascii_lowercase());
        let is_yaml = match extension.as_ref().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => true,
            Some("json") => false,
            _ => !text.trim_start().starts_with('{'),
        };
        Ok(if is_yaml {
            Self::of_yaml(name, &text)
        } else {
            Self::of_json(name, text)
        })
    }

    fn of_json(name: String, text: String) -> Self {
        // Almost all JSON is also YAML. For the rest, positions are unknown.
        let tree = yaml::parse(&text).ok();
        let json = match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => Ok(text),
            Err(error) => {
                let position = Position {
                    line: error.line() as u64,
                    column: error.column() as u64,
                };
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or(&message);
                Err(vec![ParseError {
                    position: Some(position).filter(|position| position.line > 0),
                    message: format!("this is not JSON: {message}"),
                }])
            }
        };
        Self { name, json, tree }
    }

    fn of_yaml(name: String, text: &str) -> Self {
        let read = |text: &str| {
            let tree = yaml::parse(text).map_err(|error| vec![error])?;
            yaml::json(&tree, text)
        };
        let json = read(text);
        Self {
            name,
            json,
            tree: yaml::parse(text).ok(),
        }
    }

    /// The definition as JSON, or an error with one line for each syntax error.
    pub(crate) fn json(&self) -> anyhow::Result<&str> {
        match &self.json {
            Ok(json) => Ok(json),
            Err(errors) => {
                let lines: Vec<String> = errors
                    .iter()
                    .map(|error| {
                        format!(
                            "{}: {}",
                            self.location(error.position),
                            display::line(&error.message)
                        )
                    })
                    .collect();
                bail!("{}", lines.join("\n"))
            }
        }
    }

    /// The position of the value at a JSON pointer, if it is known.
    pub(crate) fn find(&self, pointer: &str) -> Option<Position> {
        Some(yaml::find(self.tree.as_ref()?, pointer))
    }

    /// A position in this file as `FILE:LINE:COLUMN`.
    pub(crate) fn location(&self, position: Option<Position>) -> String {
        match position {
            Some(Position { line, column }) => format!("{}:{line}:{column}", self.name),
            None => self.name.clone(),
        }
    }
}
