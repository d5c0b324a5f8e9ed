//! The stored form of events: chunks of JSON texts with consecutive event numbers.
//!
//! JSON text from outside is stored unchanged and may contain line breaks. So a chunk is read as a stream of JSON
//! values and not line by line. Every chunk has a checksum, which shows whether its bytes changed on the disk.

use std::{borrow::Cow, sync::Arc};

use heddle_kernel::{EventRecord, RunId};

/// Encoded events of one run, with consecutive numbers.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// The number of the first event.
    pub(crate) first: u64,
    /// The number of the last event.
    pub(crate) last: u64,
    /// The events as JSON, each followed by a line break.
    pub(crate) body: Vec<u8>,
}

/// The size from which a chunk takes no further event. It bounds how much a reader parses to find one event.
pub(crate) const CHUNK_BYTES: usize = 32 * 1024;

/// Whether a node of a definition runs this graph, given by name or id. A definition that cannot be read might.
pub(crate) fn runs_graph(definition: &str, graph: &str) -> bool {
    let Ok(definition) = serde_json::from_str::<serde_json::Value>(definition) else {
        return true;
    };
    let runs = |node: &serde_json::Value| node["graph"] == graph || node["map"]["graph"] == graph;
    definition["nodes"]
        .as_object()
        .is_some_and(|nodes| nodes.values().any(runs))
}

/// The text that a definition contains if one of its nodes runs this graph, given by name or id. Definitions are stored
/// without spaces.
pub(crate) fn graph_reference(graph: &str) -> String {
    format!("\"graph\":{}", heddle_json::object::to_json(&graph).get())
}

/// Encodes events with consecutive numbers. Fails with a message if there are none or if a number is out of sequence.
pub(crate) fn encode(events: &[Arc<EventRecord>]) -> Result<Vec<Chunk>, String> {
    let mut chunks: Vec<Chunk> = Vec::with_capacity(1);
    for event in events {
        let expected = chunks.last().map_or(event.seq, |chunk| chunk.last + 1);
        if event.seq != expected || event.seq == 0 {
            return Err(format!(
                "event {expected} is expected, but event {} is found",
                event.seq
            ));
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

/// Joins chunks with consecutive events to rows of up to [`CHUNK_BYTES`]. Each row is the number of its first event, that of
/// its last event, and its body.
pub(crate) fn rows<'c>(chunks: &[&'c Chunk]) -> impl Iterator<Item = (u64, u64, Cow<'c, [u8]>)> {
    let mut rest = chunks;
    std::iter::from_fn(move || {
        let [head, tail @ ..] = rest else {
            return None;
        };
        let mut size = head.body.len();
        let more = tail.iter().take_while(|chunk| {
            size += chunk.body.len();
            size <= CHUNK_BYTES
        });
        let (row, others) = rest.split_at(1 + more.count());
        rest = others;
        Some(match row {
            [one] => (one.first, one.last, Cow::Borrowed(one.body.as_slice())),
            many => {
                let bodies: Vec<&[u8]> = many.iter().map(|chunk| chunk.body.as_slice()).collect();
                (head.first, many[many.len() - 1].last, Cow::Owned(bodies.concat()))
            }
        })
    })
}

/// The checksum of a chunk or snapshot: the CRC-32 of the run's id, followed by the body.
pub(crate) fn checksum(run: RunId, body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(run.0.as_bytes());
    sum.update(body);
    sum.finalize()
}

/// Compares a body with its stored checksum. Rows of older formats have no checksum and always pass.
pub(crate) fn verify(run: RunId, body: &[u8], stored: Option<i64>) -> Result<(), String> {
    match stored {
        Some(stored) if stored != i64::from(checksum(run, body)) => {
            Err("the checksum does not match: the stored bytes have changed".to_owned())
        }
        _ => Ok(()),
    }
}

/// Decodes a chunk whose events must have the numbers `first` to `last`. Passes each event with its size in bytes to
/// `take`, until `take` returns false. Fails with a message if the bytes hold anything else.
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
            return Err(format!(
                "event {expected} is expected, but event {} is found",
                event.seq
            ));
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
