//! The rules that every append must follow, whatever stores it.
//!
//! [`violation`] checks one append by itself. [`mismatch`] checks that it continues the journal of its run. The SQLite
//! store refuses an append that breaks a rule; the journal in memory panics for the first kind, because no correct
//! caller makes such an append.

use heddle_kernel::{Event, Status};
use heddle_runtime::ports::{Append, Request, RunDisposition};

/// The message for every append that follows a refused one.
pub(crate) const AFTER_REFUSED: &str = "an earlier append of this run was refused";

/// Why an append that breaks no rule by itself is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The append does not continue the journal of its run.
    Conflict(String),
    /// A request of the append was answered before, with this result. The run is unharmed: after it was loaded again, its
    /// next append continues the journal.
    Duplicate(Box<Request>),
}

/// Where the journal of a run ends, and whether it can continue. The numbers are those of the last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalHead {
    /// The store has no such run.
    Absent,
    /// The run is running.
    Running(u64),
    /// The run is queued, waiting or paused.
    Resting(u64),
    /// The run failed; an append with `reopens` continues it.
    Failed(u64),
    /// The run finished or was cancelled.
    Over,
    /// An append was refused, so every later one is.
    Refused,
}

impl JournalHead {
    /// The head of a run with this status and last event.
    pub(crate) fn new(status: Status, last: u64) -> Self {
        match status {
            Status::Running => Self::Running(last),
            Status::Queued | Status::Waiting | Status::Paused => Self::Resting(last),
            Status::Failed => Self::Failed(last),
            Status::Finished | Status::Cancelled => Self::Over,
        }
    }
}

/// The rule that an append breaks whatever the store holds, if there is one. That the events have consecutive numbers
/// is checked when they are encoded.
pub(crate) fn violation(append: &Append) -> Option<&'static str> {
    let (Some(first), Some(last)) = (append.events.first(), append.events.last()) else {
        return Some("an append has at least one event");
    };
    let end = match &append.disposition {
        RunDisposition::Over(end) => Some(end),
        _ => None,
    };
    let queued = matches!(append.disposition, RunDisposition::Queued);
    let rules = [
        (
            append.begins.is_some() == (first.seq == 1),
            "a run begins with event 1 and with no other event",
        ),
        (
            end.map(|end| end.status) == final_status(append),
            "a run ends with its last event and with no other event",
        ),
        (
            end.is_none_or(|end| end.error.is_some() == (end.status == Status::Failed)),
            "a run has an error if and only if it failed",
        ),
        (
            !queued
                || append
                    .events
                    .iter()
                    .all(|record| precedes_first_step(&record.event)),
            "a run that has begun its first step is not queued",
        ),
        (
            !append.reopens || matches!(first.event, Event::RunRetried | Event::RunUpgraded { .. }),
            "only a retry or an upgrade reopens a run",
        ),
        (
            append.snapshot.as_ref().is_none_or(|taken| taken.seq == last.seq),
            "a snapshot belongs to the last event of its append",
        ),
        (
            append
                .requests
                .iter()
                .all(|request| request.run == append.run && request.to.is_none_or(|to| to == append.run)),
            "a request belongs to the run of its append",
        ),
        (
            append.requests.iter().all(|request| request.seq <= last.seq),
            "a request leads to an event that exists",
        ),
    ];
    rules.into_iter().find(|(holds, _)| !holds).map(|(_, rule)| rule)
}

/// The status in which the last event of an append ends the run; none if the run continues.
fn final_status(append: &Append) -> Option<Status> {
    match append.events.last()?.event {
        Event::RunFinished => Some(Status::Finished),
        Event::RunFailed { .. } => Some(Status::Failed),
        Event::RunCancelled { .. } => Some(Status::Cancelled),
        // An upgrade of a failed run leaves it failed.
        Event::RunUpgraded { .. } if append.reopens => Some(Status::Failed),
        _ => None,
    }
}

/// Whether a run that is still queued may have this event.
fn precedes_first_step(event: &Event) -> bool {
    matches!(event, Event::RunStarted { .. } | Event::SignalReceived { .. })
}

/// Why an append cannot continue a journal with this head. `first` is the number of its first event.
pub(crate) fn mismatch(head: JournalHead, begins: bool, reopens: bool, first: u64) -> Option<String> {
    let message = match head {
        JournalHead::Refused => AFTER_REFUSED,
        JournalHead::Absent if !begins => "the store has no such run",
        JournalHead::Absent if first == 1 => return None,
        JournalHead::Absent => return Some(format!("a run begins with event 1 and not {first}")),
        _ if begins => "the store has this run already",
        JournalHead::Over => "the run is over",
        JournalHead::Failed(_) if !reopens => "the run is over",
        JournalHead::Running(last) | JournalHead::Resting(last) | JournalHead::Failed(last) => {
            return (first != last + 1)
                .then(|| format!("its last event is {last} and the append begins with event {first}"));
        }
    };
    Some(message.to_owned())
}
