//! Failures of functions, and whether they are retried.

use std::{borrow::Cow, fmt};

use serde_json::Value;

/// A function's result. `?` turns every standard error into a permanent [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an [`Error`], which decides whether the step is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Another attempt may succeed: the step is retried as its graph says.
    Retryable,
    /// Another attempt would fail, too.
    Permanent,
    /// The input is not valid for the function.
    InvalidInput,
}

/// A failure of a function.
///
/// It does not implement [`std::error::Error`], so that it can be converted from every type that does.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    /// The kind of the failure.
    pub kind: Kind,
    /// The message for a person: what was wrong, where, and what to do.
    pub message: String,
    /// Data for a program: any JSON value.
    pub data: Option<Value>,
}

impl Error {
    /// A failure for which another attempt may succeed.
    pub fn retryable(message: impl fmt::Display) -> Self {
        Self::new(Kind::Retryable, message)
    }

    /// Another attempt would fail, too.
    pub fn permanent(message: impl fmt::Display) -> Self {
        Self::new(Kind::Permanent, message)
    }

    /// The input is not valid for the function.
    pub fn invalid_input(message: impl fmt::Display) -> Self {
        Self::new(Kind::InvalidInput, message)
    }

    /// The same error with data for a program.
    pub fn with_data(mut self, data: impl Into<Value>) -> Self {
        self.data = Some(data.into());
        self
    }

    fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
            data: None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error> From<E> for Error {
    /// The message is the error's own and those of its sources, unless they say the same.
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self {
            kind: Kind::Permanent,
            message,
            data: None,
        }
    }
}

/// Converts a result's error to an [`Error`] of another kind or with more context.
pub trait ResultExt<T> {
    /// Marks the error as retryable: `fetch(url).retryable()?`.
    fn retryable(self) -> Result<T>;

    /// Puts a context before the error's message: `read(path).context("the rules")?`.
    fn context(self, doing: impl Into<Cow<'static, str>>) -> Result<T>;
}

impl<T, E: Into<Error>> ResultExt<T> for std::result::Result<T, E> {
    fn retryable(self) -> Result<T> {
        self.map_err(|error| Error {
            kind: Kind::Retryable,
            ..error.into()
        })
    }

    fn context(self, doing: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|error| {
            let error = error.into();
            Error {
                message: format!("{}: {}", doing.into(), error.message),
                ..error
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot read the port")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    fn port(text: &str) -> Result<u16, Outer> {
        text.parse().map_err(Outer)
    }

    #[test]
    fn a_question_mark_makes_a_permanent_error_that_tells_the_sources() {
        fn function() -> Result<u16> {
            Ok(port("x")?)
        }
        let error = function().unwrap_err();
        assert_eq!(error.kind, Kind::Permanent);
        assert_eq!(
            error.message,
            "cannot read the port: invalid digit found in string"
        );
    }

    #[test]
    fn retryable_and_context_apply_to_any_result() {
        let error = port("x").context("the configuration").retryable().unwrap_err();
        assert_eq!(error.kind, Kind::Retryable);
        assert_eq!(
            error.message,
            "the configuration: cannot read the port: invalid digit found in string"
        );
        let data = json_error().retryable().unwrap_err();
        assert_eq!((data.kind, data.data), (Kind::Retryable, Some(Value::from(3))));
    }

    fn json_error() -> Result<()> {
        Err(Error::invalid_input("no").with_data(3))
    }
}
