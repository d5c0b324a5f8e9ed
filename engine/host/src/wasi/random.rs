//! The randomness of a guest: the machine's own with the `random` grant, else the pseudo-random bytes of
//! [`crate::sandbox`].

use heddle_kernel::Level;
use wasmtime::bail;
use wasmtime_wasi::{
    WasiView,
    p2::bindings::random::{insecure, insecure_seed, random},
    random::WasiRandomCtx,
};

use crate::sandbox::Sandbox;

/// How many bytes a guest may request at once.
const MAX_BYTES: u64 = 1 << 20;

impl Sandbox {
    /// The machine's randomness, if granted. Its first use is logged.
    fn real_random(&mut self) -> Option<&mut WasiRandomCtx> {
        if !self.rules.grants.random {
            return None;
        }
        self.log_first_use(
            |used| &mut used.random,
            |_| (Level::Info, "real randomness was drawn".to_owned()),
        );
        Some(self.ctx().ctx.random())
    }

    fn draw(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        check(len)?;
        match self.real_random() {
            Some(real_random) => random::Host::get_random_bytes(real_random, len),
            None => Ok(self.random().bytes(len)),
        }
    }

    fn draw_number(&mut self) -> wasmtime::Result<u64> {
        match self.real_random() {
            Some(real_random) => random::Host::get_random_u64(real_random),
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
    if len > MAX_BYTES {
        bail!("asked for {len} random bytes at once; the most is {MAX_BYTES}");
    }
    Ok(())
}
