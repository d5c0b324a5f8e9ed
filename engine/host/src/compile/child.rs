//! The compiler's side: a process that compiles one component and ends.
//!
//! It reads an [`CompileRequest`], a line of JSON, and then the component from stdin, and writes machine code to stdout. On
//! stderr is what went wrong; the exit code says what kind of thing that is. It limits itself before it reads the
//! component. Its input stays open as long as the engine waits for it, and the process ends when it is closed.

use std::{
    io::{self, BufRead, Read, Write},
    process::ExitCode,
    thread,
};

use serde::{Deserialize, Serialize};
use wasmtime::Engine;

use super::compiler::{CompileError, CompileLimits};
use crate::{cache, engine, scan};

/// The component is refused; stderr has the reason.
pub(crate) const REFUSED: u8 = 10;
/// An allocation failed.
pub(crate) const OUT_OF_MEMORY: u8 = 11;
/// Nothing is wrong with the component.
pub(crate) const FAILED: u8 = 12;
/// The engine's process has gone away.
const ORPHANED: i32 = 13;

/// How many threads a compiler has at most: each works on one function, and takes memory for it.
const MAX_THREADS: usize = 4;

/// How much machine code one component may have.
const CODE_BYTES: u64 = 1 << 30;

/// What is to be compiled, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CompileRequest {
    /// The configuration that the code is for.
    configuration: String,
    metered: bool,
    component_bytes: usize,
    pub(crate) memory: usize,
    /// The time on a clock, of which nothing is left when the engine kills it.
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

/// Compiles what stdin orders: all that the process does which a [`Compiler`](super::Compiler) names.
pub fn run() -> ExitCode {
    let (code, message) = match run_request() {
        Ok(()) => return ExitCode::SUCCESS,
        Err(CompileError::TooMuchMemory(_)) => (OUT_OF_MEMORY, String::new()),
        Err(CompileError::Refused(reason)) => (REFUSED, reason),
        Err(error) => (FAILED, error.to_string()),
    };
    // Where nobody reads it, nobody waits for it.
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
    let engine = engine::for_compiling(request.metered).map_err(|error| failed(&error))?;
    if cache::configuration(&engine) != request.configuration {
        return Err(failed(&"the compiler is another version than the engine"));
    }
    let output = io::stdout();
    compile(&engine, &component, output.lock())
}

/// Ends the process when nobody waits for it any more.
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

/// Looks through a component, compiles it, and writes the machine code.
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

/// How wasmtime's error reads where a component needs what comes with WASI 0.3; it has no type of its own.
const ASYNC_FEATURE: &str = "component model async feature";

/// Why a component does not compile.
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

/// Limits this process, for good.
#[cfg(unix)]
fn limit(request: &CompileRequest) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // The engine's runs come first, and it is the compiler that goes where the machine has no memory left.
    let _ = rustix::process::nice(5);
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // What is mapped privately and may be written, which is all that an allocator has. Where that is not limited,
    // the address space is.
    let memory = match cfg!(target_os = "linux") {
        true => Resource::Data,
        false => Resource::As,
    };
    let cpu_s = request
        .time_ms
        .div_ceil(1000)
        .saturating_mul(request.threads as u64);
    let set = |resource, most: u64, maximum: u64| {
        // A lower limit that is there already stays.
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
    // At the first of the two the process gets a signal that says so, at the second it is killed.
    set(Resource::Cpu, cpu_s, cpu_s.saturating_add(1))
}

/// Where the system has no such limits, the deadline is all there is.
#[cfg(not(unix))]
fn limit(_: &CompileRequest) -> io::Result<()> {
    Ok(())
}
