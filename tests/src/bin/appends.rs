//! Runs the workload of a seed on a store and reports the outcomes on stdout: `appends PATH SEED`. The crash tests run
//! this process with faults under its store.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // it is a part of a test

use std::{
    collections::HashSet,
    io::Write,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use heddle_runtime::ports::{Ack, AppendError, Catalog, Journal, Store, StoreError};
use heddle_store::{SqliteJournal, SqliteSettings};
use heddle_tests::appends::{Report, Workload, graph};
use tokio::sync::mpsc;

/// The delay before an operation that the store refused is retried.
const RETRY_DELAY: Duration = Duration::from_millis(5);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path: PathBuf = arguments.next().expect("the path of a store").into();
    let seed = arguments
        .next()
        .expect("a seed")
        .parse()
        .expect("a seed is a number");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(append(path, &Workload::from_seed(seed)));
    report(Report::Done);
}

/// Writes a report immediately, so that it is known even if the process dies next.
fn report(report: Report) {
    std::io::stdout()
        .lock()
        .write_all(format!("{report}\n").as_bytes())
        .unwrap();
}

async fn append(path: PathBuf, workload: &Workload) {
    let mut appended = vec![0; workload.runs.len()];
    let refused: Arc<Mutex<HashSet<usize>>> = Arc::default();
    for (session, rounds) in workload.sessions.iter().enumerate() {
        let journal = open(&path).await;
        while let Err(error) = journal.put_graph(graph(session)).await {
            assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
            tokio::time::sleep(RETRY_DELAY).await;
        }
        report(Report::Graph(session));
        for round in rounds {
            let (done, mut all) = mpsc::unbounded_channel();
            for run in round {
                // A run whose first append was refused does not exist and has no further appends.
                if refused.lock().unwrap().contains(run) {
                    continue;
                }
                let planned = &workload.runs[*run][appended[*run]];
                appended[*run] += 1;
                report(Report::Handed(*run, appended[*run]));
                journal.append(planned.append(
                    *run,
                    Arc::new(ReportingAck {
                        run: *run,
                        count: appended[*run],
                        begins: planned.begins(),
                        reported: AtomicBool::new(false),
                        refused: refused.clone(),
                        _done: done.clone(),
                    }),
                ));
            }
            drop(done);
            // Ends when the last ack of the round was dropped.
            assert!(all.recv().await.is_none());
        }
        let closed = journal.close().await;
        assert!(closed.is_ok(), "{closed:?}");
        drop(journal);
        report(Report::Closed);
    }
}

async fn open(path: &PathBuf) -> SqliteJournal {
    loop {
        let settings = SqliteSettings {
            retry: RETRY_DELAY,
            ..SqliteSettings::new(path)
        };
        match SqliteJournal::open(settings) {
            Ok(journal) => {
                report(Report::Opened);
                return journal;
            }
            Err(error) => {
                eprintln!("{error}");
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }
}

/// Reports the outcome of an append.
struct ReportingAck {
    run: usize,
    /// The number of the run's appends, including this one.
    count: usize,
    begins: bool,
    reported: AtomicBool,
    refused: Arc<Mutex<HashSet<usize>>>,
    /// Its drop signals that the append has its outcome.
    _done: mpsc::UnboundedSender<()>,
}

impl ReportingAck {
    fn once(&self) {
        assert!(
            !self.reported.swap(true, Ordering::SeqCst),
            "an append was acknowledged twice"
        );
    }
}

impl Ack for ReportingAck {
    fn durable(&self, _seq: u64) {
        self.once();
        report(Report::Durable(self.run, self.count));
    }

    fn failed(&self, error: AppendError) {
        self.once();
        let first = self.refused.lock().unwrap().insert(self.run);
        // Only first appends may be refused, and appends that were submitted right after them.
        let right = matches!(error, AppendError::Unavailable(_)) && (self.begins || !first);
        if !right {
            eprintln!("run {} was refused: {error}", self.run);
            std::process::exit(3);
        }
        report(Report::Refused(self.run, self.count));
    }
}
