//! What only a file can show: crashes, locks, formats, damage, and a disk that is full.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use heddle_kernel::{Digest, Event, Timestamp};
use heddle_runtime::ports::{
    Append, AppendError, Catalog, Configuration, GraphRow, Journal, PluginRow, RunDisposition, SecretText,
    Store, StoreError,
};
use heddle_store::{OpenError, SqliteJournal, SqliteSettings, maintenance};
use rusqlite::Connection;

use crate::world::{
    AckReceiver, RunWriter, Sqlite, all_events, damaged, draft, graph_id, log, record, run_id,
};

fn open(path: impl AsRef<Path>) -> Result<SqliteJournal, OpenError> {
    SqliteJournal::open(SqliteSettings::new(path.as_ref()))
}

fn refusal(path: impl AsRef<Path>) -> OpenError {
    match open(path) {
        Ok(_) => panic!("the store was opened"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_events_survive_a_crash() {
    let world = Sqlite::new();
    let journal = Arc::new(world.journal());
    let writers = (0..8).map(|number| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let mut writer = RunWriter::new(number);
            writer.begin(&*journal).await.unwrap().unwrap();
            // So few that the log is not copied into the file meanwhile, and only grows.
            for _ in 0..80 {
                writer.append_logs(&*journal, 1).await.unwrap().unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut acknowledged = Vec::new();
    for _ in 0..5 {
        // A crash keeps what was written: copies of the files while the store is open.
        let mut writer = RunWriter::new(100 + acknowledged.len() as u64);
        writer.begin(&*journal).await.unwrap().unwrap();
        writer.append_logs(&*journal, 3).await.unwrap().unwrap();
        acknowledged.push(writer.run);
        let copy = tempfile::tempdir().unwrap();
        for name in ["heddle.db", "heddle.db-wal"] {
            fs::copy(world.0.path().join(name), copy.path().join(name)).unwrap();
        }
        let copied = open(copy.path().join("heddle.db")).unwrap();
        for run in &acknowledged {
            assert_eq!(all_events(&copied, *run, 10).await.len(), 4);
        }
        for number in 0..8 {
            let events = all_events(&copied, run_id(number), 1000).await.len() as u64;
            assert_eq!(
                copied
                    .run(run_id(number))
                    .await
                    .unwrap()
                    .map_or(0, |row| row.last_seq),
                events
            );
        }
        // The copy continues, too.
        RunWriter::at(100, 4).finish(&copied).await.unwrap().unwrap();
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_journal_writes_all_accepted_events() {
    let world = Sqlite::new();
    let journal = world.journal();
    let mut writer = RunWriter::new(1);
    writer.begin(&journal);
    let result: Vec<AckReceiver> = (0..200).map(|_| writer.append_logs(&journal, 1)).collect();
    drop(journal);
    for result in result {
        result.await.unwrap().unwrap();
    }
    assert!(
        !world.0.path().join("heddle.db-wal").exists(),
        "the log is copied and removed"
    );
    assert_eq!(all_events(&world.journal(), writer.run, 1000).await.len(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_opened_once() {
    let world = Sqlite::new();
    let journal = world.journal();
    let error = refusal(world.path());
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("heddle.db.lock"), "{error}");
    // By another way to the same file, too.
    #[cfg(unix)]
    {
        let link = world.0.path().join("link.db");
        std::os::unix::fs::symlink(world.path(), &link).unwrap();
        assert!(matches!(refusal(link), OpenError::InUse { .. }));
    }
    journal.close().await.unwrap();
    open(world.path()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_is_refused_and_left_alone() {
    let world = Sqlite::new();
    drop(world.journal());
    Connection::open(world.path())
        .unwrap()
        .pragma_update(None, "user_version", 8)
        .unwrap();
    let before = fs::read(world.path()).unwrap();
    let error = refusal(world.path());
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 8,
                known: 7,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(fs::read(world.path()).unwrap(), before);
}

#[test]
fn a_file_that_is_not_a_store_is_refused_and_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);

    fs::write(at("text"), "this is a text, and no database, ".repeat(100)).unwrap();
    assert!(matches!(refusal(at("text")), OpenError::NotAStore { .. }));
    assert!(fs::read(at("text")).unwrap().starts_with(b"this is a text"));

    Connection::open(at("other"))
        .unwrap()
        .execute_batch("CREATE TABLE songs (name TEXT)")
        .unwrap();
    let before = fs::read(at("other")).unwrap();
    assert!(matches!(refusal(at("other")), OpenError::NotAStore { .. }));
    assert_eq!(fs::read(at("other")).unwrap(), before);

    assert!(matches!(refusal(folder.path()), OpenError::Path { .. }));
    let error = refusal(at("missing/heddle.db"));
    assert!(error.to_string().contains("missing does not exist"), "{error}");
    assert!(matches!(refusal(""), OpenError::Path { .. }));
    // No path is a special name of SQLite.
    drop(open(at(":memory:")).unwrap());
    assert!(at(":memory:").exists());
}

#[test]
fn a_store_whose_first_start_was_cut_short_is_made_at_the_next() {
    let world = Sqlite::new();
    // What was durable right before the first of the migrations.
    let history = "CREATE TABLE refinery_schema_history (
        version INT4 PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), checksum VARCHAR(255))";
    Connection::open(world.path())
        .unwrap()
        .execute_batch(history)
        .unwrap();
    drop(world.journal());
}

#[cfg(target_os = "linux")]
#[test]
fn a_path_that_cannot_be_written_is_refused() {
    // No user can create files in /proc, not even root.
    let error = refusal("/proc/heddle.db");
    assert!(matches!(error, OpenError::Access { .. }), "{error:?}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn only_its_owner_reads_the_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = Sqlite::new();
    let journal = world.journal();
    RunWriter::new(1).begin(&journal).await.unwrap().unwrap();
    for entry in fs::read_dir(world.0.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_stops_only_the_run_that_it_is_in() {
    let world = Sqlite::new();
    let journal = world.journal();
    for number in 1..=7 {
        let mut writer = RunWriter::new(number);
        writer.begin(&journal).await.unwrap().unwrap();
        writer.append_logs(&journal, 2).await.unwrap().unwrap();
        writer.append_logs(&journal, 2).await.unwrap().unwrap();
    }
    drop(journal);
    let damage = |sql: &str, number: u64| {
        let run = run_id(number).0.into_bytes();
        let changed = Connection::open(world.path())
            .unwrap()
            .execute(sql, [run.as_slice()])
            .unwrap();
        assert_eq!(changed, 1);
    };
    damage(
        "UPDATE events SET body = CAST('{\"seq\":2,' AS BLOB) WHERE run = ?1 AND first_seq = 2",
        1,
    );
    damage("DELETE FROM events WHERE run = ?1 AND first_seq = 2", 2);
    damage(
        "UPDATE events SET body = CAST(substr(body, 1, instr(body, char(10))) AS BLOB) WHERE run = ?1 AND first_seq = 2",
        3,
    );
    damage(
        "UPDATE events SET body = CAST(body || body AS BLOB) WHERE run = ?1 AND first_seq = 4",
        4,
    );
    // Cut short, and with more than it should have.
    damage(
        "UPDATE events SET body = CAST(substr(body, 1, instr(body, char(10))) AS BLOB) WHERE run = ?1 AND first_seq = 4",
        5,
    );
    damage(
        "UPDATE events SET last_seq = 4 WHERE run = ?1 AND first_seq = 4",
        6,
    );

    let journal = world.journal();
    for number in 1..=6 {
        match journal.events(run_id(number), 0, 100).await {
            Err(StoreError::Damaged(message)) => {
                assert!(message.contains(&run_id(number).to_string()), "{message}")
            }
            other => panic!("run {number}: {other:?}"),
        }
    }
    // What comes before the damage can be read; other runs are whole.
    assert_eq!(journal.events(run_id(1), 0, 1).await.unwrap().len(), 1);
    assert_eq!(all_events(&journal, run_id(7), 100).await.len(), 5);
    assert_eq!(journal.unfinished().await.unwrap().len(), 7);
    RunWriter::at(7, 5).finish(&journal).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_cannot_be_read_does_not_hide_its_run() {
    let world = Sqlite::new();
    let journal = world.journal();
    RunWriter::new(1)
        .append(&journal, vec![crate::world::failed()])
        .await
        .unwrap()
        .unwrap();
    drop(journal);
    Connection::open(world.path())
        .unwrap()
        .execute("UPDATE runs SET error = '{'", [])
        .unwrap();
    let row = world.journal().run(run_id(1)).await.unwrap().unwrap();
    assert_eq!(row.error.unwrap().kind.as_str(), "unreadable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_with_a_gap_in_it_is_refused() {
    let world = Sqlite::new();
    let journal = world.journal();
    let record = |seq| record(seq, log("a line"));
    RunWriter::new(1).begin(&journal).await.unwrap().unwrap();
    for events in [
        vec![],
        vec![record(2), record(4)],
        vec![record(2), record(2)],
        vec![record(0)],
    ] {
        let (append, result) = draft(run_id(1), events, RunDisposition::Running);
        journal.append(append);
        let result = result.await.unwrap();
        assert!(matches!(result, Err(AppendError::Conflict { .. })), "{result:?}");
    }
    assert_eq!(all_events(&journal, run_id(1), 10).await.len(), 1);
}

/// A journal with a short retry, with three active runs, on a disk that becomes full.
async fn full_disk(world: &Sqlite) -> (SqliteJournal, Vec<RunWriter>) {
    let settings = SqliteSettings {
        retry: Duration::from_millis(5),
        ..SqliteSettings::new(world.path())
    };
    let journal = SqliteJournal::open(settings).unwrap();
    let mut lines: Vec<RunWriter> = (1..=3).map(RunWriter::new).collect();
    for writer in &mut lines {
        writer.begin(&journal).await.unwrap().unwrap();
    }
    // SQLite raises the limit to the current size.
    journal.limit_pages(1).await;
    (journal, lines)
}

fn large() -> Event {
    log(&"x".repeat(100_000))
}

/// Waits until the writer has met the full disk.
async fn stalled(journal: &SqliteJournal) -> StoreError {
    let error = async {
        loop {
            match journal.health() {
                Err(error) => return error,
                Ok(()) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), error)
        .await
        .expect("the writer meets the full disk")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_new_runs_loses_nothing_and_goes_on_when_there_is_space() {
    let world = Sqlite::new();
    let (journal, mut lines) = full_disk(&world).await;
    let mut waiting = Vec::new();
    for writer in &mut lines {
        waiting.push(writer.append(&journal, vec![large()]));
        waiting.push(writer.append_logs(&journal, 3));
    }
    let error = stalled(&journal).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("full"), "{error}");

    let mut refused = RunWriter::new(9);
    for result in [refused.begin(&journal), refused.append_logs(&journal, 1)] {
        let result = result.await.unwrap();
        assert!(
            matches!(result, Err(AppendError::Unavailable(StoreError::Unavailable(_)))),
            "{result:?}"
        );
    }
    let graph = GraphRow {
        id: graph_id(1),
        name: None,
        definition: "{}".into(),
        created_at: Timestamp(0),
        functions: BTreeMap::new(),
    };
    assert!(matches!(
        journal.put_graph(graph.clone()).await,
        Err(StoreError::Unavailable(_))
    ));
    let component: Arc<[u8]> = Arc::new([0; 10]);
    let (digest, name, version) = (Digest::of(&component), "p".into(), "1.0.0".into());
    let plugin = PluginRow {
        digest,
        name,
        version,
        active: true,
        component,
        added_at: Timestamp(0),
    };
    assert!(matches!(
        journal.put_plugin(plugin).await,
        Err(StoreError::Unavailable(_))
    ));

    // Reads are answered, and see what is durable.
    assert_eq!(all_events(&journal, lines[0].run, 10).await.len(), 1);
    assert!(waiting.iter_mut().all(|result| result.try_recv().is_err()));
    journal.limit_pages(1_000_000).await;
    for (number, result) in waiting.into_iter().enumerate() {
        assert_eq!(
            result.await.unwrap().unwrap(),
            if number % 2 == 0 { 2 } else { 5 }
        );
    }
    assert!(journal.health().is_ok());
    assert!(journal.put_graph(graph).await.unwrap());
    // The run that was refused is not there, and may begin.
    assert!(journal.run(run_id(9)).await.unwrap().is_none());
    RunWriter::new(9).begin(&journal).await.unwrap().unwrap();
    for writer in &mut lines {
        writer.finish(&journal).await.unwrap().unwrap();
        assert_eq!(all_events(&journal, writer.run, 10).await.len(), 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_begin_that_met_the_full_disk_takes_its_followers_with_it_and_no_others() {
    let world = Sqlite::new();
    let (journal, mut lines) = full_disk(&world).await;
    let mut large_run = RunWriter::new(9);
    let begun = large_run.append(&journal, vec![large(), large()]);
    let follows = large_run.append_logs(&journal, 1);
    let other = lines[0].append_logs(&journal, 1);
    assert!(begun.await.unwrap().is_err());
    assert!(follows.await.unwrap().is_err());
    // The remaining append fits into the free pages.
    assert_eq!(other.await.unwrap().unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_cannot_write_holds_writes_up_until_there_is_another() {
    let world = Sqlite::new();
    let settings = SqliteSettings {
        retry: Duration::from_millis(200),
        ..SqliteSettings::new(world.path())
    };
    let journal = SqliteJournal::open(settings).unwrap();
    let mut writer = RunWriter::new(1);
    writer.begin(&journal).await.unwrap().unwrap();
    journal.lose_the_right_to_write().await;
    let result = [writer.append_logs(&journal, 1), writer.append_logs(&journal, 1)];
    let error = stalled(&journal).await;
    assert!(
        matches!(&error, StoreError::Unavailable(message) if message.contains("readonly")),
        "{error:?}"
    );
    for (result, seq) in result.into_iter().zip([2, 3]) {
        assert_eq!(result.await.unwrap().unwrap(), seq);
    }
    assert!(journal.health().is_ok());
    RunWriter::new(2).begin(&journal).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_can_never_be_written_is_refused_alone() {
    let world = Sqlite::new();
    let journal = world.journal();
    let mut lines: Vec<RunWriter> = (1..=9).map(RunWriter::new).collect();
    for writer in &mut lines {
        writer.begin(&journal).await.unwrap().unwrap();
    }
    // Fails in the midst of a transaction, which stays open.
    let other = Connection::open(world.path()).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    let sql = "CREATE TRIGGER stop BEFORE INSERT ON events WHEN hex(NEW.run) LIKE '%4'
               BEGIN SELECT RAISE(ABORT, 'on purpose'); END";
    other.execute_batch(sql).unwrap();
    // Enough appends that most share a commit with the one that fails.
    let mut result = Vec::new();
    for _ in 0..20 {
        for writer in &mut lines {
            result.push((writer.run, writer.append_logs(&journal, 1)));
        }
    }
    for (run, result) in result {
        match run == run_id(4) {
            true => damaged(result.await.unwrap(), run),
            false => drop(result.await.unwrap().unwrap()),
        }
    }
    assert!(journal.health().is_ok());
    // The run is unchanged, and takes no append until the store is opened again.
    assert_eq!(all_events(&journal, run_id(4), 10).await.len(), 1);
    other.execute_batch("DROP TRIGGER stop").unwrap();
    damaged(
        RunWriter::at(4, 1).append_logs(&journal, 1).await.unwrap(),
        run_id(4),
    );
    drop(journal);
    RunWriter::at(4, 1)
        .append_logs(&world.journal(), 1)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_disk_is_full_can_be_closed() {
    let world = Sqlite::new();
    let (journal, mut lines) = full_disk(&world).await;
    let result = lines[0].append(&journal, vec![large()]);
    let error = stalled(&journal).await;
    assert_eq!(journal.close().await.unwrap_err().to_string(), error.to_string());
    assert!(matches!(result.await.unwrap(), Err(AppendError::Closed)));
    drop(journal);
    // The durable events are present, and the run continues after them.
    let journal = world.journal();
    assert_eq!(all_events(&journal, run_id(1), 10).await.len(), 1);
    RunWriter::at(1, 1)
        .append(&journal, vec![large()])
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_share_a_commit_share_a_row() {
    let world = Sqlite::new();
    let journal = world.journal();
    let mut writer = RunWriter::new(1);
    writer.begin(&journal).await.unwrap().unwrap();
    journal.limit_pages(1).await;
    // The first makes the writer wait, so that all of them are there when there is space.
    let mut result = vec![writer.append(&journal, vec![large()])];
    result.extend((0..100).map(|_| writer.append_logs(&journal, 1)));
    stalled(&journal).await;
    journal.limit_pages(1_000_000).await;
    for result in result {
        result.await.unwrap().unwrap();
    }
    drop(journal);
    let connection = Connection::open(world.path()).unwrap();
    let rows: i64 = connection
        .query_row("SELECT count(*) FROM events", [], |row| row.get(0))
        .unwrap();
    assert!((3..10).contains(&rows), "{rows} rows for 102 events");
    assert_eq!(all_events(&world.journal(), writer.run, 1000).await.len(), 102);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_that_panics_does_not_stop_the_store() {
    struct Panics;
    impl heddle_runtime::ports::Ack for Panics {
        fn durable(&self, _seq: u64) {
            panic!("on purpose");
        }
        fn failed(&self, _error: AppendError) {}
    }
    let world = Sqlite::new();
    let journal = world.journal();
    let mut writer = RunWriter::new(1);
    writer.begin(&journal).await.unwrap().unwrap();
    let (append, _) = writer.draft(vec![log("a line")], RunDisposition::Running);
    journal.append(Append {
        ack: Arc::new(Panics),
        ..append
    });
    assert_eq!(writer.append_logs(&journal, 1).await.unwrap().unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_store_has_none_of_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
    let journal = SqliteJournal::open(SqliteSettings::new(&path)).unwrap();
    let key = "a-key-that-nobody-else-shall-have";
    journal.put_secret("key", SecretText(key.into())).await.unwrap();
    assert!(maintenance::backup(&path, &copy).unwrap().is_ok());
    let has_key = |file: &Path| {
        let bytes = fs::read(file).unwrap();
        bytes.windows(key.len()).any(|part| part == key.as_bytes())
    };
    assert!(!has_key(&copy));
    journal.close().await.unwrap();
    drop(journal);
    assert!(has_key(&path));
    let copied = SqliteJournal::open(SqliteSettings::new(&copy)).unwrap();
    assert_eq!(copied.secret("key").await.unwrap(), None);
}
