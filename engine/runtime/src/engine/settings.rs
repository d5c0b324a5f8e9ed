//! What an engine is made of, and its limits.

use super::*;

/// What the engine works with.
pub struct Ports {
    /// Where everything is kept.
    pub journal: Arc<dyn Journal>,
    /// What nodes and tools call.
    pub functions: Arc<dyn Functions>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn Ids>,
}

/// The engine's limits.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many runs may be under way; a further one is queued. Default: 1,000.
    pub max_runs_in_flight: usize,
    /// How many runs may be queued; a further start is refused. Default: 100,000.
    pub max_queued: usize,
    /// How many bytes the starts of queued runs may take, of those that were queued since the engine began; a further start
    /// is refused. Default: 4 GiB.
    pub max_queued_bytes: u64,
    /// How long a call under way may still take when its run is cancelled, where the request does not say.
    /// Default: 5 s.
    pub cancel_grace: Duration,
    /// How many bytes of events one run may be ahead of the disk. Default: 256 KiB.
    pub run_ahead_bytes: usize,
    /// How large a run's state may be as JSON. Default: 16 MiB.
    pub max_state_bytes: usize,
    /// How many bytes the events of a run may take in its journal; a graph can lower it (`limits.journal`). A run that
    /// has as many fails. Default: 256 MiB.
    pub max_journal_bytes: u64,
    /// How many bytes one run may hold in memory: the states of its branches, the items and results of its maps, its
    /// signals, and the states of steps that it may have to undo. One that holds more fails. Default: 64 MiB.
    pub max_run_bytes: usize,
    /// How many bytes all runs together may hold in memory. Past that a further run is queued, and of those under way
    /// one at a time takes a step until there is room again. Default: 512 MiB.
    pub max_memory_bytes: usize,
    /// How many bytes all schedules may take together, with the states that their runs begin with: they are in memory. A
    /// further one is refused. Default: 64 MiB.
    pub max_schedule_bytes: usize,
    /// How many bytes one graph may take in memory once it is checked. Default: 32 MiB.
    pub max_checked_graph_bytes: usize,
    /// How many graphs may be kept; a further one is refused. Default: 100,000.
    pub max_graphs: u64,
    /// How many bytes their definitions may take together. Default: 1 GiB.
    pub max_graph_bytes: u64,
    /// How many components of plugins may be kept; a further one is refused. Default: 1,000.
    pub max_plugins: u64,
    /// How many bytes they may take together. Default: 4 GiB.
    pub max_plugin_bytes: u64,
    /// How many bytes checked graphs may take in memory that no run is under way of; further ones are read and checked
    /// again when a run starts. Default: 64 MiB.
    pub max_cached_graph_bytes: usize,
    /// Whether a new run calls the newest versions of its plugins that fit, whatever its graph was created
    /// with, and a component of the plugins folder becomes a version of its own where its version is taken.
    /// For those who write plugins. Default: no.
    pub follow_plugins: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_runs_in_flight: 1_000,
            max_queued: 100_000,
            max_queued_bytes: 4 << 30,
            cancel_grace: Duration::from_secs(5),
            run_ahead_bytes: 256 << 10,
            max_state_bytes: 16 << 20,
            max_journal_bytes: 256 << 20,
            max_run_bytes: 64 << 20,
            max_memory_bytes: 512 << 20,
            max_schedule_bytes: 64 << 20,
            max_checked_graph_bytes: 32 << 20,
            max_graphs: 100_000,
            max_graph_bytes: 1 << 30,
            max_plugins: 1_000,
            max_plugin_bytes: 4 << 30,
            max_cached_graph_bytes: 64 << 20,
            follow_plugins: false,
        }
    }
}

impl Settings {
    /// Gives a run the limits that are the engine's.
    pub(crate) fn limit(&self, run: &mut Run) {
        run.max_state_bytes = self.max_state_bytes;
        run.max_journal_bytes = self.max_journal_bytes;
        run.max_run_bytes = self.max_run_bytes;
    }
}
