//! Why a request has no response.

use wasmtime_wasi_http::Error;

/// Why a request has no response.
pub(super) enum SendError {
    /// The host refused the request: the guest and the log line get the same message.
    Refused(String),
    /// The host allowed the request, but the connection or the server failed.
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

/// An error whose message reaches the guest.
pub(super) fn internal(message: String) -> Error {
    Error::InternalError(Some(message))
}
