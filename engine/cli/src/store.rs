//! `heddle store`: checks, copies and migrates the store of a server.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::Subcommand;
use heddle_display as display;
use heddle_store::maintenance::{self, Problem, Report};
use serde_json::json;

use crate::{Usage, output};

#[derive(Subcommand)]
pub(crate) enum Store {
    /// Check the store for damage: read every row and rebuild every run; a server may be running
    Check {
        #[command(flatten)]
        store: StoreOption,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy the store to a new file and check the copy; a server may be running
    Backup {
        /// The new file
        file: PathBuf,
        #[command(flatten)]
        store: StoreOption,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Migrate the store of an older version to the newest format; keeps a copy of the old store beside it
    Migrate {
        #[command(flatten)]
        store: StoreOption,
        /// Keep no copy of the old store
        #[arg(long)]
        no_backup: bool,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

// No doc comment, because clap would use it as the description of a command.
#[derive(clap::Args)]
pub(crate) struct StoreOption {
    /// The store: sqlite:PATH, one file; `heddle serve` creates it
    #[arg(
        long,
        env = "HEDDLE_STORE",
        hide_env_values = true,
        default_value = "sqlite:heddle.db"
    )]
    store: String,
}

impl StoreOption {
    /// The path of the file.
    pub(crate) fn path(&self) -> anyhow::Result<PathBuf> {
        match self.store.split_once(':') {
            Some(("sqlite", ":memory:")) => Err(Usage::error(
                "--store sqlite::memory: is not available: runs are stored in a file; name one, as in sqlite:heddle.db",
            )),
            Some(("sqlite", path)) if !path.is_empty() => Ok(path.trim_start_matches("//").into()),
            // The part after the scheme may contain a password.
            Some((scheme, _)) => Err(Usage::error(format!(
                "--store {}:…: expected sqlite:PATH, as in sqlite:heddle.db",
                display::line(scheme)
            ))),
            None => Err(Usage::error(
                "--store: expected sqlite:PATH, as in sqlite:heddle.db",
            )),
        }
    }
}

pub(crate) fn run(command: Store) -> anyhow::Result<ExitCode> {
    match command {
        Store::Check { store, json } => {
            let report = maintenance::check(&store.path()?)?;
            print(&report, json)
        }
        Store::Backup { file, store, json } => {
            let report = maintenance::backup(&store.path()?, &file)?;
            print(&report, json)
        }
        Store::Migrate {
            store,
            no_backup,
            json,
        } => {
            let path = store.path()?;
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
                output::print(format_args!("copied the old store to {backup}"))?;
            }
            let path = path.display();
            output::print(match done.from == done.to {
                true => format!("{path} already has the newest format, {}", done.to),
                false => format!("migrated {path} from format {} to format {}", done.from, done.to),
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
    Ok(match report.is_ok() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn as_text(report: &Report) -> String {
    let counts = &report.counts;
    let mut text = format!(
        "{}: format {}, {} bytes\n{} runs ({} unfinished), {} events, {} snapshots, {} graphs, {} plugins, {} schedules\n",
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
        0 => "OK, no damage found\n".to_owned(),
        1 => "1 problem found\n".to_owned(),
        many => format!("{many} problems found\n"),
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
        "sound": report.is_ok(),
        "problems": problems.collect::<Vec<_>>(),
    })
}
