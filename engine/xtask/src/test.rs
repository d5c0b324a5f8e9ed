//! `cargo xtask test`: every check and every test there is, in one run. A failure does not keep the rest from running,
//! unless something does not build. The last line says `N passed, M failed`, summed over all of it.

use std::io::{BufRead, BufReader, Write, stdout};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::plugins::MANIFEST as GUESTS;
use crate::process::{cargo, heading, program, shown, under_root};
use crate::{clients, fuzz, plugins, python, tidy};

/// Where the guests' own tests are built: for this machine, by the engine's compiler.
pub(crate) const GUESTS_NATIVE: &str = "target/guests-native";
/// What the tests in Python need.
const PYTHON_REQUIREMENTS: &str = "tests/python/requirements.txt";

/// What passed, and what did not.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    /// Where the failures are.
    failures: Vec<String>,
}

impl Tally {
    /// Counts one that passed.
    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    /// Counts one that failed, in the named part.
    pub(crate) fn fail(&mut self, part: &str) {
        self.failed += 1;
        self.failures.push(part.to_string());
    }

    /// Counts what a runner told, in the named part. A runner that failed without naming a test counts as one.
    fn add(&mut self, part: &str, counts: Counts, succeeded: bool) {
        self.passed += counts.passed;
        let failed = counts.failed + counts.ignored;
        let failed = if failed == 0 && !succeeded { 1 } else { failed };
        self.failed += failed;
        if failed > 0 {
            self.failures.push(part.to_string());
        }
    }

    /// Prints where the failures are and the numbers, and gives the exit code for them.
    pub(crate) fn report(&self) -> ExitCode {
        heading("Summary");
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// What one runner told in its `test result:` lines.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
    /// Tests that were switched off. They are as good as failed.
    ignored: u64,
}

impl Counts {
    /// Adds a line's numbers, if it has any.
    fn read(&mut self, line: &str) {
        let Some((_, numbers)) = line.split_once("test result:") else {
            return;
        };
        for part in numbers.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

/// Runs everything.
pub(crate) fn run() -> Result<ExitCode> {
    let mut tally = Tally::default();
    tidy::check(&mut tally);
    if let Err(error) = build_and_test(&mut tally) {
        println!("{error:#}");
        tally.fail("the build, which ended the tests early");
    }
    Ok(tally.report())
}

/// The stages after the checks. An error is a build that failed.
fn build_and_test(tally: &mut Tally) -> Result<()> {
    heading("Building the engine and the guests");
    // The end-to-end tests start the binary, which `cargo test` alone would not build.
    let mut engine = cargo("build", "target");
    engine.args(["--workspace", "--all-targets"]);
    let mut built = plugins::build_with_engine(plugins::Rust::All, engine)?;
    built.add_languages()?;
    built.report();

    heading("Testing the guests");
    let mut guests = cargo("test", GUESTS_NATIVE);
    runner(
        "the guests' tests",
        guests.args(["--manifest-path", GUESTS, "--workspace", "--no-fail-fast"]),
        tally,
    )?;

    heading("Testing the engine");
    runner(
        "the engine's tests",
        cargo("test", "target").args(["--workspace", "--no-fail-fast"]),
        tally,
    )?;

    heading("Fuzzing for a bounded time");
    runner("fuzzing", &mut fuzz::in_ci(), tally)?;

    heading("Testing with the Python client");
    started(
        "the Python client's test",
        python_test("tests/python/test_original_readme.py"),
        tally,
    )?;

    heading("Testing the description: generated clients and Schemathesis");
    started("the description's test", description_test(), tally)
}

/// Runs a test that may lack what it needs; then that is the failure.
fn started(part: &str, test: Result<Command>, tally: &mut Tally) -> Result<()> {
    match test {
        Ok(mut test) => runner(part, &mut test, tally),
        Err(error) => {
            println!("{error:#}");
            tally.fail(&format!("{part}, which could not be started"));
            Ok(())
        }
    }
}

fn python_test(path: &str) -> Result<Command> {
    let mut test = program(python::tool("python3", PYTHON_REQUIREMENTS)?);
    test.arg(path);
    test.env("HEDDLE_BIN", under_root("target/debug/heddle"))
        .env("HEDDLE_PLUGINS", under_root("target/plugins"));
    // No cache of compiled Python in the source tree.
    test.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(test)
}

fn description_test() -> Result<Command> {
    let clients = clients::folder()?;
    let mut test = python_test("tests/python/test_description.py")?;
    test.env("HEDDLE_CLIENTS", clients);
    Ok(test)
}

/// Runs a test runner, shows what it says, and counts.
fn runner(part: &str, command: &mut Command, tally: &mut Tally) -> Result<()> {
    let name = shown(command);
    let could_not = || format!("could not run `{name}`");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(could_not)?;
    let output = child.stdout.take().expect("its standard output is piped");
    let mut counts = Counts::default();
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).with_context(could_not)? > 0 {
        counts.read(&String::from_utf8_lossy(&line));
        stdout().write_all(&line)?;
        line.clear();
    }
    let status = child.wait().with_context(could_not)?;
    tally.add(part, counts, status.success());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Counts {
        let mut counts = Counts::default();
        text.lines().for_each(|line| counts.read(line));
        counts
    }

    #[test]
    fn the_numbers_of_all_result_lines_are_summed() {
        let text = "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\n\
            test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s\n\
            test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s\n";
        assert_eq!(
            counts(text),
            Counts {
                passed: 16,
                failed: 3,
                ignored: 1
            }
        );
    }

    #[test]
    fn what_is_not_a_result_line_counts_nothing() {
        assert_eq!(
            counts("5 passed; 2 failed\ntest result\ntest result: error\n"),
            Counts::default()
        );
    }

    #[test]
    fn a_runner_that_breaks_without_a_failed_test_counts_as_one_failure() {
        let mut tally = Tally::default();
        tally.add(
            "a",
            Counts {
                passed: 3,
                ..Counts::default()
            },
            true,
        );
        tally.add("b", Counts::default(), false);
        tally.add(
            "c",
            Counts {
                passed: 1,
                failed: 2,
                ignored: 0,
            },
            false,
        );
        assert_eq!(
            tally,
            Tally {
                passed: 4,
                failed: 3,
                failures: vec!["b".into(), "c".into()]
            }
        );
    }

    #[test]
    fn a_test_that_is_switched_off_counts_as_failed() {
        let mut tally = Tally::default();
        tally.add(
            "a",
            Counts {
                passed: 3,
                failed: 0,
                ignored: 2,
            },
            true,
        );
        assert_eq!((tally.passed, tally.failed), (3, 2));
    }
}
