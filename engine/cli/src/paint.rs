//! Colours, where there is a terminal that shows them.

use std::{ffi::OsStr, io::IsTerminal};

use heddle_display as display;

/// Whether to write in colour. Stdout and stderr are asked separately: one may be a terminal and the other a file.
#[derive(Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    /// For what goes to stdout.
    pub(crate) fn for_stdout() -> Self {
        Self(std::io::stdout().is_terminal() && wanted())
    }

    /// For what goes to stderr.
    pub(crate) fn for_stderr() -> Self {
        Self(std::io::stderr().is_terminal() && wanted())
    }

    /// Whether colours are shown.
    pub(crate) fn is_on(self) -> bool {
        self.0
    }

    /// A text in a colour, by its code (ECMA-48, 8.3.117). Whatever else the text would do to a terminal is escaped.
    pub(crate) fn in_colour(self, code: &str, text: &str) -> String {
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

/// What the environment says: `NO_COLOR` (no-color.org), and terminals that show none.
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
    fn a_painted_text_brings_no_sequences_of_its_own() {
        assert_eq!(
            Paint(true).in_colour("1", "a\u{1b}[2Jb\n"),
            "\u{1b}[1ma\\u{1b}[2Jb\\n\u{1b}[0m"
        );
        assert_eq!(Paint(false).in_colour("1", "a\u{1b}[31mb"), "a\\u{1b}[31mb");
    }
}
