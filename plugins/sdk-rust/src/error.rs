//! Why a function gave no result, and whether to try again.

use std::{borrow::Cow, fmt};

use serde_json::Value;

/// A function's result. `?` turns every standard error into a permanent [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller may do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It may go well another time, so the step is tried again as its graph says.
    Retryable,
    /// It will not go well.
    Permanent,
    /// The input was not what the function takes.
    InvalidInput,
}

/// Why a function gave no result.
///
/// It does not implement [`std::error::Error`], so that it can be made from all that do.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    /// What the caller may do about it.
    pub kind: Kind,
    /// For a person: what was wrong, where, and what to do about it.
    pub message: String,
    /// For a program: any JSON value.
    pub data: Option<Value>,
}

impl Error {
    /// It may go well another time.
    pub fn retryable(message: impl fmt::Display) -> Self {
        Self::new(Kind::Retryable, message)
    }

    /// It will not go well.
    pub fn permanent(message: impl fmt::Display) -> Self {
        Self::new(Kind::Permanent, message)
    }

    /// The input was not what the function takes.
    pub fn invalid_input(message: impl fmt::Display) -> Self {
        Self::new(Kind::InvalidInput, message)
    }

    /// The same error with something for a program to read.
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

/// Says of a result's error what it means for the step.
pub trait ResultExt<T> {
    /// Marks the error as one that may not come again: `fetch(url).retryable()?`.
    fn retryable(self) -> Result<T>;

    /// Puts what was being done before the error's message: `read(path).context("the rules")?`.
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
