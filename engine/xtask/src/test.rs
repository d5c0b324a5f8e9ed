//! `cargo xtask test`: runs every check and every test. A failed test does not stop the others; a failed build does.
//! The last line says `N passed, M failed`, summed over all parts.

use std::io::{BufRead, BufReader, Write, stdout};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::plugins::MANIFEST as GUESTS;
use crate::process::{cargo, heading, program, shown, under_root};
use crate::{clients, fuzz, plugins, python, tidy};

/// The target folder of the guests' own tests, which are built for this machine with the engine's compiler.
pub(crate) const GUESTS_NATIVE: &str = "target/guests-native";
/// The packages for the tests in Python.
const PYTHON_REQUIREMENTS: &str = "tests/python/requirements.txt";

/// The number of passed and failed checks and tests.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    /// The parts with failures.
    failures: Vec<String>,
}

impl Tally {
    /// Counts a check that passed.
    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    /// Counts a check that failed, in the named part.
    pub(crate) fn fail(&mut self, part: &str) {
        self.failed += 1;
        self.failures.push(part.to_string());
    }

    /// Adds a test runner's counts. A runner that failed without a failed test counts as one failure.
    fn add(&mut self, part: &str, counts: Counts, succeeded: bool) {
        self.passed += counts.passed;
        let failed = counts.failed + counts.ignored;
        let failed = if failed == 0 && !succeeded { 1 } else { failed };
        self.failed += failed;
        if failed > 0 {
            self.failures.push(part.to_string());
        }
    }

    /// Prints the summary and returns the exit code.
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

/// The sums of a test runner's `test result:` lines.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
    /// Ignored tests count as failed.
    ignored: u64,
}

impl Counts {
    /// Adds the numbers of a `test result:` line; ignores other lines.
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

/// Runs the checks, the builds and the tests.
pub(crate) fn run() -> Result<ExitCode> {
    let mut tally = Tally::default();
    tidy::check(&mut tally);
    if let Err(error) = build_and_test(&mut tally) {
        println!("{error:#}");
        tally.fail("the build; the remaining tests did not run");
    }
    Ok(tally.report())
}

/// Builds everything and runs the tests. Returns an error if a build fails.
fn build_and_test(tally: &mut Tally) -> Result<()> {
    heading("Building the engine and the guests");
    // The end-to-end tests start the `heddle` binary, which `cargo test` alone does not build.
    let mut engine = cargo("build", "target");
    engine.args(["--workspace", "--all-targets"]);
    let mut built = plugins::build_with_engine(plugins::Rust::All, engine)?;
    built.add_languages()?;
    built.report();

    heading("Testing the guests");
    let mut guests = cargo("test", GUESTS_NATIVE);
    run_and_count(
        "the guests' tests",
        guests.args(["--manifest-path", GUESTS, "--workspace", "--no-fail-fast"]),
        tally,
    )?;

    heading("Testing the engine");
    run_and_count(
        "the engine's tests",
        cargo("test", "target").args(["--workspace", "--no-fail-fast"]),
        tally,
    )?;

    heading("Fuzzing for a bounded time");
    run_and_count("fuzzing", &mut fuzz::in_ci(), tally)?;

    heading("Testing with the Python client");
    run_if_available(
        "the Python client's test",
        python_test("tests/python/test_original_readme.py"),
        tally,
    )?;

    heading("Testing the OpenAPI description: generated clients and Schemathesis");
    run_if_available("the description's test", description_test(), tally)
}

/// Runs a test whose prerequisites may be missing; missing prerequisites count as a failure.
fn run_if_available(part: &str, test: Result<Command>, tally: &mut Tally) -> Result<()> {
    match test {
        Ok(mut test) => run_and_count(part, &mut test, tally),
        Err(error) => {
            println!("{error:#}");
            tally.fail(&format!("{part} could not start"));
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

/// Runs a test runner, shows its output and counts its results.
fn run_and_count(part: &str, command: &mut Command, tally: &mut Tally) -> Result<()> {
    let name = shown(command);
    let failed_to_run = || format!("could not run `{name}`");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(failed_to_run)?;
    let output = child.stdout.take().expect("its standard output is piped");
    let mut counts = Counts::default();
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).with_context(failed_to_run)? > 0 {
        counts.read(&String::from_utf8_lossy(&line));
        stdout().write_all(&line)?;
        line.clear();
    }
    let status = child.wait().with_context(failed_to_run)?;
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
    fn lines_other_than_result_lines_are_ignored() {
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
    fn an_ignored_test_counts_as_failed() {
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
