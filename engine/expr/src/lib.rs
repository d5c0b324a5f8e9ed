//! The expressions of graphs, in CEL: conditions, inputs, and lists to loop over.
//!
//! An [`Expr`] is parsed and type-checked once, when its graph is created, and evaluated at each visit of its
//! node. It reads only the parts of the variables that it names. It has no clock and no randomness, so its
//! value depends on the variables alone. Length, nesting and cost have limits: no expression takes much more
//! than 100 milliseconds or 100 MiB, whatever the state contains.
//!
//! The `cel` crate parses. The plan, the check and the evaluation are our own: the crate has no type check,
//! and its evaluator has no budget. It copies a list for each item that contains it, so a short expression
//! could use all memory.
//!
//! # Differences from the standard
//! - An operation on a whole number and a double gives a double; one on an int and a uint gives the type that
//!   fits the result, since JSON has one kind of number and writes 1.0 as 1.
//! - A whole number and a double compare exactly; the standard allows rounding the whole number.
//! - A number of the state with more digits than a double keeps them.
//! - Every part of an expression is checked, so an unknown name or a condition that is not a bool is an error
//!   even if `&&` or `||` would not evaluate it.
//! - Names have no containers. Times, messages, and the extensions for two loop variables, math, optional
//!   values and encodings are left out.
//!
//! # Where to start
//! `parse.rs` calls the parser, `check.rs` builds the plan (`plan.rs`) and finds errors, `evaluate.rs`
//! evaluates the plan within the budget of `meter.rs`. `functions.rs` has the table of functions.
//!
//! # Example
//! ```
//! use heddle_expr::{Bound, Expr, Want};
//! use heddle_json::Object;
//!
//! let state = Object::admit(r#"{"score": 82}"#).expect("an object");
//! let passed = Expr::compile("state.score >= 80", &["state"], Want::Bool).expect("a condition");
//! assert_eq!(passed.holds(|_| Some(Bound::Object(&state))), Ok(true));
//! ```

mod calls;
mod check;
mod evaluate;
mod format;
mod functions;
mod json;
mod kinds;
mod meter;
mod missing;
mod parse;
mod patterns;
mod plan;
mod read;
mod scan;
mod strings;
pub mod suggest;
mod value;
mod write;

use std::{collections::BTreeSet, fmt, sync::Arc};

use check::Checker;
use evaluate::Evaluation;
use kinds::Kinds;
use plan::{Node, Path};
use value::{Value, clipped};

pub use calls::is_reserved;
use heddle_json::{Json, Object};
pub use meter::MAX_COST;
pub use parse::MAX_SOURCE_LEN;
pub use patterns::GraphPatterns;
pub use scan::{MAX_CHAIN, MAX_NESTING};

use crate::suggest::Suggestions;

/// The longest expression, in bytes, that is evaluated when its graph is checked. It bounds the work of a check.
const MAX_CONSTANT_LEN: usize = 64;

/// The length of an expression in a message, in characters.
const SHOWN_LEN: usize = 60;

/// A checked expression. Clones share it.
#[derive(Clone)]
pub struct Expr(Arc<Inner>);

struct Inner {
    source: Box<str>,
    want: Want,
    plan: Node,
    paths: Vec<Path>,
    /// The memory of its patterns, in bytes.
    pattern_bytes: usize,
}

/// The type that the place of an expression needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Want {
    /// Any JSON value.
    #[default]
    Any,
    /// `true` or `false`.
    Bool,
    /// An integer or a double.
    Number,
    /// A JSON string.
    String,
    /// A list or an object, to loop over.
    Items,
}

/// An error in an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place, the problem and what to do, on one line: `column 7: there is no variable …`.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The value of a variable.
#[derive(Clone, Copy, Debug)]
pub enum Bound<'a> {
    /// A JSON object whose members can be read without parsing the others.
    Object(&'a Object),
    /// Any JSON.
    Json(&'a Json),
}

/// The reason why an expression has no value. A retry gives the same error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The values do not fit the expression: a key is missing, or an operator does not apply.
    #[error("`{expression}`: {reason}")]
    Wrong {
        /// The beginning of the expression.
        expression: String,
        /// The problem, and what to do about it.
        reason: String,
    },
    /// The evaluation exceeds [`MAX_COST`].
    #[error(
        "`{expression}`: it costs more than the limit of {MAX_COST} steps; loop over less, or use a function"
    )]
    Limit {
        /// The beginning of the expression.
        expression: String,
    },
}

/// The settings by which the expressions of a graph are compiled.
pub struct Compile<'g> {
    /// Whether the graph was created before. Then decimal literals may have more digits than a double, as
    /// earlier versions allowed.
    pub is_stored: bool,
    /// The suggestions that the check of the graph may still make.
    pub suggestions: &'g Suggestions,
    /// The patterns of all expressions of the graph.
    pub patterns: &'g GraphPatterns,
}

impl Compile<'_> {
    /// Parses and checks an expression, as [`Expr::compile`] does.
    ///
    /// # Errors
    /// As for [`Expr::compile`].
    pub fn expr(&self, source: &str, variables: &[&str], want: Want) -> Result<Expr, Vec<Problem>> {
        let (parsed, info) = parse::parse(source)?;
        let patterns_before = self.patterns.bytes();
        let mut checker = Checker::new(source, &info, variables, self.suggestions, self.patterns);
        let (plan, gives) = checker.plan(parsed);
        if !gives.kinds.meets(want.kinds()) {
            checker.report(0, want.misfit(gives.kinds));
        }
        let new_problems = std::mem::take(&mut checker.new_problems);
        let paths = checker.problems()?;
        if !self.is_stored {
            let new_problems = new_problems.iter();
            let problems = new_problems.map(|(at, message)| parse::problem(source, *at, message));
            let problems: Vec<Problem> = problems.chain(parse::lost_digits(source)).collect();
            if !problems.is_empty() {
                return Err(problems);
            }
        }
        Ok(Expr(Arc::new(Inner {
            source: source.into(),
            want,
            plan,
            paths,
            pattern_bytes: self.patterns.bytes() - patterns_before,
        })))
    }
}

impl Expr {
    /// Parses and checks an expression over `variables`.
    ///
    /// # Errors
    /// The errors in the order of the source, up to a limit. If the text does not parse, only the first
    /// error.
    pub fn compile(source: &str, variables: &[&str], want: Want) -> Result<Self, Vec<Problem>> {
        Self::compile_as(false, source, variables, want)
    }

    /// Compiles an expression of a graph that was created before: its decimal literals may have more digits
    /// than a double, and it may read unknown keys of `run`, as earlier versions allowed.
    ///
    /// # Errors
    /// As for [`Self::compile`].
    pub fn compile_stored(source: &str, variables: &[&str], want: Want) -> Result<Self, Vec<Problem>> {
        Self::compile_as(true, source, variables, want)
    }

    fn compile_as(
        is_stored: bool,
        source: &str,
        variables: &[&str],
        want: Want,
    ) -> Result<Self, Vec<Problem>> {
        let suggestions = &Suggestions::default();
        let patterns = &GraphPatterns::default();
        let compile = Compile {
            is_stored,
            suggestions,
            patterns,
        };
        compile.expr(source, variables, want)
    }

    /// The approximate memory of the compiled expression, in bytes. A pattern of several expressions of a
    /// graph counts for the first of them.
    pub fn memory(&self) -> usize {
        /// The memory for each byte of the text, for an expression such as `1+1+1`.
        const BYTES_PER_SOURCE_BYTE: usize = 64;
        self.0.source.len() * BYTES_PER_SOURCE_BYTE + 256 + self.0.pattern_bytes
    }

    /// The text of the expression.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The value of a short expression without variables, which is the same in every run.
    pub fn constant(&self) -> Option<Json> {
        let is_short = self.0.source.len() <= MAX_CONSTANT_LEN;
        (is_short && self.0.paths.is_empty())
            .then(|| self.evaluate(|_| None).ok())
            .flatten()
    }

    /// Evaluates the expression; `find` gives the value of a variable.
    ///
    /// A path such as `state.document` returns the text of the value unchanged, also inside of a list or an
    /// object that the expression builds. The keys of such objects are in order.
    ///
    /// # Errors
    /// The expression has no value.
    pub fn evaluate<'a>(&self, find: impl Fn(&str) -> Option<Bound<'a>>) -> Result<Json, EvalError> {
        let mut evaluation = Evaluation::new(&self.0.paths, &find);
        let json = match evaluation.json(&self.0.plan) {
            Ok(json) => json,
            Err(stop) => return Err(self.error(evaluation.reason(*stop))),
        };
        let kinds = match heddle_json::object::kind_of(json.get()) {
            Some("an object") => Kinds::MAP,
            Some("an array") => Kinds::LIST,
            Some("a string") => Kinds::STRING,
            Some("a boolean") => Kinds::BOOL,
            Some("a number") => Kinds::NUMBER,
            _ => Kinds::NULL,
        };
        if kinds.meets(self.0.want.kinds()) {
            Ok(json)
        } else {
            Err(self.error(Some(self.0.want.misfit(kinds))))
        }
    }

    /// Evaluates a condition.
    ///
    /// # Errors
    /// The expression has no value, or the value is not a bool.
    pub fn holds<'a>(&self, find: impl Fn(&str) -> Option<Bound<'a>>) -> Result<bool, EvalError> {
        let mut evaluation = Evaluation::new(&self.0.paths, &find);
        match evaluation.value(&self.0.plan) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(self.error(Some(Want::Bool.misfit(other.kind())))),
            Err(stop) => Err(self.error(evaluation.reason(*stop))),
        }
    }

    /// The top-level keys of `variable` that the expression reads or tests; `None` if it reads all of the
    /// variable.
    pub fn keys_of(&self, variable: &str) -> Option<BTreeSet<&str>> {
        let of_variable = self.0.paths.iter().filter(|path| *path.variable == *variable);
        of_variable
            .map(|path| path.keys.first().map(|key| &**key))
            .collect()
    }

    /// The key, if the expression is only one key of `variable`, such as `node.log`.
    pub fn key_of(&self, variable: &str) -> Option<&str> {
        let Node::Path(at) = self.0.plan else { return None };
        let path = &self.0.paths[at];
        match &path.keys[..] {
            [key] if *path.variable == *variable => Some(key),
            _ => None,
        }
    }

    /// The error for a reason; without one, the error of the limit.
    fn error(&self, reason: Option<String>) -> EvalError {
        let expression = clipped(&self.0.source, SHOWN_LEN);
        match reason {
            Some(reason) => EvalError::Wrong { expression, reason },
            None => EvalError::Limit { expression },
        }
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({:?})", self.source())
    }
}

impl Want {
    fn kinds(self) -> Kinds {
        match self {
            Self::Any => Kinds::JSON,
            Self::Bool => Kinds::BOOL,
            Self::Number => Kinds::NUMBER,
            Self::String => Kinds::STRING,
            Self::Items => Kinds::ITEMS,
        }
    }

    /// The message that a value has the wrong type.
    fn misfit(self, kinds: Kinds) -> String {
        match self {
            Self::Any => format!("the result must be JSON, and is {kinds}; string(…) makes a string of it"),
            want => format!("the result must be {}, and is {kinds}", want.kinds()),
        }
    }
}
