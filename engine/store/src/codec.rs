//! Events as bytes: JSON, one event after the other, in chunks of consecutive numbers.
//!
//! A JSON text that came from outside is kept as it was written and may hold line breaks, so
//! the bytes are read as a stream of values and not as lines. A sum is kept with them, so that whatever
//! changes them on the disk is found when they are read.

use std::sync::Arc;

use heddle_kernel::{EventRecord, RunId};

/// Events of one run with consecutive numbers, encoded.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// The number of the first event.
    pub(crate) first: u64,
    /// The number of the last event.
    pub(crate) last: u64,
    /// The events as JSON, each followed by a line break.
    pub(crate) body: Vec<u8>,
}

/// A chunk takes no further event from this size on: a reader that wants one event parses its
/// chunk up to there.
pub(crate) const CHUNK_BYTES: usize = 32 * 1024;

/// What a graph's definition has where a node runs this graph, a name or an id. Definitions are kept without spaces.
pub(crate) fn naming(graph: &str) -> String {
    format!("\"graph\":{}", heddle_json::object::to_json(&graph).get())
}

/// Encodes events that follow one another. Fails with a message where they do not.
pub(crate) fn encode(events: &[Arc<EventRecord>]) -> Result<Vec<Chunk>, String> {
    let mut chunks: Vec<Chunk> = Vec::with_capacity(1);
    for event in events {
        let expected = chunks.last().map_or(event.seq, |chunk| chunk.last + 1);
        if event.seq != expected || event.seq == 0 {
            return Err(format!("event {} stands where {expected} should", event.seq));
        }
        let chunk = match chunks.last_mut() {
            Some(chunk) if chunk.body.len() < CHUNK_BYTES => chunk,
            _ => chunks.push_mut(Chunk {
                first: event.seq,
                last: event.seq,
                body: Vec::with_capacity(256),
            }),
        };
        chunk.last = event.seq;
        serde_json::to_writer(&mut chunk.body, &**event).map_err(|error| error.to_string())?;
        chunk.body.push(b'\n');
    }
    if chunks.is_empty() {
        Err("an append without events".to_owned())
    } else {
        Ok(chunks)
    }
}

/// The sum that is kept with what belongs to a run: the CRC-32 of the run's id and of the body.
pub(crate) fn sum(run: RunId, body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(run.0.as_bytes());
    sum.update(body);
    sum.finalize()
}

/// Compares a body with the sum that was kept with it; rows of older formats have none.
pub(crate) fn verify(run: RunId, body: &[u8], kept: Option<i64>) -> Result<(), String> {
    match kept {
        Some(kept) if kept != i64::from(sum(run, body)) => {
            Err("its bytes are not those that were written".to_owned())
        }
        _ => Ok(()),
    }
}

/// Reads the events of a chunk that must be numbered `first` to `last`, and hands each with its
/// size in bytes to `take` until that answers false. Fails with a message where the bytes hold
/// something else.
pub(crate) fn decode(
    first: u64,
    last: u64,
    body: &[u8],
    mut take: impl FnMut(EventRecord, usize) -> bool,
) -> Result<(), String> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<EventRecord>();
    let mut expected = first;
    let mut begin = 0;
    while let Some(event) = values.next() {
        let event = event.map_err(|error| format!("event {expected} cannot be read: {error}"))?;
        if event.seq != expected || expected > last {
            return Err(format!("event {} stands where {expected} should", event.seq));
        }
        expected += 1;
        let end = values.byte_offset();
        if !take(event, end - begin) {
            return Ok(());
        }
        begin = end;
    }
    if expected == last + 1 {
        Ok(())
    } else {
        Err(format!("event {expected} is missing"))
    }
}
