//! Why a request has no answer.

use wasmtime_wasi_http::Error;

/// Why there is no answer.
pub(super) enum SendError {
    /// The host put an end to it, and says why in the same words to the guest and in the line.
    Refused(String),
    /// It did not go well.
    Broken { error: Error, reason: String },
}

impl SendError {
    pub(super) fn broken(error: Error, reason: impl std::fmt::Display) -> Self {
        Self::Broken {
            error,
            reason: reason.to_string(),
        }
    }
}

/// An error that carries its words to the guest.
pub(super) fn internal(message: String) -> Error {
    Error::InternalError(Some(message))
}
