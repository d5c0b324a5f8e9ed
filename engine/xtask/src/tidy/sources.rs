//! Checks every source file: it has at most [`MAX_LINES`] lines, contains no `todo!` and no ignored test, and the
//! pure crates use no I/O, clock, thread or randomness.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The maximum number of lines of a source file.
const MAX_LINES: usize = 600;
/// The extensions of source files.
const SOURCES: [&str; 8] = ["rs", "py", "js", "ts", "css", "html", "sh", "sql"];
/// Folders with generated or third-party files.
const SKIPPED: [&str; 4] = ["target", "node_modules", "data", "vendor"];
/// Words that no Rust code may contain, and what to do instead.
const FORBIDDEN: [(&str, &str); 3] = [
    ("todo!", "write it"),
    ("unimplemented!", "write it"),
    ("#[ignore", "a test runs or it goes"),
];
/// The folders of the pure crates: they have no async, no I/O, no clock and no randomness.
const PURE: [&str; 6] = [
    "engine/json/src",
    "engine/display/src",
    "engine/expr/src",
    "engine/schema/src",
    "engine/kernel/src",
    "engine/diagram/src",
];

/// Words that pure code may not contain. Time and ids are arguments there.
const NOT_IN_PURE: [&str; 11] = [
    "async",
    "await",
    "std::fs",
    "std::io",
    "std::net",
    "std::thread",
    "std::process",
    "SystemTime",
    "Instant",
    "now_v7",
    "new_v4",
];

/// Returns every violation in the tree, with its path and line.
pub(crate) fn findings(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut findings = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))?;
        let shown = file.strip_prefix(root).unwrap_or(&file);
        findings.extend(check_file(shown, &text));
    }
    Ok(findings)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("could not read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') && !SKIPPED.contains(&name.as_ref()) {
                collect(&path, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|end| SOURCES.iter().any(|source| end == *source))
        {
            files.push(path);
        }
    }
    Ok(())
}

fn check_file(path: &Path, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let shown = path.display();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        findings.push(format!(
            "{shown}: {lines} lines are more than {MAX_LINES}: split it by what its parts do"
        ));
    }
    if path.extension().is_none_or(|end| end != "rs") {
        return findings;
    }
    let pure = PURE.iter().find(|part| path.starts_with(part));
    for (at, line) in code(text).lines().enumerate() {
        let at = at + 1;
        for (word, instead) in FORBIDDEN {
            if occurs(line, word) {
                findings.push(format!("{shown}:{at}: {word} is forbidden: {instead}"));
            }
        }
        let Some(part) = pure else { continue };
        for word in NOT_IN_PURE {
            if occurs(line, word) {
                findings.push(format!(
                    "{shown}:{at}: {word} in {part}, which has no async, no I/O, no clock and no randomness"
                ));
            }
        }
    }
    findings
}

/// Whether a line contains the word, not only as a part of a longer name.
fn occurs(line: &str, word: &str) -> bool {
    let named = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let part_of_longer = before.is_some_and(named) || (word.ends_with(named) && after.is_some_and(named));
        !part_of_longer
    })
}

/// Returns Rust source without comments and without the contents of strings and characters. Line numbers stay the same.
fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let named = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skipped = comment(rest)
            .or_else(|| raw_string(rest).filter(|_| !named))
            .or_else(|| quoted(rest));
        let len = skipped.unwrap_or(first.len_utf8());
        if skipped.is_some() {
            // A space separates the tokens on both sides.
            code.push(' ');
            code.extend(rest[..len].chars().filter(|c| *c == '\n'));
        } else {
            code.push(first);
        }
        rest = &rest[len..];
    }
    code
}

/// The length of the comment at the start of the text. Block comments nest.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") && depth > 0 {
            depth -= 1;
            at += 2;
        } else {
            at += 1;
        }
        if depth == 0 {
            return text.starts_with("/*").then_some(at);
        }
    }
    Some(text.len())
}

/// The length of the raw string at the start of the text: `r"…"`, `r#"…"#`, `br"…"` and so on.
fn raw_string(text: &str) -> Option<usize> {
    let marks = text
        .strip_prefix("br")
        .or_else(|| text.strip_prefix("cr"))
        .or_else(|| text.strip_prefix('r'))?;
    let hashes = marks.len() - marks.trim_start_matches('#').len();
    let body = marks[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let len = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + len)
}

/// The length of the string or character literal at the start of the text. A lifetime is neither.
fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    if quote == '\'' {
        let mut after = text[1..].chars();
        let lifetime = after.next()? != '\\' && after.next() != Some('\'');
        if lifetime {
            return None;
        }
    }
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        assert_eq!(check_file(Path::new(path), text), expected);
    }

    #[test]
    fn todo_and_unimplemented_are_reported_with_their_line() {
        check(
            "plugins/a/src/lib.rs",
            "fn a() {\n    todo!()\n}\nfn b() { core::unimplemented!(\"soon\") }\n",
            &[
                "plugins/a/src/lib.rs:2: todo! is forbidden: write it",
                "plugins/a/src/lib.rs:4: unimplemented! is forbidden: write it",
            ],
        );
    }

    #[test]
    fn an_ignored_test_is_reported() {
        for attribute in ["#[ignore]", "#[ignore = \"slow\"]"] {
            let text = format!("#[test]\n{attribute}\nfn a() {{}}\n");
            check(
                "a.rs",
                &text,
                &["a.rs:2: #[ignore is forbidden: a test runs or it goes"],
            );
        }
    }

    #[test]
    fn strings_and_comments_are_ignored() {
        let text = r####"
            // todo!() is what the rule looks for
            /* and unimplemented!() /* nested */ too: todo!() */
            const A: &str = "todo!() \" todo!()";
            const B: &str = r##"todo!() "# todo!()"##;
            const C: [char; 3] = ['"', '\'', '/'];
            fn life<'a>(text: &'a str) -> &'a str { text }
            const D: &[u8] = b"todo!()";
        "####;
        check("a.rs", text, &[]);
    }

    #[test]
    fn code_after_strings_and_comments_is_checked() {
        let text = "const A: char = '\"'; /* \" */ const B: &str = \"a\nb\"; fn a<'a>() { todo!() }\n";
        check("a.rs", text, &["a.rs:2: todo! is forbidden: write it"]);
    }

    #[test]
    fn a_longer_name_is_another_name() {
        check("a.rs", "mod my_todo; fn a() { my_todo!() }\n", &[]);
        check(
            "engine/kernel/src/a.rs",
            "fn asynchronous(is_async: bool) { instant(InstantNoodles) }\n",
            &[],
        );
    }

    #[test]
    fn the_pure_crates_have_no_clock_and_no_async() {
        check(
            "engine/kernel/src/a.rs",
            "use std::time::Instant;\nasync fn a() {}\n",
            &[
                "engine/kernel/src/a.rs:1: Instant in engine/kernel/src, which has no async, no I/O, no clock and no randomness",
                "engine/kernel/src/a.rs:2: async in engine/kernel/src, which has no async, no I/O, no clock and no randomness",
            ],
        );
        check(
            "engine/runtime/src/a.rs",
            "use std::time::Instant;\nasync fn a() {}\n",
            &[],
        );
    }

    #[test]
    fn a_file_may_have_600_lines_and_not_one_more() {
        check("ui/page.js", &"\n".repeat(600), &[]);
        check(
            "ui/page.js",
            &"\n".repeat(601),
            &["ui/page.js: 601 lines are more than 600: split it by what its parts do"],
        );
    }
}
