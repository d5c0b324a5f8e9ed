//! Compiles components: in separate processes, a few at a time, within limits of time and memory.
//!
//! A component of a few kilobytes can take gigabytes and minutes to compile, and deep nesting can crash the process
//! that reads it. So the engine starts a *compiler*, a separate process, for each component ([`command`]). The
//! compiler limits its own resources, scans the component ([`scan`](crate::scan)), compiles it and writes the machine
//! code to a file, which the engine loads ([`child`]). A compiler that takes too long, takes too much memory or
//! crashes only makes the registration fail. It is killed when its request is cancelled, and ends when the engine's
//! process ends.
//!
//! [`queue`] limits how many compilers run and how many requests wait for one. [`Engines`](crate::engines::Engines)
//! uses all of this.

pub(crate) mod child;
pub(crate) mod command;
mod compiler;
mod queue;

pub use self::{child::run as compiler, compiler::Compiler};
pub(crate) use self::{
    compiler::{CompileError, CompileLimits},
    queue::{CompileQueue, QueueFull},
};
