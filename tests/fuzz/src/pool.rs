//! The inputs for mutation: the committed corpus, the seeds of the target, and inputs with a new answer.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::random::Random;

/// The maximum size of a mutated text or JSON input in bytes.
pub(crate) const MAX_INPUT_BYTES: usize = 64 << 10;
/// The maximum number of inputs that the pool adds to its initial ones.
const MAX_LEARNT: usize = 4_000;
/// A file with this extension has one input per line.
const LIST: &str = "list";

/// Inputs to mutate.
pub(crate) struct Pool {
    inputs: Vec<Vec<u8>>,
    /// The number of initial inputs.
    first: usize,
    /// The answers so far.
    answers: HashSet<String>,
}

impl Pool {
    /// A pool with these initial inputs, at least one.
    pub(crate) fn new(inputs: Vec<Vec<u8>>) -> Self {
        assert!(!inputs.is_empty(), "a target needs an input to begin with");
        let first = inputs.len();
        Self {
            inputs,
            first,
            answers: HashSet::new(),
        }
    }

    /// The initial inputs.
    pub(crate) fn first(&self) -> &[Vec<u8>] {
        &self.inputs[..self.first]
    }

    /// The number of inputs, including the added ones.
    pub(crate) fn len(&self) -> usize {
        self.inputs.len()
    }

    /// A random input. Added inputs are as likely as initial ones.
    pub(crate) fn any(&self, random: &mut Random) -> &[u8] {
        let learnt = self.inputs.len() > self.first && random.one_in(2);
        let range = if learnt {
            self.first..self.inputs.len()
        } else {
            0..self.first
        };
        &self.inputs[random.below(range)]
    }

    /// Adds an input if its answer is new.
    pub(crate) fn learn(&mut self, input: &[u8], answer: &str) {
        let room = self.inputs.len() - self.first < MAX_LEARNT && input.len() <= MAX_INPUT_BYTES;
        if room && self.answers.insert(shape(answer)) {
            self.inputs.push(input.to_vec());
        }
    }
}

/// Removes numbers, quoted names and everything after 200 characters from an answer, so that answers of the same kind
/// are equal.
pub(crate) fn shape(answer: &str) -> String {
    let mut shape = String::new();
    let mut quote = None;
    for c in answer.chars().take(400) {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => continue,
            None if matches!(c, '`' | '"' | '\'') => quote = Some(c),
            None => {}
        }
        if c.is_ascii_digit() {
            if !shape.ends_with('#') {
                shape.push('#');
            }
        } else {
            shape.push(c);
        }
        if shape.len() > 200 {
            break;
        }
    }
    shape
}

/// The folder of a target's committed corpus.
pub(crate) fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The committed corpus of a target, in the order of the names of its files.
pub(crate) fn committed(target: &str) -> Result<Vec<Vec<u8>>> {
    let folder = folder(target);
    let context = || format!("the corpus {}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(context)? {
        files.push(entry.with_context(context)?.path());
    }
    files.sort();
    let mut inputs = Vec::new();
    for file in files {
        let bytes = fs::read(&file).with_context(|| file.display().to_string())?;
        if file.extension().is_some_and(|extension| extension == LIST) {
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            inputs.extend(lines.map(<[u8]>::to_vec));
        } else {
            inputs.push(bytes);
        }
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_differ_in_names_and_numbers_have_one_shape() {
        assert_eq!(
            shape("column 12: there is no variable `abc`"),
            shape("column 7: there is no variable `x`")
        );
        assert_ne!(shape("there is no `a`"), shape("there was no `a`"));
    }

    #[test]
    fn an_input_is_learnt_once_for_each_answer() {
        let mut pool = Pool::new(vec![b"first".to_vec()]);
        pool.learn(b"a", "problem 1");
        pool.learn(b"b", "problem 2");
        pool.learn(b"c", "another problem");
        assert_eq!((pool.len(), pool.first().len()), (3, 1));
    }
}
