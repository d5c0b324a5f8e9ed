//! JSON Schemas of untrusted authors, compiled and checked within limits.
//!
//! A schema checks the input of a function or the payload of a signal. Authors of plugins and graphs write
//! it, so it must not cost more than a guest may use. Therefore a schema refers only to itself, its patterns
//! take linear time, and its size with all references followed is measured when it is compiled (`extent.rs`).
//! From this size and the length of a value, the work of a check is known before it starts. This crate does
//! no I/O: it never fetches a schema.
//!
//! # Where to start
//! [`Schema::compile`] compiles, [`Schema::check`] checks. `extent.rs` limits references, `patterns.rs`
//! limits patterns, and `digits.rs` refuses numbers that the validator would round.
//!
//! # Example
//! ```
//! use heddle_schema::Schema;
//!
//! let schema = Schema::compile(r#"{"type": "object", "required": ["name"]}"#).expect("a schema");
//! assert!(schema.check(r#"{"name": "Ada"}"#).is_ok());
//! let misfit = schema.check("{}").expect_err("a key is missing");
//! assert_eq!(misfit.message, "does not fit its schema: \"name\" is a required property");
//! ```

mod digits;
mod extent;
mod patterns;

use std::{fmt, sync::Arc};

use heddle_json::{
    object::clip,
    tokens::{Tree, count_values},
};
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Value, value::RawValue};

pub use self::patterns::PatternBudget;
use self::{digits::Comparing, extent::Extent};

/// The number of problems that are listed.
const MOST_PROBLEMS: usize = 5;

/// The length of each problem, in bytes; a problem may quote a part of the input.
const PROBLEM_LEN: usize = 200;

/// The size limit of a compiled pattern, in bytes.
const PATTERN_BYTES: usize = 1 << 20;

/// The size limit of the states of one pattern during a match, in bytes.
const PATTERN_STATE_BYTES: usize = 1 << 18;

/// The limit for the work of a check: the bytes of the input times the number of subschemas. It takes some
/// seconds at worst, and a thousand times less if the subschemas apply to different parts of the input, as
/// they mostly do.
const MOST_WORK: u64 = 1_000_000_000;

/// The number of JSON values in a checked value, keys included. Each takes far more memory than text.
const MOST_VALUES: usize = 2_000_000;

/// From this work on, a check runs on a separate thread, so that it delays no other run.
const LONG_WORK: u64 = 10_000_000;

/// The limit for the work of listing problems. Unlike the check, the listing visits a part of the input again
/// for each path of a recursive schema, and keeps every problem until its end.
const MOST_LISTING: u64 = 500_000;

/// The depth to which a recursive schema may go into an input, in subschemas; each uses some of the stack.
const MOST_STACKED: u64 = 2_000;

/// A compiled schema. Clones share it.
#[derive(Clone)]
pub struct Schema {
    compiled: Option<Arc<Compiled>>,
}

/// The reason why a value does not fit a schema. The message continues the value's name: "has 9 bytes, too
/// many …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The whole message on one line.
    pub message: String,
    /// The listed problems: a JSON pointer into the value, and the message.
    pub problems: Vec<(String, String)>,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

struct Compiled {
    validator: Validator,
    extent: Extent,
    comparing: Comparing,
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// The problem; the message continues "the schema".
    pub fn compile(schema: &str) -> Result<Self, String> {
        Self::compile_within(schema, &mut PatternBudget::default())
    }

    /// Compiles one of several schemas that share a budget for patterns.
    ///
    /// # Errors
    /// The problem; the message continues "the schema".
    pub fn compile_within(schema: &str, budget: &mut PatternBudget) -> Result<Self, String> {
        let text = schema;
        let schema: Value = serde_json::from_str(schema).map_err(|error| format!("is not JSON: {error}"))?;
        if takes_everything(&schema) {
            return Ok(Self { compiled: None });
        }
        let extent = Extent::of(&schema)?;
        budget.spend_on(&schema)?;
        let patterns = PatternOptions::regex()
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_STATE_BYTES);
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .build(&schema)
            .map_err(|error| refusal(&error))?;
        Ok(Self {
            compiled: Some(Arc::new(Compiled {
                validator,
                extent,
                comparing: Comparing::of(text),
            })),
        })
    }

    /// The problem of a schema that compares with a number of more digits than it can compare; the message
    /// continues "the schema". Such a schema compiles, since earlier versions allowed it, and refuses every
    /// value.
    pub fn lost_digits(&self) -> Option<String> {
        let (pointer, number) = self.compiled.as_ref()?.comparing.lost.as_ref()?;
        let (at, number) = (clip(pointer, PROBLEM_LEN), clip(number, PROBLEM_LEN));
        Some(format!(
            "cannot be used at {at}: {number} has more digits than a schema can compare (64 bits, or those of a double)"
        ))
    }

    /// Whether a check of a text of this length may take so long that it should run on a separate thread.
    pub fn is_long(&self, len: usize) -> bool {
        self.compiled
            .as_ref()
            .is_some_and(|compiled| compiled.extent.subschemas.saturating_mul(len as u64) > LONG_WORK)
    }

    /// Checks a value.
    ///
    /// # Errors
    /// The first problems, each with its JSON pointer.
    pub fn check(&self, text: &str) -> Result<(), Misfit> {
        let Some(compiled) = &self.compiled else {
            return Ok(());
        };
        let refused = |message: String| Misfit {
            message,
            problems: Vec::new(),
        };
        let work = compiled.extent.subschemas.saturating_mul(text.len() as u64);
        if work > MOST_WORK {
            return Err(refused(format!(
                "has {} bytes, too many to be checked against a schema of {} subschemas",
                text.len(),
                compiled.extent.subschemas
            )));
        }
        if text.len() > MOST_VALUES && count_values(text) > MOST_VALUES {
            return Err(refused(format!(
                "has more than {MOST_VALUES} JSON values, too many to be checked against a schema (schema_values)"
            )));
        }
        let value: Value =
            serde_json::from_str(text).map_err(|error| refused(format!("is not JSON: {error}")))?;
        if let Some(problem) = self.lost_digits() {
            return Err(refused(format!("cannot be checked: its schema {problem}")));
        }
        if let Some((pointer, number)) = compiled.comparing.lost_in(text) {
            return Err(too_many_digits(&pointer, &number));
        }
        let size = Size::of(&value);
        if compiled.extent.recursive > 0
            && compiled.extent.depth.saturating_mul(size.depth + 1) > MOST_STACKED
        {
            return Err(refused(format!(
                "is nested {} deep, too deep to be checked against its recursive schema",
                size.depth
            )));
        }
        if compiled.validator.is_valid(&value) {
            return Ok(());
        }
        Err(compiled.misfit(text, &value, &size))
    }
}

impl Compiled {
    /// The problems of a value that does not fit.
    #[cold]
    fn misfit(&self, text: &str, value: &Value, size: &Size) -> Misfit {
        let mut message = "does not fit its schema".to_owned();
        let mut problems = Vec::new();
        if self.extent.listing(size) > MOST_LISTING {
            message.push_str("; it is too large for its problems to be listed");
            return Misfit { message, problems };
        }
        let raw = serde_json::from_str::<&RawValue>(text).ok();
        let tree = raw.and_then(|raw| Tree::of(raw).ok());
        let mut errors = self.validator.iter_errors(value);
        for (error, before) in errors
            .by_ref()
            .take(MOST_PROBLEMS)
            .zip([": "].into_iter().chain(std::iter::repeat("; ")))
        {
            let (pointer, problem) = (
                error.instance_path().to_string(),
                problem_text(&error, tree.as_ref()),
            );
            let (at, problem) = (clip(&pointer, PROBLEM_LEN), clip(&problem, PROBLEM_LEN));
            message.push_str(before);
            if !at.is_empty() {
                message.push_str(&format!("at {at}: "));
            }
            message.push_str(problem);
            problems.push((at.to_owned(), problem.to_owned()));
        }
        match errors.count() {
            0 => {}
            more => message.push_str(&format!("; and {more} more")),
        }
        Misfit { message, problems }
    }
}

/// The problem of a number with more digits than the schema can compare.
#[cold]
fn too_many_digits(pointer: &str, number: &str) -> Misfit {
    let (at, number) = (clip(pointer, PROBLEM_LEN), clip(number, PROBLEM_LEN));
    let problem = format!(
        "{number} has more digits than a schema can compare (64 bits, or those of a double): give it as a string"
    );
    let place = if at.is_empty() {
        String::new()
    } else {
        format!("at {at}: ")
    };
    Misfit {
        message: format!("cannot be checked against its schema: {place}{problem}"),
        problems: vec![(at.to_owned(), problem)],
    }
}

fn takes_everything(schema: &Value) -> bool {
    match schema {
        Value::Bool(takes) => *takes,
        Value::Object(keywords) => keywords
            .keys()
            .all(|keyword| ["$schema", "title", "description"].contains(&keyword.as_str())),
        _ => false,
    }
}

/// The message of a problem. A long value is left out of it.
fn problem_text(error: &ValidationError<'_>, tree: Option<&Tree<'_>>) -> String {
    // A number is shown as it is written: its double may be another number.
    let instance = tree.filter(|_| has_double(error.instance()));
    let written = instance.and_then(|tree| tree.at(error.instance_path().as_str()));
    let problem = match written {
        Some(written) => {
            let mut text = String::new();
            written.write(&mut text);
            error.masked_with(text).to_string()
        }
        None => error.to_string(),
    };
    match problem.len() <= PROBLEM_LEN {
        true => problem,
        false => error.masked_with("the value").to_string(),
    }
}

fn has_double(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_double),
        Value::Object(members) => members.values().any(has_double),
        _ => false,
    }
}

/// The reason why a schema does not compile: the place, the problem, and what to do.
fn refusal(error: &ValidationError<'_>) -> String {
    let at = match error.instance_path().as_str() {
        "" => String::new(),
        at => format!(" at {}", clip(at, PROBLEM_LEN)),
    };
    let what = problem_text(error, None);
    let advice = match error.instance_path().as_str().ends_with("/pattern") {
        true => ": a pattern may not look around or refer back, and takes at most 1 MiB compiled",
        false => "",
    };
    format!("cannot be used{at}: {}{advice}", clip(&what, PROBLEM_LEN))
}

/// The size of a value.
struct Size {
    /// The number of values, keys of objects included.
    values: u64,
    /// The depth: 0 for a number, 1 for a list of numbers.
    depth: u64,
}

impl Size {
    /// The parser limits the depth, so this recursion is limited, too.
    fn of(value: &Value) -> Self {
        let mut size = Self { values: 1, depth: 0 };
        let mut add = |inner: &Value| {
            let inner = Self::of(inner);
            size.values += inner.values + 1;
            size.depth = size.depth.max(inner.depth + 1);
        };
        match value {
            Value::Array(items) => items.iter().for_each(&mut add),
            Value::Object(entries) => entries.values().for_each(&mut add),
            _ => {}
        }
        size
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use serde_json::json;

    use super::*;

    fn compile(schema: &Value) -> Schema {
        Schema::compile(&schema.to_string()).unwrap()
    }

    fn refused(schema: &Value) -> String {
        Schema::compile(&schema.to_string()).expect_err("it is refused")
    }

    fn problem(schema: &Schema, input: &str) -> String {
        schema.check(input).unwrap_err().message
    }

    #[test]
    fn the_problems_of_an_input_are_named_with_their_places() {
        let schema = compile(&json!({
            "type": "object",
            "properties": {"text": {"type": "string"}, "tags": {"items": {"type": "string"}}},
            "required": ["text"],
        }));
        assert!(schema.check(r#"{"text": "x", "tags": ["y"], "more": 1}"#).is_ok());
        assert_eq!(
            problem(&schema, r#"{"tags": ["x", 2]}"#),
            "does not fit its schema: \"text\" is a required property; \
             at /tags/1: 2 is not of type \"string\""
        );
        let misfit = schema.check(r#"{"text": 1}"#).unwrap_err();
        let expected = ("/text".to_owned(), "1 is not of type \"string\"".to_owned());
        assert_eq!(misfit.problems, [expected]);
        let number = r#"{"text": 123456789012345678901}"#;
        assert!(problem(&schema, number).contains("123456789012345678901 is not of type"));
        let list = r#"{"text": [1.50, {"a": 1e2}]}"#;
        assert!(problem(&schema, list).contains(r#"[1.50,{"a":1e2}] is not of type"#));
        assert!(problem(&schema, "{").contains("is not JSON"));
        assert!(problem(&schema, r#"{"text": 1e999}"#).contains("number out of range"));
    }

    #[test]
    fn few_problems_are_named_and_each_in_short() {
        let schema = compile(&json!({"items": {"type": "string"}}));
        let many = problem(&schema, &format!("[{}1]", "1,".repeat(999)));
        assert!(many.contains("at /4: ") && !many.contains("/5"), "{many}");
        assert!(many.ends_with("; and 995 more"), "{many}");
        let long = problem(
            &compile(&json!({"type": "integer"})),
            &json!("ü".repeat(1_000_000)).to_string(),
        );
        assert!(long.len() < 400, "{long}");
        let large = problem(&schema, &format!("[{}1]", "1,".repeat(999_999)));
        assert!(
            large.ends_with("too large for its problems to be listed"),
            "{large}"
        );
    }

    #[test]
    fn a_misfit_is_displayed_as_its_message() {
        let misfit = compile(&json!({"type": "string"})).check("1").unwrap_err();
        assert!(misfit.message.contains("string"), "{misfit:?}");
        assert_eq!(misfit.to_string(), misfit.message);
    }

    #[test]
    fn a_schema_that_accepts_everything_checks_nothing() {
        for schema in [
            json!(true),
            json!({}),
            json!({"$schema": "https://json-schema.org/draft/2020-12/schema"}),
        ] {
            assert!(compile(&schema).compiled.is_none());
        }
        let never = compile(&json!(false));
        assert!(problem(&never, "1").contains("False schema"));
    }

    #[test]
    fn a_schema_that_cannot_be_used_is_refused_with_its_place() {
        let wrong = refused(&json!({"properties": {"a": {"type": "strin"}}}));
        assert!(
            wrong.starts_with("cannot be used at /properties/a/type: "),
            "{wrong}"
        );
        let around = refused(&json!({"pattern": "(?=a)b"}));
        assert!(
            around.contains("at /pattern") && around.contains("may not look around"),
            "{around}"
        );
        assert!(refused(&json!({"pattern": "(((a{1000}){1000}){1000})"})).contains("1 MiB"));
        let meta = refused(&json!({"$schema": "https://example.com/meta", "type": "string"}));
        assert!(meta.contains("https://example.com/meta"), "{meta}");
    }

    #[test]
    fn a_pattern_takes_linear_time() {
        let schema = compile(&json!({"pattern": "^(a+)+$"}));
        let text = json!(format!("{}b", "a".repeat(100_000))).to_string();
        let message = problem(&schema, &text);
        assert!(
            message.ends_with("the value does not match \"^(a+)+$\""),
            "{message}"
        );
    }

    /// Lists in lists: the schema refers to itself twice at every level.
    #[test]
    fn a_recursive_schema_is_checked_as_deep_as_the_input_goes() {
        let schema =
            compile(&json!({"allOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}], "type": "array"}));
        let nested = |inner: &str, depth: usize| format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(schema.check(&nested("", 100)).is_ok());
        assert!(problem(&schema, &nested("1", 4)).contains("at /0/0/0/0: 1 is not of type \"array\""));
        assert!(
            problem(&schema, &nested("1", 100)).ends_with("too large for its problems to be listed"),
            "each level doubles what a listing would look at"
        );
    }

    #[test]
    fn a_long_recursion_stays_within_the_stack() {
        let mut definitions = serde_json::Map::new();
        for at in 0..40 {
            definitions.insert(
                format!("d{at}"),
                json!({"allOf": [{"$ref": format!("#/$defs/d{}", at + 1)}]}),
            );
        }
        definitions.insert("d40".to_owned(), json!({"items": {"$ref": "#"}}));
        let schema = compile(&json!({"$ref": "#/$defs/d0", "$defs": definitions}));
        assert!(schema.check("[[[1]]]").is_ok());
        let deep = problem(&schema, &format!("{}{}", "[".repeat(120), "]".repeat(120)));
        assert!(deep.contains("too deep to be checked"), "{deep}");
    }

    #[test]
    fn an_input_that_would_take_too_long_is_refused() {
        let branches: Vec<_> = (0..2000).map(|at| json!({"const": at})).collect();
        let schema = compile(&json!({"anyOf": branches}));
        assert!(schema.is_long(10_000) && !schema.is_long(1_000));
        let input = json!("x".repeat(1_000_000)).to_string();
        assert!(
            problem(&schema, &input).contains("too many to be checked against a schema of 2001 subschemas")
        );
    }
}
