//! A campaign: one worker process per target, as many at once as there are processors.
//!
//! If a worker dies or hangs, its latest case is a finding, and another worker continues after that case.

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

/// The time limit for one case. Machines of continuous integration are slow.
const HANG: Duration = Duration::from_secs(120);
/// The interval between checks of a worker.
const LOOK: Duration = Duration::from_millis(100);
/// The number of dead workers after which a target stops.
const MAX_DEATHS: usize = 10;

/// What a campaign runs, and for how long.
pub(crate) struct Plan {
    /// The targets to run, in this order.
    pub(crate) targets: Vec<&'static str>,
    /// The seed of all random decisions. The same seed gives the same cases.
    pub(crate) seed: u64,
    /// The number of cases per target.
    pub(crate) cases: u64,
    /// The time per target.
    pub(crate) time: Duration,
    /// The number of concurrent workers.
    pub(crate) workers: usize,
}

/// The result of a target.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) target: String,
    pub(crate) cases: u64,
    pub(crate) accepted: u64,
    /// The number of inputs with a new answer.
    pub(crate) learnt: u64,
    pub(crate) seconds: f64,
    /// The findings: file and description.
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
        let reported = folder.path().join("report");
        let ended = watch(&mut spawn(&order, &reported)?, &order.scratch)?;
        report.add_report(&fs::read_to_string(&reported)?);
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

fn spawn(order: &Order, reported: &Path) -> Result<Child> {
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
    // Threads without an explicit stack size get the default.
    command.env_remove("RUST_MIN_STACK");
    command.stdin(Stdio::null()).stdout(File::create(reported)?);
    command.spawn().context("a worker cannot be started")
}

/// Waits for a worker. Returns the reason if it died.
fn watch(child: &mut Child, scratch: &Path) -> Result<Option<String>> {
    let (mut case, mut since) = (None, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((!status.success()).then(|| death_reason(status)));
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

fn death_reason(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(signal) => format!("the process died of signal {signal} (6 and 11 are often a full stack)"),
        None => format!("the process ended with {status}"),
    }
}

impl Report {
    /// Adds the numbers that a worker reported at its end or before its death.
    fn add_report(&mut self, reported: &str) {
        for line in reported.lines() {
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
