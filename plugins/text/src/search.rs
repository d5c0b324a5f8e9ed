//! Searches texts for patterns or fixed strings. The time of every pattern is proportional to the text.

use std::collections::BTreeMap;

use heddle_plugin::prelude::*;
use regex::{Captures, Regex, RegexBuilder};

/// The limit of a compiled pattern, in bytes.
const PATTERN_BYTES: usize = 4 << 20;
/// The limit of nested groups in a pattern.
const PATTERN_DEPTH: u32 = 100;

/// The input of `match`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Search {
    /// The text to search.
    text: String,
    /// A regular expression in the syntax of Rust's crate `regex`: `(?<year>\d{4})-\d\d`. It has no look-around and no back-references.
    pattern: String,
    /// Whether upper and lower case are equal.
    #[serde(default)]
    ignore_case: bool,
    /// The largest number of matches.
    limit: Option<usize>,
}

/// A match of a pattern.
#[derive(Serialize, JsonSchema)]
struct Match {
    /// The part of the text that matches.
    text: String,
    /// Where it begins, in characters.
    start: usize,
    /// Where it ends, in characters: the position after its last character.
    end: usize,
    /// The text of its groups, in order; null for groups that did not match.
    groups: Vec<Option<String>>,
    /// The text of its named groups.
    named: BTreeMap<String, String>,
}

/// The result of `match`.
#[derive(Serialize, JsonSchema)]
struct Matches {
    /// Whether there is a match.
    found: bool,
    /// The matches, in order.
    matches: Vec<Match>,
}

/// Finds the matches of a regular expression, with their groups.
#[tool(name = "match", read_only, idempotent)]
fn find(input: Search) -> Result<Matches> {
    let regex = compile(&input.pattern, input.ignore_case)?;
    let text = &input.text;
    let names: Vec<&str> = regex.capture_names().flatten().collect();
    let mut matches = Vec::new();
    let (mut bytes, mut characters) = (0, 0);
    for captures in regex.captures_iter(text).take(input.limit.unwrap_or(usize::MAX)) {
        let whole = captures.get_match();
        let start = characters + text[bytes..whole.start()].chars().count();
        let end = start + whole.as_str().chars().count();
        (bytes, characters) = (whole.end(), end);
        let group = |group: Option<regex::Match<'_>>| group.map(|group| group.as_str().to_owned());
        matches.push(Match {
            text: whole.as_str().to_owned(),
            start,
            end,
            groups: captures.iter().skip(1).map(group).collect(),
            named: names
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), group(captures.name(name))?)))
                .collect(),
        });
    }
    Ok(Matches {
        found: !matches.is_empty(),
        matches,
    })
}

/// A text and the replacement.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Replace {
    /// The text to search.
    text: String,
    /// The text to replace, taken literally.
    find: Option<String>,
    /// The regular expression to replace, in place of `find`, in the syntax of Rust's crate `regex`.
    pattern: Option<String>,
    /// The replacement. With a `pattern`, `$1` and `${name}` stand for the text of its groups, and `$$` for a `$`.
    with: String,
    /// Whether upper and lower case are equal.
    #[serde(default)]
    ignore_case: bool,
    /// The largest number of replacements.
    limit: Option<usize>,
}

/// A text after a change.
#[derive(Serialize, JsonSchema)]
struct Replaced {
    /// The whole text after the replacements.
    text: String,
    /// The number of replacements.
    count: usize,
}

/// Replaces a fixed string, or the matches of a regular expression.
#[tool(read_only, idempotent)]
fn replace(input: Replace) -> Result<Replaced> {
    let pattern = match (input.find, input.pattern) {
        (Some(find), None) if find.is_empty() => {
            return Err(Error::invalid_input(
                "`find` is empty, so there is nothing to replace",
            ));
        }
        (Some(find), None) => (regex::escape(&find), true),
        (None, Some(pattern)) => (pattern, false),
        _ => return Err(Error::invalid_input("give one of `find` and `pattern`")),
    };
    let (pattern, is_literal) = pattern;
    let regex = compile(&pattern, input.ignore_case)?;
    let mut count = 0;
    let limit = input.limit.unwrap_or(usize::MAX);
    let with = |captures: &Captures<'_>| {
        count += 1;
        let mut put = String::new();
        match is_literal {
            true => put.push_str(&input.with),
            false => captures.expand(&input.with, &mut put),
        }
        put
    };
    // The crate takes 0 for all.
    let text = match limit {
        0 => input.text.clone(),
        limit => regex.replacen(&input.text, limit, with).into_owned(),
    };
    Ok(Replaced { text, count })
}

fn compile(pattern: &str, ignore_case: bool) -> Result<Regex> {
    let mut builder = RegexBuilder::new(pattern);
    builder
        .case_insensitive(ignore_case)
        .size_limit(PATTERN_BYTES)
        .nest_limit(PATTERN_DEPTH);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => Error::invalid_input(format!(
            "the compiled pattern is larger than its limit of {PATTERN_BYTES} bytes: use fewer repetitions"
        )),
        error => Error::invalid_input(format!("the pattern is not a valid regular expression: {error}")),
    })
}
