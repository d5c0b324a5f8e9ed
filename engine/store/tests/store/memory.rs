//! The journal in memory alone: held-back writes and strict checks of the caller.

use std::panic::AssertUnwindSafe;

use heddle_json::object::json;
use heddle_kernel::{Digest, Event, Timestamp};
use heddle_runtime::ports::{
    Append, AppendError, EngineId, Journal, Ownership, Request, RunDisposition, RunSnapshot, Store,
    StoreError,
};
use heddle_store::MemoryJournal;

use crate::world::{RunWriter, draft, log, record, run_id};

#[tokio::test]
async fn nothing_is_durable_while_it_is_held() {
    let journal = MemoryJournal::new();
    let mut writer = RunWriter::new(1);
    writer.begin(&journal).await.unwrap().unwrap();
    journal.hold();
    let mut result = writer.append_logs(&journal, 2);
    assert!(result.try_recv().is_err());
    assert_eq!(journal.events(writer.run, 0, 10).await.unwrap().len(), 1);
    assert_eq!(
        journal
            .after_crash()
            .events(writer.run, 0, 10)
            .await
            .unwrap()
            .len(),
        1
    );
    journal.release();
    assert_eq!(result.await.unwrap().unwrap(), 3);
    assert_eq!(journal.events(writer.run, 0, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_stalled_journal_begins_nothing_and_loses_nothing() {
    let journal = MemoryJournal::new();
    let mut writer = RunWriter::new(1);
    writer.begin(&journal).await.unwrap().unwrap();
    journal.stall(StoreError::Unavailable("the disk is full".into()));
    assert!(journal.health().is_err());
    let waiting = writer.append_logs(&journal, 1);
    let mut refused = RunWriter::new(2);
    for result in [refused.begin(&journal), refused.append_logs(&journal, 1)] {
        assert!(matches!(result.await.unwrap(), Err(AppendError::Unavailable(_))));
    }
    journal.release();
    assert_eq!(waiting.await.unwrap().unwrap(), 2);
    assert!(journal.health().is_ok());
    RunWriter::new(2).begin(&journal).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_crash_before_a_wake_is_durable_leaves_the_run_waiting() {
    let journal = MemoryJournal::new();
    let mut writer = RunWriter::new(1);
    writer.begin(&journal);
    writer.park(&journal, Some(5_000)).await.unwrap().unwrap();
    journal.hold();
    drop(writer.append_logs(&journal, 1));
    let restarted = journal.after_crash();
    assert_eq!(restarted.unfinished().await.unwrap(), []);
    assert_eq!(
        restarted
            .claim_due(EngineId::EXCLUSIVE, Timestamp(5_000), 10)
            .await
            .unwrap(),
        [writer.run]
    );
    // The next engine continues from there.
    RunWriter::at(1, 2)
        .append_logs(&restarted, 1)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(restarted.unfinished().await.unwrap(), [writer.run]);
    assert_eq!(
        restarted
            .claim_due(EngineId::EXCLUSIVE, Timestamp(5_000), 10)
            .await
            .unwrap(),
        []
    );
}

#[tokio::test]
async fn events_held_when_the_journal_is_dropped_are_never_durable() {
    let journal = MemoryJournal::new();
    journal.hold();
    let result = RunWriter::new(1).begin(&journal);
    drop(journal);
    assert!(matches!(result.await.unwrap(), Err(AppendError::Closed)));
}

#[test]
fn a_caller_that_breaks_the_rules_panics() {
    let journal = MemoryJournal::new();
    let breaks = |append: Append| {
        assert!(std::panic::catch_unwind(AssertUnwindSafe(|| journal.append(append))).is_err());
    };
    let append = |events, disposition| draft(run_id(1), events, disposition).0;
    let grows = || {
        append(
            vec![record(2, log("a")), record(3, log("b"))],
            RunDisposition::Running,
        )
    };
    breaks(append(vec![], RunDisposition::Running));
    breaks(append(
        vec![record(2, log("a")), record(4, log("b"))],
        RunDisposition::Running,
    ));
    let unbegun = log("it does not say that the run begins");
    breaks(append(vec![record(1, unbegun)], RunDisposition::Running));
    breaks(append(
        vec![record(2, Event::RunFinished)],
        RunDisposition::Running,
    ));
    breaks(append(
        vec![record(2, log("it has begun"))],
        RunDisposition::Queued,
    ));
    breaks(Append {
        reopens: true,
        ..grows()
    });
    let body = json("{}").unwrap();
    breaks(Append {
        snapshot: Some(RunSnapshot { seq: 2, body }),
        ..grows()
    });
    let request = |to: Option<u64>, run, seq| Request {
        to: to.map(run_id),
        key: "key".into(),
        digest: Digest::of(b"body"),
        run: run_id(run),
        seq,
    };
    for request in [
        request(None, 2, 3),
        request(Some(2), 1, 3),
        request(Some(1), 1, 4),
    ] {
        breaks(Append {
            requests: vec![request],
            ..grows()
        });
    }
}
