//! The server's log on stderr: one line for each event, whatever is in it.
//!
//! Log lines contain text that the server does not control: names, paths, errors of plugins and of other systems. No
//! such text can begin a line, move a cursor or show a password.

use std::{fmt, str::FromStr};

use heddle_display as display;
use tracing::{field::Field, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    fmt::format::{Writer, debug_fn},
};

use crate::{Usage, paint::Paint};

/// The variable that says what is logged.
const VARIABLE: &str = "HEDDLE_LOG";

/// Logs to stderr from here on, in colour where it is a terminal.
///
/// # Errors
/// Where the variable says something that is no level.
pub(crate) fn to_stderr() -> anyhow::Result<()> {
    let asked = std::env::var_os(VARIABLE).unwrap_or_default();
    let filter = filter(&asked.to_string_lossy())?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(Paint::for_stderr().is_on())
        .fmt_fields(debug_fn(write_field).delimited(" "))
        // Where nobody reads stderr any more, the server goes on.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

/// What is logged by what the variable says; empty is as if it was not set.
fn filter(asked: &str) -> anyhow::Result<EnvFilter> {
    let asked = asked.trim();
    if asked.is_empty() {
        return Ok(EnvFilter::new("info"));
    }
    // A word alone that is no level would be the name of a part of the program, of which everything is logged.
    let is_word = |part: &str| !part.contains(['=', '[', ':']) && LevelFilter::from_str(part).is_err();
    let read = match asked.split(',').find(|part| is_word(part.trim())) {
        Some(_) => None,
        None => EnvFilter::try_new(asked).ok(),
    };
    read.ok_or_else(|| {
        Usage::error(format!(
            "{VARIABLE}: `{}` is no level: it is error, warn, info, debug, trace or off, or such a level for a part \
             of the program, as in info,heddle_runtime=debug",
            display::line(asked)
        ))
    })
}

fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = format!("{value:?}");
    let text = display::redact(&text);
    let text = display::line(&text);
    match field.name() {
        "message" => write!(writer, "{text}"),
        name => write!(writer, "{name}={text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_no_level_is_refused_with_the_levels() {
        for (asked, means) in [
            ("", "info"),
            (" ", "info"),
            ("debug", "debug"),
            ("WARN", "warn"),
            ("off", "off"),
        ] {
            assert_eq!(filter(asked).expect(asked).to_string(), means, "{asked}");
        }
        assert!(filter("info,heddle_runtime=debug").is_ok());
        for asked in ["loud", "info,loud", "heddle_runtime=loud", "="] {
            let told = filter(asked).err().map(|error| error.to_string());
            assert!(
                told.is_some_and(|told| told.contains("error, warn, info, debug, trace or off")),
                "{asked}"
            );
        }
    }

    #[test]
    fn an_event_is_one_line_and_shows_no_password() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let error = "cannot reach postgres://me:hunter2@db/x";
            tracing::warn!(%error, kind = "odd\u{1b}[2J", "two\nlines\u{202e}");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        for shown in [
            "two\\nlines\\u{202e}",
            "error=cannot reach postgres://***@db/x",
            "kind=",
        ] {
            assert!(text.contains(shown), "{shown} in {text}");
        }
        assert!(
            !text.contains(['\u{1b}', '\u{202e}']) && !text.contains("hunter2"),
            "{text:?}"
        );
    }
}
