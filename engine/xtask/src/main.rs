//! The developer tasks of Heddle, run as `cargo xtask COMMAND`: build, test, check and measure the whole tree.
//!
//! Each command is a module of its name. [`process`] starts other programs, [`progress`] runs long builds with a
//! progress line, [`python`], [`languages`] and [`clients`] install what Python and Node.js tests need.
//!
//! This crate depends on none of the engine's crates, so it compiles in seconds and can build them in any profile.
//! Everything that it writes goes below the workspace's `target/`.
#![expect(clippy::print_stdout, reason = "its output is for the person at the terminal")]

mod bench;
mod clients;
mod demo;
mod fuzz;
mod http;
mod languages;
mod plugins;
mod process;
mod progress;
mod python;
mod server;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Developer tasks: build, test, check and measure Heddle"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything, start a server with the samples, run a review of this repository's sources, and keep serving
    Demo(demo::Arguments),
    /// Build everything and run every check and test; the last line has the totals
    Test,
    /// Build the guests into target/plugins (guests in other languages than Rust into target/plugins/languages)
    Plugins,
    /// Check formatting, lints, the dependency rule, licences and source files
    Tidy,
    /// Feed mutated inputs to everything that reads input from outside (see tests/fuzz/README.md)
    Fuzz(fuzz::Arguments),
    /// Measure a release build: the load driver, then the benchmarks of host and store
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test => test::run(),
        Command::Plugins => plugins::build_all().map(|built| {
            built.report();
            ExitCode::SUCCESS
        }),
        Command::Tidy => tidy::run(),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
