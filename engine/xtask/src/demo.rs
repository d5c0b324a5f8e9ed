//! `cargo xtask demo`: builds a clean checkout, starts a server with the samples, runs a code review of this
//! repository's own sources while the terminal shows its events, and prints the URLs to look at next.

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

/// The demo's store, log and input. The store is kept between demos.
const FOLDER: &str = "target/demo";
/// The score that the review must reach: the highest, so that it makes every safe improvement.
const THRESHOLD: u32 = 100;
/// The folders that it reviews.
const SOURCES: [&str; 3] = ["engine", "plugins", "tests"];
/// The exit code that a shell expects of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Stop the server after the run
    #[arg(long)]
    once: bool,
    /// The port on 127.0.0.1 to listen on
    #[arg(long, default_value_t = 8000)]
    port: u16,
}

/// Runs the demo.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    ensure_free(address)?;

    heading("Building the engine and the plugins");
    println!("A first build takes about 10 minutes on two cores; later builds take seconds.");
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
    let interrupted = forward_signals(server.id())?;

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
        "the server stopped unexpectedly; its log is {log}"
    );
    println!("\nStopped. The store is kept in {FOLDER}; the next demo uses it again.");
    Ok(ExitCode::SUCCESS)
}

/// Checks before the build that the address is free.
fn ensure_free(address: SocketAddr) -> Result<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
            "port {} is in use, perhaps by another demo: stop the program that listens there, or choose another port, \
             `cargo xtask demo --port {}`",
            address.port(),
            address.port().checked_add(1).unwrap_or(8000),
        ),
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

/// The `heddle` command that was built.
fn heddle() -> Command {
    program(under_root("target/debug/heddle"))
}

/// Stops the server when this process receives SIGINT or SIGTERM. The flag is set then.
fn forward_signals(server: u32) -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&interrupted);
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("could not listen for signals")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if !seen.swap(true, Ordering::SeqCst) {
                // This fails only if the server has already exited.
                let _ = terminate(server);
            }
        }
    });
    Ok(interrupted)
}

/// Creates the sample graphs, runs one on this repository and shows its events. Returns the run's id.
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

/// The graphs of the plugins in Rust. The demo does not build plugins in other languages.
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

/// The initial state of the review: this repository's Rust sources and the score to reach.
fn state() -> Result<Value> {
    let mut files = Vec::new();
    for folder in SOURCES {
        collect_sources(&under_root(folder), &mut files)?;
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

/// Collects the Rust sources below a folder, sorted by path, without build output.
fn collect_sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for path in entries(folder)? {
        if path.is_dir() {
            if !path.ends_with("target") {
                collect_sources(&path, files)?;
            }
        } else if path.extension() == Some(OsStr::new("rs")) {
            files.push(path);
        }
    }
    Ok(())
}

/// The paths in a folder, sorted.
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
