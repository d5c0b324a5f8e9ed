//! Compiles components: out of this process, a few at a time, within limits of time and memory.
//!
//! Compiling takes what the component makes it take: a few kilobytes can take gigabytes and minutes, and deeply
//! nested ones end the process that reads them. So the engine starts a *compiler*, which is a process of its own,
//! for each component ([`command`]). The compiler limits itself, looks through the component ([`scan`](crate::scan)),
//! compiles it and writes the machine code to a file, from which the engine maps it ([`child`]). A compiler that
//! takes too long, takes too much memory or crashes costs the registration and nothing else. It is killed when
//! nobody waits for it any more, and ends when the engine's process is gone.
//!
//! How many compilers run and how many requests wait for one is decided in [`queue`].

pub(crate) mod child;
pub(crate) mod command;
mod compiler;
mod queue;

pub use self::{child::run as compiler, compiler::Compiler};
pub(crate) use self::{
    compiler::{CompileError, CompileLimits},
    queue::{CompileQueue, QueueFull},
};
