//! What Heddle's developers run, as `cargo xtask COMMAND`.
//!
//! It names none of the engine's crates, so it compiles in seconds and can build them in any profile. All that it
//! makes lies under the workspace's `target/`.
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
    about = "What Heddle's developers run"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds everything, serves the samples, reviews this repository's sources, and keeps serving
    Demo(demo::Arguments),
    /// Builds and runs every test there is, and ends with one line of numbers
    Test,
    /// Builds the guests, and leaves their components in target/plugins (those in other languages than Rust in target/plugins/languages)
    Plugins,
    /// Checks formatting, lints, the dependency rule, licences and sources
    Tidy,
    /// Tries mutated inputs on everything that reads input from outside (tests/fuzz/README.md)
    Fuzz(fuzz::Arguments),
    /// Measures the engine, in release: the load driver, then the benchmarks of host and store
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
