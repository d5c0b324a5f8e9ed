//! Looking after a store's file: checking it, copying it, bringing it to the newest format.
//!
//! Checking and copying go on beside an engine that has the store open. Nothing here changes a run.

mod check;
mod copy;

use std::{io, path::PathBuf};

use heddle_kernel::RunId;

pub use self::{
    check::check,
    copy::{backup, migrate},
};
use crate::OpenError;

/// What a check found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: i32,
    /// Its size, without what stands in the log beside it.
    pub bytes: u64,
    /// What it holds.
    pub counts: Counts,
    /// What is wrong with it: of the file as a whole first, then by run.
    pub problems: Vec<Problem>,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs.
    pub runs: u64,
    /// Those of them that are not over.
    pub unfinished: u64,
    /// Events of all runs.
    pub events: u64,
    /// Snapshots of all runs.
    pub snapshots: u64,
    /// Graphs.
    pub graphs: u64,
    /// Components of plugins.
    pub plugins: u64,
    /// Schedules.
    pub schedules: u64,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The run that it stops; none where it is no run's own.
    pub run: Option<RunId>,
    /// What is wrong.
    pub message: String,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What [`migrate`] did.
#[derive(Clone, Debug)]
pub struct Migrated {
    /// The format that the file had.
    pub from: i32,
    /// The format that it has.
    pub to: i32,
    /// The copy of it as it was.
    pub backup: Option<PathBuf>,
}

/// Why a store was not looked after.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is a file where the copy would be: it is left alone.
    #[error("{} exists, and is left as it is: name another file, or move it away", .0.display())]
    Exists(PathBuf),
    /// The copy cannot be written.
    #[error("the copy {} cannot be written: {source}", .path.display())]
    Write {
        /// Where it would be.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// SQLite fails on it.
    #[error("the store {} cannot be read: {message}", .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        message: String,
    },
}
