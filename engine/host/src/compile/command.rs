//! The engine's side of compiling: starts a compiler, sends it a request, and reports how it ended.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{child, compiler::CompileError};
use crate::lock::lock;

/// How many bytes of a compiler's stderr are read.
const SAID_BYTES: u64 = 64 << 10;

/// How Rust's allocator begins its message before it aborts a process.
const ALLOCATION_FAILED: &str = "memory allocation of ";

/// Lets a compiler write a component's code to `output`. Dropping the future kills the compiler.
pub(crate) async fn run(
    program: &Path,
    arguments: &[String],
    request: child::CompileRequest,
    component: Arc<[u8]>,
    output: File,
) -> Result<(), CompileError> {
    let failed = |error: &dyn std::fmt::Display| CompileError::Failed(error.to_string());
    let mut command = Command::new(program);
    command
        .args(arguments)
        // The compiler needs no environment, and the environment may have secrets.
        .env_clear()
        .env("RAYON_NUM_THREADS", request.threads.to_string())
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(Stdio::piped());
    let (memory, time) = (request.memory, Duration::from_millis(request.time_ms));
    let mut request = serde_json::to_vec(&request).map_err(|error| failed(&error))?;
    request.push(b'\n');
    let running = CompilerProcess::start(&mut command)
        .map_err(|error| failed(&format!("{} could not be started: {error}", program.display())))?;
    let child = running.0.clone();
    let mut ended = tokio::task::spawn_blocking(move || finish(&child, &request, &component));
    match tokio::time::timeout(time, &mut ended).await {
        Ok(Ok(Ok((status, stderr)))) => outcome(status, &stderr, time, memory),
        Ok(Ok(Err(error))) => Err(failed(&error)),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => {
            drop(running);
            // The next compiler starts when the memory of this one is free.
            let _ = ended.await;
            Err(CompileError::TooLong(time))
        }
    }
}

/// A compiler's process, killed on drop.
struct CompilerProcess(Arc<Mutex<Child>>);

impl CompilerProcess {
    fn start(command: &mut Command) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(command.spawn()?))))
    }
}

impl Drop for CompilerProcess {
    fn drop(&mut self) {
        // If the process has ended, this does nothing. The waiting thread collects its exit status.
        let _ = lock(&self.0).kill();
    }
}

/// Sends a compiler its request and waits for its end. Returns its exit status and stderr. Blocks.
fn finish(child: &Mutex<Child>, request: &[u8], component: &[u8]) -> io::Result<(ExitStatus, String)> {
    let (input, errors) = {
        let mut child = lock(child);
        (child.stdin.take(), child.stderr.take())
    };
    let (Some(mut input), Some(errors)) = (input, errors) else {
        return Err(io::Error::other("its pipes are closed"));
    };
    // A compiler that ends early does not read everything; its exit status says more than this error.
    let _ = input.write_all(request).and_then(|()| input.write_all(component));
    let mut stderr = Vec::new();
    // Stderr is closed when the compiler ends. No lock is held meanwhile, so the compiler can be killed.
    let mut errors = errors.take(SAID_BYTES);
    errors.read_to_end(&mut stderr)?;
    io::copy(&mut errors.into_inner(), &mut io::sink())?;
    drop(input);
    let status = lock(child).wait()?;
    Ok((status, String::from_utf8_lossy(&stderr).into_owned()))
}

fn outcome(status: ExitStatus, stderr: &str, time: Duration, memory: usize) -> Result<(), CompileError> {
    match status.code() {
        Some(0) => return Ok(()),
        Some(code) if code == i32::from(child::REFUSED) => {
            return Err(CompileError::Refused(stderr.to_owned()));
        }
        Some(code) if code == i32::from(child::OUT_OF_MEMORY) => {
            return Err(CompileError::TooMuchMemory(memory));
        }
        Some(code) if code == i32::from(child::FAILED) => {
            return Err(CompileError::Failed(stderr.to_owned()));
        }
        _ => {}
    }
    if stderr.contains(ALLOCATION_FAILED) {
        return Err(CompileError::TooMuchMemory(memory));
    }
    if is_cpu_limit(status) {
        return Err(CompileError::TooLong(time));
    }
    if is_killed(status) {
        return Err(CompileError::Crashed(
            "the process was killed, as the system does when it has no memory left".to_owned(),
        ));
    }
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty());
    let last = last.map_or_else(String::new, |line| {
        format!(": {}", heddle_json::object::clip(line, 200))
    });
    Err(CompileError::Crashed(format!("{status}{last}")))
}

/// Whether a process was killed for exceeding its processor time.
#[cfg(unix)]
fn is_cpu_limit(status: ExitStatus) -> bool {
    use rustix::process::Signal;
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    signal == Some(Signal::XCPU.as_raw())
}

/// Whether something outside the engine, such as the system, killed the process.
#[cfg(unix)]
fn is_killed(status: ExitStatus) -> bool {
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    signal == Some(rustix::process::Signal::KILL.as_raw())
}

#[cfg(not(unix))]
fn is_cpu_limit(_: ExitStatus) -> bool {
    false
}

#[cfg(not(unix))]
fn is_killed(_: ExitStatus) -> bool {
    false
}
