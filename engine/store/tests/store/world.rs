//! Shared by the tests: stores that can be opened again, a writer for the events of a run, and acks to wait for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use heddle_json::{Object, object::json};
use heddle_kernel::{Event, EventRecord, FailureKind, GraphId, Level, RunError, RunId, Status, Timestamp};
use heddle_runtime::ports::{
    Ack, Append, AppendError, EngineId, NewRun, Request, RunDisposition, RunEnd, RunPosition, RunWait, Store,
};
use heddle_store::{MemoryJournal, PostgresSettings, PostgresStore, SqliteJournal, SqliteSettings};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::cluster::cluster;

/// Makes each function a test of every implementation.
macro_rules! contract {
    ($($fact:ident,)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                super::$fact(crate::world::Sqlite::new()).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                super::$fact(crate::world::Postgres::new()).await;
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

/// Holds the data of a store while no journal is open on it.
pub(crate) trait World: Send {
    /// Opens the store, which is empty the first time. No other journal may be open on it.
    fn open(&mut self) -> Arc<dyn Store>;
}

/// A SQLite file in a temporary folder.
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
    fn open(&mut self) -> Arc<dyn Store> {
        Arc::new(self.journal())
    }
}

/// A database in the server of the test process.
pub(crate) struct Postgres {
    pub(crate) database: String,
}

impl Postgres {
    pub(crate) fn new() -> Self {
        Self {
            database: cluster().database(),
        }
    }

    pub(crate) fn settings(&self) -> PostgresSettings {
        PostgresSettings::parse(&cluster().url(&self.database)).unwrap()
    }

    pub(crate) fn store(&self) -> PostgresStore {
        PostgresStore::open(self.settings()).unwrap()
    }

    /// Executes SQL, and returns the output without decoration.
    pub(crate) fn psql(&self, sql: &str) -> String {
        cluster().psql(&self.database, sql).unwrap()
    }
}

impl World for Postgres {
    fn open(&mut self) -> Arc<dyn Store> {
        Arc::new(self.store())
    }
}

/// A journal in memory. The next one that is opened gets a copy of its durable data.
pub(crate) struct Memory(Option<Arc<MemoryJournal>>);

impl Memory {
    pub(crate) fn new() -> Self {
        Self(None)
    }
}

impl World for Memory {
    fn open(&mut self) -> Arc<dyn Store> {
        let journal = Arc::new(
            self.0
                .take()
                .map_or_else(MemoryJournal::new, |before| before.after_crash()),
        );
        self.0 = Some(journal.clone());
        journal
    }
}

/// Receives the ack of an append.
pub(crate) type AckReceiver = oneshot::Receiver<Result<u64, AppendError>>;

struct ChannelAck(Mutex<Option<oneshot::Sender<Result<u64, AppendError>>>>);

impl ChannelAck {
    fn send(&self, result: Result<u64, AppendError>) {
        let sender = self
            .0
            .lock()
            .unwrap()
            .take()
            .expect("an append is acknowledged once");
        let _ = sender.send(result);
    }
}

impl Ack for ChannelAck {
    fn durable(&self, seq: u64) {
        self.send(Ok(seq));
    }

    fn failed(&self, error: AppendError) {
        self.send(Err(error));
    }
}

/// An ack and its receiver.
pub(crate) fn ack() -> (Arc<dyn Ack>, AckReceiver) {
    let (sender, result) = oneshot::channel();
    (Arc::new(ChannelAck(Mutex::new(Some(sender)))), result)
}

/// Appends events to a run, with consecutive numbers.
pub(crate) struct RunWriter {
    pub(crate) run: RunId,
    pub(crate) graph: GraphId,
    pub(crate) seq: u64,
}

impl RunWriter {
    /// The run with this number, of the graph with the same number modulo 2.
    pub(crate) fn new(number: u64) -> Self {
        Self {
            run: run_id(number),
            graph: graph_id(number % 2),
            seq: 0,
        }
    }

    /// The same run, as if it had this many events.
    pub(crate) fn at(number: u64, seq: u64) -> Self {
        Self {
            seq,
            ..Self::new(number)
        }
    }

    /// Appends the first event.
    pub(crate) fn begin(&mut self, journal: &dyn Store) -> AckReceiver {
        let event = self.started();
        self.append(journal, vec![event])
    }

    /// Appends the first event of a queued run.
    pub(crate) fn queue(&mut self, journal: &dyn Store, priority: i32, group: Option<&str>) -> AckReceiver {
        let event = self.started();
        let (mut append, result) = self.draft(vec![event], RunDisposition::Queued);
        let begins = append.begins.as_mut().unwrap();
        (begins.priority, begins.group) = (priority, group.map(Into::into));
        begins.group_limit = group.map(|_| 2);
        journal.append(append);
        result
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

    /// Appends this many log events in one append.
    pub(crate) fn append_logs(&mut self, journal: &dyn Store, count: u64) -> AckReceiver {
        self.append(journal, (0..count).map(|_| log("a line")).collect())
    }

    /// Appends the last event.
    pub(crate) fn finish(&mut self, journal: &dyn Store) -> AckReceiver {
        self.append(journal, vec![Event::RunFinished])
    }

    /// Appends an event after which the run waits.
    pub(crate) fn park(&mut self, journal: &dyn Store, until: Option<i64>) -> AckReceiver {
        let until = until.map(Timestamp);
        self.write(
            journal,
            vec![log("waits")],
            RunDisposition::Waiting(RunWait { until }),
        )
    }

    /// Appends an event after which the run is paused.
    pub(crate) fn pause(&mut self, journal: &dyn Store) -> AckReceiver {
        let reason = "somebody wants to look".into();
        self.write(journal, vec![Event::RunPaused { reason }], RunDisposition::Paused)
    }

    /// Appends the retry of a failed run.
    pub(crate) fn retry(&mut self, journal: &dyn Store) -> AckReceiver {
        let (append, result) = self.draft(vec![Event::RunRetried], RunDisposition::Running);
        journal.append(Append {
            reopens: true,
            ..append
        });
        result
    }

    /// Appends the last event of a cancelled run.
    pub(crate) fn cancel(&mut self, journal: &dyn Store) -> AckReceiver {
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

    /// Appends these events in one append. The last event decides the disposition.
    pub(crate) fn append(&mut self, journal: &dyn Store, events: Vec<Event>) -> AckReceiver {
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

    /// Appends these events in one append with this disposition.
    pub(crate) fn write(
        &mut self,
        journal: &dyn Store,
        events: Vec<Event>,
        disposition: RunDisposition,
    ) -> AckReceiver {
        let (append, result) = self.draft(events, disposition);
        journal.append(append);
        result
    }

    /// An append of these events, which the test may change before it sends it.
    pub(crate) fn draft(&mut self, events: Vec<Event>, disposition: RunDisposition) -> (Append, AckReceiver) {
        let begins = (self.seq == 0).then(|| NewRun {
            graph: self.graph.clone(),
            created_at: Timestamp(1_000),
            priority: 0,
            group: None,
            group_limit: None,
            origin: None,
        });
        let events = events.into_iter().map(|event| {
            self.seq += 1;
            record(self.seq, event)
        });
        let events = events.collect();
        let (append, result) = draft(self.run, events, disposition);
        (Append { begins, ..append }, result)
    }
}

/// An append to an existing run.
pub(crate) fn draft(
    run: RunId,
    events: Vec<Arc<EventRecord>>,
    disposition: RunDisposition,
) -> (Append, AckReceiver) {
    let (ack, result) = ack();
    let append = Append {
        run,
        owner: EngineId::EXCLUSIVE,
        begins: None,
        reopens: false,
        events,
        disposition,
        requests: Vec::new(),
        commands: Vec::new(),
        snapshot: None,
        ack,
    };
    (append, result)
}

/// Checks that an append was refused because it does not continue the journal of this run.
pub(crate) fn conflict(result: Result<u64, AppendError>, expected: RunId) {
    match result {
        Err(AppendError::Conflict { run, .. }) => assert_eq!(run, expected),
        other => panic!("{other:?}"),
    }
}

/// Checks that an append was refused because a request was answered before, with this result.
pub(crate) fn duplicate(result: Result<u64, AppendError>, expected: &Request) {
    match result {
        Err(AppendError::DuplicateRequest(first)) => assert_eq!(*first, *expected),
        other => panic!("{other:?}"),
    }
}

/// Checks that an append was refused because rows of this run are damaged.
pub(crate) fn damaged(result: Result<u64, AppendError>, expected: RunId) {
    match result {
        Err(AppendError::Damaged { run, .. }) => assert_eq!(run, expected),
        other => panic!("{other:?}"),
    }
}

/// An event record with this number.
pub(crate) fn record(seq: u64, event: Event) -> Arc<EventRecord> {
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
            step: Some(7),
            attempt: Some(2),
            data,
        },
    }
}

pub(crate) fn run_id(number: u64) -> RunId {
    format!("01890000-0000-7000-8000-{number:012x}").parse().unwrap()
}

/// The position in a list of the run with this number, as a [`RunWriter`] begins it.
pub(crate) fn position(number: u64) -> RunPosition {
    RunPosition {
        created_at: Timestamp(1_000),
        id: run_id(number),
    }
}

pub(crate) fn graph_id(number: u64) -> GraphId {
    GraphId(format!("{number:032x}").into())
}

/// Every event of a run, read in pages of this length. Checks that the numbers are consecutive.
pub(crate) async fn all_events(journal: &dyn Store, run: RunId, page: usize) -> Vec<Arc<EventRecord>> {
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
