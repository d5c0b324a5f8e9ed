//! Finds the event at which a step started, by binary search in the journal.
//!
//! First attempts are numbered in the order of the journal, so a search needs no index.

use heddle_kernel::{Event, RunId};
use heddle_runtime::{Engine, ports::StoreError};

/// The number of events in one read of the store while events are collected.
pub(super) const PAGE_LEN: usize = 1_000;
/// The number of events in one read of the store during the search.
const PROBE_LEN: usize = 64;

/// Returns the number of an event shortly before the start of the first step above `after`.
pub(super) async fn find_start(
    engine: &Engine,
    run: RunId,
    after: u64,
    last_seq: u64,
) -> Result<u64, StoreError> {
    // Invariant: no step above `after` starts at or before `low`.
    let (mut low, mut high) = (0, last_seq);
    while high - low > PROBE_LEN as u64 {
        let middle = low + (high - low) / 2;
        match first_attempt(engine, run, middle, high).await? {
            Some((seq, step)) if step <= after => low = seq - 1,
            _ => high = middle,
        }
        if high <= low {
            break;
        }
    }
    Ok(low)
}

/// Returns the first event after `at` and up to `until` that is the first attempt of a step, with the step.
async fn first_attempt(
    engine: &Engine,
    run: RunId,
    mut at: u64,
    until: u64,
) -> Result<Option<(u64, u64)>, StoreError> {
    while at < until {
        let events = engine.events(run, at, PROBE_LEN).await?;
        let Some(last) = events.last() else { break };
        at = last.seq;
        for event in events.iter().take_while(|event| event.seq <= until) {
            if let Event::StepStarted { step, attempt: 1, .. } = event.event {
                return Ok(Some((event.seq, step)));
            }
        }
    }
    Ok(None)
}
