//! Numbers that look random and are the same for the same seed.

use std::{
    hash::{BuildHasher, RandomState},
    ops::Range,
};

/// Draws numbers: SplitMix64.
#[derive(Clone, Debug)]
pub struct Lot(u64);

impl Lot {
    /// What is drawn follows from the seed alone.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range, which is not empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.draw() % (range.end - range.start)
    }

    /// Whether it happens that is to happen once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.draw().is_multiple_of(times)
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.draw() as usize % of.len()]
    }

    /// Brings these into another order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.draw() as usize % (at + 1));
        }
    }
}

/// The seed that an environment variable names, else another one at every run; it is printed, and a test
/// that fails shows what it printed.
pub fn seed(variable: &str) -> u64 {
    let named = std::env::var(variable).ok();
    let seed = match &named {
        Some(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text}: a seed is a number")),
        None => RandomState::new().hash_one(0) >> 32,
    };
    eprintln!("{variable}={seed}");
    seed
}
