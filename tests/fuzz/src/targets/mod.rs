//! The targets: each reads one kind of input and checks its rules.

#[path = "../../../../engine/kernel/tests/laws/calls.rs"]
mod calls;
mod components;
mod expressions;
mod graphs;
mod http;
mod imports;
mod play;
mod served;
mod sockets;
mod values;

use std::time::Duration;

use anyhow::{Result, bail};

use crate::{pool::Pool, random::Random};

/// The names of the targets.
pub(crate) const NAMES: [&str; 7] = [
    "graphs",
    "expressions",
    "imports",
    "values",
    "components",
    "http",
    "sockets",
];

/// A reader of input from outside.
pub(crate) trait Target: Send {
    /// The initial inputs, besides the committed corpus.
    fn seeds(&self) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    /// Makes a new input.
    fn mutate(&self, random: &mut Random, pool: &Pool) -> Vec<u8>;

    /// Runs an input. A panic, on any thread, is a finding.
    fn run(&mut self, input: &[u8]) -> Verdict;

    /// The limit of processor time for one case, in a build without optimisation.
    fn budget(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// The result of an input.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Whether the input was accepted.
    pub(crate) accepted: bool,
    /// The answer. Inputs with a new kind of answer are mutated further.
    pub(crate) answer: String,
}

impl Verdict {
    pub(crate) fn accepted(answer: impl Into<String>) -> Self {
        Self {
            accepted: true,
            answer: answer.into(),
        }
    }

    pub(crate) fn refused(answer: impl Into<String>) -> Self {
        Self {
            accepted: false,
            answer: answer.into(),
        }
    }
}

/// The target with this name, in its initial state.
pub(crate) fn make(name: &str) -> Result<Box<dyn Target>> {
    Ok(match name {
        "graphs" => Box::new(graphs::Graphs),
        "expressions" => Box::new(expressions::Expressions),
        "imports" => Box::new(imports::Imports::new()?),
        "values" => Box::new(values::Values::new()?),
        "components" => Box::new(components::Components::new()?),
        "http" => Box::new(http::Http::new()?),
        "sockets" => Box::new(sockets::Sockets::new()?),
        _ => bail!("there is no target `{name}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool;

    /// The committed corpus of each target contains inputs that once failed. All of it must pass.
    #[track_caller]
    fn passes(name: &str) {
        let mut target = make(name).expect("the target is there");
        let inputs = pool::committed(name).expect("the corpus is there");
        let taken = inputs.iter().filter(|input| target.run(input).accepted).count();
        assert!(taken > 0, "no input of the corpus is accepted");
    }

    #[test]
    fn the_corpus_of_graphs_passes() {
        passes("graphs");
    }

    #[test]
    fn the_corpus_of_expressions_passes() {
        passes("expressions");
    }

    #[test]
    fn the_corpus_of_imports_passes() {
        passes("imports");
    }

    #[test]
    fn the_corpus_of_values_passes() {
        passes("values");
    }

    #[test]
    fn the_corpus_of_components_passes() {
        passes("components");
    }

    #[test]
    fn the_corpus_of_http_passes() {
        passes("http");
    }

    #[test]
    fn the_corpus_of_sockets_passes() {
        passes("sockets");
    }
}
