//! `cargo xtask fuzz`: builds the guests and the fuzz targets, and runs a campaign. tests/fuzz/README.md describes both.

use std::ffi::OsStr;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::plugins;
use crate::process::{cargo, heading, program, run as run_command, under_root};

/// The time per target in continuous integration, in seconds.
const SECONDS_IN_CI: &str = "35";
/// The seed in continuous integration. It is fixed, so that a commit does not fail for an input that an earlier commit
/// was never tried with; campaigns with random seeds search for new inputs.
const SEED_IN_CI: &str = "1";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Targets and options, as in `graphs --cases 100000 --seed 7`; `-- --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Runs a campaign.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    heading("Building the guests and the fuzz targets");
    // The same build as for the tests: its overflow checks make an overflow a finding.
    let mut engine = cargo("build", "target");
    engine.args(["--workspace", "--all-targets"]);
    plugins::build_with_engine(plugins::Rust::All, engine)?.report();
    run_command(&mut targets(&arguments.arguments))?;
    Ok(ExitCode::SUCCESS)
}

/// The campaign of continuous integration. Requires that the targets and the guests are built.
pub(crate) fn in_ci() -> Command {
    targets(["--seconds", SECONDS_IN_CI, "--seed", SEED_IN_CI])
}

fn targets<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = program(under_root("target/debug/heddle-fuzz"));
    command.args(arguments);
    command
}
