//! The definition of a graph in a file: JSON, or YAML, which becomes JSON here.

use std::{io::Read, path::Path};

use anyhow::{Context, bail};
use heddle_display as display;
use serde::de::IgnoredAny;

use crate::{
    output,
    yaml::{self, Mistake, Place, Tree},
};

/// The largest definition, in bytes; as large as the server takes one.
const MAX_BYTES: u64 = 16 << 20;

/// A definition that was read.
pub(crate) struct Source {
    /// What to call the file.
    pub(crate) name: String,
    /// The definition as JSON, or what keeps it from being that.
    pub(crate) json: Result<String, Vec<Mistake>>,
    tree: Option<Tree>,
}

impl Source {
    /// Reads a file, or stdin for `-`. By its extension it is JSON or YAML; without one of these, it is
    /// JSON where it begins as an object.
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
        // JSON is YAML but for odd cases, in which there are no places.
        let tree = yaml::parse(&text).ok();
        let json = match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => Ok(text),
            Err(error) => {
                let place = Place {
                    line: error.line() as u64,
                    column: error.column() as u64,
                };
                let said = error.to_string();
                let said = said.split(" at line ").next().unwrap_or(&said);
                Err(vec![Mistake {
                    place: Some(place).filter(|place| place.line > 0),
                    message: format!("this is not JSON: {said}"),
                }])
            }
        };
        Self { name, json, tree }
    }

    fn of_yaml(name: String, text: &str) -> Self {
        let read = |text: &str| {
            let tree = yaml::parse(text).map_err(|mistake| vec![mistake])?;
            yaml::json(&tree, text)
        };
        let json = read(text);
        Self {
            name,
            json,
            tree: yaml::parse(text).ok(),
        }
    }

    /// The definition as JSON; else an error of a line for each mistake.
    pub(crate) fn json(&self) -> anyhow::Result<&str> {
        match &self.json {
            Ok(json) => Ok(json),
            Err(mistakes) => {
                let lines: Vec<String> = mistakes
                    .iter()
                    .map(|mistake| format!("{}: {}", self.at(mistake.place), display::line(&mistake.message)))
                    .collect();
                bail!("{}", lines.join("\n"))
            }
        }
    }

    /// Where the thing that a JSON pointer leads to is written, as far as that is known.
    pub(crate) fn find(&self, pointer: &str) -> Option<Place> {
        Some(yaml::find(self.tree.as_ref()?, pointer))
    }

    /// A place of this file, as editors and compilers write it.
    pub(crate) fn at(&self, place: Option<Place>) -> String {
        match place {
            Some(Place { line, column }) => format!("{}:{line}:{column}", self.name),
            None => self.name.clone(),
        }
    }
}
