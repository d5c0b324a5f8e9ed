//! The contract of the journal for controlled runs: queued, paused, reopened and deleted. Also snapshots and requests.

use std::sync::Arc;

use heddle_json::object::json;
use heddle_kernel::{Digest, Event, RunId, Status, Timestamp};
use heddle_runtime::ports::{
    Append, AppendError, EngineId, QueuedRun, Request, RunDisposition, RunFilter, RunSnapshot, RunWait, Store,
};

use crate::world::{RunWriter, World, all_events, conflict, duplicate, failed, log, run_id};

contract! {
    a_queued_run_waits_for_its_turn_and_begins,
    queued_runs_come_by_priority_and_then_by_age,
    a_group_counts_its_started_and_unfinished_runs,
    a_run_keeps_its_priority_group_and_origin,
    a_paused_run_is_not_running_and_never_due,
    a_failed_run_is_reopened_and_no_other,
    a_run_may_fail_and_be_reopened_in_one_commit,
    the_newest_snapshot_up_to_an_event_is_found,
    an_answered_request_is_found_where_it_went,
    a_request_is_answered_once,
    a_duplicate_request_harms_no_run,
    runs_that_began_before_a_time_are_found_oldest_first,
    a_deleted_run_is_gone_with_all_its_data,
    runs_that_have_not_ended_are_not_deleted,
    a_deleted_run_may_be_created_again,
}

async fn status_of(journal: &dyn Store, run: RunId) -> Status {
    journal.run(run).await.unwrap().unwrap().status
}

async fn queued(journal: &dyn Store) -> Vec<RunId> {
    let queued = journal.queued().await.unwrap();
    queued.into_iter().map(|queued| queued.run).collect()
}

async fn a_queued_run_waits_for_its_turn_and_begins(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    writer.queue(&*journal, 3, Some("g")).await.unwrap().unwrap();
    let expected = QueuedRun {
        run: writer.run,
        priority: 3,
        group: Some("g".into()),
        group_limit: Some(2),
        bytes: journal.queued().await.unwrap()[0].bytes,
    };
    assert!((20..1_000).contains(&expected.bytes), "{}", expected.bytes);
    assert_eq!(journal.queued().await.unwrap(), [expected]);
    assert_eq!(status_of(&*journal, writer.run).await, Status::Queued);
    assert_eq!(journal.unfinished().await.unwrap(), []);
    assert_eq!(all_events(&*journal, writer.run, 10).await.len(), 1);
    drop(journal);

    let journal = world.open();
    assert_eq!(queued(&*journal).await, [writer.run]);
    assert_eq!(writer.append_logs(&*journal, 2).await.unwrap().unwrap(), 3);
    assert_eq!(queued(&*journal).await, []);
    assert_eq!(journal.unfinished().await.unwrap(), [writer.run]);
    writer.finish(&*journal).await.unwrap().unwrap();
    // A run that has begun is never queued again; a queued run may be cancelled.
    let mut begun = RunWriter::new(2);
    begun.begin(&*journal).await.unwrap().unwrap();
    let mut waits = RunWriter::new(3);
    waits.queue(&*journal, 0, None).await.unwrap().unwrap();
    waits.cancel(&*journal).await.unwrap().unwrap();
    assert_eq!(queued(&*journal).await, []);
    assert_eq!(status_of(&*journal, waits.run).await, Status::Cancelled);
}

async fn queued_runs_come_by_priority_and_then_by_age(mut world: impl World) {
    let journal = world.open();
    for (number, priority) in [
        (6, 0),
        (2, 5),
        (9, 5),
        (1, -1),
        (4, 0),
        (3, i32::MAX),
        (5, i32::MIN),
    ] {
        RunWriter::new(number)
            .queue(&*journal, priority, None)
            .await
            .unwrap()
            .unwrap();
    }
    RunWriter::new(7).begin(&*journal).await.unwrap().unwrap();
    assert_eq!(queued(&*journal).await, [3, 2, 9, 4, 6, 1, 5].map(run_id));
    let filter = RunFilter::of_status(Status::Queued);
    assert_eq!(journal.runs(filter, None, 100).await.unwrap().len(), 7);
}

async fn a_group_counts_its_started_and_unfinished_runs(mut world: impl World) {
    let journal = world.open();
    assert_eq!(journal.groups().await.unwrap(), []);
    let mut lines: Vec<RunWriter> = (1..=6).map(RunWriter::new).collect();
    for (number, writer) in lines.iter_mut().enumerate() {
        let group = ["a", "b/7"][number % 2];
        writer.queue(&*journal, 0, Some(group)).await.unwrap().unwrap();
    }
    RunWriter::new(7).begin(&*journal).await.unwrap().unwrap();
    assert_eq!(journal.groups().await.unwrap(), []);
    lines[0].append_logs(&*journal, 1).await.unwrap().unwrap();
    lines[2].park(&*journal, Some(9)).await.unwrap().unwrap();
    lines[4].pause(&*journal).await.unwrap().unwrap();
    lines[1].append_logs(&*journal, 1).await.unwrap().unwrap();
    let counts: Vec<(Arc<str>, usize)> = vec![("a".into(), 3), ("b/7".into(), 1)];
    assert_eq!(journal.groups().await.unwrap(), counts);
    for writer in &mut lines[..2] {
        writer.finish(&*journal).await.unwrap().unwrap();
    }
    lines[2].append(&*journal, vec![failed()]).await.unwrap().unwrap();
    assert_eq!(journal.groups().await.unwrap(), [("a".into(), 1)]);
    // A retried run counts again.
    lines[2].retry(&*journal).await.unwrap().unwrap();
    assert_eq!(journal.groups().await.unwrap(), [("a".into(), 2)]);
}

async fn a_run_keeps_its_priority_group_and_origin(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    let (mut append, result) = writer.draft(vec![writer.started()], RunDisposition::Running);
    let begins = append.begins.as_mut().unwrap();
    (begins.priority, begins.group) = (-7, Some("review/ä".into()));
    begins.origin = Some("schedule:nightly".into());
    journal.append(append);
    result.await.unwrap().unwrap();
    for _ in 0..2 {
        let row = journal.run(writer.run).await.unwrap().unwrap();
        assert_eq!(
            (row.priority, row.group.as_deref(), row.origin.as_deref()),
            (-7, Some("review/ä"), Some("schedule:nightly"))
        );
        writer.park(&*journal, None).await.unwrap().unwrap();
        writer.pause(&*journal).await.unwrap().unwrap();
    }
    RunWriter::new(2).begin(&*journal).await.unwrap().unwrap();
    let listed = journal.runs(RunFilter::default(), None, 10).await.unwrap();
    assert_eq!(
        (listed[0].priority, &listed[0].group, &listed[0].origin),
        (0, &None, &None)
    );
    assert_eq!(listed[1].origin.as_deref(), Some("schedule:nightly"));
}

async fn a_paused_run_is_not_running_and_never_due(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    writer.begin(&*journal);
    writer.park(&*journal, Some(5)).await.unwrap().unwrap();
    writer.pause(&*journal).await.unwrap().unwrap();
    let row = journal.run(writer.run).await.unwrap().unwrap();
    assert_eq!((row.status, row.wake_at), (Status::Paused, None));
    assert_eq!(journal.unfinished().await.unwrap(), []);
    assert_eq!(
        journal
            .claim_due(EngineId::EXCLUSIVE, Timestamp(i64::MAX), 10)
            .await
            .unwrap(),
        []
    );
    assert_eq!(journal.next_due().await.unwrap(), None);
    drop(journal);

    let journal = world.open();
    assert_eq!(status_of(&*journal, writer.run).await, Status::Paused);
    // Signals do not change its status.
    writer.pause(&*journal).await.unwrap().unwrap();
    writer.park(&*journal, Some(7)).await.unwrap().unwrap();
    assert_eq!(
        journal
            .claim_due(EngineId::EXCLUSIVE, Timestamp(7), 10)
            .await
            .unwrap(),
        [writer.run]
    );
    writer.pause(&*journal).await.unwrap().unwrap();
    writer.append_logs(&*journal, 1).await.unwrap().unwrap();
    assert_eq!(journal.unfinished().await.unwrap(), [writer.run]);
}

async fn a_failed_run_is_reopened_and_no_other(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    writer.begin(&*journal);
    writer.append(&*journal, vec![failed()]).await.unwrap().unwrap();
    assert_eq!(writer.retry(&*journal).await.unwrap().unwrap(), 3);
    let row = journal.run(writer.run).await.unwrap().unwrap();
    assert_eq!(
        (row.status, row.finished_at, row.last_seq),
        (Status::Running, None, 3)
    );
    assert!(row.error.is_none());
    assert_eq!(journal.unfinished().await.unwrap(), [writer.run]);
    writer.append(&*journal, vec![failed()]).await.unwrap().unwrap();
    drop(journal);

    // Also after a restart, and with another end.
    let journal = world.open();
    assert_eq!(status_of(&*journal, writer.run).await, Status::Failed);
    writer.retry(&*journal).await.unwrap().unwrap();
    writer.finish(&*journal).await.unwrap().unwrap();
    let row = journal.run(writer.run).await.unwrap().unwrap();
    assert_eq!((row.status, row.last_seq), (Status::Finished, 6));
    assert!(row.error.is_none());

    // Finished and cancelled runs take no append; a failed run takes one only with `reopens`.
    conflict(writer.retry(&*journal).await.unwrap(), writer.run);
    let mut writer = RunWriter::new(2);
    writer.begin(&*journal);
    writer.cancel(&*journal).await.unwrap().unwrap();
    conflict(writer.retry(&*journal).await.unwrap(), writer.run);
    let mut writer = RunWriter::new(3);
    writer.begin(&*journal);
    writer.append(&*journal, vec![failed()]).await.unwrap().unwrap();
    conflict(writer.append_logs(&*journal, 1).await.unwrap(), writer.run);
    // A reopening append needs the right event number, too.
    let mut writer = RunWriter::new(4);
    writer.begin(&*journal);
    writer.append(&*journal, vec![failed()]).await.unwrap().unwrap();
    conflict(RunWriter::at(4, 3).retry(&*journal).await.unwrap(), writer.run);
    assert_eq!(status_of(&*journal, writer.run).await, Status::Failed);
}

async fn a_run_may_fail_and_be_reopened_in_one_commit(mut world: impl World) {
    let journal = world.open();
    for number in 1..=30 {
        let mut writer = RunWriter::new(number);
        writer.begin(&*journal);
        writer.append(&*journal, vec![failed()]);
        writer.retry(&*journal);
        writer.append(&*journal, vec![failed()]);
        let result = match number % 3 {
            0 => writer.retry(&*journal),
            1 => {
                writer.retry(&*journal);
                writer.park(&*journal, Some(5))
            }
            _ => {
                writer.retry(&*journal);
                writer.append(&*journal, vec![failed()])
            }
        };
        result.await.unwrap().unwrap();
        let row = journal.run(writer.run).await.unwrap().unwrap();
        let expected = [Status::Running, Status::Waiting, Status::Failed][number as usize % 3];
        assert_eq!((row.status, row.last_seq), (expected, writer.seq));
        assert_eq!(row.error.is_some(), expected == Status::Failed);
        assert_eq!(row.finished_at.is_some(), expected == Status::Failed);
    }
}

async fn the_newest_snapshot_up_to_an_event_is_found(mut world: impl World) {
    let journal = world.open();
    let (mut writer, mut other) = (RunWriter::new(1), RunWriter::new(2));
    other.begin(&*journal).await.unwrap().unwrap();
    writer.begin(&*journal).await.unwrap().unwrap();
    let taken = async |journal: &dyn Store, run, until| {
        let found = journal.snapshot(run, until).await.unwrap();
        found.map(|found| (found.seq, found.body.get().to_owned()))
    };
    assert_eq!(taken(&*journal, writer.run, u64::MAX).await, None);
    for count in [2, 3, 4] {
        let events = (0..count).map(|_| log("a line")).collect();
        let (append, result) = writer.draft(events, RunDisposition::Running);
        let seq = writer.seq;
        let body = json(&format!("{{\"at\": {seq},\n \"täglich\": 1.50}}")).unwrap();
        journal.append(Append {
            snapshot: Some(RunSnapshot { seq, body }),
            ..append
        });
        result.await.unwrap().unwrap();
    }
    let expected = |seq| Some((seq, format!("{{\"at\": {seq},\n \"täglich\": 1.50}}")));
    drop(journal);
    let journal = world.open();
    for (until, seq) in [(u64::MAX, 10), (10, 10), (9, 6), (6, 6), (5, 3), (3, 3)] {
        assert_eq!(
            taken(&*journal, writer.run, until).await,
            expected(seq),
            "{until}"
        );
    }
    assert_eq!(taken(&*journal, writer.run, 2).await, None);
    assert_eq!(taken(&*journal, other.run, u64::MAX).await, None);
    assert_eq!(taken(&*journal, run_id(9), u64::MAX).await, None);
    assert_eq!(all_events(&*journal, writer.run, 3).await.len(), 10);
}

fn request(to: Option<RunId>, key: &str, writer: &RunWriter) -> Request {
    Request {
        to,
        key: key.into(),
        digest: Digest::of(key.as_bytes()),
        run: writer.run,
        seq: writer.seq,
    }
}

/// The stored result of a request with this key that started a run.
fn started(writer: &RunWriter, key: &str) -> Request {
    Request {
        seq: 1,
        ..request(None, key, writer)
    }
}

/// Starts a run by a request with this key.
async fn start(journal: &dyn Store, writer: &mut RunWriter, key: &str) -> Result<u64, AppendError> {
    let (append, result) = writer.draft(vec![writer.started()], RunDisposition::Running);
    let requests = vec![request(None, key, writer)];
    journal.append(Append { requests, ..append });
    result.await.unwrap()
}

/// Sends a request with this key to a run.
async fn send(journal: &dyn Store, writer: &mut RunWriter, key: &str) -> Result<u64, AppendError> {
    let (append, result) = writer.draft(vec![log("it came")], RunDisposition::Running);
    let requests = vec![request(Some(writer.run), key, writer)];
    journal.append(Append { requests, ..append });
    result.await.unwrap()
}

async fn an_answered_request_is_found_where_it_went(mut world: impl World) {
    let journal = world.open();
    let (mut one, mut two) = (RunWriter::new(1), RunWriter::new(2));
    assert_eq!(journal.request(None, "key").await.unwrap(), None);
    start(&*journal, &mut one, "key").await.unwrap();
    start(&*journal, &mut two, "another key").await.unwrap();
    // The same key in another scope is another request.
    send(&*journal, &mut one, "key").await.unwrap();
    send(&*journal, &mut two, "key").await.unwrap();
    one.append_logs(&*journal, 5).await.unwrap().unwrap();
    drop(journal);

    let journal = world.open();
    let found = |to, key: &'static str| {
        let journal = journal.clone();
        async move { journal.request(to, key).await.unwrap() }
    };
    let began = |writer: &RunWriter, key| {
        Some(Request {
            seq: 1,
            ..request(None, key, writer)
        })
    };
    let sent = |writer: &RunWriter| {
        Some(Request {
            seq: 2,
            ..request(Some(writer.run), "key", writer)
        })
    };
    assert_eq!(found(None, "key").await, began(&one, "key"));
    assert_eq!(found(None, "another key").await, began(&two, "another key"));
    assert_eq!(found(Some(one.run), "key").await, sent(&one));
    assert_eq!(found(Some(two.run), "key").await, sent(&two));
    assert_eq!(found(Some(two.run), "another key").await, None);
    assert_eq!(found(None, "Key").await, None);
}

async fn a_request_is_answered_once(mut world: impl World) {
    let journal = world.open();
    let (mut one, mut two) = (RunWriter::new(1), RunWriter::new(2));
    start(&*journal, &mut one, "key").await.unwrap();
    duplicate(start(&*journal, &mut two, "key").await, &started(&one, "key"));
    assert!(journal.run(two.run).await.unwrap().is_none());
    // In one commit, too.
    let lines = [3, 4].map(|number| {
        let mut writer = RunWriter::new(number);
        let (append, result) = writer.draft(vec![writer.started()], RunDisposition::Running);
        let requests = vec![request(None, "other", &writer)];
        journal.append(Append { requests, ..append });
        (writer.run, result)
    });
    let [(first, one_told), (second, two_told)] = lines;
    one_told.await.unwrap().unwrap();
    let stored = journal.request(None, "other").await.unwrap().unwrap();
    assert_eq!(stored.run, first);
    assert!(journal.run(second).await.unwrap().is_none());
    duplicate(two_told.await.unwrap(), &stored);
}

async fn a_duplicate_request_harms_no_run(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    writer.begin(&*journal).await.unwrap().unwrap();
    send(&*journal, &mut writer, "key").await.unwrap();
    let first = journal.request(Some(writer.run), "key").await.unwrap().unwrap();
    // Another engine answers the same request: nothing of its append is stored.
    let mut other = RunWriter::at(1, writer.seq);
    duplicate(send(&*journal, &mut other, "key").await, &first);
    // Appends that were sent before the run is loaded again do not continue its journal.
    conflict(other.append_logs(&*journal, 1).await.unwrap(), other.run);
    assert_eq!(
        all_events(&*journal, writer.run, 10).await.len() as u64,
        writer.seq
    );
    // The run is loaded again and continues.
    let mut loaded = RunWriter::at(1, writer.seq);
    loaded.append_logs(&*journal, 2).await.unwrap().unwrap();
    send(&*journal, &mut loaded, "another key").await.unwrap();
    loaded.finish(&*journal).await.unwrap().unwrap();
    // A run that was not created because its start request was answered before leaves nothing.
    let (mut one, mut two) = (RunWriter::new(2), RunWriter::new(3));
    start(&*journal, &mut one, "start").await.unwrap();
    duplicate(start(&*journal, &mut two, "start").await, &started(&one, "start"));
    conflict(two.append_logs(&*journal, 1).await.unwrap(), two.run);
    assert!(journal.run(two.run).await.unwrap().is_none());
    one.finish(&*journal).await.unwrap().unwrap();
}

async fn runs_that_began_before_a_time_are_found_oldest_first(mut world: impl World) {
    let journal = world.open();
    for (number, began) in [(1, 10), (2, 20), (3, 15), (4, 40), (5, 30)] {
        let mut writer = RunWriter::new(number);
        let (mut append, result) = writer.draft(vec![writer.started()], RunDisposition::Running);
        append.begins.as_mut().unwrap().created_at = Timestamp(began);
        journal.append(append);
        result.await.unwrap().unwrap();
        match number {
            1 => drop(writer.finish(&*journal).await.unwrap().unwrap()),
            2 => drop(writer.park(&*journal, None).await.unwrap().unwrap()),
            _ => {}
        }
    }
    let before = async |before, after: Option<u64>, limit| {
        let rows = journal
            .runs_before(Timestamp(before), after.map(run_id), limit)
            .await
            .unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(before(100, None, 10).await, [1, 2, 3, 4, 5].map(run_id));
    assert_eq!(before(40, None, 10).await, [1, 2, 3, 5].map(run_id));
    assert_eq!(before(20, None, 10).await, [1, 3].map(run_id));
    assert_eq!(before(40, Some(1), 2).await, [2, 3].map(run_id));
    assert_eq!(before(40, Some(3), 2).await, [5].map(run_id));
    assert_eq!(before(10, None, 10).await, []);
    assert_eq!(before(100, None, 0).await, []);
    let rows = journal.runs_before(Timestamp(11), None, 10).await.unwrap();
    assert_eq!((rows[0].status, rows[0].last_seq), (Status::Finished, 2));
}

async fn a_deleted_run_is_gone_with_all_its_data(mut world: impl World) {
    let journal = world.open();
    let mut lines: Vec<RunWriter> = (1..=4).map(RunWriter::new).collect();
    for writer in &mut lines {
        let key = writer.run.to_string();
        start(&*journal, writer, &key).await.unwrap();
        send(&*journal, writer, &key).await.unwrap();
        let (append, result) = writer.draft(vec![failed()], RunDisposition::Running);
        let (seq, body) = (writer.seq, json("{}").unwrap());
        let Event::RunFailed { error } = failed() else {
            unreachable!()
        };
        journal.append(Append {
            snapshot: Some(RunSnapshot { seq, body }),
            disposition: RunDisposition::Over(heddle_runtime::ports::RunEnd {
                status: Status::Failed,
                at: Timestamp(5),
                error: Some(error),
            }),
            ..append
        });
        result.await.unwrap().unwrap();
    }
    let ids = |numbers: &[u64]| numbers.iter().copied().map(run_id).collect::<Vec<_>>();
    assert_eq!(journal.delete_runs(ids(&[2, 4, 4, 9])).await.unwrap(), 2);
    for restarted in [false, true] {
        let journal = match restarted {
            true => world.open(),
            false => journal.clone(),
        };
        for writer in &lines {
            let deleted = writer.run == run_id(2) || writer.run == run_id(4);
            let key = writer.run.to_string();
            assert_eq!(journal.run(writer.run).await.unwrap().is_none(), deleted);
            assert_eq!(
                journal.events(writer.run, 0, 10).await.unwrap().is_empty(),
                deleted
            );
            assert_eq!(
                journal.events(writer.run, 2, 10).await.unwrap().is_empty(),
                deleted
            );
            assert_eq!(journal.snapshot(writer.run, 9).await.unwrap().is_none(), deleted);
            assert_eq!(journal.request(None, &key).await.unwrap().is_none(), deleted);
            let sent = journal.request(Some(writer.run), &key).await.unwrap();
            assert_eq!(sent.is_none(), deleted);
        }
        assert_eq!(
            journal.runs(RunFilter::default(), None, 10).await.unwrap().len(),
            2
        );
        if !restarted {
            conflict(RunWriter::at(2, 3).retry(&*journal).await.unwrap(), run_id(2));
            assert_eq!(journal.delete_runs(ids(&[2])).await.unwrap(), 0);
            journal.close().await.unwrap();
        }
    }
}

async fn runs_that_have_not_ended_are_not_deleted(mut world: impl World) {
    let journal = world.open();
    for number in 1..=6 {
        let mut writer = RunWriter::new(number);
        let result = match number {
            1 => writer.begin(&*journal),
            2 => writer.park(&*journal, Some(3)),
            3 => writer.queue(&*journal, 0, None),
            4 => writer.pause(&*journal),
            // Reopened just before the deletion.
            5 => {
                writer.begin(&*journal);
                writer.append(&*journal, vec![failed()]).await.unwrap().unwrap();
                writer.retry(&*journal)
            }
            _ => {
                writer.begin(&*journal);
                writer.finish(&*journal)
            }
        };
        if number == 5 {
            // Also if other jobs share the commit.
            drop(result);
            assert_eq!(journal.delete_runs(vec![run_id(5)]).await.unwrap(), 0);
        } else {
            result.await.unwrap().unwrap();
        }
    }
    assert_eq!(
        journal.delete_runs((1..=6).map(run_id).collect()).await.unwrap(),
        1
    );
    for number in 1..=5 {
        let row = journal.run(run_id(number)).await.unwrap().unwrap();
        assert_eq!(all_events(&*journal, row.id, 10).await.len() as u64, row.last_seq);
        let disposition = RunDisposition::Waiting(RunWait::default());
        let result = RunWriter::at(number, row.last_seq).write(&*journal, vec![log("on")], disposition);
        result.await.unwrap().unwrap();
    }
}

async fn a_deleted_run_may_be_created_again(mut world: impl World) {
    let journal = world.open();
    for round in 0..20 {
        let mut writer = RunWriter::new(1);
        writer.begin(&*journal).await.unwrap().unwrap();
        writer
            .append_logs(&*journal, 1 + round % 3)
            .await
            .unwrap()
            .unwrap();
        writer.finish(&*journal).await.unwrap().unwrap();
        assert_eq!(
            all_events(&*journal, writer.run, 10).await.len() as u64,
            writer.seq
        );
        assert_eq!(journal.delete_runs(vec![writer.run]).await.unwrap(), 1);
    }
    assert!(journal.events(run_id(1), 0, 10).await.unwrap().is_empty());
}
