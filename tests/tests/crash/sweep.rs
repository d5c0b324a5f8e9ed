//! Every kind of fault at every write and sync of a store: afterwards acknowledged appends exist, each is complete or absent,
//! refused ones are absent, and the store continues.
//!
//! `HEDDLE_SWEEP_SEED=N` repeats a sweep. `HEDDLE_SWEEP_CASES=N` tries more faults, or all if N is large enough.

use std::{
    io::Read,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use heddle_runtime::ports::{Ack, AppendError, Journal};
use heddle_store::{SqliteJournal, SqliteSettings};
use heddle_tests::{
    appends::{Reports, Workload},
    fault::{Errno, FaultAction, FaultTarget, Faults},
    random::{Random, seed},
};
use tokio::sync::mpsc;

/// The default number of faults to try: about half a minute on two slow cores.
const CASES: usize = 150;

/// The number of failed retries of the store before its disk works again.
const TRIES: u64 = 3;

/// One fault, at the `n`-th operation of the target.
#[derive(Clone, Copy, Debug)]
struct Case {
    target: FaultTarget,
    n: u64,
    action: FaultAction,
    duration: FaultDuration,
}

/// The duration of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultDuration {
    /// It occurs once.
    Once,
    /// It lasts until the disk works again.
    UntilHealed,
    /// It lasts until the process is killed.
    UntilKilled,
}

#[test]
fn nothing_acknowledged_is_lost_when_any_write_or_sync_fails() {
    let seed = seed("HEDDLE_SWEEP_SEED");
    let workload = Workload::from_seed(seed);
    let (writes, syncs) = without_faults(seed, &workload);
    let mut random = Random::new(seed);
    let mut cases = cases(writes, syncs);
    random.shuffle(&mut cases);
    let wanted = std::env::var("HEDDLE_SWEEP_CASES").map(|count| count.parse().expect("a number"));
    cases.truncate(wanted.unwrap_or(CASES));
    eprintln!("{} faults among {writes} writes and {syncs} syncs", cases.len());
    let cases = Mutex::new(cases.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let case = cases.lock().unwrap().next();
                    let Some(case) = case else { break };
                    try_case(seed, &workload, case);
                }
            });
        }
    });
}

/// All faults for these numbers of writes and syncs.
fn cases(writes: u64, syncs: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |target: FaultTarget, count: u64, action: FaultAction, duration: FaultDuration| {
        cases.extend((1..=count).map(|n| Case {
            target,
            n,
            action,
            duration,
        }));
    };
    for action in [FaultAction::DieBefore, FaultAction::DieAfter, FaultAction::Tear] {
        add(FaultTarget::Writes, writes, action, FaultDuration::Once);
    }
    for action in [FaultAction::DieBefore, FaultAction::DieAfter, FaultAction::Freeze] {
        add(FaultTarget::Syncs, syncs, action, FaultDuration::Once);
    }
    for duration in [
        FaultDuration::Once,
        FaultDuration::UntilHealed,
        FaultDuration::UntilKilled,
    ] {
        for errno in [Errno::Full, Errno::Broken, Errno::ReadOnly] {
            add(FaultTarget::Writes, writes, FaultAction::Fail(errno), duration);
        }
        add(
            FaultTarget::Syncs,
            syncs,
            FaultAction::Fail(Errno::Broken),
            duration,
        );
    }
    cases
}

/// Runs the workload without faults. Returns the numbers of its writes and syncs.
fn without_faults(seed: u64, workload: &Workload) -> (u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heddle.db");
    let faults = Faults::new(&path);
    let (text, died) = Appending::start(&faults, &path, seed).end(&faults);
    assert!(!died);
    let reports = Reports::parse(&text);
    assert!(reports.done && !reports.refused(), "{text}");
    let counts = (faults.writes(), faults.syncs());
    // Everything is durable, so the library saw every write and every sync.
    let disk = tempfile::tempdir().unwrap();
    check(
        workload,
        &reports,
        &faults.after_power_failure(disk.path(), None),
        false,
    );
    counts
}

/// The appending process and its reports.
struct Appending {
    child: Child,
    reports_text: JoinHandle<String>,
}

impl Appending {
    fn start(faults: &Faults, path: &Path, seed: u64) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_appends"))
            .arg(path)
            .arg(seed.to_string())
            .envs(faults.environment(true))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the process that appends starts");
        let mut stdout = child.stdout.take().expect("its stdout is piped");
        let reports_text = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).expect("the reports are UTF-8");
            text
        });
        Self { child, reports_text }
    }

    fn is_over(&self) -> bool {
        self.reports_text.is_finished()
    }

    fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
    }

    /// All its reports, and whether it was killed. It must not fail by itself.
    fn end(mut self, faults: &Faults) -> (String, bool) {
        let ends = faults.wait_for(|_| self.is_over());
        if !ends {
            let _ = self.child.kill();
        }
        let status = self.child.wait().expect("it can be waited for");
        let text = self
            .reports_text
            .join()
            .expect("the thread that reads the reports does not panic");
        assert!(ends, "it hangs after:\n{text}");
        let killed = status.signal().is_some();
        assert!(status.success() || killed, "it failed ({status}) after:\n{text}");
        (text, killed)
    }
}

fn try_case(seed: u64, workload: &Workload, case: Case) {
    // Prints the case and the seed of a failed check.
    let _failing = Failing(seed, case);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heddle.db");
    let faults = Faults::new(&path);
    let last = if case.duration == FaultDuration::Once {
        case.n
    } else {
        u64::MAX
    };
    faults.plan(case.target, case.n..=last, case.action);
    let mut appending = Appending::start(&faults, &path, seed);
    if case.action == FaultAction::Freeze {
        assert!(faults.wait_for(|faults| faults.frozen() > 0 || appending.is_over()));
    } else if case.duration != FaultDuration::Once {
        // The store retries repeatedly.
        assert!(faults.wait_for(|faults| faults.hit() >= TRIES || appending.is_over()));
    }
    match case.duration {
        FaultDuration::UntilKilled => appending.kill(),
        FaultDuration::UntilHealed => faults.heal(),
        FaultDuration::Once if case.action == FaultAction::Freeze => faults.heal(),
        FaultDuration::Once => {}
    }
    let (text, died) = appending.end(&faults);
    let reports = Reports::parse(&text);
    assert_eq!(reports.done, !died, "{text}");
    let mut random = Random::new(seed ^ case.n);
    let (synced, mixed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let synced = faults.after_power_failure(synced.path(), None);
    let mixed = faults.after_power_failure(mixed.path(), Some(&mut random));
    // An append whose sync failed is refused although it was written: until the store overwrites it, a crash can leave it
    // in the store.
    let refused_may_exist = case.target == FaultTarget::Syncs && case.duration == FaultDuration::UntilKilled;
    for left in [&path, &synced, &mixed] {
        check(workload, &reports, left, refused_may_exist);
    }
}

/// Checks a store, continues the workload on it to the end, and checks again.
fn check(workload: &Workload, reports: &Reports, path: &Path, refused_may_exist: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let journal = SqliteJournal::open(SqliteSettings::new(path)).expect("the store opens");
        let held = reports.check(workload, &journal, refused_may_exist).await;
        let (done, mut all) = mpsc::unbounded_channel();
        for (run, held) in held.iter().enumerate() {
            for planned in &workload.runs[run][*held..] {
                journal.append(planned.append(run, Arc::new(Taken(done.clone()))));
            }
        }
        drop(done);
        assert!(all.recv().await.is_none());
        let whole = Reports::all_durable(workload);
        whole.check(workload, &journal, false).await;
    });
}

/// An ack for an append that must succeed. Dropped after its outcome.
struct Taken(#[expect(dead_code, reason = "its end is what is waited for")] mpsc::UnboundedSender<()>);

impl Ack for Taken {
    fn durable(&self, _seq: u64) {}

    fn failed(&self, error: AppendError) {
        eprintln!("the store does not go on: {error}");
        std::process::abort();
    }
}

/// Prints the case if a check fails.
struct Failing(u64, Case);

impl Drop for Failing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in this case of HEDDLE_SWEEP_SEED={}: {:?}", self.0, self.1);
        }
    }
}
