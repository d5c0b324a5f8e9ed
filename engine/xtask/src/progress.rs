//! Builds that take minutes: several cargo commands at once, with one line that says how far they are and about how
//! long they still take.
//!
//! Cargo's own progress bar gives the numbers; the line is repeated where the output is not a terminal.

use std::io::{BufReader, IsTerminal, Read, Write, stdout};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::shown;

/// How often the line is written anew on a terminal.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is written elsewhere, as in a log file.
const LOG_PAUSE: Duration = Duration::from_secs(30);
/// How much a build has to have done before its remaining time is estimated.
const ESTIMABLE: f64 = 0.05;
/// The part of a cold build's time that has passed when each tenth of its units is built. The large crates come last.
/// Measured with `cargo build --timings` on two cores.
const TIME_AT_TENTH: [f64; 11] = [0.0, 0.07, 0.12, 0.17, 0.24, 0.32, 0.46, 0.51, 0.65, 0.78, 1.0];

/// How far a build is.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Units {
    /// How many units were built already when the build began.
    first: u32,
    done: u32,
    total: u32,
}

impl Units {
    /// Takes over what a progress bar of cargo says, as in `Building [==>   ] 12/345: syn, serde`.
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

    /// The part of the build's time that has passed, from 0 to 1.
    fn passed(self) -> f64 {
        let (first, now) = (time_at(self.first, self.total), time_at(self.done, self.total));
        if first < 1.0 {
            (now - first) / (1.0 - first)
        } else {
            1.0
        }
    }
}

/// The part of a cold build's time that has passed when so many of its units are built.
fn time_at(done: u32, total: u32) -> f64 {
    let tenths = 10.0 * f64::from(done) / f64::from(total.max(1));
    let tenth = (tenths as usize).min(9);
    let (low, high) = (TIME_AT_TENTH[tenth], TIME_AT_TENTH[tenth + 1]);
    low + (high - low) * (tenths - tenth as f64).min(1.0)
}

/// About how many seconds builds still take that began so long ago, the slowest of them.
fn seconds_left(elapsed: Duration, builds: &[Units]) -> Option<f64> {
    let passed = builds.iter().map(|build| build.passed()).fold(1.0, f64::min);
    (passed >= ESTIMABLE).then(|| elapsed.as_secs_f64() * (1.0 - passed) / passed)
}

/// One build: a name, how far it is, and its end once it has come.
struct Build {
    name: &'static str,
    units: Arc<Mutex<Units>>,
    thread: thread::JoinHandle<Result<()>>,
}

/// Runs cargo builds at once, each under a name. Their warnings and errors are shown, and an error of one is an error
/// of the whole, after all have ended.
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
    println!("built in {}", span(began.elapsed().as_secs_f64()));
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
    let left =
        seconds_left(elapsed, &units).map_or_else(String::new, |left| format!(", about {} left", span(left)));
    let line = format!(
        "{} ({} so far{left})",
        parts.join(", "),
        span(elapsed.as_secs_f64())
    );
    if terminal {
        print!("\r\u{1b}[K{line}");
        // A terminal that is gone is noticed elsewhere.
        let _ = stdout().flush();
    } else {
        println!("{line}");
    }
}

/// A time in words: seconds up to a minute and a half, then minutes.
fn span(seconds: f64) -> String {
    match seconds {
        ..90.0 => format!("{seconds:.0} s"),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

/// Runs one build and reads its progress. What cargo says besides its progress is shown where it is a warning or an
/// error, with the lines that belong to it.
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
    let mut quiet = true;
    for byte in BufReader::new(errors).bytes() {
        let byte = byte.context("could not read what cargo writes")?;
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
        quiet = stays_quiet(text.trim_start_matches("\u{1b}[K"), quiet);
        if !quiet {
            eprintln!("{}", text.trim_end());
        }
    }
    let status = child.wait().context("could not wait for cargo")?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(&command));
    }
    Ok(())
}

/// Whether a line of cargo is left out: what it compiles and downloads is, and so is what belongs to such a line.
fn stays_quiet(line: &str, was_quiet: bool) -> bool {
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
    status || was_quiet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_bar_of_cargo_is_read() {
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
        let mut quiet = true;
        for (line, expected) in lines {
            quiet = stays_quiet(line, quiet);
            assert_eq!(quiet, expected, "{line}");
        }
    }
}
