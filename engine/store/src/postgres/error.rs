//! Errors of PostgreSQL, as errors of the port and as errors of opening a store.

use std::{error::Error as _, fmt::Write as _};

use heddle_runtime::ports::StoreError;
use tokio_postgres::{Error, error::SqlState};

use super::settings::Target;

/// Why a store in PostgreSQL could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not valid. The message does not contain it.
    #[error("the URL of the store is not valid: {message}")]
    Url {
        /// What is wrong.
        message: String,
    },
    /// The TLS settings cannot be used.
    #[error("the store {target} cannot be opened: {message}")]
    Tls {
        /// The place of the store.
        target: Target,
        /// What is wrong.
        message: String,
    },
    /// The server cannot be reached, or refuses the connection.
    #[error("the store {target} cannot be opened: {message}")]
    Connect {
        /// The place of the store.
        target: Target,
        /// The error of the connection or of the server.
        message: String,
    },
    /// Another engine uses the store.
    #[error(
        "the store {target} is in use by the engine {engine}: stop that engine, or wait until its lease has ended"
    )]
    InUse {
        /// The place of the store.
        target: Target,
        /// The name of the other engine.
        engine: String,
    },
    /// A newer version of Heddle wrote the store.
    #[error(
        "the store {target} has format {found}, but this version of heddle supports formats up to {known}: use the version that wrote the store, or a newer one"
    )]
    Newer {
        /// The place of the store.
        target: Target,
        /// The format of the store.
        found: i32,
        /// The newest format that this version supports.
        known: i32,
    },
    /// The server is too old, or the database has another encoding than UTF-8.
    #[error("the store {target} cannot be used: {message}")]
    Unsupported {
        /// The place of the store.
        target: Target,
        /// What is missing.
        message: String,
    },
}

/// The message of an error, with its causes. The server's details are left out, because they can contain stored values.
pub(crate) fn text(error: &Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}

/// The message of an error without the port's words about writing.
pub(super) fn plain(error: StoreError) -> String {
    match error {
        StoreError::Unavailable(message) | StoreError::Damaged(message) | StoreError::Failed(message) => {
            message
        }
    }
}

/// Converts an error of PostgreSQL to an error of the port.
pub(super) fn store_error(error: &Error) -> StoreError {
    let message = text(error);
    match kind(error) {
        Kind::Unavailable => StoreError::Unavailable(message),
        Kind::Damaged => StoreError::Damaged(message),
        Kind::Refused => StoreError::Failed(message),
    }
}

/// What a caller does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A later attempt may succeed.
    Unavailable,
    /// Stored data is damaged.
    Damaged,
    /// The statement can never succeed with these values.
    Refused,
}

pub(super) fn kind(error: &Error) -> Kind {
    let Some(code) = error.code() else {
        // Values that cannot be sent or read are errors of the statement. Everything else is an error of the connection.
        let text = error.to_string();
        let of_values = [
            "error serializing",
            "error deserializing",
            "invalid column",
            "query returned",
            "expected ",
        ];
        return match of_values.iter().any(|start| text.starts_with(start)) {
            true => Kind::Refused,
            false => Kind::Unavailable,
        };
    };
    match *code {
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => Kind::Damaged,
        SqlState::READ_ONLY_SQL_TRANSACTION
        | SqlState::LOCK_NOT_AVAILABLE
        | SqlState::T_R_SERIALIZATION_FAILURE
        | SqlState::T_R_DEADLOCK_DETECTED
        | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => Kind::Unavailable,
        // Connection exceptions, insufficient resources, operator intervention, system errors.
        _ if ["08", "53", "57", "58"]
            .iter()
            .any(|class| code.code().starts_with(class)) =>
        {
            Kind::Unavailable
        }
        _ => Kind::Refused,
    }
}

/// Whether the server was the wrong one, so that only another connection can help.
pub(super) fn needs_reconnect(error: &Error) -> bool {
    match error.code() {
        None => kind(error) == Kind::Unavailable,
        Some(code) => {
            *code == SqlState::READ_ONLY_SQL_TRANSACTION
                || ["08", "57P"].iter().any(|class| code.code().starts_with(class))
        }
    }
}
