//! The `heddle` command. `heddle serve` runs the engine; almost every other command talks to a running engine over HTTP.
//!
//! Data goes to stdout, messages go to stderr. Exit codes: 0 success; 1 failure or refusal (also if the run failed or was
//! cancelled); 2 wrong usage; 130 interrupted.
//!
//! # Where a command is
//!
//! | command | file |
//! |---|---|
//! | `serve` | `serve.rs`; its parts (plugins folder, export folder, cache key, log) are in `serve/` |
//! | `run`, `watch` | `run.rs`; `event_printer.rs` prints the events |
//! | `runs` | `runs.rs` |
//! | `signal`, `pause`, `resume`, `retry`, `cancel`, `upgrade`, `fork` | `control.rs` |
//! | `show`, `steps`, `diff`, `export`, `import` | `history.rs` |
//! | `graph …` | `graphs.rs` and `graphs/`; `graphs/definition.rs` reads a JSON or YAML file |
//! | `plugin …` | `plugins.rs` and `plugins/`; `oci.rs` and `oci/` talk to registries |
//! | `schedule …` | `schedule.rs` |
//! | `backtest` | `backtest.rs` |
//! | `store …` | `store.rs` |
//!
//! # What commands share
//!
//! - `connection.rs`: the options of a server (`--server`, `--token`, …) and the connection.
//! - `client.rs`: HTTP requests. `answer.rs` reads their JSON. `problem.rs` turns an error response into a message that
//!   names commands and flags instead of routes. `sse.rs` reads event streams.
//! - `output.rs`: everything that is printed. It escapes control characters and masks passwords.
//! - `help.rs`: the groups of `heddle --help`. `number.rs`: numeric arguments.
//!
//! This crate decides nothing about runs. `serve` wires the crates host, store, runtime and server together; the other
//! commands send a request and print the answer.

mod answer;
mod backtest;
mod client;
mod colours;
mod connection;
mod control;
mod event_printer;
mod graphs;
mod help;
mod history;
mod interrupt;
mod json_text;
mod number;
mod oci;
mod output;
mod plugins;
mod private_file;
mod problem;
mod run;
mod runs;
mod schedule;
mod serve;
mod sse;
mod store;

use std::process::ExitCode;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};

use crate::{colours::Colours, connection::Server, problem::Problem};

#[derive(Parser)]
#[command(
    name = "heddle",
    version,
    about = "A workflow engine that runs every step in a WebAssembly sandbox",
    after_help = "Start with `heddle serve`, then open http://127.0.0.1:8000/ and http://127.0.0.1:8000/docs"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the engine and its HTTP server until Ctrl-C or SIGTERM
    Serve(serve::Serve),
    /// Add, list, inspect and remove plugins; create plugin projects
    #[command(subcommand)]
    Plugin(plugins::Plugin),
    /// Check, create, draw, list and delete graphs
    #[command(subcommand)]
    Graph(graphs::Graph),
    /// Create, list, change and delete schedules, which start runs at given times
    #[command(subcommand)]
    Schedule(schedule::Schedule),
    /// Start a run of a graph and print its id
    Run(run::Run),
    /// List runs, newest first; filter by graph, status, origin, time or error
    Runs(runs::Runs),
    /// Print the events of a run from the beginning, then live, until the run ends
    Watch(run::Watch),
    /// Send a signal to a run that waits for it
    Signal(control::Signal),
    /// Pause a run: active calls may finish, no new step starts
    Pause(control::Pause),
    /// Resume a paused run
    Resume(control::Resume),
    /// Retry a failed run from the step that failed
    Retry(control::Retry),
    /// Cancel a run: stop its calls and run its compensations
    Cancel(control::Cancel),
    /// Upgrade a run to the newest versions of its plugins, or to another version of its graph
    Upgrade(control::Upgrade),
    /// Start a new run from the state of another run after a step, and print its id
    Fork(control::Fork),
    /// Show a run, or one of its steps
    Show(history::Show),
    /// List the steps of a run
    Steps(history::Steps),
    /// Show state differences between two steps of a run
    Diff(history::Diff),
    /// Export a run to a file
    Export(history::Export),
    /// Import a run from a file, and print its id
    Import(history::Import),
    /// Repeat the recorded calls of runs with a new version of a plugin, and print different outcomes
    Backtest(backtest::Arguments),
    /// Check, copy or migrate the store of a server
    #[command(subcommand)]
    Store(store::Store),
    /// Compile a component for the server that started this process; reads the request from stdin
    #[command(name = COMPILER, hide = true)]
    Compiler,
}

/// The command that a server starts to compile a component.
const COMPILER: &str = "compile-component";

/// Wrong usage: the command cannot run with these arguments or environment variables.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

impl Usage {
    /// The error with this message.
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
        // If this fails, an interrupt still ends the process, but without the hint and with another exit code.
        let _ = interrupt::exit_on_interrupt();
    }
    run(arguments.command).unwrap_or_else(|error| {
        if output::is_closed(&error) {
            return ExitCode::SUCCESS;
        }
        output::error(output::escape_arguments(&format!("{error:#}")));
        let problem = error.downcast_ref::<Problem>();
        match error.is::<Usage>() || problem.is_some_and(Problem::is_usage_error) {
            true => WRONG_USAGE.into(),
            false => ExitCode::FAILURE,
        }
    })
}

/// Parses the arguments. If they are wrong, or ask for help, prints a message and returns the exit code.
fn parse() -> Result<Arguments, ExitCode> {
    let command = help::with_groups(Server::augment_args(Arguments::command()));
    let read = command.try_get_matches().and_then(|mut matches| {
        reject_server_options(&matches)?;
        Arguments::from_arg_matches_mut(&mut matches)
    });
    read.map_err(|error| {
        if !error.use_stderr() {
            // Help and version. A closed stdout is not an error here.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        // The message may repeat an argument, which may contain control characters or a password.
        let message = error.render().ansi().to_string();
        let message = output::escape_arguments(message.trim_end());
        output::message(match Colours::for_stderr().enabled() {
            true => message,
            // The arguments are escaped, so the remaining colour sequences are those of clap.
            false => output::without_colours(&message),
        });
        WRONG_USAGE.into()
    })
}

/// Refuses the options of a server for commands that do not connect to one.
fn reject_server_options(matches: &ArgMatches) -> Result<(), clap::Error> {
    let (mut path, mut innermost) = (Vec::new(), matches);
    while let Some((name, subcommand)) = innermost.subcommand() {
        path.push(name);
        innermost = subcommand;
    }
    if !help::is_offline(&path) {
        return Ok(());
    }
    for (id, flag) in connection::OPTIONS {
        let is_known = innermost.try_contains_id(id).is_ok();
        if is_known && innermost.value_source(id) == Some(ValueSource::CommandLine) {
            let problem = format!(
                "`heddle {}` does not connect to a server: remove {flag}",
                path.join(" ")
            );
            return Err(Arguments::command().error(clap::error::ErrorKind::ArgumentConflict, problem));
        }
    }
    Ok(())
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(serve) => serve::run(serve).map(|()| ExitCode::SUCCESS),
        Command::Plugin(plugin) => plugin.run(),
        Command::Graph(graph) => graph.run(),
        Command::Schedule(schedule) => schedule.run(),
        Command::Run(run) => run.run(),
        Command::Runs(runs) => runs.run(),
        Command::Watch(watch) => watch.run(),
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
    fn every_wrong_number_is_refused_with_the_same_message() {
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
            let parsed = Arguments::try_parse_from(["heddle"].into_iter().chain(words));
            let message = parsed.err().expect("it is refused").to_string();
            assert!(message.contains(refused), "{arguments}: {message}");
        }
    }
}
