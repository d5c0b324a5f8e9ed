//! Runs several cargo builds in parallel and shows one line with their progress and an estimate of the remaining time.
//!
//! The numbers come from cargo's own progress bar. If the output is not a terminal, the line is printed periodically.

use std::io::{BufReader, IsTerminal, Read, Write, stdout};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::shown;

/// The interval between updates on a terminal.
const PAUSE: Duration = Duration::from_millis(500);
/// The interval between lines in a log file.
const LOG_PAUSE: Duration = Duration::from_secs(30);
/// The fraction of a build that must be done before its remaining time is estimated.
const ESTIMABLE: f64 = 0.05;
/// The fraction of a cold build's time that has passed when each tenth of its units is built. The large crates come
/// last. Measured with `cargo build --timings` on two cores.
const TIME_AT_TENTH: [f64; 11] = [0.0, 0.07, 0.12, 0.17, 0.24, 0.32, 0.46, 0.51, 0.65, 0.78, 1.0];

/// The progress of a build, in cargo's units.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Units {
    /// Units that were built before this build began.
    first: u32,
    done: u32,
    total: u32,
}

impl Units {
    /// Reads cargo's progress bar, such as `Building [==>   ] 12/345: syn, serde`.
    fn read(&mut self, bar: &str) {
        let numbers = bar
            .rsplit_once("] ")
            .and_then(|(_, rest)| rest.split(':').next()?.split_once('/'));
        let Some((Ok(done), Ok(total))) = numbers.map(|(done, total)| (done.parse(), total.trim().parse()))
        else {
            return;
        };
        if self.total == 0 {
            self.first = done;
        }
        (self.done, self.total) = (done, total);
    }

    /// The fraction of the build's time that has passed, from 0 to 1.
    fn passed(self) -> f64 {
        let (first, now) = (time_at(self.first, self.total), time_at(self.done, self.total));
        if first < 1.0 {
            (now - first) / (1.0 - first)
        } else {
            1.0
        }
    }
}

/// The fraction of a cold build's time that has passed when `done` of `total` units are built.
fn time_at(done: u32, total: u32) -> f64 {
    let tenths = 10.0 * f64::from(done) / f64::from(total.max(1));
    let tenth = (tenths as usize).min(9);
    let (low, high) = (TIME_AT_TENTH[tenth], TIME_AT_TENTH[tenth + 1]);
    low + (high - low) * (tenths - tenth as f64).min(1.0)
}

/// Estimates the seconds that the slowest of the builds still needs. None if it is too early to tell.
fn seconds_left(elapsed: Duration, builds: &[Units]) -> Option<f64> {
    let passed = builds.iter().map(|build| build.passed()).fold(1.0, f64::min);
    (passed >= ESTIMABLE).then(|| elapsed.as_secs_f64() * (1.0 - passed) / passed)
}

/// A build that runs on a separate thread.
struct Build {
    name: &'static str,
    units: Arc<Mutex<Units>>,
    thread: thread::JoinHandle<Result<()>>,
}

/// Runs named cargo builds in parallel and shows their warnings and errors. Waits for all of them, then returns the
/// first error.
pub(crate) fn build(commands: Vec<(&'static str, Command)>) -> Result<()> {
    let began = Instant::now();
    let builds: Vec<Build> = commands
        .into_iter()
        .map(|(name, command)| {
            let units = Arc::new(Mutex::new(Units::default()));
            let thread = thread::spawn({
                let units = Arc::clone(&units);
                move || follow(command, &units)
            });
            Build { name, units, thread }
        })
        .collect();
    let terminal = stdout().is_terminal();
    let mut written = Instant::now();
    while builds.iter().any(|build| !build.thread.is_finished()) {
        thread::sleep(PAUSE);
        if terminal || written.elapsed() >= LOG_PAUSE {
            written = Instant::now();
            write_line(&builds, began.elapsed(), terminal);
        }
    }
    if terminal {
        print!("\r\u{1b}[K");
    }
    let mut failed = None;
    for build in builds {
        let ended = build.thread.join().expect("a build's thread does not panic");
        if let Err(error) = ended {
            failed = failed.or(Some(error));
        }
    }
    println!("built in {}", format_duration(began.elapsed().as_secs_f64()));
    failed.map_or(Ok(()), Err)
}

fn write_line(builds: &[Build], elapsed: Duration, terminal: bool) {
    let mut parts = Vec::new();
    let mut units = Vec::new();
    for build in builds.iter().filter(|build| !build.thread.is_finished()) {
        let now = *build.units.lock().expect("no thread panics while it holds this");
        parts.push(match now.total {
            0 => format!("{} is starting", build.name),
            total => format!("{} {} of {total}", build.name, now.done),
        });
        units.push(now);
    }
    let left = seconds_left(elapsed, &units).map_or_else(String::new, |left| {
        format!(", about {} left", format_duration(left))
    });
    let line = format!(
        "{} ({} so far{left})",
        parts.join(", "),
        format_duration(elapsed.as_secs_f64())
    );
    if terminal {
        print!("\r\u{1b}[K{line}");
        // A closed terminal is reported elsewhere.
        let _ = stdout().flush();
    } else {
        println!("{line}");
    }
}

/// Formats a duration: seconds below 90 s, else minutes.
fn format_duration(seconds: f64) -> String {
    match seconds {
        ..90.0 => format!("{seconds:.0} s"),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

/// Runs one build and reads its progress. Of cargo's other output it shows the warnings and errors with their lines.
fn follow(mut command: Command, units: &Mutex<Units>) -> Result<()> {
    command
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "100")
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("could not start `{}`", shown(&command)))?;
    let errors = child.stderr.take().expect("stderr is piped");
    let mut line = Vec::new();
    let mut hidden = true;
    for byte in BufReader::new(errors).bytes() {
        let byte = byte.context("could not read the output of cargo")?;
        if byte != b'\r' && byte != b'\n' {
            line.push(byte);
            continue;
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        line.clear();
        if text.trim_start().starts_with("Building [") || text.is_empty() && byte == b'\r' {
            units
                .lock()
                .expect("no thread panics while it holds this")
                .read(&text);
            continue;
        }
        hidden = is_hidden(text.trim_start_matches("\u{1b}[K"), hidden);
        if !hidden {
            eprintln!("{}", text.trim_end());
        }
    }
    let status = child.wait().context("could not wait for cargo")?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(&command));
    }
    Ok(())
}

/// Whether to hide a line of cargo's output: status lines and the lines that continue them.
fn is_hidden(line: &str, was_hidden: bool) -> bool {
    const STATUS: [&str; 12] = [
        "Compiling ",
        "Checking ",
        "Fresh ",
        "Dirty ",
        "Downloaded ",
        "Downloading ",
        "Updating ",
        "Locking ",
        "Adding ",
        "Blocking ",
        "Finished ",
        "Building ",
    ];
    if line.starts_with("warning") || line.starts_with("error") {
        return false;
    }
    let status = STATUS.iter().any(|status| line.trim_start().starts_with(status));
    status || was_hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_bar_of_cargo_is_parsed() {
        let mut units = Units::default();
        units.read("    Building [=======>          ] 120/400: syn, serde(build)");
        assert_eq!(
            units,
            Units {
                first: 120,
                done: 120,
                total: 400
            }
        );
        units.read("    Building [=======>          ] 399/400");
        assert_eq!(
            units,
            Units {
                first: 120,
                done: 399,
                total: 400
            }
        );
        units.read("    Building [ something else");
        assert_eq!(units.done, 399);
    }

    #[test]
    fn the_time_left_follows_the_slowest_build() {
        let at = |done| Units {
            first: 0,
            done,
            total: 100,
        };
        let left = seconds_left(Duration::from_secs(60), &[at(100), at(60)]).unwrap();
        assert_eq!(left.round(), 70.0);
        assert_eq!(
            seconds_left(Duration::from_secs(1), &[at(1)]),
            None,
            "too early to tell"
        );
        assert_eq!(seconds_left(Duration::from_secs(9), &[at(100)]), Some(0.0));
    }

    #[test]
    fn warnings_and_errors_are_shown_with_their_lines() {
        let lines = [
            ("   Compiling syn v2.0.0", true),
            ("warning: unused variable", false),
            ("  --> src/lib.rs:1:1", false),
            ("   Compiling serde v1.0.0", true),
            ("error[E0308]: mismatched types", false),
            ("note: expected", false),
        ];
        let mut hidden = true;
        for (line, expected) in lines {
            hidden = is_hidden(line, hidden);
            assert_eq!(hidden, expected, "{line}");
        }
    }
}
