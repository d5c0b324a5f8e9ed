//! The compiler: a process that compiles one component and ends.
//!
//! It reads a [`CompileRequest`] (a line of JSON) and the component from stdin, and writes machine code to stdout.
//! Errors go to stderr; the exit code tells their kind. The process limits its own resources before it reads the
//! component. The engine keeps the compiler's stdin open while it waits; the process ends when its stdin is closed.

use std::{
    io::{self, BufRead, Read, Write},
    process::ExitCode,
    thread,
};

use serde::{Deserialize, Serialize};
use wasmtime::Engine;

use super::compiler::{CompileError, CompileLimits};
use crate::{cache, engine_config, scan};

/// The exit code if the component is refused; stderr has the reason.
pub(crate) const REFUSED: u8 = 10;
/// The exit code if an allocation failed.
pub(crate) const OUT_OF_MEMORY: u8 = 11;
/// The exit code if the compiler failed for a reason other than the component.
pub(crate) const FAILED: u8 = 12;
/// The exit code if the engine's process has ended.
const ORPHANED: i32 = 13;

/// The most threads of a compiler: each compiles one function at a time, and needs memory for it.
const MAX_THREADS: usize = 4;

/// The most machine code of one component, in bytes.
const CODE_BYTES: u64 = 1 << 30;

/// What to compile, and with which limits.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CompileRequest {
    /// The configuration of the engine that the code is for.
    configuration: String,
    metered: bool,
    component_bytes: usize,
    pub(crate) memory: usize,
    /// Wall-clock time until the engine kills the process.
    pub(crate) time_ms: u64,
    pub(crate) threads: usize,
}

impl CompileRequest {
    pub(crate) fn new(
        engine: &Engine,
        metered: bool,
        component_bytes: usize,
        limits: &CompileLimits,
    ) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self {
            configuration: cache::configuration(engine),
            metered,
            component_bytes,
            memory: limits.memory,
            time_ms: limits.time.as_millis().try_into().unwrap_or(u64::MAX),
            threads: threads.min(MAX_THREADS),
        }
    }
}

/// Handles one request from stdin: the whole program of a [`Compiler`](super::Compiler).
pub fn run() -> ExitCode {
    let (code, message) = match run_request() {
        Ok(()) => return ExitCode::SUCCESS,
        Err(CompileError::TooMuchMemory(_)) => (OUT_OF_MEMORY, String::new()),
        Err(CompileError::Refused(reason)) => (REFUSED, reason),
        Err(error) => (FAILED, error.to_string()),
    };
    // If stderr is closed, no process waits for the message.
    let _ = io::stderr().write_all(message.as_bytes());
    ExitCode::from(code)
}

fn run_request() -> Result<(), CompileError> {
    let failed = |error: &dyn std::fmt::Display| CompileError::Failed(error.to_string());
    let mut request = String::new();
    let mut input = io::stdin().lock();
    input.read_line(&mut request).map_err(|error| failed(&error))?;
    let request: CompileRequest = serde_json::from_str(&request).map_err(|error| failed(&error))?;
    limit(&request).map_err(|error| failed(&error))?;
    let mut component = vec![0; request.component_bytes];
    input.read_exact(&mut component).map_err(|error| failed(&error))?;
    drop(input);
    thread::Builder::new()
        .spawn(end_with_input)
        .map_err(|error| failed(&error))?;
    let engine = engine_config::for_compiling(request.metered).map_err(|error| failed(&error))?;
    if cache::configuration(&engine) != request.configuration {
        return Err(failed(&"the compiler and the engine have different versions"));
    }
    let output = io::stdout();
    compile(&engine, &component, output.lock())
}

/// Ends the process when stdin is closed.
fn end_with_input() {
    let mut byte = [0];
    loop {
        match io::stdin().read(&mut byte) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => std::process::exit(ORPHANED),
        }
    }
}

/// Scans a component, compiles it, and writes the machine code.
pub(crate) fn compile(engine: &Engine, component: &[u8], mut output: impl Write) -> Result<(), CompileError> {
    scan::check(component).map_err(|unfit| CompileError::Refused(unfit.to_string()))?;
    let code = engine
        .precompile_component(component)
        .map_err(|error| match is_out_of_memory(&error) {
            true => CompileError::TooMuchMemory(0),
            false => CompileError::Refused(not_compiled(&error)),
        })?;
    let written = output.write_all(&code).and_then(|()| output.flush());
    written.map_err(|error| CompileError::Failed(format!("its code could not be written: {error}")))
}

/// The text of wasmtime's error if a component needs features of WASI 0.3; the error has no specific type.
const ASYNC_FEATURE: &str = "component model async feature";

/// A message for a component that does not compile.
fn not_compiled(error: &wasmtime::Error) -> String {
    let error = format!("{error:#}");
    let advice = match error.contains(ASYNC_FEATURE) {
        true => ". Asynchronous functions, streams and futures are of WASI 0.3: build it for WASI 0.2",
        false => "",
    };
    format!("{error}{advice}")
}

fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    let of_system = |cause: &(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::OutOfMemory)
    };
    error.chain().any(of_system)
}

/// Limits the resources of this process permanently.
#[cfg(unix)]
fn limit(request: &CompileRequest) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // The engine has precedence: the compiler gets less processor time, and the system kills it first if memory runs
    // out.
    let _ = rustix::process::nice(5);
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // Private writable mappings, which include everything that an allocator uses. Other systems limit the address
    // space instead.
    let memory = match cfg!(target_os = "linux") {
        true => Resource::Data,
        false => Resource::As,
    };
    let cpu_s = request
        .time_ms
        .div_ceil(1000)
        .saturating_mul(request.threads as u64);
    let set = |resource, most: u64, maximum: u64| {
        // A lower existing limit stays.
        let there = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit {
            current: Some(most.min(there)),
            maximum: Some(maximum.min(there)),
        };
        io::Result::Ok(setrlimit(resource, limit)?)
    };
    let limits = [
        (memory, request.memory as u64),
        (Resource::Fsize, CODE_BYTES),
        (Resource::Core, 0),
    ];
    for (resource, most) in limits {
        set(resource, most, most)?;
    }
    // At the first limit the process gets a signal, at the second one it is killed.
    set(Resource::Cpu, cpu_s, cpu_s.saturating_add(1))
}

/// Without such limits, only the engine's deadline ends a compilation.
#[cfg(not(unix))]
fn limit(_: &CompileRequest) -> io::Result<()> {
    Ok(())
}
