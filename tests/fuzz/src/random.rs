//! The randomness of a campaign: it depends only on a seed and the number of a case.

use std::ops::Range;

/// A seeded random number generator.
pub(crate) struct Random(fastrand::Rng);

impl Random {
    /// The generator for the cases of one worker: `from` is the number of its first case, so that a worker that
    /// continues after a crash does not repeat the crash.
    pub(crate) fn new(seed: u64, from: u64) -> Self {
        Self(fastrand::Rng::with_seed(
            seed ^ from.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        ))
    }

    /// A number of the range, which must not be empty.
    pub(crate) fn below(&mut self, range: Range<usize>) -> usize {
        self.0.usize(range)
    }

    /// True once in `every` times.
    pub(crate) fn one_in(&mut self, every: usize) -> bool {
        self.0.usize(..every) == 0
    }

    /// One of the items, which must not be empty.
    pub(crate) fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.0.usize(..items.len())]
    }

    /// A byte; all values are equally likely.
    pub(crate) fn byte(&mut self) -> u8 {
        self.0.u8(..)
    }

    /// A 64-bit number; all values are equally likely.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A small number, at least 1; smaller ones are more likely.
    pub(crate) fn few(&mut self) -> usize {
        match self.0.usize(..8) {
            0..=3 => 1,
            4 | 5 => 2,
            6 => 3,
            _ => self.0.usize(3..8),
        }
    }

    /// A range within a sequence of this length, usually short.
    pub(crate) fn part(&mut self, len: usize) -> Range<usize> {
        let start = self.0.usize(..=len);
        let most = match self.0.usize(..4) {
            0 => len - start,
            1 => (len - start).min(64),
            _ => (len - start).min(8),
        };
        start..start + self.0.usize(..=most)
    }
}
