//! A server process under measurement, for the programs `load` and `neighbours`.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::Value;

/// The limit for the start of the server and for each request.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A server on a fresh store with full durability. It is killed on drop.
pub struct MeasuredServer {
    child: Child,
    /// The base URL: `http://127.0.0.1:PORT`.
    pub url: String,
}

impl MeasuredServer {
    /// Starts the `heddle` binary with additional arguments of `serve`, and waits until it is ready. The folder of the
    /// store is deleted first. `store` is the URL of another store, which is used with its content.
    pub fn start(
        heddle: &Path,
        plugins: &Path,
        folder: &Path,
        store: Option<&str>,
        arguments: &[String],
    ) -> anyhow::Result<Self> {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder)?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .to_string();
        let child = Command::new(heddle)
            .args(["serve", "--listen", &address, "--store"])
            .arg(store.map_or_else(
                || format!("sqlite:{}", folder.join("heddle.db").display()),
                str::to_owned,
            ))
            .arg("--cache")
            .arg(folder.join("heddle.db.cache"))
            .arg("--plugins")
            .arg(plugins)
            .args(arguments)
            .env("HEDDLE_LOG", "error")
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", heddle.display()))?;
        let server = Self {
            child,
            url: format!("http://{address}"),
        };
        let began = Instant::now();
        while agent().get(format!("{}/readyz", server.url)).call().is_err() {
            ensure!(began.elapsed() < TIMEOUT, "the server did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// A memory figure of the process in MB, by its name in proc(5), such as `VmRSS:`.
    pub fn memory_mb(&self, figure: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(figure));
        let kb = line
            .and_then(|line| line.split_whitespace().nth(1))
            .with_context(|| format!("/proc has no {figure}"))?;
        Ok(kb.parse::<u64>()? / 1024)
    }

    /// Resets the peak of the resident memory (`VmHWM:`) to the present value.
    pub fn reset_peak(&self) -> std::io::Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")
    }

    /// The CPU time that the process has used.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit(')').next().context("a process has a name")?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        // Fields 14 and 15 of proc(5), in ticks; Linux has 100 ticks per second.
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for MeasuredServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP client with a timeout.
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .build()
        .into()
}

/// POSTs JSON and returns the response's JSON.
pub fn post(agent: &ureq::Agent, url: &str, body: &[u8]) -> anyhow::Result<Value> {
    let mut response = agent
        .post(url)
        .header("content-type", "application/json")
        .send(body)?;
    let mut text = String::new();
    response.body_mut().as_reader().read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}
