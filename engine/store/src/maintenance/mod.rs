//! Maintenance of a store's file: checking, copying and migrating it.
//!
//! A check and a copy can run while an engine has the store open. Nothing here changes a run.

mod check;
mod copy;
mod transfer;

use std::{io, path::PathBuf};

use heddle_kernel::RunId;

pub use self::{
    check::check,
    copy::{backup, migrate},
    transfer::{CopiedRows, StoreLocation, backup_postgres, check_postgres, copy_store, migrate_postgres},
};
use crate::{OpenError, PostgresOpenError};

/// The result of a check.
#[derive(Clone, Debug)]
pub struct Report {
    /// The absolute path of the file.
    pub path: PathBuf,
    /// The format: the number of the last migration.
    pub format: i32,
    /// The size of the file in bytes, without the write-ahead log beside it.
    pub bytes: u64,
    /// How many rows of each kind the store has.
    pub counts: Counts,
    /// What is damaged: problems of the file as a whole first, then those of single runs.
    pub problems: Vec<Problem>,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs in every status.
    pub runs: u64,
    /// Runs that are neither finished, failed nor cancelled.
    pub unfinished: u64,
    /// Events of all runs.
    pub events: u64,
    /// Snapshots of all runs.
    pub snapshots: u64,
    /// Graph definitions.
    pub graphs: u64,
    /// Components of plugins.
    pub plugins: u64,
    /// Schedules.
    pub schedules: u64,
}

/// Damage that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The run that cannot be loaded; none if the problem is not of one run.
    pub run: Option<RunId>,
    /// A description of the damage.
    pub message: String,
}

impl Report {
    /// Whether no damage was found.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

/// The result of [`migrate`].
#[derive(Clone, Debug)]
pub struct Migrated {
    /// The format before the migration.
    pub from: i32,
    /// The format after the migration. If it equals `from`, nothing was done.
    pub to: i32,
    /// The copy that was made before the migration.
    pub backup: Option<PathBuf>,
}

/// Why a store could not be checked, copied or migrated.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file with the name of the copy exists. It is left unchanged.
    #[error("{} exists and is left unchanged: name another file, or move this one away", .0.display())]
    Exists(PathBuf),
    /// The copy cannot be written.
    #[error("the copy {} cannot be written: {source}", .path.display())]
    Write {
        /// The path of the copy.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The store in PostgreSQL cannot be opened.
    #[error(transparent)]
    Postgres(#[from] PostgresOpenError),
    /// The database to copy to has a store with content. It is left unchanged.
    #[error("the store {0} is not empty and is left unchanged: name an empty database")]
    NotEmpty(String),
    /// A copy failed. Nothing of it is left.
    #[error("the store cannot be copied: {0}")]
    Copy(String),
    /// SQLite reports an error.
    #[error("the store {} cannot be read: {message}", .path.display())]
    Failed {
        /// The path of the store.
        path: PathBuf,
        /// The error of SQLite.
        message: String,
    },
}
