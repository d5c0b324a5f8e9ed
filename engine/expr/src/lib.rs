//! Expressions: the conditions, inputs and lists of a graph, in CEL.
//!
//! An expression is parsed and checked once, when its graph is created, and then evaluated at
//! each visit. It reads from its variables only what it names, it has no clock and no chance,
//! and its answer depends on nothing but the variables. Length, nesting and cost are bounded:
//! no expression over whatever state takes much more than 100 milliseconds or 100 MiB.
//!
//! The `cel` library parses. Plan, check and evaluation are Heddle's: the library has no check
//! of types, and its evaluator no budget (it copies a list for each item that holds it, so a
//! short expression can take all memory).
//!
//! Differences from the standard:
//! - calculating with a whole number and a double gives a double, and with an int and a uint the one
//!   that the result fits, since JSON has one kind of number and writes 1.0 as 1;
//! - a whole number and a double compare exactly, where the standard allows to round the whole number;
//! - a number of the state with more digits than a double holds keeps them;
//! - an expression is always checked, so an unknown name or a condition that is no bool is an error
//!   even where `&&` or `||` would not evaluate it;
//! - names have no containers, and times, messages and the extensions for two loop variables, math,
//!   optional values and encodings are left out.

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

use heddle_json::{Json, Object};
pub use meter::MAX_COST;
pub use parse::MAX_SOURCE_LEN;
pub use patterns::GraphPatterns;
pub use scan::{MAX_CHAIN, MAX_NESTING};

use crate::suggest::Suggestions;

/// How much of an expression a message shows, in characters.
const SHOWN_LEN: usize = 60;

/// A checked expression. A clone shares it.
#[derive(Clone)]
pub struct Expr(Arc<Inner>);

struct Inner {
    source: Box<str>,
    want: Want,
    plan: Node,
    paths: Vec<Path>,
    /// How much memory its patterns take, in bytes.
    pattern_bytes: usize,
}

/// What the place of an expression needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Want {
    /// Any value that JSON has.
    #[default]
    Any,
    /// A condition.
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// A list or an object, to loop over.
    Items,
}

/// Something that is certainly wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, what, and what to do, in one line: `column 7: there is no variable …`.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What a variable has.
#[derive(Clone, Copy, Debug)]
pub enum Bound<'a> {
    /// An object that is kept by key.
    Object(&'a Object),
    /// Any JSON.
    Json(&'a Json),
}

/// Why an expression has no value. Each is for the graph's author: another try ends the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The values do not fit the expression: a key is missing, an operator does not fit.
    #[error("`{expression}`: {reason}")]
    Wrong {
        /// The beginning of the expression.
        expression: String,
        /// What did not fit, and what to do.
        reason: String,
    },
    /// It costs more than [`MAX_COST`].
    #[error(
        "`{expression}`: it costs more than the limit of {MAX_COST} steps; loop over less, or use a function"
    )]
    Limit {
        /// The beginning of the expression.
        expression: String,
    },
}

/// How the expressions of a graph are compiled.
pub struct Compile<'g> {
    /// Whether the graph was created before: then decimal literals may have more digits than a double holds, as they
    /// were let in once.
    pub kept: bool,
    /// How many more names the check of the graph may suggest.
    pub suggestions: &'g Suggestions,
    /// The patterns of all expressions of the graph.
    pub patterns: &'g GraphPatterns,
}

impl Compile<'_> {
    /// Parses and checks an expression, as [`Expr::compile`] does.
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
        if !self.kept {
            let new_problems = new_problems.iter();
            let told = new_problems.map(|(at, message)| parse::problem(source, *at, message));
            let problems: Vec<Problem> = told.chain(parse::lost_digits(source)).collect();
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
    /// Parses and checks an expression that may use `variables`.
    ///
    /// # Errors
    /// What is certainly wrong, in the order of the source, up to a limit; of text that does not parse
    /// the first error only.
    pub fn compile(source: &str, variables: &[&str], want: Want) -> Result<Self, Vec<Problem>> {
        Self::compile_as(false, source, variables, want)
    }

    /// The same for an expression of a graph that was created before: its decimal literals may have more digits
    /// than a double holds, and it may ask `run` for what it never has, as both were let in once.
    ///
    /// # Errors
    /// As [`Self::compile`] has them.
    pub fn compile_kept(source: &str, variables: &[&str], want: Want) -> Result<Self, Vec<Problem>> {
        Self::compile_as(true, source, variables, want)
    }

    fn compile_as(kept: bool, source: &str, variables: &[&str], want: Want) -> Result<Self, Vec<Problem>> {
        let suggestions = &Suggestions::default();
        let patterns = &GraphPatterns::default();
        let compile = Compile {
            kept,
            suggestions,
            patterns,
        };
        compile.expr(source, variables, want)
    }

    /// About how many bytes the compiled expression takes in memory. A pattern that several expressions of a graph have
    /// counts for the first of them.
    pub fn memory(&self) -> usize {
        /// What a byte of the text stands for, as in `1+1+1`.
        const BYTES_PER_SOURCE_BYTE: usize = 64;
        self.0.source.len() * BYTES_PER_SOURCE_BYTE + 256 + self.0.pattern_bytes
    }

    /// The text that it was made from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The JSON text of its value; `find` gives what a variable has.
    ///
    /// A path such as `state.document` hands its text on as it is, also in a list or an object
    /// that the expression makes, whose keys are in order.
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

    /// Whether it holds; a value that is no bool is an error.
    pub fn holds<'a>(&self, find: impl Fn(&str) -> Option<Bound<'a>>) -> Result<bool, EvalError> {
        let mut evaluation = Evaluation::new(&self.0.paths, &find);
        match evaluation.value(&self.0.plan) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(self.error(Some(Want::Bool.misfit(other.kind())))),
            Err(stop) => Err(self.error(evaluation.reason(*stop))),
        }
    }

    /// The top-level keys of `variable` that it reads or asks for; none where it reads the
    /// whole of it.
    pub fn keys_of(&self, variable: &str) -> Option<BTreeSet<&str>> {
        let of_variable = self.0.paths.iter().filter(|path| *path.variable == *variable);
        of_variable
            .map(|path| path.keys.first().map(|key| &**key))
            .collect()
    }

    /// The key, where the expression is no more than one key of `variable`: `node.log`.
    pub fn key_of(&self, variable: &str) -> Option<&str> {
        let Node::Path(at) = self.0.plan else { return None };
        let path = &self.0.paths[at];
        match &path.keys[..] {
            [key] if *path.variable == *variable => Some(key),
            _ => None,
        }
    }

    /// The error of a reason; without one it is the limit's.
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

    /// Says that a value of `kinds` is not what is wanted.
    fn misfit(self, kinds: Kinds) -> String {
        match self {
            Self::Any => format!("the result must be JSON, and is {kinds}; string(…) makes a string of it"),
            want => format!("the result must be {}, and is {kinds}", want.kinds()),
        }
    }
}
