//! A random workload for a store: the appends of many runs, the reports about them, and the check of the store afterwards.
//!
//! The process that appends (`src/bin/appends.rs`) and the test that checks the file both derive the workload from a seed,
//! so only the reports pass between them.

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
    Ack, Append, EngineId, GraphRow, NewRun, Request, RunDisposition, RunEnd, RunFilter, RunSnapshot,
    RunWait, Store,
};

use crate::random::Random;

/// How often the store is opened and closed. Closing copies the write-ahead log into the file.
const SESSIONS: usize = 3;
/// The rounds of appends per session. Appends of one round mostly share a commit.
const ROUNDS: usize = 8;
/// The maximum number of new runs per round.
const MAX_NEW_RUNS: u64 = 5;

/// The appends of all runs, and their order.
pub struct Workload {
    /// The appends of each run, in order.
    pub runs: Vec<Vec<PlannedAppend>>,
    /// For each session its rounds; for each round the runs that append together.
    pub sessions: Vec<Vec<Vec<usize>>>,
}

/// An append of a run, without the run's id and the receiver of its result.
#[derive(Clone)]
pub struct PlannedAppend {
    /// Whether it has the first event of the run.
    begins: bool,
    reopens: bool,
    events: Vec<Arc<EventRecord>>,
    disposition: RunDisposition,
    request: Option<Request>,
    snapshot: Option<RunSnapshot>,
}

/// A report of the appending process. As text it is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The store was opened.
    Opened,
    /// The graph with this number is durable.
    Graph(usize),
    /// An append of this run was submitted. The second number counts the run's appends so far, including this one.
    Handed(usize, usize),
    /// The append with these numbers is durable.
    Durable(usize, usize),
    /// The append was refused. So are all later appends of the run.
    Refused(usize, usize),
    /// The store was closed.
    Closed,
    /// The workload has ended.
    Done,
}

impl fmt::Display for Report {
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

impl FromStr for Report {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let wrong = || format!("`{line}` is not a report");
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
    /// The same seed gives the same workload.
    pub fn from_seed(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut runs: Vec<RunBuilder> = Vec::new();
        let mut sessions = Vec::new();
        for session in 0..SESSIONS {
            let mut rounds = Vec::new();
            for round in 0..ROUNDS {
                let mut appending = Vec::new();
                let begin = if round == 0 {
                    2
                } else {
                    u64::from(random.one_in(2))
                };
                for _ in 0..begin.min(MAX_NEW_RUNS) {
                    runs.push(RunBuilder::new(runs.len(), session));
                    appending.push(runs.len() - 1);
                }
                appending.iter().for_each(|run| runs[*run].grow(&mut random));
                for _ in 0..random.in_range(1..6) {
                    // Sometimes a run appends twice in a round.
                    let run = random.in_range(0..runs.len() as u64) as usize;
                    if !runs[run].over {
                        runs[run].grow(&mut random);
                        appending.push(run);
                    }
                }
                rounds.push(appending);
            }
            sessions.push(rounds);
        }
        let runs = runs.into_iter().map(|run| run.appends).collect();
        Self { runs, sessions }
    }
}

/// Generates the appends of a run.
struct RunBuilder {
    number: usize,
    graph: usize,
    seq: u64,
    failed: bool,
    over: bool,
    appends: Vec<PlannedAppend>,
}

impl RunBuilder {
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

    fn grow(&mut self, random: &mut Random) {
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
        // Most events are small; some need several pages, or more than one row.
        for _ in 0..random.in_range(u64::from(!begins)..4) {
            let length = match random.in_range(0..12) {
                0 => 40_000,
                1 => 6_000,
                _ => random.in_range(1..300),
            };
            events.push(line(&"x".repeat(length as usize)));
        }
        let disposition = match random.in_range(0..9) {
            0 | 1 if !begins => self.ends(&mut events, random),
            2 => RunDisposition::Waiting(RunWait {
                until: random
                    .one_in(2)
                    .then(|| Timestamp(random.in_range(1..1_000) as i64)),
            }),
            3 => RunDisposition::Paused,
            4 if begins => RunDisposition::Queued,
            _ => RunDisposition::Running,
        };
        if matches!(disposition, RunDisposition::Queued) {
            // A queued run has only its first event.
            events.truncate(1);
        }
        let first = self.seq + 1;
        self.seq += events.len() as u64;
        let events = events.into_iter().zip(first..).map(|(event, seq)| {
            let at = Timestamp(1_000 + seq as i64);
            Arc::new(EventRecord { seq, at, event })
        });
        let run = run_id(self.number);
        self.appends.push(PlannedAppend {
            begins,
            reopens,
            events: events.collect(),
            disposition,
            request: random.one_in(3).then(|| Request {
                to: (!begins).then_some(run),
                key: format!("key-{}-{first}", self.number).into(),
                digest: Digest::of(&first.to_be_bytes()),
                run,
                seq: self.seq,
            }),
            snapshot: random.one_in(4).then(|| RunSnapshot {
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

    fn ends(&mut self, events: &mut Vec<Event>, random: &mut Random) -> RunDisposition {
        self.failed = random.one_in(2);
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
        step: Some(1),
        attempt: Some(1),
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

impl PlannedAppend {
    /// Whether it is the first append of its run.
    pub fn begins(&self) -> bool {
        self.begins
    }

    /// Builds the append of the `number`th run. Its outcome is passed to `ack`.
    pub fn append(&self, number: usize, ack: Arc<dyn Ack>) -> Append {
        let graph = match &self.events[0].event {
            Event::RunStarted { graph, .. } => Some(graph.clone()),
            _ => None,
        };
        Append {
            run: run_id(number),
            owner: EngineId::EXCLUSIVE,
            begins: graph.map(|graph| NewRun {
                graph,
                created_at: Timestamp(1_000),
                priority: number as i32,
                group: None,
                group_limit: None,
                origin: None,
            }),
            reopens: self.reopens,
            events: self.events.clone(),
            disposition: self.disposition.clone(),
            requests: self.request.iter().cloned().collect(),
            commands: Vec::new(),
            snapshot: self.snapshot.clone(),
            ack,
        }
    }
}

/// The reports about a workload that decide what the store must contain.
#[derive(Default)]
pub struct Reports {
    graphs: BTreeSet<usize>,
    handed: BTreeMap<usize, usize>,
    durable: BTreeMap<usize, usize>,
    refused: BTreeMap<usize, usize>,
    /// Whether the workload has ended.
    pub done: bool,
}

impl Reports {
    /// Parses the lines of a process. The last line is ignored if it is incomplete because the process died.
    pub fn parse(text: &str) -> Self {
        let mut account = Self::default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            match line.parse().unwrap_or_else(|error| panic!("{error}")) {
                Report::Graph(number) => drop(account.graphs.insert(number)),
                Report::Handed(run, count) => drop(account.handed.insert(run, count)),
                Report::Durable(run, count) => {
                    let before = account.durable.insert(run, count).unwrap_or_default();
                    assert!(
                        before < count,
                        "run {run}: append {count} was acknowledged after {before}"
                    );
                }
                Report::Refused(run, count) => drop(account.refused.entry(run).or_insert(count)),
                Report::Done => account.done = true,
                Report::Opened | Report::Closed => {}
            }
        }
        account
    }

    /// The reports of a workload whose appends are all durable.
    pub fn all_durable(workload: &Workload) -> Self {
        let all: BTreeMap<usize, usize> = workload.runs.iter().map(Vec::len).enumerate().collect();
        Self {
            handed: all.clone(),
            durable: all,
            done: true,
            ..Self::default()
        }
    }

    /// Whether any append was refused.
    pub fn refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Checks the contents of a store. Returns the number of appends of each run in it.
    ///
    /// With `refused_may_exist` a refused append may be in the store nevertheless, see `docs/durability.md`.
    pub async fn check(
        &self,
        workload: &Workload,
        journal: &dyn Store,
        refused_may_exist: bool,
    ) -> Vec<usize> {
        for number in &self.graphs {
            let stored = journal.graph(&graph(*number).id).await.expect("it can be read");
            assert!(stored.is_some(), "graph {number} was acknowledged and is lost");
        }
        let mut held = Vec::new();
        for (number, planned) in workload.runs.iter().enumerate() {
            let count = held_of(planned, number, journal).await;
            let of = |counts: &BTreeMap<usize, usize>| counts.get(&number).copied();
            let durable = of(&self.durable).unwrap_or_default();
            assert!(
                count >= durable,
                "run {number}: {durable} appends were acknowledged and {count} are in the store"
            );
            let handed = of(&self.handed).unwrap_or_default();
            assert!(
                count <= handed,
                "run {number}: {handed} appends were submitted and {count} are in the store"
            );
            if let Some(refused) = of(&self.refused).filter(|_| !refused_may_exist) {
                assert!(
                    count < refused,
                    "run {number}: append {refused} was refused and {count} are in the store"
                );
            }
            held.push(count);
        }
        check_lists(workload, &held, journal).await;
        held
    }
}

/// Checks that the store contains complete appends of a run from the first on, with their rows. Returns their number.
async fn held_of(planned: &[PlannedAppend], number: usize, journal: &dyn Store) -> usize {
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
        assert!(whole, "run {number}: append {} is incomplete", count + 1);
        let (events, others) = rest.split_at(append.events.len());
        assert!(
            append
                .events
                .iter()
                .map(|event| text(event))
                .eq(events.iter().cloned()),
            "run {number}: append {} was changed",
            count + 1
        );
        (rest, count) = (others, count + 1);
    }
    assert!(
        rest.is_empty(),
        "run {number}: it has events that were never appended"
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
            let stored = journal
                .request(request.to, &request.key)
                .await
                .expect("it can be read");
            assert_eq!(
                stored.as_ref(),
                Some(request).filter(|_| at < count),
                "run {number}"
            );
        }
    }
    let newest = planned[..count]
        .iter()
        .rev()
        .find_map(|append| append.snapshot.as_ref());
    let stored = journal.snapshot(run, u64::MAX).await.expect("it can be read");
    assert_eq!(
        stored.map(|stored| (stored.seq, stored.body.get().to_owned())),
        newest.map(|newest| (newest.seq, newest.body.get().to_owned())),
        "run {number}: its snapshot"
    );
    count
}

/// Checks that the lists contain the right runs.
async fn check_lists(workload: &Workload, held: &[usize], journal: &dyn Store) {
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
        .claim_due(EngineId::EXCLUSIVE, Timestamp(i64::MAX), 1_000)
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
