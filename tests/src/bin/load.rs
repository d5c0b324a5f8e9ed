//! The load driver. Measures runs over HTTP, from the start of a run to its end as the client sees it, with the workloads
//! W1 (ten nodes in sequence), W2 (one node that loops 100 times, then branches) and W3 (a fork of 100 nodes and its join;
//! for comparison the same 100 in sequence).
//!
//! `--waiting N` measures N runs that wait for a signal or a time instead: their memory and their delay. `--flood N` starts
//! N runs as fast as the server accepts them and checks that all acknowledged runs finish.
//!
//! Starts its own server on a fresh store with full durability. For each workload and number of clients it prints the
//! median and 99th percentile of a run in milliseconds, runs per second, the server's CPU time per run, and its memory.
#![allow(clippy::print_stdout)] // it is a report

use std::{
    collections::HashSet,
    io::Read,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use heddle_tests::measured::{MeasuredServer, agent, post};
use serde_json::{Value, json};

#[derive(Parser)]
#[command(about = "Measures runs over HTTP on its own server")]
struct Arguments {
    /// The heddle binary
    #[arg(long, default_value = "target/release/heddle")]
    heddle: PathBuf,
    /// The folder of the components
    #[arg(long, default_value = "target/plugins")]
    plugins: PathBuf,
    /// The folder of the store, on the disk to measure
    #[arg(long, default_value = "target/load")]
    folder: PathBuf,
    /// Another store, as postgres://USER@HOST/DATABASE
    #[arg(long)]
    store: Option<String>,
    /// The number of runs to measure for each number of clients
    #[arg(long, default_value_t = 2000)]
    runs: usize,
    /// Numbers of clients
    #[arg(long, value_delimiter = ',', default_value = "1,32")]
    clients: Vec<usize>,
    /// Measure this number of waiting runs instead
    #[arg(long)]
    waiting: Option<usize>,
    /// Start this number of runs as fast as possible instead
    #[arg(long)]
    flood: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let server = Load::start(&arguments)?;
    println!("idle: {} MB resident", server.resident_mb()?);
    if let Some(runs) = arguments.waiting {
        return server.wait(runs);
    }
    if let Some(runs) = arguments.flood {
        return server.flood(runs, arguments.clients.iter().copied().max().unwrap_or(1));
    }
    println!(
        "{:<9} {:>7} {:>9} {:>9} {:>9} {:>11}",
        "workload", "clients", "p50 ms", "p99 ms", "runs/s", "CPU ms/run"
    );
    let file = |file: &str| std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"));
    for (workload, graph, scale) in [
        ("W1", file("plugins/bench/w1.json")?, 1),
        ("W2", file("plugins/bench/w2.json")?, 4),
        ("W3", hundred(true), 4),
        ("line 100", hundred(false), 4),
    ] {
        let graph = server.create(&graph)?;
        let state: Value = json!({"filler": "x".repeat(1000)});
        let body = json!({"graph": graph, "state": state}).to_string();
        server.measure(&body, 1, arguments.runs / scale / 10 + 1)?;
        for clients in &arguments.clients {
            let measured = server.measure(&body, *clients, (arguments.runs / scale).max(*clients))?;
            println!(
                "{workload:<9} {clients:>7} {:>9.2} {:>9.2} {:>9.0} {:>11.3}",
                measured.p50_ms, measured.p99_ms, measured.runs_per_s, measured.cpu_ms
            );
        }
    }
    println!("after: {} MB resident", server.resident_mb()?);
    Ok(())
}

/// A hundred nodes between two others: in parallel, or in sequence.
fn hundred(side_by_side: bool) -> String {
    let name = |at: usize| format!("t{at}");
    let node = |key: &str| json!({"uses": "bench/touch", "config": {"key": key}});
    let all: Vec<String> = (0..100).map(name).collect();
    let nodes: serde_json::Map<_, _> = ["fork", "join"]
        .into_iter()
        .chain(all.iter().map(String::as_str))
        .map(|name| (name.to_owned(), node(name)))
        .collect();
    let mut edges = serde_json::Map::new();
    if side_by_side {
        edges.insert("fork".to_owned(), json!(all));
        edges.extend(all.iter().map(|name| (name.clone(), json!("join"))));
    } else {
        edges.insert("fork".to_owned(), json!(name(0)));
        edges.extend((0..100).map(|at| {
            (
                name(at),
                if at < 99 {
                    json!(name(at + 1))
                } else {
                    json!("join")
                },
            )
        }));
    }
    json!({"start": "fork", "nodes": nodes, "edges": edges}).to_string()
}

struct Measured {
    p50_ms: f64,
    p99_ms: f64,
    runs_per_s: f64,
    cpu_ms: f64,
}

/// The server under load.
struct Load {
    server: MeasuredServer,
}

impl Load {
    fn start(arguments: &Arguments) -> anyhow::Result<Self> {
        let server = MeasuredServer::start(
            &arguments.heddle,
            &arguments.plugins,
            &arguments.folder,
            arguments.store.as_deref(),
            &[],
        )?;
        Ok(Self { server })
    }

    fn create(&self, graph: &str) -> anyhow::Result<String> {
        let answer = post(
            &agent(),
            &format!("{}/v1/graphs", self.server.url),
            graph.as_bytes(),
        )?;
        Ok(answer["graph_id"]
            .as_str()
            .context("a graph has an id")?
            .to_owned())
    }

    /// Runs `runs` runs with `clients` concurrent clients.
    fn measure(&self, body: &str, clients: usize, runs: usize) -> anyhow::Result<Measured> {
        let url = format!("{}/v1/runs?wait=30s", self.server.url);
        let (began, cpu) = (Instant::now(), self.server.cpu()?);
        let left = AtomicUsize::new(runs);
        let client = || -> anyhow::Result<Vec<Duration>> {
            let agent = agent();
            let mut times = Vec::new();
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
            {
                let began = Instant::now();
                let run = post(&agent, &url, body.as_bytes())?;
                times.push(began.elapsed());
                if run["status"] != "finished" {
                    bail!("a run did not finish: {run}");
                }
            }
            Ok(times)
        };
        let mut times = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
            let mut all = Vec::with_capacity(runs);
            for client in clients {
                all.extend(client.join().expect("a client does not panic")?);
            }
            anyhow::Ok(all)
        })?;
        let (wall, cpu) = (began.elapsed(), self.server.cpu()? - cpu);
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        let count = times.len() as f64;
        Ok(Measured {
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            runs_per_s: count / wall.as_secs_f64(),
            cpu_ms: cpu.as_secs_f64() * 1e3 / count,
        })
    }

    /// Starts `runs` waiting runs: nine of ten wait for a signal, the tenth for a time.
    fn wait(&self, runs: usize) -> anyhow::Result<()> {
        const SLEEP_S: usize = 5;
        let ask = self.create(r#"{"nodes": {"ask": {"wait": {"signal": "go"}}}}"#)?;
        let nap = self.create(r#"{"nodes": {"nap": {"sleep": {"until": "state.until"}}}}"#)?;
        let state = json!({"filler": "x".repeat(1000)});
        let began = Instant::now();
        let asks = self.start_all(
            &json!({"graph": ask, "state": state}).to_string(),
            runs - runs / 10,
        )?;
        let took = began.elapsed().as_secs_f64();
        println!("{} runs wait for a signal, started in {took:.0} s", asks.len());
        // The sleeping runs are due in the same few seconds, evenly spread.
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_millis() as usize;
        let first = now + (runs / 10 / 1000 + 5) * 1000;
        let mut naps = Vec::new();
        for at in 0..(runs / 10).min(1000) {
            let until = first + at * SLEEP_S * 1000 / (runs / 10).min(1000);
            let state = json!({"filler": "x".repeat(1000), "until": until});
            let body = json!({"graph": nap, "state": state}).to_string();
            naps.extend(self.start_all(&body, (runs / 10).div_ceil(1000))?);
        }
        println!("{} runs sleep; {} MB resident", naps.len(), self.resident_mb()?);
        let agent = agent();
        let mut signalled = Vec::new();
        for run in asks.iter().step_by((asks.len() / 1000).max(1)) {
            let began = Instant::now();
            post(
                &agent,
                &format!("{}/v1/runs/{run}/signal", self.server.url),
                br#"{"name": "go", "payload": 1}"#,
            )?;
            let answer = read(&agent, &format!("{}/v1/runs/{run}", self.server.url))?;
            ensure!(answer["status"] == "finished", "a run did not continue: {answer}");
            signalled.push(began.elapsed().as_secs_f64() * 1e3);
        }
        report("from a signal to the run's end, ms", &mut signalled);
        std::thread::sleep(Duration::from_secs((SLEEP_S + runs / 10 / 1000 + 5) as u64));
        let mut late = Vec::new();
        for run in naps.iter().step_by((naps.len() / 1000).max(1)) {
            let answer = read(&agent, &format!("{}/v1/runs/{run}", self.server.url))?;
            ensure!(answer["status"] == "finished", "a run did not wake: {answer}");
            let until = answer["state"]["until"]
                .as_i64()
                .context("the state has the time")?;
            let finished = answer["finished_at"]
                .as_str()
                .context("an ended run has an end time")?;
            let finished = finished.parse::<jiff::Timestamp>()?.as_millisecond();
            late.push((finished - until) as f64);
        }
        report("from its time to the end of a sleeping run, ms", &mut late);
        println!("after: {} MB resident", self.resident_mb()?);
        Ok(())
    }

    /// Starts `runs` runs with `clients` clients that do not wait for the end, and checks that each run finishes.
    fn flood(&self, runs: usize, clients: usize) -> anyhow::Result<()> {
        let graph = self.create(&std::fs::read_to_string("plugins/bench/w1.json")?)?;
        let body = json!({"graph": graph, "state": {"filler": "x".repeat(1000)}}).to_string();
        let began = Instant::now();
        let started = self.start_by(&body, runs, clients)?;
        let took = began.elapsed().as_secs_f64();
        println!(
            "{} starts acknowledged in {took:.1} s ({:.0}/s); {} MB resident, {} at most",
            started.len(),
            started.len() as f64 / took,
            self.resident_mb()?,
            self.peak_mb()?
        );
        let agent = agent();
        for status in ["queued", "running"] {
            while !list(
                &agent,
                &format!("{}/v1/runs?status={status}&page_size=1", self.server.url),
            )?
            .0
            .is_empty()
            {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        println!(
            "nothing is queued or running after {:.1} s",
            began.elapsed().as_secs_f64()
        );
        let mut lost: HashSet<&str> = started.iter().map(String::as_str).collect();
        let mut page = String::new();
        loop {
            let url = format!("{}/v1/runs?status=finished&page_size=500{page}", self.server.url);
            let (listed, next) = list(&agent, &url)?;
            for run in &listed {
                lost.remove(run.as_str());
            }
            match next {
                Some(token) => page = format!("&page_token={token}"),
                None => break,
            }
        }
        println!(
            "{} of them are finished, {} are not; {} MB resident, {} at most",
            started.len() - lost.len(),
            lost.len(),
            self.resident_mb()?,
            self.peak_mb()?
        );
        ensure!(lost.is_empty(), "acknowledged runs were lost");
        Ok(())
    }

    fn start_all(&self, body: &str, runs: usize) -> anyhow::Result<Vec<String>> {
        self.start_by(body, runs, 16)
    }

    fn start_by(&self, body: &str, runs: usize, clients: usize) -> anyhow::Result<Vec<String>> {
        let url = format!("{}/v1/runs", self.server.url);
        let left = AtomicUsize::new(runs);
        let client = || -> anyhow::Result<Vec<String>> {
            let agent = agent();
            let mut started = Vec::new();
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
            {
                let run = post(&agent, &url, body.as_bytes())?;
                started.push(run["run_id"].as_str().context("a run has an id")?.to_owned());
            }
            Ok(started)
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..runs.min(clients)).map(|_| scope.spawn(client)).collect();
            let mut all = Vec::with_capacity(runs);
            for client in clients {
                all.extend(client.join().expect("a client does not panic")?);
            }
            Ok(all)
        })
    }

    fn resident_mb(&self) -> anyhow::Result<u64> {
        self.server.memory_mb("VmRSS:")
    }

    fn peak_mb(&self) -> anyhow::Result<u64> {
        self.server.memory_mb("VmHWM:")
    }
}

fn report(what: &str, times: &mut [f64]) {
    times.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{what}: p50 {:.1}, p99 {:.1}, worst {:.1} of {}",
        at(0.5),
        at(0.99),
        at(1.0),
        times.len()
    );
}

fn read(agent: &ureq::Agent, url: &str) -> anyhow::Result<Value> {
    let mut text = String::new();
    agent
        .get(url)
        .call()?
        .body_mut()
        .as_reader()
        .read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// A page of the list of runs, and the token of the next page.
fn list(agent: &ureq::Agent, url: &str) -> anyhow::Result<(Vec<String>, Option<String>)> {
    let page = read(agent, url)?;
    let runs = page["runs"].as_array().context("a list of runs")?.iter();
    let ids = runs.filter_map(|run| run["run_id"].as_str()).map(str::to_owned);
    Ok((ids.collect(), page["next_page_token"].as_str().map(str::to_owned)))
}
