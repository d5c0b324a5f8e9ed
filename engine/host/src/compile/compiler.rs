//! Where components are compiled, the limits of one compilation, and why it fails.

use std::{path::PathBuf, time::Duration};

use crate::units::{Bytes, Span};

/// Where components are compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compiler {
    /// In this process, without limits of time and memory: for tests, and for components that are trusted.
    #[default]
    InProcess,
    /// In a process of its own: this program with these arguments, which calls [`compiler`](crate::compiler).
    Command {
        /// The program's file.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

impl Compiler {
    /// The program that is running, with an argument that has it call [`compiler`](crate::compiler).
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
pub(crate) struct CompileLimits {
    pub(crate) time: Duration,
    pub(crate) memory: usize,
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
