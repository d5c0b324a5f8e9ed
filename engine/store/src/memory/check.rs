//! What is wrong with an append, whatever is kept.

use super::*;

/// Encodes an append's events.
///
/// # Panics
/// Where no correct caller could have made this append, whatever the store holds.
pub(super) fn check(append: &Append) -> Vec<String> {
    let first = append.events.first().expect("an append has at least one event");
    let last = append.events.last().expect("an append has at least one event");
    for (event, seq) in append.events.iter().zip(first.seq..) {
        assert_eq!(event.seq, seq, "the events of an append have consecutive numbers");
    }
    assert_eq!(
        append.begins.is_some(),
        first.seq == 1,
        "a run begins with event 1 and no other"
    );
    let over = match last.event {
        Event::RunFinished => Some(Status::Finished),
        Event::RunFailed { .. } => Some(Status::Failed),
        Event::RunCancelled { .. } => Some(Status::Cancelled),
        // One that failed is still over then.
        Event::RunUpgraded { .. } if append.reopens => Some(Status::Failed),
        _ => None,
    };
    let ends = match &append.disposition {
        RunDisposition::Over(ends) => Some(ends),
        _ => None,
    };
    assert_eq!(
        ends.map(|ends| ends.status),
        over,
        "a run ends with its last event and no other"
    );
    if matches!(append.disposition, RunDisposition::Queued) {
        // Signals may be sent to it, and that is all.
        let rests = |event: &Event| matches!(event, Event::RunStarted { .. } | Event::SignalReceived { .. });
        assert!(
            append.events.iter().all(|event| rests(&event.event)),
            "a run that has begun is not queued"
        );
    }
    if append.reopens {
        assert!(
            matches!(first.event, Event::RunRetried | Event::RunUpgraded { .. }),
            "a run is reopened by a retry or an upgrade"
        );
    }
    if let Some(taken) = &append.snapshot {
        assert_eq!(taken.seq, last.seq, "a snapshot is of the last event");
    }
    for request in &append.requests {
        assert_eq!(request.run, append.run, "a request is answered by its run");
        assert!(
            request.to.is_none_or(|to| to == append.run),
            "a request is answered by the run that it was sent to"
        );
        assert!(request.seq <= last.seq, "a request leads to no later event");
    }
    if let Some(ends) = ends {
        assert_eq!(
            ends.error.is_some(),
            ends.status == Status::Failed,
            "a run has an error where it failed"
        );
    }
    let text = |event: &Arc<EventRecord>| serde_json::to_string(&**event).expect("events serialize");
    append.events.iter().map(text).collect()
}
