//! The randomness of a guest: the real one where its plugin is granted that, and else SHA-256 in counter mode, keyed
//! by the step, so that every attempt of a step draws the same bytes and no two steps do.
//!
//! It is unpredictable to nobody who knows the run's id, and so no source of secrets.

use heddle_kernel::Level;
use sha2::{Digest, Sha256};
use wasmtime::bail;
use wasmtime_wasi::{
    WasiView,
    p2::bindings::random::{insecure, insecure_seed, random},
    random::WasiRandomCtx,
};

use crate::sandbox::Sandbox;

/// How much a guest may ask for at once.
const MOST_BYTES: u64 = 1 << 20;

/// The stream of bytes of one call.
pub(crate) struct Random {
    key: [u8; 32],
    drawn: u64,
    block: [u8; 32],
    left: usize,
}

impl Random {
    /// The stream of this seed. It is part of what a recorded step can be repeated from: it must never change.
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

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes);
        bytes
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

impl Sandbox {
    /// The machine's own randomness, if the guest has that, which is told when it draws from it.
    fn real(&mut self) -> Option<&mut WasiRandomCtx> {
        if !self.rules.grants.random {
            return None;
        }
        self.told(
            |used| &mut used.random,
            |_| (Level::Info, "real randomness was drawn".to_owned()),
        );
        Some(self.ctx().ctx.random())
    }

    fn draw(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        check(len)?;
        match self.real() {
            Some(real) => random::Host::get_random_bytes(real, len),
            None => Ok(self.random().bytes(len)),
        }
    }

    fn draw_number(&mut self) -> wasmtime::Result<u64> {
        match self.real() {
            Some(real) => random::Host::get_random_u64(real),
            None => Ok(self.random().number()),
        }
    }
}

impl random::Host for Sandbox {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.draw(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.draw_number()
    }
}

impl insecure::Host for Sandbox {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.draw(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.draw_number()
    }
}

impl insecure_seed::Host for Sandbox {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.draw_number()?, self.draw_number()?))
    }
}

fn check(len: u64) -> wasmtime::Result<()> {
    if len > MOST_BYTES {
        bail!("asked for {len} random bytes at once; the most is {MOST_BYTES}");
    }
    Ok(())
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
        // Worked out with `printf 'heddle random 1\0run-1' | sha256sum`, and of that key and eight zero bytes.
        let first: String = Random::new("run-1")
            .bytes(8)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(first, "b34469e52d539567");
    }
}
