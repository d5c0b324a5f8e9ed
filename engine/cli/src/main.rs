//! The `heddle` command: `serve` runs the engine; the others talk to a running one over HTTP.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 success, 1 failure or refusal (a run that failed or
//! was cancelled included), 2 wrong usage, 130 interrupted.

mod archive;
mod artifact;
mod backtest;
mod cache_key;
mod check;
mod client;
mod credentials;
mod definition;
mod draw;
mod events;
mod help;
mod history;
mod inspect;
mod interrupt;
mod lock;
mod log;
mod new;
mod number;
mod oci;
mod output;
mod paint;
mod plugins;
mod private;
mod refusal;
mod runs;
mod schedule;
mod serve;
mod server;
mod shape;
mod shown;
mod sign_in;
mod sse;
mod steer;
mod store;
mod watch;
mod wrap;
mod yaml;

use std::{path::PathBuf, process::ExitCode};

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};

use crate::{
    number::{LARGEST, whole},
    paint::Paint,
    refusal::Refusal,
    server::Server,
};

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
    /// Compile a component for a server, which starts this command: it takes its order on stdin
    #[command(name = COMPILER, hide = true)]
    Compiler,
}

/// The command that a server starts to compile a component.
const COMPILER: &str = "compile-component";

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
    /// Delete a graph that no run, schedule or other graph uses
    Delete {
        /// Its id
        graph: String,
        #[command(flatten)]
        server: Server,
    },
    /// Create a graph from a JSON or YAML file, or from stdin with `-`, and print its id
    Create {
        /// The definition
        file: PathBuf,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// List the graphs, newest first
    List {
        /// Print the graphs as JSON lines
        #[arg(long)]
        json: bool,
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
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true,
        value_parser = whole::<i32>(-100..=100))]
    priority: i32,
    /// A key of your own: sent again with it, the request answers the same run
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Print the run's events as they come, then its final state
    #[arg(long, short)]
    follow: bool,
    /// Print the server's answer as JSON; with --follow, the events as JSON lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
struct Watch {
    /// The run's id
    run: String,
    /// Begin after the event with this number
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = whole::<u64>(0..=LARGEST))]
    after: u64,
    /// Print the events as JSON lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// That a command was given something that it cannot be run with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

impl Usage {
    /// The error that says so.
    fn error(problem: impl Into<String>) -> anyhow::Error {
        Self(problem.into()).into()
    }
}

/// The exit code of wrong usage.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    if !matches!(arguments.command, Command::Serve(_)) {
        // Without this, an interrupt ends the process too, only less clearly.
        let _ = interrupt::exit_on_interrupt();
    }
    run(arguments.command).unwrap_or_else(|error| {
        if output::is_closed(&error) {
            return ExitCode::SUCCESS;
        }
        output::error(output::with_safe_arguments(&format!("{error:#}")));
        let is_refused = error.downcast_ref::<Refusal>();
        match error.is::<Usage>() || is_refused.is_some_and(Refusal::is_of_arguments) {
            true => WRONG_USAGE.into(),
            false => ExitCode::FAILURE,
        }
    })
}

/// Reads the arguments; else the exit code, once it was said why.
fn parse() -> Result<Arguments, ExitCode> {
    let command = help::in_groups(Server::augment_args(Arguments::command()));
    let read = command.try_get_matches().and_then(|mut matches| {
        refuse_server(&matches)?;
        Arguments::from_arg_matches_mut(&mut matches)
    });
    read.map_err(|error| {
        if !error.use_stderr() {
            // Help and version. Where nobody reads them, nothing is lost.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        // What clap says may repeat an argument, and so a password in it.
        let said = error.render().ansi().to_string();
        let said = output::with_safe_arguments(said.trim_end());
        output::message(match Paint::for_stderr().is_on() {
            true => said,
            // The arguments have none any more, so these are clap's own.
            false => output::without_colours(&said),
        });
        WRONG_USAGE.into()
    })
}

/// Refuses options that say which server to talk to where a command talks to none.
fn refuse_server(matches: &ArgMatches) -> Result<(), clap::Error> {
    let (mut path, mut at) = (Vec::new(), matches);
    while let Some((name, below)) = at.subcommand() {
        path.push(name);
        at = below;
    }
    if !help::is_offline(&path) {
        return Ok(());
    }
    for (id, flag) in server::OPTIONS {
        if at.try_contains_id(id).is_ok() && at.value_source(id) == Some(ValueSource::CommandLine) {
            let problem = format!("`heddle {}` talks to no server: leave {flag} out", path.join(" "));
            return Err(Arguments::command().error(clap::error::ErrorKind::ArgumentConflict, problem));
        }
    }
    Ok(())
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(serve) => serve::run(serve).map(|()| ExitCode::SUCCESS),
        Command::Plugin(plugin) => plugin.run(),
        Command::Graph(Graph::Check {
            file,
            offline,
            json,
            server,
        }) => check::run(&server, &file, offline, json),
        Command::Graph(Graph::Draw {
            graph,
            format,
            out,
            server,
        }) => draw::run(&server, &graph, format, out),
        Command::Graph(Graph::Create { file, json, server }) => client::create_graph(&server, &file, json),
        Command::Graph(Graph::Delete { graph, server }) => client::delete_graph(&server, &graph),
        Command::Graph(Graph::List { json, server }) => client::list_graphs(&server, json),
        Command::Schedule(schedule) => schedule.run(),
        Command::Run(run) => client::run(&run),
        Command::Runs(runs) => runs.run(),
        Command::Watch(watch) => client::watch(&watch.server, &watch.run, watch.after, watch.json),
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
        Command::Compiler => Ok(heddle_host::compiler()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_refused_in_the_same_words() {
        for (arguments, refused) in [
            (
                "runs --limit abc",
                "expected a whole number from 1 to 1000000000, got `abc`",
            ),
            (
                "runs --limit 0",
                "expected a whole number from 1 to 1000000000, got `0`",
            ),
            (
                "run g --priority 101",
                "expected a whole number from -100 to 100, got `101`",
            ),
            (
                "run g --priority -3000000000",
                "expected a whole number from -100 to 100",
            ),
            (
                "schedule create n g --every 1h --priority x",
                "expected a whole number from -100 to 100",
            ),
            ("fork r --step -1", "expected a whole number of 0 or more"),
            ("show r --step 1.5", "expected a whole number of 0 or more"),
            ("diff r -1 2", "expected a whole number of 0 or more"),
            ("diff r 1 x", "expected a whole number of 0 or more"),
            ("signal r go --wait -5", "expected a whole number of 0 or more"),
            (
                "watch r --after 99999999999999999999",
                "and at most 9223372036854775807",
            ),
            (
                "backtest p.wasm --last 0",
                "expected a whole number from 1 to 1000000",
            ),
            ("serve --max-runs 0", "expected a whole number from 1 to 1000000"),
            (
                "serve --max-queued -1",
                "expected a whole number from 0 to 1000000000",
            ),
            (
                "serve --call-timeout 1s",
                "expected a whole number from 1 to 86400",
            ),
            (
                "serve --call-memory 8192",
                "expected a whole number from 1 to 4096",
            ),
        ] {
            let words = arguments.split(' ');
            let said = Arguments::try_parse_from(["heddle"].into_iter().chain(words));
            let said = said.err().expect("it is refused").to_string();
            assert!(said.contains(refused), "{arguments}: {said}");
        }
    }
}
