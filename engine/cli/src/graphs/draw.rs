//! `heddle graph draw`: draws a graph from a file or from the server.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use heddle_diagram::Diagram;
use heddle_display as display;
use heddle_kernel::Definition;

use super::definition::DefinitionFile;
use crate::{
    client::{escape, get_text},
    connection::Server,
    output,
};

/// The format of a diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Svg,
    Mermaid,
    Dot,
}

impl Format {
    /// The format for the extension of a file name.
    fn of(out: &Path) -> Option<Self> {
        match out.extension()?.to_str()? {
            "svg" => Some(Self::Svg),
            "mmd" | "mermaid" => Some(Self::Mermaid),
            "dot" | "gv" => Some(Self::Dot),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Mermaid => "mermaid",
            Self::Dot => "dot",
        }
    }
}

/// Draws a file without a server, or a graph of the server.
pub(crate) fn run(
    server: &Server,
    what: &str,
    format: Option<Format>,
    out: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let format = format
        .or_else(|| Format::of(out.as_deref()?))
        .unwrap_or(Format::Svg);
    let mut picture = match is_file(what) {
        true => of_file(Path::new(what), format)?,
        false => {
            let name = format.name();
            get_text(
                server,
                &format!("/v1/graphs/{}/picture?format={name}", escape(what)),
            )?
        }
    };
    if !picture.ends_with('\n') {
        picture.push('\n');
    }
    match out {
        Some(out) => {
            std::fs::write(&out, picture).with_context(|| format!("cannot write {}", output::path(&out)))?;
        }
        None if std::io::stdout().is_terminal() => {
            for line in display::lines(&picture) {
                output::print(line)?;
            }
        }
        None => output::stdout().write_all(picture.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the argument means a file and not the name of a graph.
fn is_file(what: &str) -> bool {
    let endings = [".json", ".yaml", ".yml"];
    what == "-" || endings.iter().any(|ending| what.ends_with(ending)) || Path::new(what).is_file()
}

fn of_file(file: &Path, format: Format) -> anyhow::Result<String> {
    let source = DefinitionFile::read(file)?;
    let definition = match Definition::parse(source.json()?) {
        Ok(definition) => definition,
        Err(found) => {
            let lines: Vec<String> = found
                .iter()
                .map(|found| {
                    let at = source.location(source.find(&found.pointer));
                    format!(
                        "{at}: {} ({})",
                        display::line(&found.message),
                        display::line(&found.pointer)
                    )
                })
                .collect();
            bail!("the graph cannot be drawn:\n{}", lines.join("\n"));
        }
    };
    let picture = Diagram::from_definition(&definition);
    Ok(match format {
        Format::Svg => picture.to_svg(),
        Format::Mermaid => picture.to_mermaid(),
        Format::Dot => picture.to_dot(),
    })
}
