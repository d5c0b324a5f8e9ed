//! Chunks on their way to the watchers of a run: the latest ones, limited in number and in bytes.
//!
//! A watcher that is slower than what is sent misses the oldest chunks, and is told how many.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::sync::broadcast;

use crate::watch::Chunk;

/// How many chunks a watcher may be behind before it misses some: chunks are not kept.
const CHUNKS_LEN: usize = 256;
/// How many bytes these may take together; the newest one is sent whatever it takes.
const CHUNKS_BYTES: usize = 1 << 20;
/// What a chunk takes besides its data.
const CHUNK_BYTES: usize = 256;

/// Sends chunks to all watchers of a run.
pub(crate) struct Chunks {
    sender: broadcast::Sender<Arc<Slot>>,
    latest: Mutex<Latest>,
}

#[derive(Default)]
struct Latest {
    slots: VecDeque<(usize, Arc<Slot>)>,
    bytes: usize,
}

/// A chunk until it is one of too many.
pub(crate) struct Slot(Mutex<Option<Chunk>>);

impl Slot {
    /// The chunk; nothing where it was dropped before this watcher came to it.
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
    /// Chunks from this moment on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Slot>> {
        self.sender.subscribe()
    }

    /// Whether anybody watches, so that a chunk is worth sending.
    pub(crate) fn is_watched(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    pub(crate) fn send(&self, chunk: Chunk) {
        let bytes = chunk.data.get().len() + CHUNK_BYTES;
        let slot = Arc::new(Slot(Mutex::new(Some(chunk))));
        // Sent under the lock, so that the order is the same for all.
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
        // An error says that nobody watches, which is fine: chunks are for who does.
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
        let there: Vec<bool> = (0..10)
            .map(|_| watcher.try_recv().unwrap().get().is_some())
            .collect();
        assert_eq!(there, [[false; 7].as_slice(), &[true; 3]].concat());
        send(5 << 20);
        assert!(
            watcher.try_recv().unwrap().get().is_some(),
            "the newest one is sent whatever it takes"
        );
        assert_eq!(chunks.latest.lock().unwrap().slots.len(), 1);
    }
}
