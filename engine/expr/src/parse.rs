//! Parses an expression with the `cel` crate, and explains errors in terms of the author.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::{IdedExpr, ParseError, common::ast::SourceInfo, parser::Parser};

use super::{
    Problem,
    scan::{self, Fault},
};

/// The length limit of an expression, in bytes. A longer condition belongs into a function.
pub const MAX_SOURCE_LEN: usize = 4_096;

/// Parses `source` into the crate's tree, with the positions of its parts.
pub(super) fn parse(source: &str) -> Result<(IdedExpr, SourceInfo), Vec<Problem>> {
    if source.len() > MAX_SOURCE_LEN {
        return Err(vec![Problem {
            message: format!(
                "an expression has at most {MAX_SOURCE_LEN} bytes, this one has {}; a function can do more",
                source.len()
            ),
        }]);
    }
    if source.trim().is_empty() {
        return Err(vec![Problem {
            message: "the expression is empty".into(),
        }]);
    }
    let scanned = scan::check(source).map_err(|Fault { at, message }| vec![problem(source, at, &message)])?;

    // If the parser finds more nesting than the scan, they disagree about a token, and the text is refused.
    let parser = Parser::new()
        .max_recursion_depth(scanned.depth as u16)
        .enable_ident_escape_syntax(true);
    // The parser is generated code and the text is not trusted: if the parser panics, the text is refused. It
    // keeps nothing between two texts except what it learnt about the grammar.
    let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse_with_source_info(source)));
    match parsed {
        Ok(Ok(parsed)) => Ok(parsed),
        Ok(Err(errors)) => Err(explain(source, &errors.errors)),
        Err(_) => Err(vec![Problem {
            message: "this cannot be parsed; write it in a simpler way".into(),
        }]),
    }
}

/// The first number with more digits than its double.
pub(super) fn lost_digits(source: &str) -> Option<Problem> {
    let Fault { at, message } = scan::check(source).ok()?.lost?;
    Some(problem(source, at, &message))
}

/// An error at a byte of the source.
pub(super) fn problem(source: &str, at: usize, message: &str) -> Problem {
    let before = source.get(..at).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let column = before[line_start..].chars().count() + 1;
    let place = if source.trim_end().contains('\n') {
        let line = before.matches('\n').count() + 1;
        format!("line {line}, column {column}")
    } else {
        format!("column {column}")
    };
    Problem {
        message: format!("{place}: {message}"),
    }
}

/// The errors of a text that does not parse. After the first syntax error the parser guesses, so later errors
/// are left out.
fn explain(source: &str, errors: &[ParseError]) -> Vec<Problem> {
    let (syntax, other): (Vec<_>, Vec<_>) = errors
        .iter()
        .partition(|error| error.msg.starts_with("Syntax error: "));
    if let Some(first) = syntax.first() {
        let at = offset(source, first.pos);
        let (at, message) = syntax_error(source, at, &first.msg["Syntax error: ".len()..]);
        return vec![problem(source, at, &message)];
    }
    let explained = |error: &&ParseError| {
        let at = offset(source, error.pos);
        problem(source, at, &other_error(&source[at..], &error.msg))
    };
    other.iter().map(explained).collect()
}

/// The byte offset of the parser's line and column (in characters, from 1).
fn offset(source: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line - 1).unwrap_or(0);
    let column = usize::try_from(column - 1).unwrap_or(0);
    let start = source
        .split_inclusive('\n')
        .take(line)
        .map(str::len)
        .sum::<usize>();
    let rest = &source[start..];
    start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
}

/// The position and the message of a syntax error of the generated parser.
fn syntax_error(source: &str, at: usize, error: &str) -> (usize, String) {
    // Where a number is allowed, or after an opening sign, a value is missing.
    let before = source[..at].trim_end();
    let begun = before.ends_with(|c: char| "([{,:?+-*/%<>=&|!".contains(c));
    let wants_value = begun
        || error
            .split_once("expecting ")
            .is_some_and(|(_, expected)| expected.contains("NUM_INT"));
    let rest = source[at..].trim_end();
    if rest.is_empty() {
        return (before.len(), at_the_end(before, wants_value).into());
    }
    let word_len = rest
        .char_indices()
        .find(|(_, c)| !c.is_ascii_alphanumeric() && *c != '_')
        .map_or(rest.len(), |(end, _)| end);
    let found = match word_len {
        0 => rest.chars().take(1).collect::<String>(),
        len => rest[..len].to_owned(),
    };
    let before_word = before
        .rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .next()
        .unwrap_or("");
    let message = match (found.as_str(), before_word) {
        ("and", _) => "CEL writes `&&` for `and`".into(),
        ("or", _) => "CEL writes `||` for `or`".into(),
        ("in" | "true" | "false" | "null", _) if before.ends_with('.') => {
            format!("`{found}` is a reserved word; a key with this name is read as …[\"{found}\"]")
        }
        ("is", _) => "CEL writes `==` for `is`".into(),
        (_, "not") => {
            let at = before.len() - "not".len();
            return (at, "CEL writes `!` for `not`".into());
        }
        ("?", _) if before.ends_with(['.', '[']) || rest.starts_with("??") => {
            "CEL has no such `?`; has(state.key) tells whether a key is there".into()
        }
        (".", _) if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
            "the item at a place is read as list[1], from 0".into()
        }
        (_, _) if before.ends_with('.') => format!("a key must stand here, not `{found}`"),
        (_, _) if wants_value => format!("a value must stand here, not `{found}`"),
        _ => format!("`{found}` cannot follow here; an operator, a comma or a bracket is missing before it"),
    };
    (at, message)
}

/// The message for an expression that ends too early.
fn at_the_end(before: &str, wants_value: bool) -> &'static str {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match before.strip_suffix('.') {
        Some(number) => {
            let digits = number.rsplit(|c| !word(c)).next().unwrap_or_default();
            match digits.starts_with(|c: char| c.is_ascii_digit()) {
                true => "a number has digits after its point, as in 1.0",
                false => "the expression ends where a key must follow, as in state.key",
            }
        }
        None if wants_value => "the expression ends where a value must follow",
        None => "the expression ends too early: the `:` of `… ? … : …` is missing",
    }
}

fn other_error(rest: &str, error: &str) -> String {
    if error.starts_with("invalid argument to has()") {
        return "has() needs a key, as in has(state.score)".into();
    }
    if error == "argument must be a simple name" {
        return "the first argument names the item, as in state.items.all(item, item > 0)".into();
    }
    if let Some(word) = error.strip_prefix("reserved identifier: ") {
        return format!("`{word}` is a reserved word; a key with this name is read as state[\"{word}\"]");
    }
    if error.starts_with("unsupported syntax '.?'") || error.starts_with("unsupported syntax '[?'") {
        return "CEL has no such `?` here; has(state.key) tells whether a key is there".into();
    }
    let literal = number_at(rest);
    match error {
        "invalid int literal" => format!("the number {literal} is too large for an int"),
        "invalid uint literal" => format!("the number {literal} is too large for a uint"),
        "invalid double literal" => format!("the number {literal} is too large for a double"),
        other if other.starts_with("Incomplete") || other.starts_with("No `") => {
            "the expression is not complete here".into()
        }
        other => other.lines().next().unwrap_or(other).to_owned(),
    }
}

/// The number at the start of a text, with its sign and the sign of its exponent.
fn number_at(text: &str) -> &str {
    let mut before = 'e';
    let end = text.find(|c: char| {
        let is_sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E');
        before = c;
        !(is_sign || c == '.' || c.is_ascii_alphanumeric())
    });
    &text[..end.unwrap_or(text.len())]
}
