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

mod child;
mod command;
mod queue;
#[cfg(test)]
mod tests;

use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};

use heddle_kernel::Digest;
use wasmtime::component::Component;

pub use self::child::run as compiler;
pub(crate) use self::queue::{Full, Queue};
use crate::{
    component::Inspected,
    contract::Contract,
    host::Inner,
    machine::{Machine, Unfit},
    settings::{Bytes, HostSettings, Span},
};

/// Where components are compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compiler {
    /// In this process, without limits of time and memory: for tests, and for components that are trusted.
    #[default]
    InProcess,
    /// In a process of its own: this program with these arguments, which calls [`compiler`].
    Command {
        /// The program's file.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

impl Compiler {
    /// The program that is running, with an argument that has it call [`compiler`].
    ///
    /// # Errors
    /// Where the program's file is not known.
    pub fn of_this_program(argument: &str) -> std::io::Result<Self> {
        // This stays the same file when another one is put in its place, as in an upgrade.
        let own = PathBuf::from("/proc/self/exe");
        let program = match cfg!(target_os = "linux") && own.exists() {
            true => own,
            false => std::env::current_exe()?,
        };
        Ok(Self::Command {
            program,
            arguments: vec![argument.to_owned()],
        })
    }
}

/// What one compiler may use up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) memory: usize,
}

impl Limits {
    pub(crate) fn of(settings: &HostSettings) -> Self {
        Self {
            time: settings.compile_timeout,
            memory: settings.compile_memory_bytes,
        }
    }
}

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum CompileError {
    /// It is refused: it is not valid, or it has more of something than it may have.
    #[error("{0}")]
    Refused(String),
    #[error(
        "compiling it takes longer than the limit of {} (compile_timeout): it has code that is costly to compile. \
         `heddle serve --compile-timeout SECONDS` allows more",
        Span(*.0)
    )]
    TooLong(Duration),
    #[error(
        "compiling it takes more memory than the limit of {} (compile_memory): it has code that is costly to \
         compile. `heddle serve --compile-memory MIB` allows more",
        Bytes(*.0)
    )]
    TooMuchMemory(usize),
    /// It makes the compiler fail, as where types are nested deeper than its stack is.
    #[error("the compiler crashed on it ({0})")]
    Crashed(String),
    /// The compiler could not work, whatever the component is.
    #[error("{0}")]
    Failed(String),
}

impl Inner {
    /// Compiles a component, or finds it compiled, for calls that are counted or for those that are not. The
    /// compiler ends when the future is dropped.
    ///
    /// # Errors
    /// Why the component cannot be called.
    pub(crate) async fn compile(
        self: &Arc<Self>,
        metered: bool,
        digest: &Digest,
        component: &Arc<[u8]>,
        found: Inspected,
    ) -> Result<Contract, Unfit> {
        let compiled = self.compiled(metered, digest, component).await?;
        self.blocking(metered, move |machine| machine.link(&compiled, &found))
            .await?
    }

    async fn compiled(
        self: &Arc<Self>,
        metered: bool,
        digest: &Digest,
        component: &Arc<[u8]>,
    ) -> Result<Component, Unfit> {
        if let Some(compiled) = self.find_compiled(metered, digest).await? {
            return Ok(compiled);
        }
        let _turn = self.compiling.turn().await;
        // It may have been compiled for another request meanwhile.
        if let Some(compiled) = self.find_compiled(metered, digest).await? {
            return Ok(compiled);
        }
        let begun = self
            .blocking(metered, |machine| machine.cache.begin().and_then(writable))
            .await?;
        let (code, output) = begun.map_err(|error| failed(&format!("its output has no file: {error}")))?;
        let limits = Limits::of(&self.settings);
        match &self.settings.compiler {
            Compiler::InProcess => {
                let component = component.clone();
                let compiled = self.blocking(metered, move |machine| {
                    child::compile(&machine.engine, &component, output)
                });
                compiled.await??;
            }
            Compiler::Command { program, arguments } => {
                let engine = &self.machine_for(metered)?.engine;
                let order = child::Order::new(engine, metered, component.len(), &limits);
                command::run(program, arguments, order, component.clone(), output).await?;
            }
        }
        let digest = digest.clone();
        let kept = self
            .blocking(metered, move |machine| {
                machine.cache.load(&machine.engine, &digest, code)
            })
            .await?;
        // What the pools of instances have no room for is found out here.
        kept.map_err(|error| CompileError::Refused(format!("{error:#}")).into())
    }

    async fn find_compiled(
        self: &Arc<Self>,
        metered: bool,
        digest: &Digest,
    ) -> Result<Option<Component>, Unfit> {
        let digest = digest.clone();
        self.blocking(metered, move |machine| {
            machine.cache.get(&machine.engine, &digest)
        })
        .await
    }

    /// Does something with a machine where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        metered: bool,
        work: impl FnOnce(&Machine) -> T + Send + 'static,
    ) -> Result<T, Unfit> {
        let host = self.clone();
        let done = tokio::task::spawn_blocking(move || host.machine_for(metered).map(work));
        done.await.map_err(|error| failed(&error.to_string()))?
    }
}

fn failed(problem: &str) -> Unfit {
    CompileError::Failed(problem.to_owned()).into()
}

impl From<CompileError> for Unfit {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Failed(problem) => Self::Unknown(format!("the compiler did not work: {problem}")),
            error => Self::Engine(format!("the component cannot be compiled: {error}")),
        }
    }
}

/// A handle that the compiler writes to.
fn writable(code: tempfile::NamedTempFile) -> std::io::Result<(tempfile::NamedTempFile, File)> {
    let output = code.as_file().try_clone()?;
    Ok((code, output))
}
