//! A workload of a store: what a seed has many runs append, what was told of it, and what a store must hold then.
//!
//! The process that appends (`src/bin/appends.rs`) and the test that looks at the file afterwards both make the
//! workload from the seed, so that only what was told has to pass between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::Arc,
};

use heddle_json::{Object, object::json};
use heddle_kernel::{
    Digest, Event, EventRecord, FailureKind, GraphId, Level, RunError, RunId, Status, Timestamp,
};
use heddle_runtime::ports::{
    Ack, Append, GraphRow, Journal, NewRun, Request, RunDisposition, RunEnd, RunFilter, RunSnapshot, RunWait,
};

use crate::lot::Lot;

/// How often the store is opened and closed: to close it copies its log into the file.
const SESSIONS: usize = 3;
/// How many times appends are handed over in each: those of one time share a commit, mostly.
const TURNS: usize = 8;
/// How many runs begin in each.
const BEGINNING: u64 = 5;

/// What is appended by whom and when.
pub struct Workload {
    /// The appends of each run, in order.
    pub runs: Vec<Vec<Planned>>,
    /// For each session its turns, for each of these the runs that append once more, together.
    pub sessions: Vec<Vec<Vec<usize>>>,
}

/// An append that is to be made.
#[derive(Clone)]
pub struct Planned {
    /// Its first event is the run's first.
    begins: bool,
    reopens: bool,
    events: Vec<Arc<EventRecord>>,
    disposition: RunDisposition,
    request: Option<Request>,
    snapshot: Option<RunSnapshot>,
}

/// What the process that appends tells. As text it is a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The store was opened.
    Opened,
    /// A graph is durable.
    Graph(usize),
    /// An append of this run was handed over; the number is how many were, with it.
    Handed(usize, usize),
    /// It is durable.
    Durable(usize, usize),
    /// It was refused, and so will be what follows it.
    Refused(usize, usize),
    /// The store was closed.
    Closed,
    /// Everything was told.
    Done,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened => f.write_str("opened"),
            Self::Graph(number) => write!(f, "graph {number}"),
            Self::Handed(run, count) => write!(f, "handed {run} {count}"),
            Self::Durable(run, count) => write!(f, "durable {run} {count}"),
            Self::Refused(run, count) => write!(f, "refused {run} {count}"),
            Self::Closed => f.write_str("closed"),
            Self::Done => f.write_str("done"),
        }
    }
}

impl FromStr for Told {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let wrong = || format!("`{line}` is nothing that is told");
        let mut words = line.split(' ');
        let what = words.next().ok_or_else(wrong)?;
        let mut number = || -> Result<usize, String> {
            let word = words.next().ok_or_else(wrong)?;
            word.parse().map_err(|_| wrong())
        };
        Ok(match what {
            "opened" => Self::Opened,
            "graph" => Self::Graph(number()?),
            "handed" => Self::Handed(number()?, number()?),
            "durable" => Self::Durable(number()?, number()?),
            "refused" => Self::Refused(number()?, number()?),
            "closed" => Self::Closed,
            "done" => Self::Done,
            _ => return Err(wrong()),
        })
    }
}

/// The id of the workload's `number`th run.
pub fn run_id(number: usize) -> RunId {
    RunId(uuid::Uuid::from_u128(
        0x0189_0000_0000_7000_8000_0000_0000_0000 + number as u128,
    ))
}

/// The graph that is put in the `number`th session.
pub fn graph(number: usize) -> GraphRow {
    GraphRow {
        id: GraphId(format!("{number:032x}").into()),
        name: Some(format!("graph-{number}").into()),
        definition: r#"{"nodes":{"node":{}}}"#.into(),
        created_at: Timestamp(number as i64),
        functions: Default::default(),
    }
}

impl Workload {
    /// The workload of a seed.
    pub fn of(seed: u64) -> Self {
        let mut lot = Lot::new(seed);
        let mut runs: Vec<Growing> = Vec::new();
        let mut sessions = Vec::new();
        for session in 0..SESSIONS {
            let mut turns = Vec::new();
            for turn in 0..TURNS {
                let mut appending = Vec::new();
                let begin = if turn == 0 { 2 } else { u64::from(lot.once_in(2)) };
                for _ in 0..begin.min(BEGINNING) {
                    runs.push(Growing::new(runs.len(), session));
                    appending.push(runs.len() - 1);
                }
                appending.iter().for_each(|run| runs[*run].grow(&mut lot));
                for _ in 0..lot.within(1..6) {
                    // Once in a while one run appends twice in a turn.
                    let run = lot.within(0..runs.len() as u64) as usize;
                    if !runs[run].over {
                        runs[run].grow(&mut lot);
                        appending.push(run);
                    }
                }
                turns.push(appending);
            }
            sessions.push(turns);
        }
        let runs = runs.into_iter().map(|run| run.appends).collect();
        Self { runs, sessions }
    }
}

/// A run whose appends are made up.
struct Growing {
    number: usize,
    graph: usize,
    seq: u64,
    failed: bool,
    over: bool,
    appends: Vec<Planned>,
}

impl Growing {
    fn new(number: usize, graph: usize) -> Self {
        let (seq, failed, over, appends) = (0, false, false, Vec::new());
        Self {
            number,
            graph,
            seq,
            failed,
            over,
            appends,
        }
    }

    fn grow(&mut self, lot: &mut Lot) {
        let mut events = Vec::new();
        let begins = self.seq == 0;
        let reopens = std::mem::take(&mut self.failed);
        if begins {
            events.push(Event::RunStarted {
                graph: graph(self.graph).id,
                state: Object::default(),
                functions: BTreeMap::new(),
                graphs: BTreeMap::new(),
            });
        }
        if reopens {
            events.push(Event::RunRetried);
        }
        // Most events are small; some take several pages, or more than one row.
        for _ in 0..lot.within(u64::from(!begins)..4) {
            let length = match lot.within(0..12) {
                0 => 40_000,
                1 => 6_000,
                _ => lot.within(1..300),
            };
            events.push(line(&"x".repeat(length as usize)));
        }
        let disposition = match lot.within(0..9) {
            0 | 1 if !begins => self.ends(&mut events, lot),
            2 => RunDisposition::Waiting(RunWait {
                until: lot.once_in(2).then(|| Timestamp(lot.within(1..1_000) as i64)),
            }),
            3 => RunDisposition::Paused,
            4 if begins => RunDisposition::Queued,
            _ => RunDisposition::Running,
        };
        if matches!(disposition, RunDisposition::Queued) {
            // Nothing of it has begun.
            events.truncate(1);
        }
        let first = self.seq + 1;
        self.seq += events.len() as u64;
        let events = events.into_iter().zip(first..).map(|(event, seq)| {
            let at = Timestamp(1_000 + seq as i64);
            Arc::new(EventRecord { seq, at, event })
        });
        let run = run_id(self.number);
        self.appends.push(Planned {
            begins,
            reopens,
            events: events.collect(),
            disposition,
            request: lot.once_in(3).then(|| Request {
                to: (!begins).then_some(run),
                key: format!("key-{}-{first}", self.number).into(),
                digest: Digest::of(&first.to_be_bytes()),
                run,
                seq: self.seq,
            }),
            snapshot: lot.once_in(4).then(|| RunSnapshot {
                seq: self.seq,
                body: json(&format!(
                    "{{\"seq\":{},\"fill\":\"{}\"}}",
                    self.seq,
                    "s".repeat(500)
                ))
                .expect("this is JSON"),
            }),
        });
    }

    fn ends(&mut self, events: &mut Vec<Event>, lot: &mut Lot) -> RunDisposition {
        self.failed = lot.once_in(2);
        self.over = !self.failed;
        let (status, error) = match self.failed {
            true => (Status::Failed, Some(error())),
            false => (Status::Finished, None),
        };
        events.push(match &error {
            Some(error) => Event::RunFailed { error: error.clone() },
            None => Event::RunFinished,
        });
        let at = Timestamp(2_000);
        RunDisposition::Over(RunEnd { status, at, error })
    }
}

fn error() -> RunError {
    RunError {
        kind: FailureKind::Permanent,
        message: "it broke".into(),
        node: "node".into(),
        step: 1,
        attempt: 1,
        data: None,
    }
}

fn line(message: &str) -> Event {
    Event::Log {
        step: 1,
        node: "node".into(),
        attempt: 1,
        level: Level::Info,
        message: message.into(),
    }
}

impl Planned {
    /// Whether the run begins with it.
    pub fn begins(&self) -> bool {
        self.begins
    }

    /// The append of the `number`th run, whose outcome is told to `ack`.
    pub fn append(&self, number: usize, ack: Arc<dyn Ack>) -> Append {
        let graph = match &self.events[0].event {
            Event::RunStarted { graph, .. } => Some(graph.clone()),
            _ => None,
        };
        Append {
            run: run_id(number),
            begins: graph.map(|graph| NewRun {
                graph,
                created_at: Timestamp(1_000),
                priority: number as i32,
                group: None,
                origin: None,
            }),
            reopens: self.reopens,
            events: self.events.clone(),
            disposition: self.disposition.clone(),
            requests: self.request.iter().cloned().collect(),
            snapshot: self.snapshot.clone(),
            ack,
        }
    }
}

/// What was told of a workload, as far as it bears on what must be in the store.
#[derive(Default)]
pub struct Account {
    graphs: BTreeSet<usize>,
    handed: BTreeMap<usize, usize>,
    durable: BTreeMap<usize, usize>,
    refused: BTreeMap<usize, usize>,
    /// Everything was told.
    pub done: bool,
}

impl Account {
    /// What these lines tell. One that was cut short by a death is the last, and says nothing.
    pub fn of(text: &str) -> Self {
        let mut account = Self::default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            match line.parse().unwrap_or_else(|error| panic!("{error}")) {
                Told::Graph(number) => drop(account.graphs.insert(number)),
                Told::Handed(run, count) => drop(account.handed.insert(run, count)),
                Told::Durable(run, count) => {
                    let before = account.durable.insert(run, count).unwrap_or_default();
                    assert!(
                        before < count,
                        "run {run}: append {count} was acknowledged after {before}"
                    );
                }
                Told::Refused(run, count) => drop(account.refused.entry(run).or_insert(count)),
                Told::Done => account.done = true,
                Told::Opened | Told::Closed => {}
            }
        }
        account
    }

    /// What is told where everything was taken.
    pub fn of_all(workload: &Workload) -> Self {
        let all: BTreeMap<usize, usize> = workload.runs.iter().map(Vec::len).enumerate().collect();
        Self {
            handed: all.clone(),
            durable: all,
            done: true,
            ..Self::default()
        }
    }

    /// Whether something was refused.
    pub fn refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Checks that a store holds what it must. Answers how many appends of each run it holds.
    ///
    /// With `doubt` an append that was refused may be there nevertheless, see `docs/durability.md`.
    pub async fn check(&self, workload: &Workload, journal: &dyn Journal, doubt: bool) -> Vec<usize> {
        for number in &self.graphs {
            let kept = journal.graph(&graph(*number).id).await.expect("it can be read");
            assert!(kept.is_some(), "graph {number} was acknowledged and is lost");
        }
        let mut held = Vec::new();
        for (number, planned) in workload.runs.iter().enumerate() {
            let count = held_of(planned, number, journal).await;
            let of = |told: &BTreeMap<usize, usize>| told.get(&number).copied();
            let durable = of(&self.durable).unwrap_or_default();
            assert!(
                count >= durable,
                "run {number}: {durable} appends were acknowledged and {count} are there"
            );
            let handed = of(&self.handed).unwrap_or_default();
            assert!(
                count <= handed,
                "run {number}: {handed} appends were handed over and {count} are there"
            );
            if let Some(refused) = of(&self.refused).filter(|_| !doubt) {
                assert!(
                    count < refused,
                    "run {number}: append {refused} was refused and {count} are there"
                );
            }
            held.push(count);
        }
        check_lists(workload, &held, journal).await;
        held
    }
}

/// Checks that of a run the store holds whole appends from the first on, and all that belongs to them.
/// Answers how many.
async fn held_of(planned: &[Planned], number: usize, journal: &dyn Journal) -> usize {
    let run = run_id(number);
    let mut texts: Vec<String> = Vec::new();
    loop {
        let page = journal.events(run, texts.len() as u64, 7).await;
        let page = page.unwrap_or_else(|error| panic!("run {number}: {error}"));
        if page.is_empty() {
            break;
        }
        for event in page {
            assert_eq!(
                event.seq,
                texts.len() as u64 + 1,
                "run {number}: a gap or a repeat"
            );
            texts.push(text(&event));
        }
    }
    let mut rest = texts.as_slice();
    let mut count = 0;
    while let Some(append) = planned.get(count).filter(|_| !rest.is_empty()) {
        let whole = append.events.len() <= rest.len();
        assert!(
            whole,
            "run {number}: only a part of append {} is there",
            count + 1
        );
        let (events, others) = rest.split_at(append.events.len());
        assert!(
            append
                .events
                .iter()
                .map(|event| text(event))
                .eq(events.iter().cloned()),
            "run {number}: append {} is not as it was made",
            count + 1
        );
        (rest, count) = (others, count + 1);
    }
    assert!(
        rest.is_empty(),
        "run {number}: there are events that nobody appended"
    );
    let row = journal.run(run).await.expect("it can be read");
    let Some(last) = planned[..count].last() else {
        assert!(row.is_none(), "run {number}: it has a row and no events");
        return 0;
    };
    let row = row.unwrap_or_else(|| panic!("run {number}: it has events and no row"));
    assert_eq!(row.last_seq, texts.len() as u64, "run {number}");
    assert_eq!(row.status, last.disposition.status(), "run {number}");
    let due = match &last.disposition {
        RunDisposition::Waiting(wait) => wait.until,
        _ => None,
    };
    assert_eq!(row.wake_at, due, "run {number}");
    let error = matches!(last.disposition.status(), Status::Failed);
    assert_eq!(row.error.is_some(), error, "run {number}");
    for (at, append) in planned.iter().enumerate() {
        if let Some(request) = &append.request {
            let kept = journal
                .request(request.to, &request.key)
                .await
                .expect("it can be read");
            assert_eq!(
                kept.as_ref(),
                Some(request).filter(|_| at < count),
                "run {number}"
            );
        }
    }
    let newest = planned[..count]
        .iter()
        .rev()
        .find_map(|append| append.snapshot.as_ref());
    let kept = journal.snapshot(run, u64::MAX).await.expect("it can be read");
    assert_eq!(
        kept.map(|kept| (kept.seq, kept.body.get().to_owned())),
        newest.map(|newest| (newest.seq, newest.body.get().to_owned())),
        "run {number}: its snapshot"
    );
    count
}

/// Checks that the lists name the runs that they must.
async fn check_lists(workload: &Workload, held: &[usize], journal: &dyn Journal) {
    let last = |number: usize| workload.runs[number][..held[number]].last();
    let of = |status: Status| -> BTreeSet<RunId> {
        let all = 0..held.len();
        let with = all.filter(|number| last(*number).is_some_and(|last| last.disposition.status() == status));
        with.map(run_id).collect()
    };
    let unfinished = journal.unfinished().await.expect("it can be read");
    assert_eq!(
        unfinished.into_iter().collect::<BTreeSet<_>>(),
        of(Status::Running)
    );
    let queued = journal.queued().await.expect("it can be read");
    assert_eq!(
        queued.iter().map(|queued| queued.run).collect::<BTreeSet<_>>(),
        of(Status::Queued)
    );
    let due = journal
        .due(Timestamp(i64::MAX), 1_000)
        .await
        .expect("it can be read");
    let waits = |number: &usize| match last(*number).map(|last| &last.disposition) {
        Some(RunDisposition::Waiting(wait)) => wait.until.is_some(),
        _ => false,
    };
    let expected: BTreeSet<RunId> = (0..held.len()).filter(waits).map(run_id).collect();
    assert_eq!(due.into_iter().collect::<BTreeSet<_>>(), expected);
    for status in [Status::Waiting, Status::Paused, Status::Failed, Status::Finished] {
        let filter = RunFilter::of_status(status);
        let rows = journal.runs(filter, None, 1_000).await.expect("it can be read");
        let listed: BTreeSet<RunId> = rows.into_iter().map(|row| row.id).collect();
        assert_eq!(listed, of(status), "{status:?}");
    }
}

fn text(event: &EventRecord) -> String {
    serde_json::to_string(event).expect("events serialize")
}
