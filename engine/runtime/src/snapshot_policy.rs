//! When a run gets its next snapshot.

use heddle_kernel::Event;

/// The bytes of events from which on a run gets a snapshot. Fewer events are folded as fast as a snapshot is read.
const MIN_BYTES: usize = 256 << 10;
/// A run gets its next snapshot when the events since the last one take this many times the last one's bytes. So snapshots
/// add little to the size of a run, however large its state is.
const GROWTH: usize = 8;

/// Counts a run's events since its last snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SnapshotPolicy {
    /// The approximate bytes of the events since the last snapshot.
    bytes: usize,
    /// The bytes of the last snapshot.
    last: usize,
}

impl SnapshotPolicy {
    /// Right after a snapshot of `last` bytes.
    pub(crate) fn after_snapshot(last: usize) -> Self {
        Self { bytes: 0, last }
    }

    /// Counts an event. Returns its approximate size in bytes.
    pub(crate) fn count(&mut self, event: &Event) -> usize {
        let bytes = event.size();
        match event {
            // The event contains a snapshot.
            Event::RunForked { run, .. } => *self = Self::after_snapshot(run.get().len()),
            _ => self.bytes += bytes,
        }
        bytes
    }

    /// Whether the next snapshot is due.
    pub(crate) fn is_due(&self) -> bool {
        self.bytes > MIN_BYTES.max(GROWTH.saturating_mul(self.last))
    }
}
