//! Colours in the output, if it goes to a terminal.

use std::{ffi::OsStr, io::IsTerminal};

use heddle_display as display;

/// Whether to write in colour. Separate for stdout and stderr: one may be a terminal and the other a file.
#[derive(Clone, Copy)]
pub(crate) struct Colours(bool);

impl Colours {
    /// The colours for stdout.
    pub(crate) fn for_stdout() -> Self {
        Self(std::io::stdout().is_terminal() && wanted())
    }

    /// The colours for stderr.
    pub(crate) fn for_stderr() -> Self {
        Self(std::io::stderr().is_terminal() && wanted())
    }

    /// Whether colours are used.
    pub(crate) fn enabled(self) -> bool {
        self.0
    }

    /// A text in the colour with this code (ECMA-48, 8.3.117). Control characters in the text are escaped.
    pub(crate) fn paint(self, code: &str, text: &str) -> String {
        let text = display::line(text);
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.into_owned()
        }
    }
}

fn wanted() -> bool {
    let variable = |name| std::env::var_os(name);
    is_wanted(variable("NO_COLOR").as_deref(), variable("TERM").as_deref())
}

/// Whether the environment allows colours: `NO_COLOR` (no-color.org) and `TERM`.
fn is_wanted(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_turns_colours_off() {
        let wanted = |no_color: Option<&'static str>, term: Option<&'static str>| {
            is_wanted(no_color.map(OsStr::new), term.map(OsStr::new))
        };
        assert!(wanted(None, Some("xterm-256color")) && wanted(Some(""), None));
        assert!(!wanted(Some("1"), Some("xterm")) && !wanted(None, Some("dumb")));
    }

    #[test]
    fn control_sequences_in_a_coloured_text_are_escaped() {
        assert_eq!(
            Colours(true).paint("1", "a\u{1b}[2Jb\n"),
            "\u{1b}[1ma\\u{1b}[2Jb\\n\u{1b}[0m"
        );
        assert_eq!(Colours(false).paint("1", "a\u{1b}[31mb"), "a\\u{1b}[31mb");
    }
}
