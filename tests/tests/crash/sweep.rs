//! Every kind of fault at every write and sync of a store: what was acknowledged is there afterwards, each append
//! whole or not at all, nothing that was refused, and the store goes on.
//!
//! `HEDDLE_SWEEP_SEED=N` repeats one sweep, and `HEDDLE_SWEEP_CASES=N` tries more (or, with a number above all
//! of them, every one).

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
    appends::{Account, Workload},
    fault::{Does, Errno, Faults, Of},
    lot::{Lot, seed},
};
use tokio::sync::mpsc;

/// How many of the faults are tried where nothing is said: about half a minute on two slow cores.
const CASES: usize = 150;

/// How many tries of a store must have failed before its disk is well again.
const TRIES: u64 = 3;

/// One fault.
#[derive(Clone, Copy, Debug)]
struct Case {
    of: Of,
    n: u64,
    does: Does,
    then: Then,
}

/// What becomes of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It happens once.
    Once,
    /// It goes on from there until the disk is well again.
    Heals,
    /// It goes on from there until the process is killed.
    Killed,
}

#[test]
fn nothing_acknowledged_is_lost_whatever_fails_at_which_write_or_sync() {
    let seed = seed("HEDDLE_SWEEP_SEED");
    let workload = Workload::of(seed);
    let (writes, syncs) = without_faults(seed, &workload);
    let mut lot = Lot::new(seed);
    let mut cases = cases(writes, syncs);
    lot.shuffle(&mut cases);
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

/// Every fault that there can be among so many writes and syncs.
fn cases(writes: u64, syncs: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |of: Of, count: u64, does: Does, then: Then| {
        cases.extend((1..=count).map(|n| Case { of, n, does, then }));
    };
    for does in [Does::DieBefore, Does::DieAfter, Does::Tear] {
        add(Of::Writes, writes, does, Then::Once);
    }
    for does in [Does::DieBefore, Does::DieAfter, Does::Freeze] {
        add(Of::Syncs, syncs, does, Then::Once);
    }
    for then in [Then::Once, Then::Heals, Then::Killed] {
        for errno in [Errno::Full, Errno::Broken, Errno::ReadOnly] {
            add(Of::Writes, writes, Does::Fail(errno), then);
        }
        add(Of::Syncs, syncs, Does::Fail(Errno::Broken), then);
    }
    cases
}

/// Runs the workload on a disk that is well, and answers how many writes and syncs it makes.
fn without_faults(seed: u64, workload: &Workload) -> (u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heddle.db");
    let faults = Faults::under(&path);
    let (text, died) = Appending::start(&faults, &path, seed).end(&faults);
    assert!(!died);
    let account = Account::of(&text);
    assert!(account.done && !account.refused(), "{text}");
    let counts = (faults.writes(), faults.syncs());
    // All of it is on the disk, and so the layer sees every write and every sync.
    let disk = tempfile::tempdir().unwrap();
    check(
        workload,
        &account,
        &faults.after_power_failure(disk.path(), None),
        false,
    );
    counts
}

/// The process that appends, and what it tells.
struct Appending {
    child: Child,
    told: JoinHandle<String>,
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
        let told = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).expect("it tells text");
            text
        });
        Self { child, told }
    }

    fn is_over(&self) -> bool {
        self.told.is_finished()
    }

    fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
    }

    /// Everything that it tells until its end, and whether it was killed. It must not fail by itself.
    fn end(mut self, faults: &Faults) -> (String, bool) {
        let ends = faults.wait_for(|_| self.is_over());
        if !ends {
            let _ = self.child.kill();
        }
        let status = self.child.wait().expect("it can be waited for");
        let text = self.told.join().expect("it tells what it does");
        assert!(ends, "it stands still after:\n{text}");
        let killed = status.signal().is_some();
        assert!(status.success() || killed, "it failed ({status}) after:\n{text}");
        (text, killed)
    }
}

fn try_case(seed: u64, workload: &Workload, case: Case) {
    // A check that fails says in which case, and under which seed.
    let _failing = Failing(seed, case);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heddle.db");
    let faults = Faults::under(&path);
    let last = if case.then == Then::Once { case.n } else { u64::MAX };
    faults.plan(case.of, case.n..=last, case.does);
    let mut appending = Appending::start(&faults, &path, seed);
    if case.does == Does::Freeze {
        assert!(faults.wait_for(|faults| faults.frozen() > 0 || appending.is_over()));
    } else if case.then != Then::Once {
        // The store tries again and again.
        assert!(faults.wait_for(|faults| faults.hit() >= TRIES || appending.is_over()));
    }
    match case.then {
        Then::Killed => appending.kill(),
        Then::Heals => faults.heal(),
        Then::Once if case.does == Does::Freeze => faults.heal(),
        Then::Once => {}
    }
    let (text, died) = appending.end(&faults);
    let account = Account::of(&text);
    assert_eq!(account.done, !died, "{text}");
    let mut lot = Lot::new(seed ^ case.n);
    let (synced, mixed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let synced = faults.after_power_failure(synced.path(), None);
    let mixed = faults.after_power_failure(mixed.path(), Some(&mut lot));
    // What a sync failed for is refused, and written all the same: until the store writes again over it, a
    // crash finds it there.
    let doubt = case.of == Of::Syncs && case.then == Then::Killed;
    for left in [&path, &synced, &mixed] {
        check(workload, &account, left, doubt);
    }
}

/// Checks what a store holds, has the workload go on from there to its end, and checks again.
fn check(workload: &Workload, account: &Account, path: &Path, doubt: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let journal = SqliteJournal::open(SqliteSettings::new(path)).expect("the store opens");
        let held = account.check(workload, &journal, doubt).await;
        let (done, mut all) = mpsc::unbounded_channel();
        for (run, held) in held.iter().enumerate() {
            for planned in &workload.runs[run][*held..] {
                journal.append(planned.append(run, Arc::new(Taken(done.clone()))));
            }
        }
        drop(done);
        assert!(all.recv().await.is_none());
        let whole = Account::of_all(workload);
        whole.check(workload, &journal, false).await;
    });
}

/// An append that must be taken. Dropped when it was told.
struct Taken(#[expect(dead_code, reason = "its end is what is waited for")] mpsc::UnboundedSender<()>);

impl Ack for Taken {
    fn durable(&self, _seq: u64) {}

    fn failed(&self, error: AppendError) {
        eprintln!("the store does not go on: {error}");
        std::process::abort();
    }
}

/// Says which case it was where a check in it fails.
struct Failing(u64, Case);

impl Drop for Failing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in this case of HEDDLE_SWEEP_SEED={}: {:?}", self.0, self.1);
        }
    }
}
