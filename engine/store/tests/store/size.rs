//! How large a long run gets: its store grows with what changed, and not with the steps times the state.

use std::fs;

use heddle_json::{Object, object::json};
use heddle_kernel::{Event, event::Next};
use heddle_runtime::ports::{Journal, RunDisposition, RunSnapshot, Store};

use crate::{
    damage::Random,
    world::{RunWriter, Sqlite},
};

const STEPS: u64 = 100_000;
const STATE_BYTES: usize = 11_000;
const SNAPSHOT_EVERY: usize = 256 * 1024;
const MOST_BYTES: u64 = 50_000_000;

/// The events of one step that changes 100 bytes of the state.
fn step(step: u64) -> [Event; 2] {
    let (node, attempt) = ("change", 1);
    let mut update = Object::default();
    let value = format!("\"{step:0>88}\"");
    update.insert(format!("key{:02}", step % 100), json(&value).unwrap());
    let started = Event::StepStarted {
        step,
        branch: 0,
        node: node.into(),
        attempt,
        within: 0,
        joined: Vec::new(),
        item: None,
        until: None,
        undoes: None,
        wait: None,
    };
    let finished = Event::StepFinished {
        step,
        node: node.into(),
        attempt,
        update,
        next: Next::Node(node.into()),
        signal: None,
    };
    [started, finished]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_100_000_steps_with_a_state_of_10_kb_stays_under_50_mb() {
    let world = Sqlite::new();
    let journal = world.journal();
    let mut writer = RunWriter::new(1);
    writer.begin(&journal).await.unwrap().unwrap();
    let body = json(&format!("\"{}\"", "s".repeat(STATE_BYTES))).unwrap();
    let (mut number, mut bytes, mut last_snapshot) = (0, 0, 0);
    let mut random = Random(1);
    while number < STEPS {
        // As many as gather while the disk is busy: from one step to forty events.
        let events: Vec<Event> = (0..1 + random.below(20))
            .flat_map(|_| {
                number += 1;
                step(number)
            })
            .collect();
        let size: usize = events
            .iter()
            .map(|event| serde_json::to_string(event).unwrap().len() + 35)
            .sum();
        bytes += size;
        let (mut append, result) = writer.draft(events, RunDisposition::Running);
        if bytes >= SNAPSHOT_EVERY {
            (bytes, last_snapshot) = (0, writer.seq);
            append.snapshot = Some(RunSnapshot {
                seq: writer.seq,
                body: body.clone(),
            });
        }
        journal.append(append);
        // Each has a separate row.
        result.await.unwrap().unwrap();
    }
    let taken = journal.snapshot(writer.run, u64::MAX).await.unwrap().unwrap();
    let mut after = taken.seq;
    assert_eq!(after, last_snapshot);
    loop {
        let events = journal.events(writer.run, after, 1_000).await.unwrap();
        let Some(last) = events.last() else { break };
        after = last.seq;
    }
    assert_eq!(after, writer.seq);
    // Reading the run's end costs the events since the last snapshot, however long the run is.
    let since = writer.seq - last_snapshot;
    assert!(since < STEPS / 10, "{since} events were read");
    journal.close().await.unwrap();
    let size = fs::metadata(world.path()).unwrap().len();
    assert!(size < MOST_BYTES, "{size} bytes");
}
