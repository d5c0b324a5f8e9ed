//! Errors of the store, and of reading a run from it.

use heddle_kernel::RunId;

use super::rows::Request;

/// Why the store could not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A later attempt may succeed: the disk is full, or the file is locked.
    #[error("the store cannot write at the moment: {0}")]
    Unavailable(String),
    /// The stored data is damaged.
    #[error("the store has damaged data: {0}")]
    Damaged(String),
    /// Any other failure.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// Why the store dropped an append.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The store cannot write at the moment, so the new run was not created.
    #[error("{0}")]
    Unavailable(StoreError),
    /// The events do not follow the last durable event, or another engine owns the run.
    #[error("the journal of run {run} is at another position: {message}")]
    Conflict {
        /// The id of the run.
        run: RunId,
        /// The position that the store found.
        message: String,
    },
    /// The stored data of this run, or the page of the file where it belongs, is damaged. Other runs are not affected.
    #[error("the stored data of run {run} is damaged: {message}")]
    Damaged {
        /// The id of the run.
        run: RunId,
        /// The damage that the store found.
        message: String,
    },
    /// A request of this append was answered before, by an append of this engine or of another one. Nothing of this append
    /// is stored, and the run is otherwise unharmed.
    #[error("a request with the key `{}` was answered before", .0.key)]
    DuplicateRequest(Box<Request>),
    /// The engine's lease has ended, and other engines execute its runs.
    #[error("the engine's lease has ended, and other engines execute its runs")]
    Fenced,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a run could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The runs in memory have reached their memory limit, so this run cannot be loaded.
    #[error(
        "the runs in memory have reached their limit of {limit} bytes (max_memory_bytes): try again in a moment"
    )]
    Busy {
        /// The limit in bytes.
        limit: usize,
    },
    /// The run's journal is damaged.
    #[error("the journal of run {run} is damaged: {message}")]
    Damaged {
        /// The id of the run.
        run: RunId,
        /// What is damaged, for an operator.
        message: String,
    },
}

impl ReadError {
    /// Attributes damage that the store found while it read `run` to that run.
    pub(crate) fn of_run(self, run: RunId) -> Self {
        match self {
            Self::Store(StoreError::Damaged(message)) => Self::Damaged { run, message },
            other => other,
        }
    }
}
