//! Prints the output of commands: data to stdout, messages to stderr.
//!
//! A closed stdout, as in `heddle watch RUN | head`, is not a failure; [`is_closed`] recognizes it. Messages on stderr mask
//! passwords in URLs and escape control characters.

use std::{
    fmt::Display,
    io::{self, ErrorKind, StdoutLock, Write},
    path::Path,
};

use heddle_display as display;
use serde_json::Value;

use crate::colours::Colours;

/// Stdout, locked until this is dropped.
pub(crate) struct Stdout(StdoutLock<'static>);

/// The error of writing to a closed stdout.
#[derive(Debug, thiserror::Error)]
#[error("stdout is closed")]
struct Closed;

/// Locks stdout for several lines.
pub(crate) fn stdout() -> Stdout {
    Stdout(io::stdout().lock())
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(marked)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(marked)
    }
}

fn marked(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::BrokenPipe => io::Error::new(ErrorKind::BrokenPipe, Closed),
        _ => error,
    }
}

/// Whether a command failed because stdout is closed.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause.is::<Closed>() || inner.is_some_and(|inner| inner.is::<Closed>())
    })
}

/// Ends this process when stdout is closed, even while there is nothing to print. For commands that only display events.
#[cfg(target_os = "linux")]
#[expect(
    deprecated,
    reason = "the replacement is unsafe, since a descriptor could be closed while it is registered; stdout is not"
)]
pub(crate) fn exit_when_stdout_closes() {
    use tokio::io::{Interest, unix::AsyncFd};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let Ok(runtime) = runtime else { return };
    std::thread::spawn(move || {
        runtime.block_on(async {
            // A file cannot be watched like this, but it has no reader that could close it.
            if let Ok(stdout) = AsyncFd::with_interest(io::stdout(), Interest::ERROR)
                && stdout.ready(Interest::ERROR).await.is_ok()
            {
                std::process::exit(0);
            }
        });
    });
}

/// On other systems, such a command ends when it prints the next line.
#[cfg(not(target_os = "linux"))]
pub(crate) fn exit_when_stdout_closes() {}

/// Prints a line to stdout.
pub(crate) fn print(line: impl Display) -> io::Result<()> {
    writeln!(stdout(), "{line}")
}

/// Prints a value to stdout as a line of JSON.
pub(crate) fn print_json(value: &Value) -> io::Result<()> {
    print(display::json(&value.to_string()))
}

/// Prints a value to stdout as indented JSON.
pub(crate) fn print_pretty(value: &Value) -> anyhow::Result<()> {
    print(display::json(&serde_json::to_string_pretty(value)?))?;
    Ok(())
}

/// Prints lines to stderr. Escapes control sequences, except the colours of this program. A closed stderr is ignored.
pub(crate) fn message(lines: impl Display) {
    let lines = lines.to_string();
    let safe = safe(&display::redact(&lines), Colours::for_stderr().enabled());
    let _ = writeln!(io::stderr(), "{safe}");
}

/// The colour sequences that this program writes. Any other sequence comes from data and could hide text.
const COLOURS: [&str; 10] = ["0", "1", "2", "31", "32", "33", "34", "36", "1;31", "1;33"];

/// Whether this program writes this colour sequence.
fn is_own(colour: &str) -> bool {
    let code = colour
        .strip_prefix("\u{1b}[")
        .and_then(|code| code.strip_suffix('m'));
    code.is_some_and(|code| COLOURS.contains(&code))
}

/// Escapes control characters in each line of a text. With `in_colour`, keeps the colours of this program.
fn safe(text: &str, paint: bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for (at, line) in text.split('\n').enumerate() {
        safe.push_str(if at > 0 { "\n" } else { "" });
        let mut rest = line;
        while let Some((before, colour, after)) = paint.then(|| display::colour(rest)).flatten() {
            safe.push_str(&display::line(before));
            match is_own(colour) {
                true => safe.push_str(colour),
                false => safe.push_str(&display::line(colour)),
            }
            rest = after;
        }
        safe.push_str(&display::line(rest));
    }
    safe
}

/// A text without its colour sequences.
pub(crate) fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, _, after)) = display::colour(rest) {
        plain.push_str(before);
        rest = after;
    }
    plain + rest
}

/// A path for a message, with control characters escaped.
pub(crate) fn path(path: &Path) -> String {
    display::line(&path.to_string_lossy()).into_owned()
}

/// Escapes control characters in the arguments of this command that a message repeats.
pub(crate) fn escape_arguments(message: &str) -> String {
    let arguments = std::env::args_os().skip(1);
    escape_all(
        message,
        arguments.map(|argument| argument.to_string_lossy().into_owned()),
    )
}

fn escape_all(message: &str, arguments: impl Iterator<Item = String>) -> String {
    let mut escaped = message.to_owned();
    for argument in arguments.filter(|argument| !argument.trim().is_empty()) {
        let value = argument.split_once('=').map(|(_, value)| value.to_owned());
        for given in [Some(argument), value].into_iter().flatten() {
            let safe = display::line(&given);
            if safe != given {
                escaped = escaped.replace(&given, &safe);
            }
        }
    }
    escaped
}

/// Prints a message on stderr that a list is empty, unless the list is printed as JSON.
pub(crate) fn empty_list(json: bool, what: &str) {
    if !json {
        message(format_args!("no {what}"));
    }
}

/// Prints a warning to stderr.
pub(crate) fn warning(text: impl Display) {
    message(format_args!(
        "{}: {text}",
        Colours::for_stderr().paint("1;33", "warning")
    ));
}

/// Prints an error to stderr.
pub(crate) fn error(text: impl Display) {
    message(format_args!(
        "{}: {text}",
        Colours::for_stderr().paint("1;31", "error")
    ));
}

/// Quotes a text as one word of a shell command.
pub(crate) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_word_unchanged() {
        for (text, word) in [
            ("approval", "approval"),
            ("", "''"),
            ("x; rm -rf ~", "'x; rm -rf ~'"),
            ("it's", r"'it'\''s'"),
            ("$(id)", "'$(id)'"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }

    #[test]
    fn control_sequences_in_a_message_are_escaped() {
        let text = "\u{1b}[1merror\u{1b}[0m: a\u{1b}[2J\u{202e}\u{9b}\n  b\r";
        assert_eq!(
            safe(text, true),
            "\u{1b}[1merror\u{1b}[0m: a\\u{1b}[2J\\u{202e}\\u{9b}\n  b\\r"
        );
        assert_eq!(
            safe("a\u{1b}[8mhidden\u{9b}7m", true),
            "a\\u{1b}[8mhidden\\u{9b}7m"
        );
        assert_eq!(
            safe("error: a\u{1b}[31mb", false),
            "error: a\\u{1b}[31mb",
            "nothing is left out"
        );
        assert_eq!(
            path(Path::new("A\u{1b}[31m\nerror: fake")),
            "A\\u{1b}[31m\\nerror: fake"
        );
        let given = ["--a=x\u{1b}[31m\ny".to_owned(), "b\u{85}".to_owned()];
        assert_eq!(
            escape_all("error: 'x\u{1b}[31m\ny' and\nb\u{85}", given.into_iter()),
            "error: 'x\\u{1b}[31m\\ny' and\nb\\u{85}"
        );
    }

    #[test]
    fn only_a_closed_stdout_is_not_a_failure() {
        let pipe = || io::Error::from(ErrorKind::BrokenPipe);
        assert!(is_closed(
            &anyhow::Error::from(marked(pipe())).context("while printing")
        ));
        assert!(
            !is_closed(&anyhow::Error::from(pipe())),
            "a broken pipe of the network is a failure"
        );
        assert!(!is_closed(&marked(ErrorKind::StorageFull.into()).into()));
    }
}
