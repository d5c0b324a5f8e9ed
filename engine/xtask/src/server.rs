//! The demo's server process. It is stopped properly however the demo ends.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::http;
use crate::process::{program, shown};

/// The limit for a start. The first start compiles the plugins.
const START: Duration = Duration::from_secs(120);
/// The interval between checks whether the server is ready or has exited.
const PAUSE: Duration = Duration::from_millis(50);
/// The limit for a stop, after which the server is killed.
const STOP: Duration = Duration::from_secs(30);
/// The number of log lines shown when the server does not start.
const LOG_TAIL: usize = 20;

/// A server process that is stopped on drop.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts the server with its output in a file, and waits until it is ready.
    ///
    /// The server gets its own process group: Ctrl-C reaches only the demo, which sends the server exactly one signal.
    /// A second signal would make the server stop without finishing its work.
    pub(crate) fn start(mut command: Command, address: SocketAddr, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("could not create {}", log.display()))?;
        let errors = file.try_clone().context("could not share the server's log")?;
        command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("could not start `{}`", shown(&command)))?;
        let mut server = Self {
            child,
            log: log.to_path_buf(),
        };
        server.wait_until_ready(address)?;
        Ok(server)
    }

    /// The id of the server's process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&mut self, address: SocketAddr) -> Result<()> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the server exited during its start ({status}); the end of its log:\n{}",
                    self.tail()
                );
            }
            match http::get(address, "/readyz") {
                Ok(_) => return Ok(()),
                Err(error) if begin.elapsed() > START => {
                    bail!(
                        "the server is not ready after {} s ({error:#}); the end of its log:\n{}",
                        START.as_secs(),
                        self.tail()
                    )
                }
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    fn tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }

    /// Waits until the server exits.
    pub(crate) fn wait(&mut self) -> Result<()> {
        self.child.wait().context("could not wait for the server")?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let begin = Instant::now();
        let running = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        if running(&mut self.child) && terminate(self.id()).is_ok() {
            while running(&mut self.child) && begin.elapsed() < STOP {
                thread::sleep(PAUSE);
            }
        }
        // Both fail only if the process has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends SIGTERM to a process. The standard library can only send SIGKILL.
pub(crate) fn terminate(id: u32) -> Result<()> {
    crate::process::quietly(program("bash").args(["-c", "kill -TERM \"$0\"", &id.to_string()])).map(drop)
}
