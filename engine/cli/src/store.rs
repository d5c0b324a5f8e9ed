//! `heddle store`: checks, copies and migrates the store of a server.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::Subcommand;
use heddle_display as display;
use heddle_store::{
    PostgresSettings,
    maintenance::{self, Migrated, Problem, Report, StoreLocation},
};
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
        /// The new file, a SQLite store
        file: PathBuf,
        #[command(flatten)]
        store: StoreOption,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy a whole store to another kind of database: from SQLite to PostgreSQL or back
    Copy {
        /// The store to copy, as for --store; it is not changed
        from: String,
        /// A new file, as sqlite:PATH, or an empty database, as postgres://USER@HOST/DATABASE
        to: String,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Migrate the store of an older version to the newest format; keeps a copy of an old SQLite file beside it
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
    /// The store: sqlite:PATH, one file, which `heddle serve` creates; or postgres://USER@HOST/DATABASE
    #[arg(
        long,
        env = "HEDDLE_STORE",
        hide_env_values = true,
        default_value = "sqlite:heddle.db"
    )]
    store: String,
}

impl StoreOption {
    /// The place of the store.
    pub(crate) fn location(&self) -> anyhow::Result<StoreLocation> {
        location("--store", &self.store)
    }
}

/// Parses the place of a store. Messages begin with `option`.
fn location(option: &str, given: &str) -> anyhow::Result<StoreLocation> {
    let expected = "expected sqlite:PATH, as in sqlite:heddle.db, or postgres://USER@HOST/DATABASE";
    match given.split_once(':') {
        Some(("sqlite", ":memory:")) => Err(Usage::error(format!(
            "{option} sqlite::memory: is not available: runs are stored in a file; name one, as in sqlite:heddle.db"
        ))),
        Some(("sqlite", path)) if !path.is_empty() => {
            Ok(StoreLocation::Sqlite(path.trim_start_matches("//").into()))
        }
        Some(("postgres" | "postgresql", _)) => match PostgresSettings::parse(given) {
            Ok(settings) => Ok(StoreLocation::Postgres(Box::new(settings))),
            Err(error) => Err(Usage::error(format!("{option}: {error}"))),
        },
        // The part after the scheme may contain a password.
        Some((scheme, _)) => Err(Usage::error(format!(
            "{option} {}:…: {expected}",
            display::line(scheme)
        ))),
        None => Err(Usage::error(format!("{option}: {expected}"))),
    }
}

pub(crate) fn run(command: Store) -> anyhow::Result<ExitCode> {
    match command {
        Store::Check { store, json } => {
            let report = match store.location()? {
                StoreLocation::Sqlite(path) => maintenance::check(&path)?,
                StoreLocation::Postgres(settings) => {
                    maintenance::check_postgres(&settings, &std::env::temp_dir())?
                }
            };
            print(&report, json)
        }
        Store::Backup { file, store, json } => {
            let report = match store.location()? {
                StoreLocation::Sqlite(path) => maintenance::backup(&path, &file)?,
                StoreLocation::Postgres(settings) => maintenance::backup_postgres(&settings, &file)?,
            };
            print(&report, json)
        }
        Store::Copy { from, to, json } => copy(&location("FROM", &from)?, &location("TO", &to)?, json),
        Store::Migrate {
            store,
            no_backup,
            json,
        } => match store.location()? {
            StoreLocation::Sqlite(path) => {
                let done = maintenance::migrate(&path, !no_backup)?;
                print_migrated(&path.display().to_string(), &done, json)
            }
            StoreLocation::Postgres(settings) => {
                let done = maintenance::migrate_postgres(&settings)?;
                print_migrated(&settings.target().to_string(), &done, json)
            }
        },
    }
}

fn copy(from: &StoreLocation, to: &StoreLocation, json: bool) -> anyhow::Result<ExitCode> {
    let copied = maintenance::copy_store(from, to)?;
    if json {
        let rows: serde_json::Map<_, _> = copied
            .into_iter()
            .map(|(name, rows)| (name.to_owned(), rows.into()))
            .collect();
        output::print_json(&json!({"from": from.to_string(), "to": to.to_string(), "rows": rows}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<String> = copied
        .iter()
        .map(|(name, rows)| format!("{name} {rows}"))
        .collect();
    output::print(format_args!("copied {from} to {to}: rows of {}", rows.join(", ")))?;
    Ok(ExitCode::SUCCESS)
}

fn print_migrated(store: &str, done: &Migrated, json: bool) -> anyhow::Result<ExitCode> {
    let backup = done.backup.as_ref().map(|backup| backup.display().to_string());
    if json {
        output::print_json(&json!({"path": store, "from": done.from, "to": done.to, "backup": backup}))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(backup) = backup {
        output::print(format_args!("copied the old store to {backup}"))?;
    }
    output::print(match done.from == done.to {
        true => format!("{store} already has the newest format, {}", done.to),
        false => format!("migrated {store} from format {} to format {}", done.from, done.to),
    })?;
    Ok(ExitCode::SUCCESS)
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
