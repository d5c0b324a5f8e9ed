//! Deleted runs leave nothing on the disk after a while, and do not delay other writes.

use std::{fs, time::Duration};

use heddle_json::object::json;
use heddle_kernel::Status;
use heddle_runtime::ports::{Append, Journal, RunDisposition, RunSnapshot, Store};
use heddle_store::SqliteJournal;
use rusqlite::Connection;

use crate::world::{RunWriter, Sqlite, all_events, log, run_id};

const RUNS: u64 = 40;

/// A closed store with 40 finished runs of about 400 kB each, and a running one.
async fn filled(world: &Sqlite) -> RunWriter {
    let journal = world.journal();
    let mut goes_on = RunWriter::new(1_000);
    goes_on.begin(&journal);
    for number in 0..RUNS {
        let mut writer = RunWriter::new(number);
        writer.begin(&journal);
        for _ in 0..5 {
            let (append, _) = writer.draft(vec![log(&"x".repeat(60_000))], RunDisposition::Running);
            let (seq, body) = (writer.seq, json(&format!("\"{}\"", "y".repeat(20_000))).unwrap());
            journal.append(Append {
                snapshot: Some(RunSnapshot { seq, body }),
                ..append
            });
        }
        writer.finish(&journal).await.unwrap().unwrap();
    }
    journal.close().await.unwrap();
    goes_on
}

fn size(world: &Sqlite) -> u64 {
    fs::metadata(world.path()).unwrap().len()
}

fn count(connection: &Connection, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    connection.query_row(&sql, [], |row| row.get(0)).unwrap()
}

/// Waits until a condition holds.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let so = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), so)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

/// Waits until the disk space of the runs is freed, and checks what is left.
async fn is_freed(world: &Sqlite, journal: &SqliteJournal, before: u64) {
    let other = Connection::open(world.path()).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    until("the trash is emptied", || count(&other, "trash") == 0).await;
    assert_eq!(count(&other, "snapshots"), 0);
    assert_eq!(
        all_events(journal, run_id(1_000), 100).await.len() as i64,
        other
            .query_row("SELECT max(last_seq) FROM events", [], |row| row.get::<_, i64>(0))
            .unwrap(),
        "the remaining rows belong to the run that continues"
    );
    until("the file shrinks", || size(world) < before / 5).await;
    let sound: String = other
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_shrinks_while_others_go_on() {
    let world = Sqlite::new();
    let mut goes_on = filled(&world).await;
    let before = size(&world);
    assert!(before > 10_000_000, "{before}");
    let journal = world.journal();
    let other = Connection::open(world.path()).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    let all = (0..RUNS).map(run_id).collect();
    assert_eq!(journal.delete_runs(all).await.unwrap(), RUNS as usize);
    // An append does not wait until everything is deleted.
    for _ in 0..3 {
        goes_on.append_logs(&journal, 1).await.unwrap().unwrap();
    }
    assert!(count(&other, "trash") > 0);
    is_freed(&world, &journal, before).await;
    goes_on.finish(&journal).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_that_a_crash_interrupted_finish_after_the_next_start() {
    let world = Sqlite::new();
    let mut goes_on = filled(&world).await;
    let before = size(&world);
    let other = Connection::open(world.path()).unwrap();
    let over = "WHERE status = 'finished'";
    let sql = format!("INSERT INTO trash SELECT id FROM runs {over}; DELETE FROM runs {over}");
    other.execute_batch(&sql).unwrap();
    drop(other);
    let journal = world.journal();
    assert!(journal.events(run_id(7), 0, 10).await.unwrap().is_empty());
    is_freed(&world, &journal, before).await;
    goes_on.append_logs(&journal, 1).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_deleted_although_appends_never_pause() {
    let world = Sqlite::new();
    let mut goes_on = filled(&world).await;
    let journal = world.journal();
    let other = Connection::open(world.path()).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    journal
        .delete_runs((0..RUNS).map(run_id).collect())
        .await
        .unwrap();
    // One append is always waiting when another is committed.
    let mut last = goes_on.append_logs(&journal, 1);
    let mut appends = 0;
    while count(&other, "trash") > 0 {
        let next = goes_on.append_logs(&journal, 1);
        last.await.unwrap().unwrap();
        last = next;
        appends += 1;
        assert!(appends < 1_000_000, "the trash is never emptied");
    }
    last.await.unwrap().unwrap();
    assert_eq!(
        journal.run(goes_on.run).await.unwrap().unwrap().status,
        Status::Running
    );
}
