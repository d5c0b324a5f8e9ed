//! `cargo xtask bench`: measures a release build. Runs the load driver against the real binary, then the benchmarks
//! of single crates.

use std::process::ExitCode;

use anyhow::Result;

use crate::plugins;
use crate::process::{cargo, heading, run as run_command};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments for the load driver; `-- --help` lists them
    #[arg(last = true)]
    load: Vec<String>,
    /// The store that the load driver measures, as postgres://USER@HOST/DATABASE [default: a new SQLite file]
    #[arg(long)]
    store: Option<String>,
    /// Run the load driver only
    #[arg(long)]
    load_only: bool,
}

/// Runs the benchmarks.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    heading("Building the plugins");
    plugins::build_all()?.report();
    heading("Building the engine in release");
    run_command(cargo("build", "target").args([
        "--release",
        "--package",
        "heddle-cli",
        "--package",
        "heddle-tests",
    ]))?;
    heading("Load over HTTP");
    let mut load = cargo("run", "target");
    load.args([
        "--quiet",
        "--release",
        "--package",
        "heddle-tests",
        "--bin",
        "load",
        "--",
    ]);
    if let Some(store) = &arguments.store {
        load.args(["--store", store]);
    }
    run_command(load.args(&arguments.load))?;
    if !arguments.load_only {
        for part in ["host", "store"] {
            heading(&format!("Benchmarks of heddle-{part}"));
            run_command(cargo("bench", "target").args([
                "--package",
                &format!("heddle-{part}"),
                "--benches",
            ]))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
