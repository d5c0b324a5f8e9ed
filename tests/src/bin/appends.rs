//! Appends to a store what a seed says, and tells on stdout what becomes of it: the process under which the
//! tests of crashes put their faults. `appends PATH SEED`
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

use heddle_runtime::ports::{Ack, AppendError, Journal, StoreError};
use heddle_store::{SqliteJournal, SqliteSettings};
use heddle_tests::appends::{Told, Workload, graph};
use tokio::sync::mpsc;

/// How long to wait before something that the store refused is tried again.
const AGAIN: Duration = Duration::from_millis(5);

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
    runtime.block_on(append(path, &Workload::of(seed)));
    tell(Told::Done);
}

/// Writes a line at once: what was told is known even if the process dies right then.
fn tell(told: Told) {
    std::io::stdout()
        .lock()
        .write_all(format!("{told}\n").as_bytes())
        .unwrap();
}

async fn append(path: PathBuf, workload: &Workload) {
    let mut made = vec![0; workload.runs.len()];
    let refused: Arc<Mutex<HashSet<usize>>> = Arc::default();
    for (session, turns) in workload.sessions.iter().enumerate() {
        let journal = open(&path).await;
        while let Err(error) = journal.put_graph(graph(session)).await {
            assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
            tokio::time::sleep(AGAIN).await;
        }
        tell(Told::Graph(session));
        for turn in turns {
            let (done, mut all) = mpsc::unbounded_channel();
            for run in turn {
                // A run whose beginning was refused is none, and nothing follows.
                if refused.lock().unwrap().contains(run) {
                    continue;
                }
                let planned = &workload.runs[*run][made[*run]];
                made[*run] += 1;
                tell(Told::Handed(*run, made[*run]));
                journal.append(planned.append(
                    *run,
                    Arc::new(Teller {
                        run: *run,
                        count: made[*run],
                        begins: planned.begins(),
                        told: AtomicBool::new(false),
                        refused: refused.clone(),
                        _done: done.clone(),
                    }),
                ));
            }
            drop(done);
            // Ends when the last of the turn's acks was told and dropped.
            assert!(all.recv().await.is_none());
        }
        let closed = journal.close().await;
        assert!(closed.is_ok(), "{closed:?}");
        drop(journal);
        tell(Told::Closed);
    }
}

async fn open(path: &PathBuf) -> SqliteJournal {
    loop {
        let settings = SqliteSettings {
            retry: AGAIN,
            ..SqliteSettings::new(path)
        };
        match SqliteJournal::open(settings) {
            Ok(journal) => {
                tell(Told::Opened);
                return journal;
            }
            Err(error) => {
                eprintln!("{error}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Tells what becomes of an append.
struct Teller {
    run: usize,
    /// How many appends of the run were made, with this one.
    count: usize,
    begins: bool,
    told: AtomicBool,
    refused: Arc<Mutex<HashSet<usize>>>,
    /// Dropped with this.
    _done: mpsc::UnboundedSender<()>,
}

impl Teller {
    fn once(&self) {
        assert!(
            !self.told.swap(true, Ordering::SeqCst),
            "an append was told twice"
        );
    }
}

impl Ack for Teller {
    fn durable(&self, _seq: u64) {
        self.once();
        tell(Told::Durable(self.run, self.count));
    }

    fn failed(&self, error: AppendError) {
        self.once();
        let first = self.refused.lock().unwrap().insert(self.run);
        // Only what begins may be refused, and what was handed over right behind it.
        let right = matches!(error, AppendError::Unavailable(_)) && (self.begins || !first);
        if !right {
            eprintln!("run {} was refused: {error}", self.run);
            std::process::exit(3);
        }
        tell(Told::Refused(self.run, self.count));
    }
}
