//! The pseudo-random bytes of a guest without the `random` grant: SHA-256 in counter mode, keyed by the step.
//!
//! Every attempt of a step draws the same bytes, and no two steps do. With the run's id, anyone can compute the
//! bytes: they are not a source of secrets.

use sha2::{Digest, Sha256};

/// The byte stream of one call.
pub(crate) struct Random {
    key: [u8; 32],
    drawn: u64,
    block: [u8; 32],
    left: usize,
}

impl Random {
    /// The stream of this seed. It must never change: a recorded step can be repeated only with the same bytes.
    pub(crate) fn new(seed: &str) -> Self {
        let key = Sha256::new()
            .chain_update("heddle random 1\0")
            .chain_update(seed)
            .finalize();
        Self {
            key: key.into(),
            drawn: 0,
            block: [0; 32],
            left: 0,
        }
    }

    fn fill(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let block = Sha256::new()
                    .chain_update(self.key)
                    .chain_update(self.drawn.to_le_bytes());
                self.block = block.finalize().into();
                self.drawn += 1;
                self.left = self.block.len();
            }
            let take = self.left.min(bytes.len());
            let from = self.block.len() - self.left;
            let (now, rest) = bytes.split_at_mut(take);
            now.copy_from_slice(&self.block[from..from + take]);
            self.left -= take;
            bytes = rest;
        }
    }

    pub(crate) fn bytes(&mut self, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes);
        bytes
    }

    pub(crate) fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_stream_however_it_is_drawn() {
        let whole = Random::new("run-1").bytes(100);
        let mut parts = Random::new("run-1");
        let drawn: Vec<u8> = [3, 40, 57].iter().flat_map(|&len| parts.bytes(len)).collect();
        assert_eq!(whole, drawn);
        assert_ne!(whole, Random::new("run-2").bytes(100));
    }

    #[test]
    fn the_stream_of_a_seed_is_the_same_for_ever() {
        // Computed with `printf 'heddle random 1\0run-1' | sha256sum`, and the sum of that key and eight zero bytes.
        let first: String = Random::new("run-1")
            .bytes(8)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(first, "b34469e52d539567");
    }
}
