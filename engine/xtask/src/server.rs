//! The demo's server: a child that is ended in good order, however the demo ends.

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

/// How long a start may take: the plugins are compiled in it, the first time.
const START: Duration = Duration::from_secs(120);
/// How often it is asked whether the server is ready, and whether it ended.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the server may take to stop, before it is killed.
const STOP: Duration = Duration::from_secs(30);
/// How much of its log is shown when it does not start.
const LOG_TAIL: usize = 20;

/// A server that runs until this is dropped.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it with its output in a file, and waits until it is ready.
    ///
    /// It gets a process group of its own. So the terminal's Ctrl-C reaches the demo alone, which then sends the
    /// server one signal, and a server that is asked to stop twice does not take it for impatience.
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

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&mut self, address: SocketAddr) -> Result<()> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the server ended at its start ({status}); its log says:\n{}",
                    self.tail()
                );
            }
            match http::get(address, "/readyz") {
                Ok(_) => return Ok(()),
                Err(error) if begin.elapsed() > START => {
                    bail!(
                        "the server is not ready after {} s ({error:#}); its log says:\n{}",
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

    /// Waits until it ends of itself, or because a signal was passed on to it.
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
        // Both fail only where there is nothing left to do: the child is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks a process to stop. The standard library can only kill.
pub(crate) fn terminate(id: u32) -> Result<()> {
    crate::process::quietly(program("bash").args(["-c", "kill -TERM \"$0\"", &id.to_string()])).map(drop)
}
