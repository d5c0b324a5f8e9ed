//! Chunks for the watchers of a run: the latest ones, limited in number and in bytes.
//!
//! A watcher that is too slow misses the oldest chunks and learns how many it missed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use heddle_json::Json;
use tokio::sync::broadcast;

/// How many chunks a watcher may be behind before it misses some.
const CHUNKS_LEN: usize = 256;
/// The maximum size in bytes of these chunks. The newest chunk is sent whatever its size.
const CHUNKS_BYTES: usize = 1 << 20;
/// The overhead of a chunk in bytes.
const CHUNK_BYTES: usize = 256;

/// A piece of output that a function emits while it runs. Chunks are sent to watchers and not stored.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The node whose function emitted the chunk.
    pub node: Arc<str>,
    /// The step's number.
    pub step: u64,
    /// The JSON value that the function emitted.
    pub data: Json,
    /// The number of the run's last event when the chunk was emitted.
    pub after: u64,
}

/// Sends chunks to all watchers of a run.
pub(crate) struct Chunks {
    sender: broadcast::Sender<Arc<ChunkSlot>>,
    latest: Mutex<Latest>,
}

#[derive(Default)]
struct Latest {
    slots: VecDeque<(usize, Arc<ChunkSlot>)>,
    bytes: usize,
}

/// A chunk, until newer chunks displace it.
pub(crate) struct ChunkSlot(Mutex<Option<Chunk>>);

impl ChunkSlot {
    /// The chunk. `None` if it was dropped before this watcher read it.
    pub(crate) fn get(&self) -> Option<Chunk> {
        self.0.lock().expect("no panic under this lock").clone()
    }

    fn drop_chunk(&self) {
        *self.0.lock().expect("no panic under this lock") = None;
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(CHUNKS_LEN),
            latest: Mutex::default(),
        }
    }
}

impl Chunks {
    /// Subscribes to the chunks from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<ChunkSlot>> {
        self.sender.subscribe()
    }

    /// Whether there are watchers, so that a chunk is worth sending.
    pub(crate) fn is_watched(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    pub(crate) fn send(&self, chunk: Chunk) {
        let bytes = chunk.data.get().len() + CHUNK_BYTES;
        let slot = Arc::new(ChunkSlot(Mutex::new(Some(chunk))));
        // Sent under the lock, so that all watchers get the same order.
        let mut latest = self.latest.lock().expect("no panic under this lock");
        latest.bytes += bytes;
        latest.slots.push_back((bytes, slot.clone()));
        while latest.slots.len() > 1
            && (latest.slots.len() > CHUNKS_LEN || latest.bytes > CHUNKS_BYTES)
            && let Some((bytes, oldest)) = latest.slots.pop_front()
        {
            latest.bytes -= bytes;
            oldest.drop_chunk();
        }
        // An error means that there are no watchers: then the chunk is dropped.
        let _ = self.sender.send(slot);
    }
}

#[cfg(test)]
mod tests {
    use heddle_json::object::json;

    use super::*;

    #[test]
    fn the_oldest_chunks_are_dropped_when_they_take_too_much_together() {
        let chunks = Chunks::default();
        let mut watcher = chunks.subscribe();
        let send = |bytes: usize| {
            chunks.send(Chunk {
                node: "n".into(),
                step: 1,
                data: json(&format!("\"{}\"", "x".repeat(bytes))).unwrap(),
                after: 1,
            });
        };
        for _ in 0..10 {
            send(300 << 10);
        }
        let available: Vec<bool> = (0..10)
            .map(|_| watcher.try_recv().unwrap().get().is_some())
            .collect();
        assert_eq!(available, [[false; 7].as_slice(), &[true; 3]].concat());
        send(5 << 20);
        assert!(
            watcher.try_recv().unwrap().get().is_some(),
            "the newest chunk is sent whatever its size"
        );
        assert_eq!(chunks.latest.lock().unwrap().slots.len(), 1);
    }
}
