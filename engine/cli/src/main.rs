//! The `heddle` command: `serve` runs the engine; the others talk to a running one over HTTP.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 well, 1 failed (a run that
//! failed or was cancelled included), 2 wrong usage.
#![allow(clippy::print_stdout)] // a command's stdout is its interface

mod archive;
mod backtest;
mod check;
mod client;
mod credentials;
mod definition;
mod draw;
mod events;
mod help;
mod history;
mod inspect;
mod lock;
mod new;
mod oci;
mod paint;
mod plugins;
mod runs;
mod schedule;
mod serve;
mod shape;
mod steer;
mod store;
mod watch;
mod wrap;
mod yaml;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "heddle",
    version,
    about = "A workflow engine whose every step runs in a WebAssembly sandbox",
    after_help = "Begin with `heddle serve`, then open http://127.0.0.1:8000/ and http://127.0.0.1:8000/docs"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the engine and its HTTP server until Ctrl-C or SIGTERM
    Serve(serve::Serve),
    /// Register plugins from files and registries, look at them, and push them
    #[command(subcommand)]
    Plugin(plugins::Plugin),
    /// Check, create and draw graphs, or list them
    #[command(subcommand)]
    Graph(Graph),
    /// Create schedules, which start runs when their time comes, or list and change them
    #[command(subcommand)]
    Schedule(schedule::Schedule),
    /// Start a run of a graph and print its id
    Run(Run),
    /// List runs, newest first: by graph, status, origin, time and error
    Runs(runs::Runs),
    /// Print a run's events from the beginning, then live, until it is over
    Watch(Watch),
    /// Send a signal to a run, so that a wait for it goes on
    Signal(steer::Signal),
    /// Have a run stand still: calls under way may finish, and no step begins
    Pause(steer::Pause),
    /// Have a run that is paused go on
    Resume(steer::Resume),
    /// Have a run that failed go on from where it failed
    Retry(steer::Retry),
    /// Cancel a run: what it does is given up, and what can be undone is undone
    Cancel(steer::Cancel),
    /// Have a run keep to the newest versions of its plugins, or to another version of its graph
    Upgrade(steer::Upgrade),
    /// Start a run that begins as another one was right after a step, and print its id
    Fork(steer::Fork),
    /// Print a run, or what it was after a step
    Show(history::Show),
    /// Print a run's steps
    Steps(history::Steps),
    /// Print what is other in a run's state between two steps
    Diff(history::Diff),
    /// Write a run as one file
    Export(history::Export),
    /// Keep a run that was exported, and print its id
    Import(history::Import),
    /// Make the calls of recorded steps again with a new version of a plugin, and print what differs
    Backtest(backtest::Arguments),
    /// Check, copy or migrate the store that a server keeps everything in
    #[command(subcommand)]
    Store(store::Store),
}

#[derive(Subcommand)]
enum Graph {
    /// Check a definition and print every error and warning with its place; nothing is kept
    Check {
        /// The definition: a JSON or YAML file, or `-` for stdin
        file: PathBuf,
        /// Ask no server: functions and graphs that it names are taken to be there
        #[arg(long)]
        offline: bool,
        /// Print what was found as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Draw a graph: a file, for which no server is needed, or one that the server keeps
    Draw {
        /// A JSON or YAML file, `-` for stdin, or the name or id of a graph
        graph: String,
        /// What to draw [default: what the ending of OUT says, else svg]
        #[arg(long, value_enum)]
        format: Option<draw::Format>,
        /// Where to write it [default: stdout]
        #[arg(long, short)]
        out: Option<PathBuf>,
        #[command(flatten)]
        server: Server,
    },
    /// Create a graph from a JSON or YAML file, or from stdin with `-`, and print its id
    Create {
        /// The definition
        file: PathBuf,
        #[command(flatten)]
        server: Server,
    },
    /// List the graphs, newest first
    List {
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Args)]
struct Run {
    /// The graph: its id or its name
    graph: String,
    /// The state to begin with: JSON, or @FILE, or @- for stdin
    #[arg(long, default_value = "{}")]
    state: String,
    /// Which of the queued runs is taken up first, the one with the highest: -100 to 100
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// A key of your own: sent again with it, the request answers the same run
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Print the run's events as they come, then its final state
    #[arg(long, short)]
    follow: bool,
    /// With --follow: print the events as JSON lines
    #[arg(long, requires = "follow")]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
struct Watch {
    /// The run's id
    run: String,
    /// Begin after the event with this number
    #[arg(long, default_value_t = 0)]
    after: u64,
    /// Print the events as JSON lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
struct Server {
    /// Where the server is
    #[arg(
        long = "server",
        env = "HEDDLE_SERVER",
        default_value = "http://127.0.0.1:8000"
    )]
    url: String,
}

fn main() -> ExitCode {
    let mut matches = help::in_groups(Arguments::command()).get_matches();
    let arguments = Arguments::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit());
    let done = match arguments.command {
        Command::Serve(serve) => serve::run(serve).map(|()| ExitCode::SUCCESS),
        Command::Plugin(plugin) => plugin.run(),
        Command::Graph(Graph::Check {
            file,
            offline,
            json,
            server,
        }) => check::run(&server.url, &file, offline, json),
        Command::Graph(Graph::Draw {
            graph,
            format,
            out,
            server,
        }) => draw::run(&server.url, &graph, format, out),
        Command::Graph(Graph::Create { file, server }) => client::create_graph(&server.url, &file),
        Command::Graph(Graph::List { server }) => client::list_graphs(&server.url),
        Command::Schedule(schedule) => schedule.run(),
        Command::Run(run) => client::run(&run),
        Command::Runs(runs) => runs.run(),
        Command::Watch(watch) => client::watch(&watch.server.url, &watch.run, watch.after, watch.json),
        Command::Signal(signal) => signal.run(),
        Command::Pause(pause) => pause.run(),
        Command::Resume(resume) => resume.run(),
        Command::Retry(retry) => retry.run(),
        Command::Cancel(cancel) => cancel.run(),
        Command::Upgrade(upgrade) => upgrade.run(),
        Command::Fork(fork) => fork.run(),
        Command::Show(show) => show.run(),
        Command::Steps(steps) => steps.run(),
        Command::Diff(diff) => diff.run(),
        Command::Export(export) => export.run(),
        Command::Import(import) => import.run(),
        Command::Backtest(backtest) => backtest.run(),
        Command::Store(command) => store::run(command),
    };
    done.unwrap_or_else(|error| {
        eprintln!(
            "{}: {error:#}",
            paint::Paint::for_stderr().in_colour("1;31", "error")
        );
        ExitCode::FAILURE
    })
}
