//! Copies a whole store between SQLite and PostgreSQL, table by table.
//!
//! The source is read in one transaction, so the copy is its state at one moment. The target is complete or does not exist:
//! PostgreSQL is written in one transaction, and an incomplete file is deleted.

mod postgres;
mod sqlite;
mod table;

use std::path::{Path, PathBuf};

use self::{
    postgres::{PostgresSource, PostgresTarget},
    sqlite::{SqliteSource, SqliteTarget},
    table::TABLES,
};
use super::{MaintenanceError, Migrated, Problem, Report, check};
use crate::postgres::{Idle, PostgresSettings};

/// How many runs whose rows contradict their events a check lists.
const MAX_PROBLEMS: i64 = 100;

/// The place of a store.
#[derive(Clone, Debug)]
pub enum StoreLocation {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(Box<PostgresSettings>),
}

impl std::fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(settings) => write!(f, "{}", settings.target()),
        }
    }
}

/// The number of copied rows by table.
pub type CopiedRows = Vec<(&'static str, u64)>;

/// Copies a whole store to a new SQLite file or to an empty PostgreSQL database. Blocks until that is done.
///
/// # Errors
/// If both are in the same kind of database, the source cannot be read, or the target exists or cannot be written.
pub fn copy_store(from: &StoreLocation, to: &StoreLocation) -> Result<CopiedRows, MaintenanceError> {
    match (from, to) {
        (StoreLocation::Sqlite(from), StoreLocation::Postgres(to)) => block_on(to_postgres(from, to)),
        (StoreLocation::Postgres(from), StoreLocation::Sqlite(to)) => {
            block_on(async { to_sqlite(&PostgresSource::open(from).await?, to, true).await })
        }
        (StoreLocation::Sqlite(_), _) => Err(MaintenanceError::Copy(
            "both stores are SQLite files: use `heddle store backup`".to_owned(),
        )),
        (StoreLocation::Postgres(_), _) => Err(MaintenanceError::Copy(
            "both stores are in PostgreSQL: use pg_dump and pg_restore".to_owned(),
        )),
    }
}

/// Copies a store in PostgreSQL without its secrets to a new SQLite file, and checks the copy. Engines may use the store.
///
/// # Errors
/// If a file exists at `to`, the store cannot be read, or the copy cannot be written.
pub fn backup_postgres(settings: &PostgresSettings, to: &Path) -> Result<Report, MaintenanceError> {
    block_on(async { to_sqlite(&PostgresSource::open(settings).await?, to, false).await })?;
    check(to)
}

/// Checks a store in PostgreSQL: reads every row, and rebuilds every run from its events. Engines may use the store.
///
/// Needs disk space for a copy of the store in the folder for temporary files.
///
/// # Errors
/// If the store cannot be read, or the copy cannot be written. Damage inside the store is in the report.
pub fn check_postgres(settings: &PostgresSettings, folder: &Path) -> Result<Report, MaintenanceError> {
    let copy = folder.join(format!("heddle-check-{}.db", uuid::Uuid::now_v7()));
    let (bytes, wrong) = block_on(async {
        let source = PostgresSource::open(settings).await?;
        to_sqlite(&source, &copy, false).await?;
        Ok::<_, MaintenanceError>((source.bytes().await?, source.wrong_heads(MAX_PROBLEMS).await?))
    })?;
    let report = check(&copy);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mut name = copy.clone().into_os_string();
        name.push(suffix);
        let _ = std::fs::remove_file(name);
    }
    let mut report = report?;
    report.path = PathBuf::from(settings.target().to_string());
    (report.format, report.bytes) = (crate::postgres::FORMAT, bytes);
    report
        .problems
        .extend(wrong.into_iter().map(|(run, listed, found)| Problem {
            run: Some(run),
            message: format!(
                "the table of runs says that its last event is {listed}, but the last stored event is {found}"
            ),
        }));
    Ok(report)
}

/// Migrates a store in PostgreSQL to the newest format.
///
/// # Errors
/// If the database cannot be used.
pub fn migrate_postgres(settings: &PostgresSettings) -> Result<Migrated, MaintenanceError> {
    let from = block_on(async { Ok::<_, MaintenanceError>(Idle::migrate(settings).await?) })?;
    Ok(Migrated {
        from,
        to: crate::postgres::FORMAT,
        backup: None,
    })
}

async fn to_postgres(from: &Path, to: &PostgresSettings) -> Result<CopiedRows, MaintenanceError> {
    let source = SqliteSource::open(from)?;
    let mut target = PostgresTarget::create(to).await?;
    let mut copied = CopiedRows::new();
    for table in &TABLES {
        copied.push((table.name, source.copy(table, &mut target).await?));
    }
    target.finish().await?;
    Ok(copied)
}

async fn to_sqlite(
    source: &PostgresSource,
    to: &Path,
    with_secrets: bool,
) -> Result<CopiedRows, MaintenanceError> {
    let mut target = SqliteTarget::create(to)?;
    let mut copied = CopiedRows::new();
    for table in &TABLES {
        if with_secrets || table.name != "secrets" {
            copied.push((table.name, source.copy(table, &mut target).await?));
        }
    }
    target.finish()?;
    Ok(copied)
}

/// Waits for the result on this thread.
fn block_on<T>(copy: impl Future<Output = Result<T, MaintenanceError>>) -> Result<T, MaintenanceError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| MaintenanceError::Copy(error.to_string()))?;
    runtime.block_on(copy)
}
