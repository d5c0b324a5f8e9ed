//! Where components are compiled, the limits of one compilation, and why it fails.

use std::{path::PathBuf, time::Duration};

use crate::units::{Bytes, Span};

/// Where components are compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compiler {
    /// In this process, without limits of time and memory: for tests and trusted components.
    #[default]
    InProcess,
    /// In a separate process: a program that calls [`compiler`](crate::compiler).
    Command {
        /// The program's file.
        program: PathBuf,
        /// The program's arguments, without its name.
        arguments: Vec<String>,
    },
}

impl Compiler {
    /// The running program, with an argument that makes it call [`compiler`](crate::compiler).
    ///
    /// # Errors
    /// If the program's file is unknown.
    pub fn of_this_program(argument: &str) -> std::io::Result<Self> {
        // This link stays valid when the file is replaced, as in an upgrade.
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

/// The limits of one compilation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompileLimits {
    pub(crate) time: Duration,
    pub(crate) memory: usize,
}

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum CompileError {
    /// The component is not valid, or exceeds a limit.
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
    /// The component crashes the compiler, for example with types that are nested deeper than the stack allows.
    #[error("the compiler crashed on it ({0})")]
    Crashed(String),
    /// The compiler failed for a reason other than the component.
    #[error("{0}")]
    Failed(String),
}
