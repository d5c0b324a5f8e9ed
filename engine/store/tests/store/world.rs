//! What the tests are written in: stores that can be restarted, runs that grow, acks that wait.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use heddle_json::{Object, object::json};
use heddle_kernel::{Event, EventRecord, FailureKind, GraphId, Level, RunError, RunId, Status, Timestamp};
use heddle_runtime::ports::{
    Ack, Append, AppendError, Journal, NewRun, RunDisposition, RunEnd, RunPosition, RunWait,
};
use heddle_store::{MemoryJournal, SqliteJournal, SqliteSettings};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Holds facts against every implementation.
macro_rules! contract {
    ($($fact:ident,)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                super::$fact(crate::world::Sqlite::new()).await;
            })*
        }
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                super::$fact(crate::world::Memory::new()).await;
            })*
        }
    };
}

/// A place where a store is, which outlives the journals that are opened on it.
pub(crate) trait World: Send {
    /// Opens the store: the first time it is empty. No other journal may be open on it.
    fn open(&mut self) -> Arc<dyn Journal>;
}

/// A file in a folder of its own.
pub(crate) struct Sqlite(pub(crate) TempDir);

impl Sqlite {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.0.path().join("heddle.db")
    }

    pub(crate) fn journal(&self) -> SqliteJournal {
        SqliteJournal::open(SqliteSettings::new(self.path())).unwrap()
    }
}

impl World for Sqlite {
    fn open(&mut self) -> Arc<dyn Journal> {
        Arc::new(self.journal())
    }
}

/// Memory, copied over to the journal that is opened next.
pub(crate) struct Memory(Option<Arc<MemoryJournal>>);

impl Memory {
    pub(crate) fn new() -> Self {
        Self(None)
    }
}

impl World for Memory {
    fn open(&mut self) -> Arc<dyn Journal> {
        let journal = Arc::new(
            self.0
                .take()
                .map_or_else(MemoryJournal::new, |before| before.after_crash()),
        );
        self.0 = Some(journal.clone());
        journal
    }
}

/// What an append was told.
pub(crate) type Told = oneshot::Receiver<Result<u64, AppendError>>;

struct Teller(Mutex<Option<oneshot::Sender<Result<u64, AppendError>>>>);

impl Teller {
    fn tell(&self, told: Result<u64, AppendError>) {
        let sender = self.0.lock().unwrap().take().expect("an append is told once");
        let _ = sender.send(told);
    }
}

impl Ack for Teller {
    fn durable(&self, seq: u64) {
        self.tell(Ok(seq));
    }

    fn failed(&self, error: AppendError) {
        self.tell(Err(error));
    }
}

/// An ack, and where it can be waited for.
pub(crate) fn ack() -> (Arc<dyn Ack>, Told) {
    let (sender, told) = oneshot::channel();
    (Arc::new(Teller(Mutex::new(Some(sender)))), told)
}

/// A run that tests append to.
pub(crate) struct Line {
    pub(crate) run: RunId,
    pub(crate) graph: GraphId,
    pub(crate) seq: u64,
}

impl Line {
    /// The `number`th run, of the graph with the same number modulo 2.
    pub(crate) fn new(number: u64) -> Self {
        Self {
            run: run_id(number),
            graph: graph_id(number % 2),
            seq: 0,
        }
    }

    /// The same run, as one who thinks that it has so many events.
    pub(crate) fn at(number: u64, seq: u64) -> Self {
        Self {
            seq,
            ..Self::new(number)
        }
    }

    /// Appends the first event.
    pub(crate) fn begin(&mut self, journal: &dyn Journal) -> Told {
        let event = self.started();
        self.append(journal, vec![event])
    }

    /// Appends the first event, of a run that waits for its turn, with a priority and maybe in a group.
    pub(crate) fn queue(&mut self, journal: &dyn Journal, priority: i32, group: Option<&str>) -> Told {
        let event = self.started();
        let (mut append, told) = self.draft(vec![event], RunDisposition::Queued);
        let begins = append.begins.as_mut().unwrap();
        (begins.priority, begins.group) = (priority, group.map(Into::into));
        journal.append(append);
        told
    }

    /// The first event.
    pub(crate) fn started(&self) -> Event {
        let state = Object::parse("{\"text\": \"a line\",\n \"n\": 1.50}").unwrap();
        Event::RunStarted {
            graph: self.graph.clone(),
            state,
            functions: BTreeMap::new(),
            graphs: BTreeMap::new(),
        }
    }

    /// Appends so many lines of a log, as one append.
    pub(crate) fn grow(&mut self, journal: &dyn Journal, count: u64) -> Told {
        self.append(journal, (0..count).map(|_| log("a line")).collect())
    }

    /// Appends the last event.
    pub(crate) fn finish(&mut self, journal: &dyn Journal) -> Told {
        self.append(journal, vec![Event::RunFinished])
    }

    /// Appends an event after which the run waits.
    pub(crate) fn park(&mut self, journal: &dyn Journal, until: Option<i64>) -> Told {
        let until = until.map(Timestamp);
        self.write(
            journal,
            vec![log("waits")],
            RunDisposition::Waiting(RunWait { until }),
        )
    }

    /// Appends an event after which the run stands still.
    pub(crate) fn pause(&mut self, journal: &dyn Journal) -> Told {
        let reason = "somebody wants to look".into();
        self.write(journal, vec![Event::RunPaused { reason }], RunDisposition::Paused)
    }

    /// Appends an event by which the run, which failed, goes on.
    pub(crate) fn retry(&mut self, journal: &dyn Journal) -> Told {
        let (append, told) = self.draft(vec![Event::RunRetried], RunDisposition::Running);
        journal.append(Append {
            reopens: true,
            ..append
        });
        told
    }

    /// Appends the last event, of a run that is cancelled.
    pub(crate) fn cancel(&mut self, journal: &dyn Journal) -> Told {
        let ends = RunEnd {
            status: Status::Cancelled,
            at: Timestamp(2_000),
            error: None,
        };
        let cancelled = Event::RunCancelled {
            reason: "not wanted".into(),
            problems: Vec::new(),
        };
        self.write(journal, vec![cancelled], RunDisposition::Over(ends))
    }

    /// Appends these events, as one append.
    pub(crate) fn append(&mut self, journal: &dyn Journal, events: Vec<Event>) -> Told {
        let disposition = match events.last() {
            Some(Event::RunFinished) => RunDisposition::Over(RunEnd {
                status: Status::Finished,
                at: Timestamp(2_000),
                error: None,
            }),
            Some(Event::RunFailed { error }) => RunDisposition::Over(RunEnd {
                status: Status::Failed,
                at: Timestamp(2_000),
                error: Some(error.clone()),
            }),
            _ => RunDisposition::Running,
        };
        self.write(journal, events, disposition)
    }

    /// Appends these events, as one append that leaves the run so.
    pub(crate) fn write(
        &mut self,
        journal: &dyn Journal,
        events: Vec<Event>,
        disposition: RunDisposition,
    ) -> Told {
        let (append, told) = self.draft(events, disposition);
        journal.append(append);
        told
    }

    /// An append of these events, which a test may change before it makes it.
    pub(crate) fn draft(&mut self, events: Vec<Event>, disposition: RunDisposition) -> (Append, Told) {
        let begins = (self.seq == 0).then(|| NewRun {
            graph: self.graph.clone(),
            created_at: Timestamp(1_000),
            priority: 0,
            group: None,
            origin: None,
        });
        let events = events.into_iter().map(|event| {
            self.seq += 1;
            recorded(self.seq, event)
        });
        let events = events.collect();
        let (append, told) = draft(self.run, events, disposition);
        (Append { begins, ..append }, told)
    }
}

/// An append to a run that has begun.
pub(crate) fn draft(
    run: RunId,
    events: Vec<Arc<EventRecord>>,
    disposition: RunDisposition,
) -> (Append, Told) {
    let (ack, told) = ack();
    let append = Append {
        run,
        begins: None,
        reopens: false,
        events,
        disposition,
        requests: Vec::new(),
        snapshot: None,
        ack,
    };
    (append, told)
}

/// Checks that an append of this run was refused for where it stands.
pub(crate) fn conflict(told: Result<u64, AppendError>, expected: RunId) {
    match told {
        Err(AppendError::Conflict { run, .. }) => assert_eq!(run, expected),
        other => panic!("{other:?}"),
    }
}

/// Checks that an append of this run was given up because of damage.
pub(crate) fn damaged(told: Result<u64, AppendError>, expected: RunId) {
    match told {
        Err(AppendError::Damaged { run, .. }) => assert_eq!(run, expected),
        other => panic!("{other:?}"),
    }
}

/// An event as it is kept.
pub(crate) fn recorded(seq: u64, event: Event) -> Arc<EventRecord> {
    let at = Timestamp(1_000 + seq as i64);
    Arc::new(EventRecord { seq, at, event })
}

pub(crate) fn log(message: &str) -> Event {
    Event::Log {
        step: 1,
        node: "node".into(),
        attempt: 1,
        level: Level::Info,
        message: message.into(),
    }
}

pub(crate) fn failed() -> Event {
    let data = Some(json("[1,\n2]").unwrap());
    let (kind, message, node) = (FailureKind::Permanent, "it broke".into(), "node".into());
    Event::RunFailed {
        error: RunError {
            kind,
            message,
            node,
            step: 7,
            attempt: 2,
            data,
        },
    }
}

pub(crate) fn run_id(number: u64) -> RunId {
    format!("01890000-0000-7000-8000-{number:012x}").parse().unwrap()
}

/// The place in a list of the `number`th run, as a [`Line`] begins it.
pub(crate) fn position(number: u64) -> RunPosition {
    RunPosition {
        created_at: Timestamp(1_000),
        id: run_id(number),
    }
}

pub(crate) fn graph_id(number: u64) -> GraphId {
    GraphId(format!("{number:032x}").into())
}

/// Every event of a run, read in pages of this length: their numbers are checked.
pub(crate) async fn all_events(journal: &dyn Journal, run: RunId, page: usize) -> Vec<Arc<EventRecord>> {
    let mut events: Vec<Arc<EventRecord>> = Vec::new();
    loop {
        let more = journal.events(run, events.len() as u64, page).await.unwrap();
        assert!(more.len() <= page);
        if more.is_empty() {
            break;
        }
        events.extend(more);
    }
    let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    events
}
