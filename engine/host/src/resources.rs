//! What all calls of a host share and sandboxes use directly: pools, threads for files, and TLS.

use std::sync::Arc;

use crate::{
    error::HostError, fair_pool::FairPool, outgoing::tls::Tls, settings::HostSettings, system_limits,
    threads::Threads,
};

/// How many names of hosts are looked up at once: each lookup holds a thread until the system answers.
const LOOKUPS: usize = 64;

/// Resources of the machine that all plugins share, with a limit for each kind.
pub(crate) struct Resources {
    /// Units for open files.
    pub(crate) open_files: Arc<FairPool>,
    /// Units for lookups of host names.
    pub(crate) lookups: Arc<FairPool>,
    pub(crate) tls: Tls,
    /// Threads that work with the files of guests.
    pub(crate) file_threads: Threads,
    /// The most files that one instance may have open.
    pub(crate) max_open_files: usize,
    /// The most active requests of one instance.
    pub(crate) http_at_once: usize,
}

impl Resources {
    /// Creates the resources; no thread is started yet.
    ///
    /// # Errors
    /// If the system refuses the pool of threads.
    pub(crate) fn new(settings: &HostSettings) -> Result<Self, HostError> {
        Ok(Self {
            open_files: FairPool::new(HostSettings::max_total_open_files(system_limits::open_files())),
            lookups: FairPool::new(LOOKUPS),
            tls: Tls::new(settings.http_authorities.clone()),
            file_threads: Threads::new(
                "files",
                "file_threads",
                (settings.file_threads, settings.file_threads_per_plugin),
            )
            .map_err(|error| HostError::Engine(error.to_string()))?,
            max_open_files: settings.open_files,
            http_at_once: settings.http_at_once,
        })
    }
}
