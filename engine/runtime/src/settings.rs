//! The ports and the limits that an engine is created with.

use std::{sync::Arc, time::Duration};

use heddle_kernel::Run;

use crate::ports::{Clock, Functions, Ids, Store};

/// The implementations of the ports.
pub struct Ports {
    /// Stores everything that survives a restart.
    pub store: Arc<dyn Store>,
    /// Registers components and calls their functions.
    pub functions: Arc<dyn Functions>,
    /// The source of the current time.
    pub clock: Arc<dyn Clock>,
    /// Generates run ids.
    pub ids: Arc<dyn Ids>,
}

/// The engine's limits.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The maximum number of runs that execute at the same time. Further runs are queued. Default: 1,000.
    pub max_runs_in_flight: usize,
    /// The maximum number of queued runs. Further starts are refused. Default: 100,000.
    pub max_queued: usize,
    /// The maximum size in bytes of the start events of all queued runs.
    /// Further starts are refused. Default: 4 GiB.
    pub max_queued_bytes: u64,
    /// How long active calls of a cancelled run may take to finish, if the request sets no other time. Default: 5 s.
    pub cancel_grace: Duration,
    /// How many bytes of events one run may execute ahead of the disk. Default: 256 KiB.
    pub run_ahead_bytes: usize,
    /// The maximum size in bytes of a run's state as JSON. Default: 16 MiB.
    pub max_state_bytes: usize,
    /// The maximum size in bytes of a run's events in the journal. A run that reaches it fails. A graph can set a lower
    /// limit (`limits.journal`). Default: 256 MiB.
    pub max_journal_bytes: u64,
    /// The maximum number of bytes that one run may hold in memory: the states of its branches, the items and results of
    /// its maps, its signals, and the states of steps that compensation may have to undo. A run that exceeds it fails.
    /// Default: 64 MiB.
    pub max_run_bytes: usize,
    /// The maximum number of bytes that all runs may hold in memory. Above it, further runs are queued, and of the active
    /// runs only one at a time takes a step, until memory is free again. Default: 512 MiB.
    pub max_memory_bytes: usize,
    /// The maximum size in bytes of all schedules, including the initial states of their runs: schedules are held in
    /// memory. Further schedules are refused. Default: 64 MiB.
    pub max_schedule_bytes: usize,
    /// The maximum number of bytes that one checked graph may take in memory. Default: 32 MiB.
    pub max_checked_graph_bytes: usize,
    /// The maximum number of stored graphs. Further graphs are refused. Default: 100,000.
    pub max_graphs: u64,
    /// The maximum size in bytes of all stored definitions. Default: 1 GiB.
    pub max_graph_bytes: u64,
    /// The maximum number of stored components. Further components are refused. Default: 1,000.
    pub max_plugins: u64,
    /// The maximum size in bytes of all stored components. Default: 4 GiB.
    pub max_plugin_bytes: u64,
    /// The maximum number of bytes of checked graphs that are cached while no run uses them. Other graphs are read and
    /// checked again when a run starts. Default: 64 MiB.
    pub max_cached_graph_bytes: usize,
    /// For plugin development. New runs call the newest matching versions of their plugins instead of the versions that
    /// their graphs were created with, and a component of the plugins folder whose version is taken gets a version of
    /// its own. Default: false.
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
    /// Sets the engine's limits on a run.
    pub(crate) fn limit(&self, run: &mut Run) {
        run.max_state_bytes = self.max_state_bytes;
        run.max_journal_bytes = self.max_journal_bytes;
        run.max_run_bytes = self.max_run_bytes;
    }
}
