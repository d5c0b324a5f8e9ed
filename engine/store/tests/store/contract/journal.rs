//! The contract of the journal: runs and their events.

use futures_util::future::join_all;
use heddle_json::object::json;
use heddle_kernel::{Event, FailureKind, RunError, Status, Timestamp};
use heddle_runtime::ports::{AppendError, LISTED_ERROR_BYTES, RunFilter};

use super::catalog::{graph, plugin};
use crate::world::{RunWriter, World, all_events, conflict, failed, graph_id, log, position, run_id};

contract! {
    events_come_back_as_they_were_appended,
    an_ack_comes_after_its_events_can_be_read,
    appends_of_one_run_are_durable_in_their_order,
    many_writers_lose_nothing,
    acknowledged_events_are_there_after_a_restart,
    events_are_read_in_pages,
    large_events_are_read_in_small_pages,
    a_run_is_listed_as_it_stands,
    runs_are_listed_newest_first_by_pages_and_filters,
    unfinished_runs_are_found_oldest_first,
    an_append_at_another_position_and_all_later_ones_are_refused,
    a_run_begins_once,
    a_run_that_was_not_begun_takes_nothing,
    a_run_that_is_over_takes_nothing,
    a_refused_append_does_not_touch_other_runs,
    lists_leave_out_large_values,
    closing_makes_everything_durable_and_refuses_the_rest,
}

async fn events_come_back_as_they_were_appended(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    writer.begin(&*journal);
    writer.append(&*journal, vec![log("täglich\n\"quoted\" \u{1F9F6}")]);
    assert_eq!(
        writer.append(&*journal, vec![failed()]).await.unwrap().unwrap(),
        3
    );

    let events = all_events(&*journal, writer.run, 100).await;
    assert_eq!(events[0].at, Timestamp(1_001));
    let Event::RunStarted { state, .. } = &events[0].event else {
        panic!("{:?}", events[0])
    };
    assert_eq!(state.get("n").unwrap().get(), "1.50");
    let Event::Log { message, .. } = &events[1].event else {
        panic!("{:?}", events[1])
    };
    assert_eq!(&**message, "täglich\n\"quoted\" \u{1F9F6}");
    let Event::RunFailed { error } = &events[2].event else {
        panic!("{:?}", events[2])
    };
    assert_eq!(error.data.as_ref().unwrap().get(), "[1,\n2]");
}

async fn an_ack_comes_after_its_events_can_be_read(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    writer.begin(&*journal).await.unwrap().unwrap();
    for count in [1, 5, 2] {
        let seq = writer.append_logs(&*journal, count).await.unwrap().unwrap();
        assert_eq!(seq, writer.seq);
        assert_eq!(
            journal.events(writer.run, 0, 100).await.unwrap().len() as u64,
            seq
        );
        assert_eq!(journal.run(writer.run).await.unwrap().unwrap().last_seq, seq);
    }
}

async fn appends_of_one_run_are_durable_in_their_order(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    let mut result = vec![writer.begin(&*journal)];
    for number in 0..500 {
        result.push(writer.append(&*journal, vec![log(&number.to_string())]));
    }
    result.push(writer.finish(&*journal));
    for (seq, result) in (1..).zip(result) {
        assert_eq!(result.await.unwrap().unwrap(), seq);
    }
    let events = all_events(&*journal, writer.run, 77).await;
    for (number, event) in events[1..501].iter().enumerate() {
        let Event::Log { message, .. } = &event.event else {
            panic!("{event:?}")
        };
        assert_eq!(**message, number.to_string());
    }
}

async fn many_writers_lose_nothing(mut world: impl World) {
    let journal = world.open();
    let tasks = (0..100).map(|number| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let mut writer = RunWriter::new(number);
            writer.begin(&*journal);
            for step in 0..20 {
                let result = writer.append_logs(&*journal, 1 + number % 3);
                if step % 7 == 0 {
                    result.await.unwrap().unwrap();
                }
            }
            writer.finish(&*journal).await.unwrap().unwrap()
        })
    });
    let lengths: Vec<u64> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    for (number, length) in (0..).zip(lengths) {
        assert_eq!(
            all_events(&*journal, run_id(number), 1000).await.len() as u64,
            length
        );
        assert_eq!(length, 20 * (1 + number % 3) + 2);
    }
}

async fn acknowledged_events_are_there_after_a_restart(mut world: impl World) {
    let journal = world.open();
    let (mut running, mut over) = (RunWriter::new(1), RunWriter::new(2));
    running.begin(&*journal);
    over.begin(&*journal);
    over.append(&*journal, vec![failed()]).await.unwrap().unwrap();
    running.append_logs(&*journal, 3).await.unwrap().unwrap();
    assert!(journal.put_graph(graph(1, Some("review"), 5)).await.unwrap());
    journal.put_plugin(plugin(b"component", true)).await.unwrap();
    drop(journal);

    let journal = world.open();
    assert_eq!(all_events(&*journal, running.run, 10).await.len(), 4);
    assert_eq!(journal.unfinished().await.unwrap(), [running.run]);
    let row = journal.run(over.run).await.unwrap().unwrap();
    assert_eq!(row.status, Status::Failed);
    let error = row.error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.step, error.attempt),
        ("permanent", Some(7), Some(2))
    );
    assert_eq!(error.data.unwrap().get(), "[1,\n2]");
    assert_eq!(
        &*journal.graph(&graph_id(1)).await.unwrap().unwrap().definition,
        "{\"nodes\":{}}"
    );
    assert_eq!(journal.active_plugins().await.unwrap().len(), 1);
    // A run continues after a restart.
    assert_eq!(running.finish(&*journal).await.unwrap().unwrap(), 5);
    assert_eq!(journal.unfinished().await.unwrap(), []);
}

async fn events_are_read_in_pages(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    writer.begin(&*journal);
    for count in [1, 10, 3, 1, 200, 1] {
        writer.append_logs(&*journal, count).await.unwrap().unwrap();
    }
    for page in [1, 2, 7, 216, 1000] {
        assert_eq!(all_events(&*journal, writer.run, page).await.len(), 217);
    }
    assert_eq!(journal.events(writer.run, 12, 3).await.unwrap()[0].seq, 13);
    assert_eq!(journal.events(writer.run, 216, 3).await.unwrap().len(), 1);
    for nothing in [217, 218, u64::MAX] {
        assert!(journal.events(writer.run, nothing, 3).await.unwrap().is_empty());
    }
    assert!(journal.events(writer.run, 0, 0).await.unwrap().is_empty());
    assert!(journal.events(run_id(9), 0, 3).await.unwrap().is_empty());
}

async fn large_events_are_read_in_small_pages(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    writer.begin(&*journal);
    let large = log(&"x".repeat(3_000_000));
    writer
        .append(&*journal, vec![large.clone(), log("small"), large])
        .await
        .unwrap()
        .unwrap();
    // Fewer events than requested, but never none.
    assert_eq!(journal.events(writer.run, 0, 1000).await.unwrap().len(), 2);
    let events = all_events(&*journal, writer.run, 1000).await;
    assert_eq!(events.len(), 4);
    let Event::Log { message, .. } = &events[3].event else {
        panic!("{:?}", events[3])
    };
    assert_eq!(message.len(), 3_000_000);
}

async fn a_run_is_listed_as_it_stands(mut world: impl World) {
    let journal = world.open();
    assert!(journal.run(run_id(1)).await.unwrap().is_none());
    let mut writer = RunWriter::new(1);
    writer.begin(&*journal);
    writer.append_logs(&*journal, 4).await.unwrap().unwrap();
    let row = journal.run(writer.run).await.unwrap().unwrap();
    assert_eq!(
        (row.id, &row.graph, row.status, row.last_seq),
        (writer.run, &graph_id(1), Status::Running, 5)
    );
    assert_eq!((row.created_at, row.finished_at), (Timestamp(1_000), None));
    writer.finish(&*journal).await.unwrap().unwrap();
    let row = journal.run(writer.run).await.unwrap().unwrap();
    assert_eq!(
        (row.status, row.last_seq, row.finished_at),
        (Status::Finished, 6, Some(Timestamp(2_000)))
    );
    assert!(row.error.is_none());
    // A run may begin and end in one append.
    let mut short = RunWriter::new(2);
    short
        .append(&*journal, vec![log("only"), failed()])
        .await
        .unwrap()
        .unwrap();
    let row = journal.run(short.run).await.unwrap().unwrap();
    assert_eq!((row.status, row.last_seq), (Status::Failed, 2));
    assert_eq!(&*row.error.unwrap().message, "it broke");
}

async fn runs_are_listed_newest_first_by_pages_and_filters(mut world: impl World) {
    let journal = world.open();
    for number in [3, 1, 4, 2, 6, 5] {
        let mut writer = RunWriter::new(number);
        writer.begin(&*journal).await.unwrap().unwrap();
        match number {
            1 | 2 => drop(writer.finish(&*journal).await.unwrap().unwrap()),
            3 | 4 => drop(writer.append(&*journal, vec![failed()]).await.unwrap().unwrap()),
            _ => {}
        }
    }
    let list = async |graph: Option<u64>, status, before: Option<u64>, limit| {
        let filter = RunFilter {
            graph: graph.map(|number| graph_id(number).0),
            statuses: Vec::from_iter(status),
            ..RunFilter::default()
        };
        let rows = journal.runs(filter, before.map(position), limit).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let ids = |numbers: &[u64]| numbers.iter().copied().map(run_id).collect::<Vec<_>>();
    assert_eq!(list(None, None, None, 10).await, ids(&[6, 5, 4, 3, 2, 1]));
    assert_eq!(list(None, None, None, 4).await, ids(&[6, 5, 4, 3]));
    assert_eq!(list(None, None, Some(3), 4).await, ids(&[2, 1]));
    assert_eq!(list(None, None, Some(1), 4).await, ids(&[]));
    assert_eq!(list(None, Some(Status::Running), None, 10).await, ids(&[6, 5]));
    assert_eq!(list(None, Some(Status::Failed), None, 10).await, ids(&[4, 3]));
    assert_eq!(list(None, Some(Status::Finished), Some(2), 10).await, ids(&[1]));
    assert_eq!(list(Some(0), None, None, 10).await, ids(&[6, 4, 2]));
    assert_eq!(list(Some(0), None, Some(6), 1).await, ids(&[4]));
    assert_eq!(list(Some(1), Some(Status::Failed), None, 10).await, ids(&[3]));
    assert_eq!(list(Some(7), None, None, 10).await, ids(&[]));
    assert_eq!(list(None, None, None, 0).await, ids(&[]));
}

async fn unfinished_runs_are_found_oldest_first(mut world: impl World) {
    let journal = world.open();
    let mut lines: Vec<RunWriter> = [5, 3, 9, 1].map(RunWriter::new).into();
    for writer in &mut lines {
        writer.begin(&*journal).await.unwrap().unwrap();
    }
    assert_eq!(journal.unfinished().await.unwrap(), [1, 3, 5, 9].map(run_id));
    lines[1].finish(&*journal).await.unwrap().unwrap();
    lines[2].append(&*journal, vec![failed()]).await.unwrap().unwrap();
    assert_eq!(journal.unfinished().await.unwrap(), [1, 5].map(run_id));
}

async fn an_append_at_another_position_and_all_later_ones_are_refused(mut world: impl World) {
    let journal = world.open();
    for (number, wrong) in [(1, 2), (2, 4), (3, 1)] {
        let mut writer = RunWriter::new(number);
        writer.begin(&*journal);
        writer.append_logs(&*journal, 2).await.unwrap().unwrap();
        // Another engine assumes a different last event: too early, too late, far too early.
        let mut other = RunWriter::at(number, wrong);
        let first = other.append_logs(&*journal, 1);
        let second = other.append_logs(&*journal, 1);
        conflict(first.await.unwrap(), writer.run);
        conflict(second.await.unwrap(), writer.run);
        // Refused even if the numbers match.
        conflict(writer.append_logs(&*journal, 1).await.unwrap(), writer.run);
        assert_eq!(all_events(&*journal, writer.run, 10).await.len(), 3);
    }
}

async fn a_run_begins_once(mut world: impl World) {
    let journal = world.open();
    RunWriter::new(1).begin(&*journal).await.unwrap().unwrap();
    conflict(RunWriter::new(1).begin(&*journal).await.unwrap(), run_id(1));
    // In one commit, too.
    let (first, second) = (
        RunWriter::new(2).begin(&*journal),
        RunWriter::new(2).begin(&*journal),
    );
    first.await.unwrap().unwrap();
    conflict(second.await.unwrap(), run_id(2));
    assert_eq!(all_events(&*journal, run_id(2), 10).await.len(), 1);
}

async fn a_run_that_was_not_begun_takes_nothing(mut world: impl World) {
    let journal = world.open();
    conflict(
        RunWriter::at(1, 1).append_logs(&*journal, 1).await.unwrap(),
        run_id(1),
    );
    assert!(journal.run(run_id(1)).await.unwrap().is_none());
    assert!(journal.events(run_id(1), 0, 10).await.unwrap().is_empty());
}

async fn a_run_that_is_over_takes_nothing(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    writer.begin(&*journal);
    let (over, after) = (writer.finish(&*journal), writer.append_logs(&*journal, 1));
    over.await.unwrap().unwrap();
    conflict(after.await.unwrap(), writer.run);
    let mut writer = RunWriter::new(2);
    writer.begin(&*journal);
    writer.finish(&*journal).await.unwrap().unwrap();
    conflict(writer.append_logs(&*journal, 1).await.unwrap(), writer.run);
    assert_eq!(all_events(&*journal, writer.run, 10).await.len(), 2);
}

async fn a_refused_append_does_not_touch_other_runs(mut world: impl World) {
    let journal = world.open();
    let mut lines: Vec<RunWriter> = (1..=20).map(RunWriter::new).collect();
    for writer in &mut lines {
        writer.begin(&*journal).await.unwrap().unwrap();
    }
    let mut result = Vec::new();
    for writer in &mut lines {
        result.push(writer.append_logs(&*journal, 1));
        result.push(RunWriter::at(99, 1).append_logs(&*journal, 1));
    }
    for (number, result) in result.into_iter().enumerate() {
        assert_eq!(result.await.unwrap().is_ok(), number % 2 == 0);
    }
    assert_eq!(all_events(&*journal, lines[19].run, 10).await.len(), 2);
}

async fn lists_leave_out_large_values(mut world: impl World) {
    let journal = world.open();
    let error = |message: usize, data: usize| RunError {
        kind: FailureKind::Permanent,
        message: "m".repeat(message).into(),
        node: "n".into(),
        step: Some(1),
        attempt: Some(1),
        data: Some(json(&format!("\"{}\"", "d".repeat(data - 2))).unwrap()),
    };
    for (number, error) in [(1, error(10, LISTED_ERROR_BYTES)), (2, error(100_000, 100_000))] {
        let mut writer = RunWriter::new(number);
        writer.begin(&*journal);
        writer
            .append(&*journal, vec![Event::RunFailed { error }])
            .await
            .unwrap()
            .unwrap();
    }
    let listed = journal.runs(RunFilter::default(), None, 10).await.unwrap();
    let swept = journal.runs_before(Timestamp(i64::MAX), None, 10).await.unwrap();
    for row in listed.iter().chain(&swept) {
        let error = row.error.as_ref().unwrap();
        match row.id == run_id(1) {
            true => assert_eq!((error.message.len(), error.data.is_some()), (10, true)),
            false => {
                assert_eq!(error.message.len(), LISTED_ERROR_BYTES + "…".len());
                assert!(error.data.is_none());
            }
        }
    }
    assert_eq!((listed.len(), swept.len()), (2, 2));
    // The row of a single run is not shortened.
    let row = journal.run(run_id(2)).await.unwrap().unwrap();
    let error = row.error.unwrap();
    assert_eq!(
        (error.message.len(), error.data.unwrap().get().len()),
        (100_000, 100_000)
    );
}

async fn closing_makes_everything_durable_and_refuses_the_rest(mut world: impl World) {
    let journal = world.open();
    let mut writer = RunWriter::new(1);
    writer.begin(&*journal);
    let before: Vec<_> = (0..50).map(|_| writer.append_logs(&*journal, 1)).collect();
    assert!(journal.health().is_ok());
    journal.close().await.unwrap();
    for mut result in before {
        result
            .try_recv()
            .expect("reported before the store was closed")
            .unwrap();
    }
    let result = writer.append_logs(&*journal, 1).await.unwrap();
    assert!(matches!(result, Err(AppendError::Closed)), "{result:?}");
    assert!(journal.put_graph(graph(1, None, 1)).await.is_err());
    assert!(journal.put_plugin(plugin(b"x", true)).await.is_err());
    assert!(journal.health().is_err());
    journal.close().await.unwrap();
    // Reads work after the store is closed.
    assert_eq!(all_events(&*journal, writer.run, 100).await.len(), 51);
    drop(journal);
    assert_eq!(all_events(&*world.open(), writer.run, 100).await.len(), 51);
}
