//! What a guest sees of the world: of each part the sandbox's own stand-in, and the real one where its
//! plugin is granted that. Each use of a grant is told in a line of the step.

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

/// Puts the sandbox's own in place of what WASI has. Shadowing must be allowed.
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
