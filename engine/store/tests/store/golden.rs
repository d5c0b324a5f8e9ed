//! Golden files of each format. `tests/golden/README.md` explains how to make one.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use expect_test::expect_file;
use heddle_json::{Json, object::to_json};
use heddle_kernel::{
    Digest, Event, EventRecord, GraphId, RunError, RunId, Status, Timestamp, event::FunctionRef,
};
use heddle_runtime::ports::{
    Append, Catalog, Configuration, EngineId, GraphRow, Journal, NewRun, PluginRow, PolicyRow, QueuedRun,
    Request, RunDisposition, RunEnd, RunFilter, RunSnapshot, RunWait, ScheduleRow, SecretText, Store,
};
use heddle_store::{SqliteJournal, SqliteSettings, maintenance};
use rusqlite::{Connection, params, types::ValueRef};
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    upgrade::migrated,
    world::{RunWriter, all_events, draft, log, record, run_id},
};

/// The newest format.
pub(crate) const NEWEST: i32 = 7;
const FORMATS: [i32; 7] = [1, 2, 3, 4, 5, 6, NEWEST];

const COMPONENT: &[u8] = b"component";

/// A line of the content: a graph, or a run.
enum Content {
    Graph(ContentGraph),
    Run(Box<ContentRun>),
}

#[derive(Deserialize)]
struct ContentGraph {
    /// The first format that could hold it.
    format: i32,
    graph: GraphId,
    name: Option<Arc<str>>,
    definition: Arc<str>,
}

#[derive(Deserialize)]
struct ContentRun {
    format: i32,
    run: RunId,
    status: Status,
    wake_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    error: Option<RunError>,
    #[serde(default)]
    priority: i32,
    group: Option<Arc<str>>,
    origin: Option<Arc<str>>,
    events: Vec<Arc<EventRecord>>,
    snapshot: Option<Json>,
    #[serde(default)]
    requests: Vec<ContentRequest>,
}

#[derive(Deserialize)]
struct ContentRequest {
    to: Option<RunId>,
    key: Arc<str>,
    digest: Digest,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn content(format: i32) -> Vec<Content> {
    let text = fs::read_to_string(golden("content.jsonl")).unwrap();
    let lines = text.lines().map(|line| match line.contains("\"events\"") {
        true => Content::Run(Box::new(serde_json::from_str(line).unwrap())),
        false => Content::Graph(serde_json::from_str(line).unwrap()),
    });
    let known = |content: &Content| match content {
        Content::Graph(graph) => graph.format <= format,
        Content::Run(run) => run.format <= format,
    };
    lines.filter(known).collect()
}

impl ContentRun {
    fn graph(&self) -> GraphId {
        let first = &self.events[0].event;
        heddle_kernel::graph::Pins::of(first).unwrap().graph.clone()
    }

    fn disposition(&self) -> RunDisposition {
        match self.status {
            Status::Queued => RunDisposition::Queued,
            Status::Running => RunDisposition::Running,
            Status::Waiting => RunDisposition::Waiting(RunWait { until: self.wake_at }),
            Status::Paused => RunDisposition::Paused,
            status => RunDisposition::Over(RunEnd {
                status,
                at: self.finished_at.unwrap(),
                error: self.error.clone(),
            }),
        }
    }

    /// Appends it as this version does.
    async fn append(&self, journal: &SqliteJournal) {
        // A running run has its events in several rows.
        let (first, rest) = self.events.split_at(1);
        let parts = match rest {
            [] => vec![(first, self.disposition())],
            rest => vec![(first, RunDisposition::Running), (rest, self.disposition())],
        };
        for (events, disposition) in parts {
            let seq = events[events.len() - 1].seq;
            let (append, result) = draft(self.run, events.to_vec(), disposition);
            let begins = NewRun {
                graph: self.graph(),
                created_at: self.events[0].at,
                priority: self.priority,
                group: self.group.clone(),
                group_limit: self.group.as_ref().map(|_| 2),
                origin: self.origin.clone(),
            };
            let request = |request: &ContentRequest| Request {
                to: request.to,
                key: request.key.clone(),
                digest: request.digest.clone(),
                run: self.run,
                seq,
            };
            let last = seq == self.events.len() as u64;
            let snapshot = self.snapshot.clone().filter(|_| last);
            journal.append(Append {
                begins: (events[0].seq == 1).then_some(begins),
                requests: self.requests.iter().filter(|_| last).map(request).collect(),
                snapshot: snapshot.map(|body| RunSnapshot { seq, body }),
                ..append
            });
            result.await.unwrap().unwrap();
        }
    }

    /// Inserts it as the formats before 3 had it.
    fn insert(&self, store: &Connection, format: i32) {
        let id = self.run.0.into_bytes();
        let error = self.error.as_ref().map(|error| to_json(error).get().to_owned());
        let finished_at = self.finished_at.map(|at| at.0);
        let (graph, status, created_at) = (self.graph(), self.status.as_str(), self.events[0].at.0);
        let sql = "INSERT INTO runs (id, graph, status, created_at, finished_at, error) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let row = params![&id[..], &*graph.0, status, created_at, finished_at, error];
        store.execute(sql, row).unwrap();
        if format > 1 {
            let sql = "UPDATE runs SET wake_at = ?2 WHERE id = ?1";
            let wake_at = self.wake_at.map(|at| at.0);
            store.execute(sql, params![&id[..], wake_at]).unwrap();
        }
        for events in [&self.events[..1], &self.events[1..]] {
            let Some(last) = events.last() else { continue };
            let body: String = events
                .iter()
                .map(|event| serde_json::to_string(&**event).unwrap() + "\n")
                .collect();
            let sql = "INSERT INTO events (run, first_seq, last_seq, body) VALUES (?1, ?2, ?3, ?4)";
            let row = params![&id[..], events[0].seq as i64, last.seq as i64, body.as_bytes()];
            store.execute(sql, row).unwrap();
        }
    }
}

fn graph_row(graph: &ContentGraph) -> GraphRow {
    GraphRow {
        id: graph.graph.clone(),
        name: graph.name.clone(),
        definition: graph.definition.clone(),
        created_at: Timestamp(5),
        functions: BTreeMap::new(),
    }
}

/// A graph with its resolved functions.
fn created_again(mut graph: GraphRow) -> GraphRow {
    let at = FunctionRef {
        digest: Digest::of(COMPONENT),
        plugin: "p".into(),
        version: "1.0.0".into(),
        function: "extract".into(),
        routes: vec!["analyze".into()],
        granted: true,
    };
    graph.functions.insert("extract".into(), at);
    graph
}

fn plugin() -> PluginRow {
    PluginRow {
        digest: Digest::of(COMPONENT),
        name: "p".into(),
        version: "1.0.0".into(),
        active: true,
        component: COMPONENT.into(),
        added_at: Timestamp(6),
    }
}

/// Makes a store of a format at this path, closed.
async fn write(format: i32, path: &Path) {
    if format == NEWEST {
        let journal = SqliteJournal::open(SqliteSettings::new(path)).unwrap();
        for content in content(format) {
            match content {
                Content::Graph(graph) => drop(journal.put_graph(graph_row(&graph)).await.unwrap()),
                Content::Run(run) => run.append(&journal).await,
            }
        }
        journal.put_plugin(plugin()).await.unwrap();
        let (name, body) = ("nightly".into(), "{\"cron\": \"0 3 * * *\"}".into());
        journal.put_schedule(ScheduleRow { name, body }).await.unwrap();
        let first = journal.graphs(None, 100).await.unwrap().pop();
        let first = journal.graph(&first.unwrap().1.id).await.unwrap();
        journal.put_graph(created_again(first.unwrap())).await.unwrap();
        let (name, body) = ("p".into(), "{\"http\": [\"https://api.example.org\"]}".into());
        journal.put_policy(PolicyRow { name, body }).await.unwrap();
        let key = SecretText("0123456789abcdef".into());
        journal.put_secret("key", key).await.unwrap();
        journal.close().await.unwrap();
        return;
    }
    let store = migrated(path, format);
    for content in content(format) {
        match content {
            Content::Graph(graph) => {
                let sql = "INSERT INTO graphs (id, name, definition, created_at) VALUES (?1, ?2, ?3, 5)";
                let row = params![&*graph.graph.0, graph.name.as_deref(), &*graph.definition];
                store.execute(sql, row).unwrap();
            }
            Content::Run(run) => run.insert(&store, format),
        }
    }
    let sql = "INSERT INTO plugins (digest, name, version, active, added_at, component)
               VALUES (?1, 'p', '1.0.0', 1, 6, ?2)";
    store
        .execute(sql, params![&*Digest::of(COMPONENT).0, COMPONENT])
        .unwrap();
}

/// A copy of a golden file, to open.
pub(crate) fn copy(format: i32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heddle.db");
    fs::copy(golden(&format!("{format}.db")), &path).unwrap();
    (folder, path)
}

/// Everything that a journal returns, as text.
pub(crate) async fn result(journal: &dyn Store) -> String {
    let mut text = String::new();
    let all = journal.runs(RunFilter::default(), None, 1_000).await.unwrap();
    for row in all.iter().rev() {
        writeln!(text, "{row:?}").unwrap();
        for event in all_events(journal, row.id, 100).await {
            writeln!(text, "    {}", serde_json::to_string(&*event).unwrap()).unwrap();
        }
        if let Some(taken) = journal.snapshot(row.id, u64::MAX).await.unwrap() {
            writeln!(text, "    snapshot at {}: {}", taken.seq, taken.body).unwrap();
        }
    }
    for content in content(NEWEST) {
        let Content::Run(run) = content else { continue };
        for request in run.requests {
            let found = journal.request(request.to, &request.key).await.unwrap();
            writeln!(text, "{found:?}").unwrap();
        }
    }
    for (position, graph) in journal.graphs(None, 100).await.unwrap() {
        let graph = journal.graph(&graph.id).await.unwrap().unwrap();
        writeln!(text, "{position} {graph:?}").unwrap();
    }
    for plugin in journal.active_plugins().await.unwrap() {
        let plugin = journal.plugin(&plugin.digest).await.unwrap().unwrap();
        let component = String::from_utf8_lossy(&plugin.component).into_owned();
        writeln!(text, "{} {} {}", plugin.name, plugin.version, component).unwrap();
    }
    writeln!(text, "{:?}", journal.schedules().await.unwrap()).unwrap();
    writeln!(text, "{:?}", journal.policies().await.unwrap()).unwrap();
    if let Some(SecretText(key)) = journal.secret("key").await.unwrap() {
        writeln!(text, "key {key}").unwrap();
    }
    writeln!(text, "unfinished {:?}", journal.unfinished().await.unwrap()).unwrap();
    let queued = journal.queued().await.unwrap().into_iter().map(|queued| {
        let QueuedRun {
            run,
            priority,
            group,
            group_limit,
            bytes: _,
        } = queued;
        let limit = group_limit.map_or_else(String::new, |limit| format!(", group_limit: {limit}"));
        format!("QueuedRun {{ run: {run:?}, priority: {priority}, group: {group:?}{limit} }}")
    });
    writeln!(text, "queued [{}]", queued.collect::<Vec<_>>().join(", ")).unwrap();
    writeln!(text, "groups {:?}", journal.groups().await.unwrap()).unwrap();
    let due = journal
        .claim_due(EngineId::EXCLUSIVE, Timestamp(i64::MAX), 100)
        .await
        .unwrap();
    writeln!(text, "due {due:?}").unwrap();
    text
}

/// The schema and every row of a file.
fn dump(path: &Path) -> String {
    let store = Connection::open(path).unwrap();
    let mut text = String::new();
    let rows = |text: &mut String, sql: &str| {
        let mut query = store.prepare(sql).unwrap();
        let columns = query.column_count();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                match row.get_ref(column).unwrap() {
                    ValueRef::Blob(bytes) => write!(text, "{}|", String::from_utf8_lossy(bytes)).unwrap(),
                    value => write!(text, "{value:?}|").unwrap(),
                }
            }
            text.push('\n');
        }
    };
    // When each migration ran is not part of the format.
    for sql in [
        "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'refinery%' ORDER BY name",
        "PRAGMA application_id",
        "PRAGMA user_version",
        "PRAGMA auto_vacuum",
        "SELECT * FROM runs",
        "SELECT * FROM events ORDER BY rowid",
        "SELECT * FROM snapshots ORDER BY rowid",
        "SELECT * FROM requests",
        "SELECT * FROM schedules",
        "SELECT * FROM policies",
        "SELECT * FROM secrets",
        "SELECT * FROM graphs",
        "SELECT * FROM plugins",
        "SELECT * FROM trash",
    ] {
        writeln!(text, "-- {sql}").unwrap();
        rows(&mut text, sql);
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_each_format_is_opened_and_goes_on() {
    for format in FORMATS {
        let (_folder, path) = copy(format);
        let journal = SqliteJournal::open(SqliteSettings::new(&path)).unwrap();
        expect_file![golden(&format!("{format}.txt"))].assert_eq(&result(&journal).await);
        let all = journal.runs(RunFilter::default(), None, 1_000).await.unwrap();
        for row in all.iter().filter(|row| !row.status.is_over()) {
            let events = vec![record(row.last_seq + 1, log("it goes on"))];
            let (append, result) = draft(row.id, events, RunDisposition::Running);
            journal.append(append);
            assert_eq!(result.await.unwrap().unwrap(), row.last_seq + 1);
        }
        for row in all.iter().filter(|row| row.status == Status::Failed) {
            RunWriter::at(row.id.0.as_u128() as u64 & 0xffff, row.last_seq)
                .retry(&journal)
                .await
                .unwrap()
                .unwrap();
        }
        RunWriter::new(1_000).begin(&journal).await.unwrap().unwrap();
        drop(journal);
        let journal = SqliteJournal::open(SqliteSettings::new(&path)).unwrap();
        for row in all {
            let went_on = u64::from(!matches!(row.status, Status::Finished | Status::Cancelled));
            let events = all_events(&journal, row.id, 100).await;
            assert_eq!(events.len() as u64, row.last_seq + went_on);
        }
        assert!(journal.run(run_id(1_000)).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_the_newest_format_is_what_this_version_writes() {
    if std::env::var("HEDDLE_GOLDEN").is_ok_and(|value| value == "write") {
        for format in FORMATS {
            let path = golden(&format!("{format}.db"));
            if format == NEWEST || !path.exists() {
                let _ = fs::remove_file(&path);
                write(format, &path).await;
                let _ = fs::remove_file(golden(&format!("{format}.db.lock")));
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heddle.db");
    write(NEWEST, &path).await;
    let (_copied, kept) = copy(NEWEST);
    assert_eq!(
        dump(&path),
        dump(&kept),
        "another format needs another version: see tests/golden/README.md"
    );
}

#[test]
fn a_file_of_each_format_is_sound_and_has_every_status_and_event_of_it() {
    for format in FORMATS {
        let (_folder, path) = copy(format);
        let report = maintenance::check(&path).unwrap();
        assert_eq!(report.problems, [], "format {format}");
        assert_eq!(report.format, format);
        let runs: Vec<_> = content(format)
            .into_iter()
            .filter_map(|content| match content {
                Content::Run(run) => Some(run),
                Content::Graph(_) => None,
            })
            .collect();
        assert_eq!(report.counts.runs, runs.len() as u64);
        let has = |status| runs.iter().any(|run| run.status == status);
        let lacks: Vec<Status> = Status::ALL.into_iter().filter(|status| !has(*status)).collect();
        match format {
            1 => assert_eq!(lacks.len(), 4, "{lacks:?}"),
            2 => assert_eq!(lacks, [Status::Queued, Status::Paused]),
            _ => assert_eq!(lacks, []),
        }
        let mut kinds: Vec<_> = runs
            .iter()
            .flat_map(|run| &run.events)
            .map(|event| kind(&event.event))
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(
            kinds.len(),
            [7, 13, 19, 19, 19, 19, 19][format as usize - 1],
            "{kinds:?}"
        );
    }
}

/// The name of an event, as it is stored.
fn kind(event: &Event) -> String {
    match serde_json::to_value(event).unwrap() {
        serde_json::Value::Object(named) => named.keys().next().unwrap().clone(),
        serde_json::Value::String(name) => name,
        other => panic!("{other}"),
    }
}
