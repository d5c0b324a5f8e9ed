//! What commands print: data to stdout, messages to stderr.
//!
//! A reader that goes away, as in `heddle watch RUN | head`, is no failure: [`is_closed`] tells it from one. Messages
//! on stderr are printed without the secrets of URLs.

use std::{
    fmt::Display,
    io::{self, ErrorKind, StdoutLock, Write},
    path::Path,
};

use heddle_display as display;
use serde_json::Value;

use crate::paint::Paint;

/// Stdout, locked until this is dropped.
pub(crate) struct Stdout(StdoutLock<'static>);

/// The reader of stdout has gone.
#[derive(Debug, thiserror::Error)]
#[error("the reader of stdout has gone")]
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

/// Whether a command ended because nobody reads its output any more.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause.is::<Closed>() || inner.is_some_and(|inner| inner.is::<Closed>())
    })
}

/// Ends this process once nobody reads stdout any more, even while there is nothing to print. For commands that only
/// show what happens elsewhere.
#[cfg(target_os = "linux")]
#[expect(
    deprecated,
    reason = "the replacement is unsafe, since a descriptor could be closed while it is registered; stdout is not"
)]
pub(crate) fn exit_when_closed() {
    use tokio::io::{Interest, unix::AsyncFd};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let Ok(runtime) = runtime else { return };
    std::thread::spawn(move || {
        runtime.block_on(async {
            // What cannot be waited for, as a file, has no reader that goes away.
            if let Ok(stdout) = AsyncFd::with_interest(io::stdout(), Interest::ERROR)
                && stdout.ready(Interest::ERROR).await.is_ok()
            {
                std::process::exit(0);
            }
        });
    });
}

/// Elsewhere, such a command ends with the next line that it prints.
#[cfg(not(target_os = "linux"))]
pub(crate) fn exit_when_closed() {}

/// Prints a line to stdout.
pub(crate) fn print(line: impl Display) -> io::Result<()> {
    writeln!(stdout(), "{line}")
}

/// Prints a value to stdout as a line of JSON.
pub(crate) fn print_json(value: &Value) -> io::Result<()> {
    print(display::json(&value.to_string()))
}

/// Prints a value to stdout as JSON that people can read.
pub(crate) fn print_pretty(value: &Value) -> anyhow::Result<()> {
    print(display::json(&serde_json::to_string_pretty(value)?))?;
    Ok(())
}

/// Prints lines to stderr, without anything that a terminal would act on but the colours of this program. Where nobody
/// reads it, nothing is lost.
pub(crate) fn message(lines: impl Display) {
    let lines = lines.to_string();
    let safe = safe(&display::redact(&lines), Paint::for_stderr().is_on());
    let _ = writeln!(io::stderr(), "{safe}");
}

/// The colour sequences that this program writes. Others come from elsewhere, and could hide what a line says.
const COLOURS: [&str; 10] = ["0", "1", "2", "31", "32", "33", "34", "36", "1;31", "1;33"];

/// Whether a colour sequence is one of this program.
fn is_own(colour: &str) -> bool {
    let code = colour
        .strip_prefix("\u{1b}[")
        .and_then(|code| code.strip_suffix('m'));
    code.is_some_and(|code| COLOURS.contains(&code))
}

/// The lines of a text, each made safe. The colours of this program stay where the text is shown in colour.
fn safe(text: &str, in_colour: bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for (at, line) in text.split('\n').enumerate() {
        safe.push_str(if at > 0 { "\n" } else { "" });
        let mut rest = line;
        while let Some((before, colour, after)) = in_colour.then(|| display::colour(rest)).flatten() {
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

/// A path in a message: in one line, whatever its name is.
pub(crate) fn path(path: &Path) -> String {
    display::line(&path.to_string_lossy()).into_owned()
}

/// A message in which each argument of this command that it repeats is in one line, whatever is in it.
pub(crate) fn with_safe_arguments(said: &str) -> String {
    let arguments = std::env::args_os().skip(1);
    with_safe(
        said,
        arguments.map(|argument| argument.to_string_lossy().into_owned()),
    )
}

fn with_safe(said: &str, arguments: impl Iterator<Item = String>) -> String {
    let mut said = said.to_owned();
    for argument in arguments.filter(|argument| !argument.trim().is_empty()) {
        let value = argument.split_once('=').map(|(_, value)| value.to_owned());
        for given in [Some(argument), value].into_iter().flatten() {
            let safe = display::line(&given);
            if safe != given {
                said = said.replace(&given, &safe);
            }
        }
    }
    said
}

/// Says on stderr that a list is empty, unless it is printed as JSON.
pub(crate) fn none(json: bool, what: &str) {
    if !json {
        message(format_args!("no {what}"));
    }
}

/// Prints a warning to stderr.
pub(crate) fn warning(text: impl Display) {
    message(format_args!(
        "{}: {text}",
        Paint::for_stderr().in_colour("1;33", "warning")
    ));
}

/// Prints an error to stderr.
pub(crate) fn error(text: impl Display) {
    message(format_args!(
        "{}: {text}",
        Paint::for_stderr().in_colour("1;31", "error")
    ));
}

/// A text as one word of a shell's command line.
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
    fn a_word_means_itself_to_a_shell() {
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
    fn a_message_acts_on_no_terminal() {
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
            with_safe("error: 'x\u{1b}[31m\ny' and\nb\u{85}", given.into_iter()),
            "error: 'x\\u{1b}[31m\\ny' and\nb\\u{85}"
        );
    }

    #[test]
    fn only_a_reader_that_went_away_is_told_from_a_failure() {
        let pipe = || io::Error::from(ErrorKind::BrokenPipe);
        assert!(is_closed(
            &anyhow::Error::from(marked(pipe())).context("while printing")
        ));
        assert!(
            !is_closed(&anyhow::Error::from(pipe())),
            "this one may be of the network"
        );
        assert!(!is_closed(&marked(ErrorKind::StorageFull.into()).into()));
    }
}
