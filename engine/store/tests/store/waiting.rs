//! Waiting runs: what a journal reports about them, and that a hundred thousand of them take no memory.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use heddle_kernel::{RunId, Status, Timestamp};
use heddle_runtime::ports::{
    Ack, Append, AppendError, EngineId, Journal, NewRun, RunDisposition, RunFilter, RunWait, Store,
};
use heddle_store::{SqliteJournal, SqliteSettings};
use rusqlite::Connection;
use tokio::sync::Notify;

use crate::world::{
    RunWriter, Sqlite, World, all_events, conflict, failed, graph_id, log, position, record, run_id,
};

contract! {
    a_run_that_waits_is_not_running_until_an_append_wakes_it,
    a_run_that_waits_for_a_signal_is_never_due,
    due_runs_come_earliest_first_and_no_more_than_asked_for,
    a_run_that_waits_anew_is_due_at_the_new_time,
    a_run_that_waits_may_end,
    the_last_append_of_a_commit_decides_the_runs_row,
    a_run_may_begin_with_a_wait,
    a_run_that_waits_is_there_after_a_restart,
    an_append_at_another_position_is_refused_and_the_run_waits_on,
    runs_are_listed_by_every_status,
    a_hundred_thousand_runs_wait,
}

/// The fields of a row that concern waiting.
async fn waiting_fields(journal: &dyn Store, run: RunId) -> (Status, Option<i64>) {
    let row = journal.run(run).await.unwrap().unwrap();
    (row.status, row.wake_at.map(|at| at.0))
}

async fn due(journal: &dyn Store, now: i64) -> Vec<RunId> {
    journal
        .claim_due(EngineId::EXCLUSIVE, Timestamp(now), 1_000)
        .await
        .unwrap()
}

async fn next_due(journal: &dyn Store) -> Option<i64> {
    journal.next_due().await.unwrap().map(|at| at.0)
}

async fn a_run_that_waits_is_not_running_until_an_append_wakes_it(mut world: impl World) {
    let journal = world.open();
    let (mut writer, mut other) = (RunWriter::new(1), RunWriter::new(2));
    other.begin(&*journal).await.unwrap().unwrap();
    writer.begin(&*journal).await.unwrap().unwrap();
    assert_eq!(next_due(&*journal).await, None);

    assert_eq!(writer.park(&*journal, Some(5_000)).await.unwrap().unwrap(), 2);
    assert_eq!(
        waiting_fields(&*journal, writer.run).await,
        (Status::Waiting, Some(5_000))
    );
    assert_eq!(journal.unfinished().await.unwrap(), [other.run]);
    assert_eq!(next_due(&*journal).await, Some(5_000));
    assert_eq!(due(&*journal, 4_999).await, []);
    // A query does not wake a run.
    assert_eq!(due(&*journal, 5_000).await, [writer.run]);
    assert_eq!(due(&*journal, 5_001).await, [writer.run]);

    assert_eq!(writer.append_logs(&*journal, 2).await.unwrap().unwrap(), 4);
    assert_eq!(
        waiting_fields(&*journal, writer.run).await,
        (Status::Running, None)
    );
    assert_eq!(journal.unfinished().await.unwrap(), [writer.run, other.run]);
    assert_eq!(next_due(&*journal).await, None);
    assert_eq!(due(&*journal, 9_000).await, []);

    writer.finish(&*journal).await.unwrap().unwrap();
    assert_eq!(
        waiting_fields(&*journal, writer.run).await,
        (Status::Finished, None)
    );
    assert_eq!(all_events(&*journal, writer.run, 10).await.len(), 5);
}

async fn a_run_that_waits_for_a_signal_is_never_due(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    writer.begin(&*journal);
    writer.park(&*journal, None).await.unwrap().unwrap();
    assert_eq!(
        waiting_fields(&*journal, writer.run).await,
        (Status::Waiting, None)
    );
    assert_eq!(journal.unfinished().await.unwrap(), []);
    assert_eq!(next_due(&*journal).await, None);
    assert_eq!(due(&*journal, i64::MAX).await, []);
    writer.append_logs(&*journal, 1).await.unwrap().unwrap();
    assert_eq!(
        waiting_fields(&*journal, writer.run).await,
        (Status::Running, None)
    );
}

async fn due_runs_come_earliest_first_and_no_more_than_asked_for(mut world: impl World) {
    let journal = world.open();
    for (number, until) in [(1, 500), (2, 300), (3, 400), (4, 300), (5, -7), (6, 900)] {
        let mut writer = RunWriter::new(number);
        writer.begin(&*journal);
        writer.park(&*journal, Some(until)).await.unwrap().unwrap();
    }
    let due = async |now, limit| {
        journal
            .claim_due(EngineId::EXCLUSIVE, Timestamp(now), limit)
            .await
            .unwrap()
    };
    assert_eq!(next_due(&*journal).await, Some(-7));
    assert_eq!(due(600, 10).await, [5, 2, 4, 3, 1].map(run_id));
    assert_eq!(due(300, 10).await, [5, 2, 4].map(run_id));
    assert_eq!(due(600, 2).await, [5, 2].map(run_id));
    assert_eq!(due(600, 0).await, []);
    assert_eq!(due(-8, 10).await, []);
    RunWriter::at(5, 2)
        .append_logs(&*journal, 1)
        .await
        .unwrap()
        .unwrap();
    RunWriter::at(2, 2)
        .append_logs(&*journal, 1)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(next_due(&*journal).await, Some(300));
    assert_eq!(due(600, 2).await, [4, 3].map(run_id));
}

async fn a_run_that_waits_anew_is_due_at_the_new_time(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    writer.begin(&*journal);
    for until in [
        Some(5_000),
        Some(7_000),
        Some(7_000),
        Some(2_000),
        None,
        Some(3_000),
    ] {
        writer.park(&*journal, until).await.unwrap().unwrap();
        assert_eq!(
            waiting_fields(&*journal, writer.run).await,
            (Status::Waiting, until)
        );
        assert_eq!(next_due(&*journal).await, until);
        if let Some(until) = until {
            assert_eq!(due(&*journal, until - 1).await, []);
            assert_eq!(due(&*journal, until).await, [writer.run]);
        }
    }
}

async fn a_run_that_waits_may_end(mut world: impl World) {
    let journal = world.open();
    for (number, status) in [(1, Status::Finished), (2, Status::Failed), (3, Status::Cancelled)] {
        let mut writer = RunWriter::new(number);
        writer.begin(&*journal);
        writer.park(&*journal, Some(5_000)).await.unwrap().unwrap();
        let result = match status {
            Status::Finished => writer.finish(&*journal),
            Status::Failed => writer.append(&*journal, vec![failed()]),
            _ => writer.cancel(&*journal),
        };
        assert_eq!(result.await.unwrap().unwrap(), 3);
        let row = journal.run(writer.run).await.unwrap().unwrap();
        assert_eq!(
            (row.status, row.wake_at, row.finished_at),
            (status, None, Some(Timestamp(2_000)))
        );
        assert_eq!(row.error.is_some(), status == Status::Failed);
        assert_eq!(due(&*journal, i64::MAX).await, []);
        conflict(writer.park(&*journal, Some(6_000)).await.unwrap(), writer.run);
        assert_eq!(waiting_fields(&*journal, writer.run).await, (status, None));
    }
    assert_eq!(journal.unfinished().await.unwrap(), []);
}

async fn the_last_append_of_a_commit_decides_the_runs_row(mut world: impl World) {
    let journal = world.open();
    for number in 1..=50 {
        let mut writer = RunWriter::new(number);
        writer.begin(&*journal);
        writer.park(&*journal, Some(100));
        writer.append_logs(&*journal, 1);
        writer.park(&*journal, None);
        let result = match number % 4 {
            0 => writer.append_logs(&*journal, 1),
            1 => writer.park(&*journal, Some(7_000)),
            2 => writer.finish(&*journal),
            _ => {
                // A refused append does not undo earlier ones.
                let result = writer.park(&*journal, Some(8_000));
                conflict(
                    RunWriter::at(number, 1).finish(&*journal).await.unwrap(),
                    writer.run,
                );
                result
            }
        };
        assert_eq!(result.await.unwrap().unwrap(), 5);
        let expected = match number % 4 {
            0 => (Status::Running, None),
            1 => (Status::Waiting, Some(7_000)),
            2 => (Status::Finished, None),
            _ => (Status::Waiting, Some(8_000)),
        };
        assert_eq!(waiting_fields(&*journal, writer.run).await, expected);
        assert_eq!(all_events(&*journal, writer.run, 10).await.len(), 5);
    }
    assert_eq!(due(&*journal, 6_999).await, []);
    assert_eq!(due(&*journal, 7_999).await.len(), 13);
}

async fn a_run_may_begin_with_a_wait(mut world: impl World) {
    let journal = world.open();
    let (mut timed, mut signalled) = (RunWriter::new(1), RunWriter::new(2));
    timed.park(&*journal, Some(10));
    signalled.park(&*journal, None).await.unwrap().unwrap();
    assert_eq!(
        waiting_fields(&*journal, timed.run).await,
        (Status::Waiting, Some(10))
    );
    assert_eq!(
        waiting_fields(&*journal, signalled.run).await,
        (Status::Waiting, None)
    );
    assert_eq!(journal.unfinished().await.unwrap(), []);
    assert_eq!(timed.finish(&*journal).await.unwrap().unwrap(), 2);
    assert_eq!(due(&*journal, i64::MAX).await, []);
}

async fn a_run_that_waits_is_there_after_a_restart(mut world: impl World) {
    let journal = world.open();
    let (mut timed, mut signalled, mut woken) = (RunWriter::new(1), RunWriter::new(2), RunWriter::new(3));
    for writer in [&mut timed, &mut signalled, &mut woken] {
        writer.begin(&*journal);
    }
    timed.park(&*journal, Some(10));
    signalled.park(&*journal, None);
    woken.park(&*journal, Some(5)).await.unwrap().unwrap();
    woken.append_logs(&*journal, 1).await.unwrap().unwrap();
    drop(journal);

    let journal = world.open();
    assert_eq!(journal.unfinished().await.unwrap(), [woken.run]);
    assert_eq!(next_due(&*journal).await, Some(10));
    assert_eq!(due(&*journal, 10).await, [timed.run]);
    assert_eq!(signalled.finish(&*journal).await.unwrap().unwrap(), 3);
    assert_eq!(timed.append_logs(&*journal, 1).await.unwrap().unwrap(), 3);
    drop(journal);

    let journal = world.open();
    assert_eq!(journal.unfinished().await.unwrap(), [timed.run, woken.run]);
    assert_eq!(due(&*journal, i64::MAX).await, []);
}

async fn an_append_at_another_position_is_refused_and_the_run_waits_on(mut world: impl World) {
    let journal = world.open();
    for (number, wrong) in [(1, 1), (2, 3), (3, 9)] {
        let mut writer = RunWriter::new(number);
        writer.begin(&*journal);
        writer.park(&*journal, Some(5_000)).await.unwrap().unwrap();
        let mut other = RunWriter::at(number, wrong);
        conflict(other.append_logs(&*journal, 1).await.unwrap(), writer.run);
        conflict(other.park(&*journal, Some(1)).await.unwrap(), writer.run);
        assert_eq!(
            waiting_fields(&*journal, writer.run).await,
            (Status::Waiting, Some(5_000))
        );
        assert_eq!(all_events(&*journal, writer.run, 10).await.len(), 2);
    }
    let mut again = RunWriter::new(4);
    again.park(&*journal, Some(5_000)).await.unwrap().unwrap();
    conflict(RunWriter::new(4).begin(&*journal).await.unwrap(), again.run);
    assert_eq!(due(&*journal, 5_000).await, [1, 2, 3, 4].map(run_id));
}

async fn runs_are_listed_by_every_status(mut world: impl World) {
    let journal = world.open();
    for number in 21..=24 {
        RunWriter::new(number)
            .queue(&*journal, 0, None)
            .await
            .unwrap()
            .unwrap();
        let mut writer = RunWriter::new(10 + number);
        writer.begin(&*journal).await.unwrap().unwrap();
        writer.pause(&*journal).await.unwrap().unwrap();
    }
    for number in 1..=20 {
        let mut writer = RunWriter::new(number);
        writer.begin(&*journal).await.unwrap().unwrap();
        let result = match number % 5 {
            0 => writer.append_logs(&*journal, 1),
            1 => writer.park(&*journal, (number > 10).then_some(1)),
            2 => writer.finish(&*journal),
            3 => writer.append(&*journal, vec![failed()]),
            _ => writer.cancel(&*journal),
        };
        result.await.unwrap().unwrap();
    }
    let list = async |graph: Option<u64>, status, before: Option<u64>, limit| {
        let filter = RunFilter {
            graph: graph.map(|number| graph_id(number).0),
            ..RunFilter::of_status(status)
        };
        let rows = journal.runs(filter, before.map(position), limit).await.unwrap();
        assert!(rows.iter().all(|row| row.status == status));
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    for (status, [first, second, third, fourth]) in [
        (Status::Queued, [24, 23, 22, 21]),
        (Status::Paused, [34, 33, 32, 31]),
        (Status::Running, [20, 15, 10, 5]),
        (Status::Waiting, [16, 11, 6, 1]),
        (Status::Finished, [17, 12, 7, 2]),
        (Status::Failed, [18, 13, 8, 3]),
        (Status::Cancelled, [19, 14, 9, 4]),
    ] {
        let all = [first, second, third, fourth].map(run_id);
        assert_eq!(list(None, status, None, 10).await, all);
        assert_eq!(list(None, status, None, 2).await, all[..2]);
        assert_eq!(list(None, status, Some(second), 10).await, all[2..]);
        let of_graph: Vec<_> = all
            .into_iter()
            .filter(|run| run.0.as_u128() % 2 == u128::from(first % 2))
            .collect();
        assert_eq!(list(Some(first % 2), status, None, 10).await, of_graph);
        assert_eq!(
            list(Some(first % 2), status, Some(first), 1).await,
            of_graph[1..2]
        );
        assert_eq!(list(Some(7), status, None, 10).await, []);
    }
}

/// Counts the appends that are durable.
struct Count {
    left: AtomicU64,
    done: Notify,
}

impl Ack for Count {
    fn durable(&self, _seq: u64) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.done.notify_one();
        }
    }

    fn failed(&self, error: AppendError) {
        panic!("{error}");
    }
}

async fn a_hundred_thousand_runs_wait(mut world: impl World) {
    const RUNS: u64 = 100_000;
    let journal = world.open();
    let count = Arc::new(Count {
        left: AtomicU64::new(RUNS),
        done: Notify::new(),
    });
    // A prime step goes over every number once, and mixes them.
    let until = |number: u64| (number * 7_919 % RUNS) as i64;
    for number in 0..RUNS {
        journal.append(Append {
            run: run_id(number),
            owner: EngineId::EXCLUSIVE,
            begins: Some(NewRun {
                graph: graph_id(1),
                created_at: Timestamp(0),
                priority: 0,
                group: None,
                group_limit: None,
                origin: None,
            }),
            reopens: false,
            events: vec![record(1, log("waits"))],
            disposition: RunDisposition::Waiting(RunWait {
                until: Some(Timestamp(until(number))),
            }),
            requests: Vec::new(),
            commands: Vec::new(),
            snapshot: None,
            ack: count.clone(),
        });
    }
    count.done.notified().await;
    assert_eq!(journal.unfinished().await.unwrap(), []);
    assert_eq!(next_due(&*journal).await, Some(0));
    let all = journal
        .claim_due(EngineId::EXCLUSIVE, Timestamp(i64::MAX), usize::MAX)
        .await
        .unwrap();
    let mut expected: Vec<u64> = (0..RUNS).collect();
    expected.sort_by_key(|number| until(*number));
    assert!(
        all.iter()
            .copied()
            .eq(expected.iter().map(|number| run_id(*number)))
    );
    // One after the other wakes, and the next one is the next.
    for (number, at) in expected[..50].iter().zip(0..) {
        assert_eq!(next_due(&*journal).await, Some(at));
        assert_eq!(
            journal
                .claim_due(EngineId::EXCLUSIVE, Timestamp(at), 10)
                .await
                .unwrap(),
            [run_id(*number)]
        );
        RunWriter::at(*number, 1)
            .finish(&*journal)
            .await
            .unwrap()
            .unwrap();
    }
    let filter = RunFilter {
        graph: Some(graph_id(1).0),
        ..RunFilter::of_status(Status::Waiting)
    };
    let listed = journal.runs(filter, None, 200_000).await.unwrap();
    assert_eq!(listed.len() as u64, RUNS - 50);
}

// ------------------------------------------------------------------------- SQLite alone

/// A copy of the store as a crash would leave it now.
fn crashed(world: &Sqlite) -> (tempfile::TempDir, SqliteJournal) {
    let copy = tempfile::tempdir().unwrap();
    for name in ["heddle.db", "heddle.db-wal"] {
        fs::copy(world.0.path().join(name), copy.path().join(name)).unwrap();
    }
    let journal = SqliteJournal::open(SqliteSettings::new(copy.path().join("heddle.db"))).unwrap();
    (copy, journal)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_a_run_waiting_or_woken_and_nothing_between() {
    let world = Sqlite::new();
    let journal = world.journal();
    let mut writer = RunWriter::new(1);
    writer.begin(&journal).await.unwrap().unwrap();
    for round in 0..3 {
        writer.park(&journal, Some(5_000)).await.unwrap().unwrap();
        let (_files, copied) = crashed(&world);
        assert_eq!(copied.unfinished().await.unwrap(), []);
        assert_eq!(due(&copied, 5_000).await, [writer.run]);
        assert_eq!(all_events(&copied, writer.run, 10).await.len(), 2 + 2 * round);
        // And there it wakes.
        RunWriter::at(1, writer.seq)
            .append_logs(&copied, 1)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(due(&copied, 5_000).await, []);

        writer.append_logs(&journal, 1).await.unwrap().unwrap();
        let (_files, copied) = crashed(&world);
        assert_eq!(copied.unfinished().await.unwrap(), [writer.run]);
        assert_eq!(waiting_fields(&copied, writer.run).await, (Status::Running, None));
        assert_eq!(due(&copied, 5_000).await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_start_an_end_or_a_wait_writes_a_runs_row() {
    let world = Sqlite::new();
    let journal = world.journal();
    let mut writer = RunWriter::new(1);
    writer.begin(&journal).await.unwrap().unwrap();
    let other = Connection::open(world.path()).unwrap();
    let sql = "CREATE TABLE written (run BLOB);
               CREATE TRIGGER note AFTER UPDATE ON runs BEGIN INSERT INTO written VALUES (NEW.id); END";
    other.execute_batch(sql).unwrap();
    let written = || -> i64 {
        let sql = "SELECT count(*) FROM written";
        other.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    for expected in [0, 0, 1, 2, 3, 3, 4] {
        let result = match expected {
            1 | 2 => writer.park(&journal, Some(expected)),
            4 => writer.finish(&journal),
            _ => writer.append_logs(&journal, 1),
        };
        result.await.unwrap().unwrap();
        assert_eq!(written(), expected);
    }
}
