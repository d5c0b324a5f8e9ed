//! The law of the calls of a decision. All tests that decide with [`decide`] check it; the tests of scripts and the fuzz
//! targets include this file too.

use std::{collections::BTreeSet, sync::Arc};

use heddle_kernel::{CallId, EventRecord, Input, Refusal, Run, Timestamp};

/// Decides, and returns the events. Checks that the calls that start and end are the difference between the pending calls
/// before and after.
pub(crate) fn decide(run: &mut Run, input: Input, now: Timestamp) -> Result<Vec<Arc<EventRecord>>, Refusal> {
    let mut calls: BTreeSet<CallId> = run.pending_calls().collect();
    let answered = match input {
        Input::Answered { step, attempt, .. } => Some(CallId { step, attempt }),
        _ => None,
    };
    let decision = heddle_kernel::decide(run, input, now)?;
    answered.inspect(|answered| assert!(calls.remove(answered), "{answered:?} was not pending"));
    for ended in &decision.calls_ended {
        assert!(calls.remove(ended), "{ended:?} was not pending");
    }
    for started in &decision.calls_started {
        assert!(calls.insert(*started), "{started:?} was pending before");
    }
    assert_eq!(calls, run.pending_calls().collect());
    Ok(decision.events)
}
