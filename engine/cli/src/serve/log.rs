//! The server's log on stderr: one line for each event.
//!
//! Log lines contain text that the server does not control: names, paths, errors of plugins and of other systems. Control
//! characters in it are escaped, and passwords in URLs are masked.

use std::{fmt, str::FromStr};

use heddle_display as display;
use tracing::{field::Field, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    fmt::format::{Writer, debug_fn},
};

use crate::{Usage, colours::Colours};

/// The environment variable with the log levels.
const VARIABLE: &str = "HEDDLE_LOG";

/// Starts logging to stderr, in colour if it is a terminal.
///
/// # Errors
/// If the variable contains something other than levels.
pub(super) fn to_stderr() -> anyhow::Result<()> {
    let value = std::env::var_os(VARIABLE).unwrap_or_default();
    let filter = filter(&value.to_string_lossy())?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(Colours::for_stderr().enabled())
        .fmt_fields(debug_fn(write_field).delimited(" "))
        // If stderr is closed, the server continues without a log.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

/// The filter for a value of the variable. An empty value is like an unset variable.
fn filter(value: &str) -> anyhow::Result<EnvFilter> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(EnvFilter::new("info"));
    }
    // The filter would take any other word for the name of a module, and log everything of that module.
    let is_word = |part: &str| !part.contains(['=', '[', ':']) && LevelFilter::from_str(part).is_err();
    let parsed = match value.split(',').find(|part| is_word(part.trim())) {
        Some(_) => None,
        None => EnvFilter::try_new(value).ok(),
    };
    parsed.ok_or_else(|| {
        Usage::error(format!(
            "{VARIABLE}: `{}` is not a log level: use error, warn, info, debug, trace or off, or levels for modules, as \
             in info,heddle_runtime=debug",
            display::line(value)
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
    fn an_unknown_level_is_refused_with_a_list_of_levels() {
        for (value, means) in [
            ("", "info"),
            (" ", "info"),
            ("debug", "debug"),
            ("WARN", "warn"),
            ("off", "off"),
        ] {
            assert_eq!(filter(value).expect(value).to_string(), means, "{value}");
        }
        assert!(filter("info,heddle_runtime=debug").is_ok());
        for value in ["loud", "info,loud", "heddle_runtime=loud", "="] {
            let message = filter(value).err().map(|error| error.to_string());
            assert!(
                message.is_some_and(|message| message.contains("error, warn, info, debug, trace or off")),
                "{value}"
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
