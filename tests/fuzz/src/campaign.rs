//! A campaign: a worker process for each target, as many at once as there are processors.
//!
//! A worker that dies is a finding of the case that it noted last, and another worker goes on after that case. So is a
//! worker that stays at one case for too long.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{findings, scratch, worker::Order};

/// How long a worker may stay at one case. Machines of continuous integration are slow.
const HANG: Duration = Duration::from_secs(120);
/// How often a worker is looked after.
const LOOK: Duration = Duration::from_millis(100);
/// After so many workers of a target have died, the target is given up.
const MAX_DEATHS: usize = 10;

/// What a campaign is to do for each target.
pub(crate) struct Plan {
    /// The names of the targets.
    pub(crate) targets: Vec<&'static str>,
    /// The seed.
    pub(crate) seed: u64,
    /// How many cases of each.
    pub(crate) cases: u64,
    /// How long each may take.
    pub(crate) time: Duration,
    /// How many workers there are at once.
    pub(crate) workers: usize,
}

/// What came of one target.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) target: String,
    pub(crate) cases: u64,
    pub(crate) accepted: u64,
    /// How many inputs led to an answer that no input before had led to.
    pub(crate) learnt: u64,
    pub(crate) seconds: f64,
    /// The file of each finding and what it is.
    pub(crate) findings: Vec<String>,
}

/// Runs a campaign; the reports are in the order of the targets.
pub(crate) fn run(plan: &Plan) -> Result<Vec<Report>> {
    let waiting: Mutex<Vec<(usize, &str)>> =
        Mutex::new(plan.targets.iter().copied().enumerate().rev().collect());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..plan.workers.min(plan.targets.len()) {
            scope.spawn(|| {
                while let Some((at, target)) = next(&waiting) {
                    let report = of_target(plan, target);
                    done.lock().expect("no panic under this lock").push((at, report));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic under this lock");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, report)| report).collect()
}

fn next<'t>(waiting: &Mutex<Vec<(usize, &'t str)>>) -> Option<(usize, &'t str)> {
    waiting.lock().expect("no panic under this lock").pop()
}

fn of_target(plan: &Plan, target: &str) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let mut report = Report {
        target: target.to_owned(),
        ..Report::default()
    };
    let (begun, mut from, mut deaths) = (Instant::now(), 0, 0);
    while from < plan.cases && begun.elapsed() < plan.time && deaths < MAX_DEATHS {
        let order = Order {
            target: target.to_owned(),
            seed: plan.seed,
            from,
            until: plan.cases,
            time: plan.time.saturating_sub(begun.elapsed()),
            scratch: folder.path().join("scratch"),
        };
        let said = folder.path().join("said");
        let ended = watch(&mut spawn(&order, &said)?, &order.scratch)?;
        report.hear(&fs::read_to_string(&said)?);
        let noted = scratch::read(&order.scratch)?;
        from = noted.as_ref().map_or(from, |noted| noted.case + 1);
        let Some(problem) = ended else { break };
        deaths += 1;
        let noted = noted.with_context(|| format!("the worker for {target} did not begin: {problem}"))?;
        report.accepted += noted.accepted;
        report.learnt += noted.learnt;
        let path = findings::save(target, &noted.input, &problem)?;
        report.findings.push(format!("{} {problem}", path.display()));
    }
    report.cases = from;
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

fn spawn(order: &Order, said: &Path) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("--worker")
        .arg(&order.scratch)
        .arg("--seed")
        .arg(order.seed.to_string())
        .arg("--from")
        .arg(order.from.to_string())
        .arg("--cases")
        .arg(order.until.to_string())
        .arg("--seconds")
        .arg(order.time.as_secs().max(1).to_string())
        .arg(&order.target);
    // Threads without a stack of their own size get the usual one.
    command.env_remove("RUST_MIN_STACK");
    command.stdin(Stdio::null()).stdout(File::create(said)?);
    command.spawn().context("a worker cannot be started")
}

/// Waits for a worker; gives why it died, if it did.
fn watch(child: &mut Child, scratch: &Path) -> Result<Option<String>> {
    let (mut case, mut since) = (None, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((!status.success()).then(|| death(status)));
        }
        let noted = scratch::read(scratch)?.map(|noted| noted.case);
        if noted != case {
            (case, since) = (noted, Instant::now());
        }
        if since.elapsed() > HANG {
            child.kill()?;
            child.wait()?;
            return Ok(Some(format!("it did not end within {HANG:?}")));
        }
        thread::sleep(LOOK);
    }
}

fn death(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(signal) => format!("the process died of signal {signal} (6 and 11 are often a full stack)"),
        None => format!("the process ended with {status}"),
    }
}

impl Report {
    /// Takes in what a worker said when it ended, or before it died.
    fn hear(&mut self, said: &str) {
        for line in said.lines() {
            let mut words = line.split(' ');
            match words.next() {
                Some("finding") => self.findings.push(line["finding ".len()..].to_owned()),
                Some("accepted") => {
                    let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
                    if let [accepted, learnt] = numbers[..] {
                        self.accepted += accepted;
                        self.learnt += learnt;
                    }
                }
                _ => {}
            }
        }
    }
}
