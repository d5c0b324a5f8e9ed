//! `heddle store`: looks after the file that a server keeps everything in.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use clap::Subcommand;
use heddle_store::maintenance::{self, Problem, Report};
use serde_json::json;

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
    },
    /// Bring a store of an older version to the newest format; a copy of it as it was is left beside it
    Migrate {
        #[command(flatten)]
        place: Place,
        /// Leave no copy
        #[arg(long)]
        no_backup: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct Place {
    /// Where everything is kept: sqlite:PATH
    #[arg(long, env = "HEDDLE_STORE", default_value = "sqlite:heddle.db")]
    store: String,
}

/// The file of `--store`.
pub(crate) fn path(store: &str) -> anyhow::Result<PathBuf> {
    match store.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => Ok(path.trim_start_matches("//").into()),
        _ => bail!("--store {store}: expected sqlite:PATH, as in sqlite:heddle.db"),
    }
}

pub(crate) fn run(command: Store) -> anyhow::Result<ExitCode> {
    match command {
        Store::Check { place, json } => {
            let report = maintenance::check(&path(&place.store)?)?;
            match json {
                true => println!("{}", as_json(&report)),
                false => print!("{}", as_text(&report)),
            }
            Ok(code(&report))
        }
        Store::Backup { file, place } => {
            let report = maintenance::backup(&path(&place.store)?, &file)?;
            print!("{}", as_text(&report));
            Ok(code(&report))
        }
        Store::Migrate { place, no_backup } => {
            let path = path(&place.store)?;
            let done = maintenance::migrate(&path, !no_backup)?;
            if let Some(backup) = &done.backup {
                println!("{} is the store as it was", backup.display());
            }
            match done.from == done.to {
                true => println!("{} has format {}, the newest", path.display(), done.to),
                false => println!(
                    "{}: from format {} to format {}",
                    path.display(),
                    done.from,
                    done.to
                ),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn code(report: &Report) -> ExitCode {
    match report.is_sound() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
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
            Some(run) => format!("run {run}: {message}\n"),
            None => format!("{message}\n"),
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
