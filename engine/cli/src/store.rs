//! `heddle store`: looks after the file that a server keeps everything in.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::Subcommand;
use heddle_display as display;
use heddle_store::maintenance::{self, Problem, Report};
use serde_json::json;

use crate::{Usage, output};

#[derive(Subcommand)]
pub(crate) enum Store {
    /// Read everything in the store, fold every run, and say what is damaged; a server may be running
    Check {
        #[command(flatten)]
        place: Place,
        /// Print what was found as JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy the store as it is at this moment to a new file, and check the copy; a server may be running
    Backup {
        /// The new file
        file: PathBuf,
        #[command(flatten)]
        place: Place,
        /// Print what was copied as JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring a store of an older version to the newest format; a copy of it as it was is left beside it
    Migrate {
        #[command(flatten)]
        place: Place,
        /// Leave no copy
        #[arg(long)]
        no_backup: bool,
        /// Print what was done as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct Place {
    /// Where everything is kept: sqlite:PATH
    #[arg(
        long,
        env = "HEDDLE_STORE",
        hide_env_values = true,
        default_value = "sqlite:heddle.db"
    )]
    store: String,
}

/// The file of `--store`.
pub(crate) fn path(store: &str) -> anyhow::Result<PathBuf> {
    match store.split_once(':') {
        Some(("sqlite", ":memory:")) => Err(Usage::error(
            "--store sqlite::memory: is not available: runs are kept in a file; name one, as in sqlite:heddle.db",
        )),
        Some(("sqlite", path)) if !path.is_empty() => Ok(path.trim_start_matches("//").into()),
        // What stands behind the scheme may have a password in it.
        Some((scheme, _)) => Err(Usage::error(format!(
            "--store {}:…: expected sqlite:PATH, as in sqlite:heddle.db",
            display::line(scheme)
        ))),
        None => Err(Usage::error(
            "--store: expected sqlite:PATH, as in sqlite:heddle.db",
        )),
    }
}

pub(crate) fn run(command: Store) -> anyhow::Result<ExitCode> {
    match command {
        Store::Check { place, json } => {
            let report = maintenance::check(&path(&place.store)?)?;
            print(&report, json)
        }
        Store::Backup { file, place, json } => {
            let report = maintenance::backup(&path(&place.store)?, &file)?;
            print(&report, json)
        }
        Store::Migrate {
            place,
            no_backup,
            json,
        } => {
            let path = path(&place.store)?;
            let done = maintenance::migrate(&path, !no_backup)?;
            let backup = done.backup.as_ref().map(|backup| backup.display().to_string());
            if json {
                let path = path.display().to_string();
                output::print_json(
                    &json!({"path": path, "from": done.from, "to": done.to, "backup": backup}),
                )?;
                return Ok(ExitCode::SUCCESS);
            }
            if let Some(backup) = backup {
                output::print(format_args!("{backup} is the store as it was"))?;
            }
            let path = path.display();
            output::print(match done.from == done.to {
                true => format!("{path} has format {}, the newest", done.to),
                false => format!("{path}: from format {} to format {}", done.from, done.to),
            })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(report: &Report, json: bool) -> anyhow::Result<ExitCode> {
    match json {
        true => output::print_json(&as_json(report))?,
        false => write!(output::stdout(), "{}", as_text(report))?,
    }
    Ok(match report.is_sound() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn as_text(report: &Report) -> String {
    let counts = &report.counts;
    let mut text = format!(
        "{}: format {}, {} bytes\n{} runs ({} not over), {} events, {} snapshots, {} graphs, {} plugins, {} schedules\n",
        report.path.display(),
        report.format,
        report.bytes,
        counts.runs,
        counts.unfinished,
        counts.events,
        counts.snapshots,
        counts.graphs,
        counts.plugins,
        counts.schedules,
    );
    for Problem { run, message } in &report.problems {
        text += &match run {
            Some(run) => format!("run {run}: {}\n", display::line(message)),
            None => format!("{}\n", display::line(message)),
        };
    }
    text += &match report.problems.len() {
        0 => "sound\n".to_owned(),
        1 => "1 problem\n".to_owned(),
        many => format!("{many} problems\n"),
    };
    text
}

fn as_json(report: &Report) -> serde_json::Value {
    let counts = &report.counts;
    let problems = report.problems.iter().map(|problem| {
        json!({
            "run": problem.run.map(|run| run.to_string()),
            "message": problem.message,
        })
    });
    json!({
        "path": report.path.display().to_string(),
        "format": report.format,
        "bytes": report.bytes,
        "runs": counts.runs,
        "unfinished": counts.unfinished,
        "events": counts.events,
        "snapshots": counts.snapshots,
        "graphs": counts.graphs,
        "plugins": counts.plugins,
        "schedules": counts.schedules,
        "sound": report.is_sound(),
        "problems": problems.collect::<Vec<_>>(),
    })
}
