//! Heddle's fuzz targets: `cargo xtask fuzz`.
//!
//! Each target reads one kind of input from outside: definitions of graphs, expressions, components, plain values,
//! exports of runs, HTTP requests, and what a client sends on a WebSocket. A campaign runs the committed corpus first,
//! then inputs that are made of it by mutation. README.md says what each target checks and what to do with a finding.
#![allow(clippy::unwrap_used)] // A panic in a target is a finding.
#![expect(clippy::print_stdout, reason = "its output is for the person at the terminal")]

mod campaign;
mod findings;
mod mutate;
mod panics;
mod pool;
mod random;
mod scratch;
mod targets;
mod worker;

use std::{hash::BuildHasher, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;

use crate::{
    campaign::{Plan, Report},
    worker::Order,
};

/// The default number of cases per target if neither a number nor a time is given.
const DEFAULT_CASES: u64 = 10_000;

#[derive(Parser)]
#[command(
    name = "heddle-fuzz",
    about = "Tries mutated inputs on everything that reads input from outside"
)]
struct Arguments {
    /// The targets [default: all]
    #[arg(value_parser = targets::NAMES)]
    targets: Vec<String>,
    /// The number of cases per target, including the corpus [default: 10000, or no limit with --seconds]
    #[arg(long, value_name = "N")]
    cases: Option<u64>,
    /// The time limit per target, in seconds
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Seed of the campaign, to repeat it [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The number of concurrent targets [default: one per processor]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Run one input of the named target and print the result
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Run as a worker: record each case in this file
    #[arg(long, value_name = "FILE", hide = true)]
    worker: Option<PathBuf>,
    /// The number of the first case
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    from: u64,
}

fn main() -> ExitCode {
    run(Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let seed = arguments.seed.unwrap_or_else(random_seed);
    let cases = arguments.cases.unwrap_or(match arguments.seconds {
        Some(_) => u64::MAX,
        None => DEFAULT_CASES,
    });
    let time = arguments.seconds.map_or(Duration::MAX, Duration::from_secs);
    if let Some(scratch) = arguments.worker {
        let order = Order {
            target: arguments.targets.concat(),
            seed,
            from: arguments.from,
            until: cases,
            time,
            scratch,
        };
        worker::run(order)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = arguments.input {
        let input = std::fs::read(file)?;
        let mut target = targets::make(&arguments.targets.concat())?;
        println!("{:?}", target.run(&input));
        return Ok(ExitCode::SUCCESS);
    }
    let wanted =
        |name: &&str| arguments.targets.is_empty() || arguments.targets.iter().any(|own| own == name);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan {
        targets: targets::NAMES.into_iter().filter(wanted).collect(),
        seed,
        cases,
        time,
        workers: arguments.workers.unwrap_or(processors).max(1),
    };
    println!("seed {seed}: `cargo xtask fuzz --seed {seed}` repeats it");
    let reports = campaign::run(&plan)?;
    Ok(show(&reports))
}

/// A random seed: the hasher's keys are random.
fn random_seed() -> u64 {
    std::hash::RandomState::new().hash_one(0) >> 32
}

fn show(reports: &[Report]) -> ExitCode {
    println!(
        "{:12} {:>9} {:>9} {:>7} {:>8}  findings",
        "target", "cases", "accepted", "answers", "seconds"
    );
    for report in reports {
        println!(
            "{:12} {:>9} {:>9} {:>7} {:>8.1}  {}",
            report.target,
            report.cases,
            report.accepted,
            report.learnt,
            report.seconds,
            report.findings.len()
        );
        for finding in &report.findings {
            println!("  {finding}");
        }
    }
    let failed = reports
        .iter()
        .filter(|report| !report.findings.is_empty())
        .count();
    let (passed, cases) = (
        reports.len() - failed,
        reports.iter().map(|report| report.cases).sum::<u64>(),
    );
    println!("{cases} cases");
    // The form of the test runner's summary, so that `cargo xtask test` counts it.
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
