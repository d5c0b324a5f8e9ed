//! Texts searched, by a pattern or as they stand. Patterns take time in proportion to the text, whatever they are.

use std::collections::BTreeMap;

use heddle_plugin::prelude::*;
use regex::{Captures, Regex, RegexBuilder};

/// How large the compiled form of a pattern may be.
const PATTERN_BYTES: usize = 4 << 20;
/// How deep a pattern's groups may nest.
const PATTERN_DEPTH: u32 = 100;

/// A text to search.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Search {
    /// The text.
    text: String,
    /// A regular expression, as Rust's crate `regex` has them: `(?<year>\d{4})-\d\d`. Without look-around and back-references.
    pattern: String,
    /// Whether upper and lower case are the same.
    #[serde(default)]
    ignore_case: bool,
    /// How many matches to give at most.
    limit: Option<usize>,
}

/// A place where a pattern fits.
#[derive(Serialize, JsonSchema)]
struct Match {
    /// What stands there.
    text: String,
    /// Where it begins, in characters.
    start: usize,
    /// Where it ends, in characters: the first one that is not in it.
    end: usize,
    /// What its groups have, in order; null for those that took no part.
    groups: Vec<Option<String>>,
    /// What its groups with a name have.
    named: BTreeMap<String, String>,
}

/// Where a pattern fits.
#[derive(Serialize, JsonSchema)]
struct Matches {
    /// Whether it fits anywhere.
    found: bool,
    /// Each place, in order.
    matches: Vec<Match>,
}

/// Finds where a regular expression fits, with its groups.
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

/// A text in which something is replaced.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Replace {
    /// The text.
    text: String,
    /// What to replace, as it stands.
    find: Option<String>,
    /// What to replace, in place of `find`: a regular expression, as Rust's crate `regex` has them.
    pattern: Option<String>,
    /// What to put there. With a `pattern`, `$1` and `${name}` stand for what its groups have, and `$$` for a `$`.
    with: String,
    /// Whether upper and lower case are the same.
    #[serde(default)]
    ignore_case: bool,
    /// How many places to change at most.
    limit: Option<usize>,
}

/// A text after a change.
#[derive(Serialize, JsonSchema)]
struct Replaced {
    /// The whole text.
    text: String,
    /// How many places were changed.
    count: usize,
}

/// Replaces what stands in a text, or what a regular expression fits.
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
            "the pattern is larger than its limit of {PATTERN_BYTES} bytes once it is compiled: repeat less in it"
        )),
        error => Error::invalid_input(format!("the pattern is no regular expression: {error}")),
    })
}
