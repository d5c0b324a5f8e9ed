//! `cargo xtask demo`: from a clean checkout to a server with the samples, a run on this repository's own sources that
//! one can watch in the terminal, and the places to look at.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::plugins::Rust;
use crate::process::{heading, output, program, root, run as run_command, under_root};
use crate::server::{Server, terminate};
use crate::{http, plugins};

/// Where the demo keeps its store, its log and its input. The store stays from one demo to the next.
const FOLDER: &str = "target/demo";
/// The score that the review is to reach: the highest, so that it improves all that it safely can.
const THRESHOLD: u32 = 100;
/// Where the sources lie that it reviews.
const SOURCES: [&str; 3] = ["engine", "plugins", "tests"];
/// What a shell expects of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Stop the server after the run instead of serving on
    #[arg(long)]
    once: bool,
    /// The port to serve on, at 127.0.0.1
    #[arg(long, default_value_t = 8000)]
    port: u16,
}

/// Runs the demo.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    ensure_free(address)?;

    heading("Building the engine and the plugins");
    println!("From nothing this takes about 10 minutes on two cores; later builds take seconds.");
    plugins::build_with_engine(Rust::Demo, plugins::heddle())?.report();

    heading("Starting the server");
    fs::create_dir_all(under_root(FOLDER)).with_context(|| format!("could not create {FOLDER}"))?;
    let log = format!("{FOLDER}/server.log");
    let mut serve = heddle();
    serve.args(["serve", "--listen", &address.to_string()]);
    serve.args([
        "--store",
        &format!("sqlite:{FOLDER}/heddle.db"),
        "--plugins",
        "target/plugins",
    ]);
    let begin = Instant::now();
    let mut server = Server::start(serve, address, &under_root(&log))?;
    println!(
        "http://{address} is ready after {:.1} s; its log is {log}",
        begin.elapsed().as_secs_f64()
    );
    let interrupted = pass_signals_on(server.id())?;

    let reviewed = review(address);
    if interrupted.load(Ordering::SeqCst) {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let run = reviewed.with_context(|| format!("the demo's run failed; the server's log is {log}"))?;
    show_where_to_look(address, &run);
    if arguments.once {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nServing until Ctrl-C.");
    server.wait()?;
    ensure!(
        interrupted.load(Ordering::SeqCst),
        "the server ended of itself; its log is {log}"
    );
    println!("\nStopped. The store is kept in {FOLDER}; the next demo goes on with it.");
    Ok(ExitCode::SUCCESS)
}

/// Finds out before anything is built whether the address can be had.
fn ensure_free(address: SocketAddr) -> Result<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
            "port {} is taken, perhaps by another demo: stop what listens there, or choose another port, \
             `cargo xtask demo --port {}`",
            address.port(),
            address.port().checked_add(1).unwrap_or(8000),
        ),
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

/// The command that was built.
fn heddle() -> Command {
    program(under_root("target/debug/heddle"))
}

/// Has the server stop when this process is told to. The flag says that it was.
fn pass_signals_on(server: u32) -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&interrupted);
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("could not listen for signals")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if !seen.swap(true, Ordering::SeqCst) {
                // It fails only when the server is gone already.
                let _ = terminate(server);
            }
        }
    });
    Ok(interrupted)
}

/// Registers the sample graphs, runs one on this repository and follows it. Gives the run's id.
fn review(address: SocketAddr) -> Result<String> {
    let server = format!("http://{address}");
    heading("Creating the sample graphs");
    for graph in sample_graphs()? {
        let id = output(
            heddle()
                .args(["graph", "create", "--server", &server])
                .arg(&graph),
        )?;
        println!(
            "{}  {}",
            id.trim(),
            graph.strip_prefix(root()).unwrap_or(&graph).display()
        );
    }

    heading("Reviewing this repository's own sources");
    let state = state()?;
    let files = state["files"].as_array().map_or(0, Vec::len);
    let text = state.to_string();
    println!(
        "{files} files, {} kB, and a score of {THRESHOLD} to reach\n",
        text.len() / 1000
    );
    let file = format!("{FOLDER}/state.json");
    fs::write(under_root(&file), text).with_context(|| format!("could not write {file}"))?;

    let begin = Instant::now();
    let start = [
        "run",
        "code-review",
        "--state",
        &format!("@{file}"),
        "--server",
        &server,
    ];
    let run = output(heddle().args(start))?.trim().to_string();
    run_command(heddle().args(["watch", &run, "--server", &server]))?;

    let ended = http::get(address, &format!("/v1/runs/{run}"))?;
    let report = ended["state"]["report"]
        .as_str()
        .context("the review wrote no report")?;
    heading("The review");
    println!("{}", report.trim_end());
    heading(&format!(
        "{} steps in {:.1} s",
        ended["steps"],
        begin.elapsed().as_secs_f64()
    ));
    Ok(run)
}

/// The graphs that come with the plugins in Rust: those in other languages are not built for the demo.
fn sample_graphs() -> Result<Vec<PathBuf>> {
    let mut graphs = Vec::new();
    for plugin in entries(&under_root("plugins"))? {
        let graph = plugin.join("graph.json");
        let built =
            plugin.file_name() != Some(OsStr::new(plugins::BENCH)) && plugin.join("Cargo.toml").is_file();
        if built && graph.is_file() {
            graphs.push(graph);
        }
    }
    Ok(graphs)
}

/// What the review begins with: this repository's Rust sources and the score to reach.
fn state() -> Result<Value> {
    let mut files = Vec::new();
    for folder in SOURCES {
        collect(&under_root(folder), &mut files)?;
    }
    let files = files
        .iter()
        .map(|path| {
            let source =
                fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
            let shown = path.strip_prefix(root()).unwrap_or(path);
            Ok(json!({"path": shown, "source": source}))
        })
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        !files.is_empty(),
        "there is no Rust source under {}",
        SOURCES.join(", ")
    );
    Ok(json!({"files": files, "threshold": THRESHOLD}))
}

/// The Rust sources of a folder and of those in it, in the order of their paths, without what a build left.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for path in entries(folder)? {
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, files)?;
            }
        } else if path.extension() == Some(OsStr::new("rs")) {
            files.push(path);
        }
    }
    Ok(())
}

/// What is in a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).with_context(|| format!("could not read {}", folder.display()))?;
    let mut paths = read.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn show_where_to_look(address: SocketAddr, run: &str) {
    let server = format!("http://{address}");
    println!(
        "
  this run        {server}/?run={run}
  its state       curl {server}/graph/state/{run}
  its events      curl -N {server}/v1/runs/{run}/events -H 'Accept: text/event-stream'
  the interface   {server}/docs

  a graph of your own:
    curl {server}/graph/create -H 'Content-Type: application/json' \\
      -d '{{\"nodes\": {{\"extract\": {{}}, \"analyze\": {{}}}}, \"edges\": {{\"extract\": \"analyze\", \"analyze\": \"end\"}}}}'
    curl {server}/graph/run -H 'Content-Type: application/json' \\
      -d '{{\"graph_id\": \"ID\", \"initial_state\": {{\"input\": \"some data\"}}}}'"
    );
}
