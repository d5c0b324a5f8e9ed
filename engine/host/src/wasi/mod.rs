//! The WASI interfaces that the sandbox implements itself: virtual clocks, pseudo-random bytes, an empty environment
//! and no files, or the real ones if the plugin is granted them. Each use of a grant is logged.

mod clock;
mod environment;
mod files;
mod http;
mod random;
mod sockets;

use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::{
    cli::environment as cli_environment,
    clocks::{monotonic_clock, wall_clock},
    random::{insecure, insecure_seed, random as wasi_random},
};

use crate::sandbox::{Sandbox, SandboxView};

/// Replaces WASI's functions by the sandbox's own. Shadowing must be allowed.
pub(crate) fn add_to_linker(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    wall_clock::add_to_linker::<_, SandboxView>(linker, |sandbox| sandbox)?;
    monotonic_clock::add_to_linker::<_, SandboxView>(linker, |sandbox| sandbox)?;
    wasi_random::add_to_linker::<_, SandboxView>(linker, |sandbox| sandbox)?;
    insecure::add_to_linker::<_, SandboxView>(linker, |sandbox| sandbox)?;
    insecure_seed::add_to_linker::<_, SandboxView>(linker, |sandbox| sandbox)?;
    cli_environment::add_to_linker::<_, SandboxView>(linker, |sandbox| sandbox)?;
    files::add_to_linker(linker)?;
    http::add_to_linker(linker)?;
    sockets::add_to_linker(linker)
}
