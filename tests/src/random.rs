//! A seeded random number generator for reproducible tests.

use std::{
    hash::{BuildHasher, RandomState},
    ops::Range,
};

/// A generator of the algorithm SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A 64-bit number (SplitMix64).
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in the range, which must not be empty.
    pub fn in_range(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next_u64() % (range.end - range.start)
    }

    /// True with a probability of 1 in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.next_u64().is_multiple_of(times)
    }

    /// One of the items, which must not be empty.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.next_u64() as usize % of.len()]
    }

    /// Shuffles the items.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.next_u64() as usize % (at + 1));
        }
    }
}

/// The seed from an environment variable, else a random one. It is printed, so the output of a failed test contains it.
pub fn seed(variable: &str) -> u64 {
    let named = std::env::var(variable).ok();
    let seed = match &named {
        Some(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text}: a seed must be a number")),
        None => RandomState::new().hash_one(0) >> 32,
    };
    eprintln!("{variable}={seed}");
    seed
}
