//! Numbers with more digits than the validator can compare.
//!
//! The validator stores a number in 64 bits or as a double, and would compare any other number as the nearest
//! double. A check that compares numbers refuses such a number instead. A quick scan of the text usually
//! shows that there is none.

use serde_json::value::RawValue;

use heddle_json::{
    decimal::Decimal,
    tokens::{Tree, unquote},
};

/// The keywords that compare numbers with a number.
const LIMITS: [&str; 5] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];

/// The number of digits up to which a double represents every number.
const SAFE_DIGITS: usize = 15;

/// How a schema uses numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparing {
    /// Whether the schema compares numbers with each other.
    compares: bool,
    /// Whether the schema distinguishes whole numbers from others.
    tells_whole: bool,
    /// The first number in the schema that it cannot compare, with its JSON pointer.
    pub(super) lost: Option<(String, String)>,
}

impl Comparing {
    /// Analyses a schema's text.
    pub(super) fn of(schema: &str) -> Self {
        let mut comparing = Self::default();
        if let Ok(raw) = serde_json::from_str::<&RawValue>(schema)
            && let Ok(tree) = Tree::of(raw)
        {
            comparing.visit(&tree, "");
        }
        comparing
    }

    fn visit(&mut self, schema: &Tree<'_>, pointer: &str) {
        let members = match schema {
            Tree::Object(members) => members,
            Tree::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.visit(item, &format!("{pointer}/{at}"));
                }
                return;
            }
            _ => return,
        };
        for (key, value) in members {
            let key = unquote(key).unwrap_or_default();
            let pointer = format!("{pointer}/{}", heddle_json::pointer::escape(&key));
            match (&*key, value) {
                ("default" | "example" | "examples", _) => {}
                ("const" | "enum", _) => {
                    self.compares |= has_number(value);
                    self.lose(value, &pointer);
                }
                ("uniqueItems", Tree::Word("true")) => self.compares = true,
                ("type", Tree::String(r#""integer""#)) => self.tells_whole = true,
                ("type", Tree::List(all)) => self.tells_whole |= all.contains(&Tree::String(r#""integer""#)),
                (key, Tree::Number(_)) if LIMITS.contains(&key) => {
                    self.compares = true;
                    self.lose(value, &pointer);
                }
                _ => self.visit(value, &pointer),
            }
        }
    }

    fn lose(&mut self, value: &Tree<'_>, pointer: &str) {
        if self.lost.is_none() {
            self.lost = first_lost(value, pointer, &|_| true);
        }
    }

    /// The first number of a value that the schema cannot compare, with its JSON pointer.
    pub(super) fn lost_in(&self, value: &str) -> Option<(String, String)> {
        if !(self.compares || self.tells_whole) || !may_lose(value) {
            return None;
        }
        let raw = serde_json::from_str::<&RawValue>(value).ok()?;
        let is_lost = |number: &Decimal| self.compares || !number.is_whole();
        first_lost(&Tree::of(raw).ok()?, "", &is_lost)
    }
}

/// Whether a text may contain such a number: one with many digits or an exponent.
fn may_lose(text: &str) -> bool {
    let (mut digits, mut last) = (0, b' ');
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'.' => {}
            b'e' | b'E' if last.is_ascii_digit() => return true,
            _ => digits = 0,
        }
        if digits > SAFE_DIGITS {
            return true;
        }
        last = byte;
    }
    false
}

fn has_number(value: &Tree<'_>) -> bool {
    match value {
        Tree::Number(_) => true,
        Tree::List(items) => items.iter().any(has_number),
        Tree::Object(members) => members.iter().any(|(_, value)| has_number(value)),
        Tree::Word(_) | Tree::String(_) => false,
    }
}

/// The first number that neither 64 bits nor a double can represent, and that matters.
fn first_lost(
    value: &Tree<'_>,
    pointer: &str,
    counts: &impl Fn(&Decimal) -> bool,
) -> Option<(String, String)> {
    match value {
        Tree::Number(text) => {
            let is_held = text.parse::<i64>().is_ok()
                || text.parse::<u64>().is_ok()
                || Decimal::faithful_double(text).is_some();
            (!is_held && counts(&Decimal::of(text))).then(|| (pointer.to_owned(), (*text).to_owned()))
        }
        Tree::List(items) => items
            .iter()
            .enumerate()
            .find_map(|(at, item)| first_lost(item, &format!("{pointer}/{at}"), counts)),
        Tree::Object(members) => members.iter().find_map(|(key, value)| {
            let key = unquote(key).unwrap_or_default();
            first_lost(
                value,
                &format!("{pointer}/{}", heddle_json::pointer::escape(&key)),
                counts,
            )
        }),
        Tree::Word(_) | Tree::String(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::super::Schema;

    /// What a schema says of a value: nothing where it fits.
    fn check(schema: &str, value: &str) -> String {
        let checked = Schema::compile(schema).unwrap().check(value);
        checked.err().map(|misfit| misfit.message).unwrap_or_default()
    }

    #[test]
    fn numbers_are_compared_exactly() {
        for (schema, fits, does_not) in [
            (
                r#"{"minimum": 9007199254740993}"#,
                "9007199254740993",
                "9007199254740992",
            ),
            (
                r#"{"maximum": 18446744073709551614}"#,
                "18446744073709551614",
                "18446744073709551615",
            ),
            (
                r#"{"exclusiveMaximum": 9007199254740993}"#,
                "9007199254740992",
                "9007199254740993",
            ),
            (r#"{"exclusiveMinimum": 0.1}"#, "0.2", "0.1"),
            (
                r#"{"maximum": 9007199254740992}"#,
                "9007199254740992",
                "9007199254740993",
            ),
            (
                r#"{"const": 9007199254740993}"#,
                "9007199254740993",
                "9007199254740992",
            ),
            (
                r#"{"enum": [18446744073709551615, 1]}"#,
                "1.0",
                "18446744073709551614",
            ),
            (
                r#"{"const": [1, {"a": 2}]}"#,
                r#"[1.0, {"a": 2e0}]"#,
                r#"[1, {"a": 2.5}]"#,
            ),
            (
                r#"{"uniqueItems": true}"#,
                "[9007199254740992, 9007199254740993]",
                "[1, 1.0]",
            ),
            (r#"{"multipleOf": 3}"#, "9007199254740993", "9007199254740992"),
            (r#"{"multipleOf": 0.01}"#, "0.07", "0.075"),
            (r#"{"multipleOf": 0.01}"#, "19.99", "19.999"),
            (r#"{"multipleOf": 0.1}"#, "0.3", "0.35"),
            (r#"{"type": "integer"}"#, "9007199254740993", "1.5"),
        ] {
            assert_eq!(check(schema, fits), "", "{schema} {fits}");
            assert!(
                check(schema, does_not).starts_with("does not fit"),
                "{schema} {does_not}"
            );
        }
    }

    #[test]
    fn values_that_cannot_be_compared_are_refused_with_their_place() {
        let long = "123456789012345678901";
        for schema in [
            r#"{"minimum": 0}"#,
            r#"{"properties": {"a": {"items": {"exclusiveMaximum": 1e30}}}}"#,
            r#"{"enum": [{"a": [1, 2]}]}"#,
            r#"{"anyOf": [{"multipleOf": 3}, {"type": "object"}]}"#,
            r#"{"properties": {"a": {"uniqueItems": true}}}"#,
        ] {
            for number in [
                long,
                "-0.10000000000000000001",
                "1e-400",
                "9007199254740992.0000001",
            ] {
                let message = check(schema, &format!(r#"{{"b": "{long}", "a": [1, {number}]}}"#));
                let expected = format!(
                    "cannot be checked against its schema: at /a/1: {number} has more digits than a schema can compare \
                     (64 bits, or those of a double): give it as a string"
                );
                assert_eq!(message, expected, "{schema}");
            }
        }
        assert_eq!(check(r#"{"type": "integer"}"#, long), "");
        assert!(
            check(r#"{"type": ["integer", "null"]}"#, "1.00000000000000000001")
                .starts_with("cannot be checked")
        );
        // Nothing is compared here, or nothing is lost.
        for (schema, value) in [
            (r#"{"type": "number"}"#, long),
            (r#"{"enum": ["a", "123"], "default": 1}"#, "\"a\""),
            (
                r#"{"properties": {"minimum": {"type": "number"}}, "uniqueItems": false}"#,
                r#"{"minimum": 1e-400}"#,
            ),
            (r#"{"minimum": 0}"#, "0.30000000000000004"),
            (r#"{"minimum": 0, "items": {"maximum": 5}}"#, "[1.50, 1e0, 5.000]"),
        ] {
            assert_eq!(check(schema, value), "", "{schema} {value}");
        }
    }

    #[test]
    fn a_schema_with_a_number_that_it_cannot_compare_says_so() {
        for (schema, at) in [
            (
                r#"{"minimum": 123456789012345678901}"#,
                "/minimum: 123456789012345678901",
            ),
            (
                r#"{"items": {"enum": ["a", 123456789012345678901]}}"#,
                "/items/enum/1: 123456789012345678901",
            ),
            (
                r#"{"properties": {"a/b": {"const": {"c": 0.10000000000000000001}}}}"#,
                "/properties/a~1b/const/c: 0.10000000000000000001",
            ),
        ] {
            let compiled = Schema::compile(schema).unwrap();
            let problem = compiled.lost_digits().unwrap();
            assert!(
                problem.starts_with(&format!("cannot be used at {at} has more digits")),
                "{problem}"
            );
            let message = compiled.check("1").unwrap_err().message;
            assert!(
                message.starts_with("cannot be checked: its schema cannot be used at"),
                "{message}"
            );
        }
        let data = Schema::compile(r#"{"type": "number", "default": 123456789012345678901}"#).unwrap();
        assert_eq!(data.lost_digits(), None);
    }
}
