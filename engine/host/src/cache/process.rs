//! A process's own folder in the cache, with its temporary files and marks of the components that it uses.
//!
//! The process holds a lock on a file in the folder. A folder whose lock is free belongs to a process that has ended,
//! perhaps by a crash, and is deleted with its contents.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use heddle_kernel::Digest;

use super::folder::{entries, is_hex, private_folder};
use crate::lock::lock;

/// The folder of all processes' folders.
const PROCESSES: &str = "processes";
const LOCK: &str = "lock";
/// The prefix of the names of these folders.
const PREFIX: &str = "process-";

/// This process's folder, deleted on drop.
pub(super) struct Process {
    folder: Arc<tempfile::TempDir>,
    /// How many marks each component has.
    used: Arc<Mutex<HashMap<Digest, usize>>>,
    _lock: File,
}

/// Marks a component as in use until drop.
pub(crate) struct InUse {
    digest: Digest,
    folder: Arc<tempfile::TempDir>,
    used: Arc<Mutex<HashMap<Digest, usize>>>,
}

impl Process {
    /// Creates the folder of this process in the cache.
    pub(super) fn create(cache: &Path) -> io::Result<Self> {
        let all = cache.join(PROCESSES);
        private_folder(&all)?;
        // While this file is locked, no process deletes folders: a new folder has no lock yet.
        let guard = File::options().create(true).append(true).open(all.join(LOCK))?;
        guard.lock_shared()?;
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&all)?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.lock()?;
        Ok(Self {
            folder: Arc::new(folder),
            used: Arc::default(),
            _lock: lock,
        })
    }

    /// Marks a component as used by this process.
    pub(super) fn mark(&self, digest: &Digest) -> InUse {
        let mut used = lock(&self.used);
        let count = used.entry(digest.clone()).or_default();
        *count += 1;
        if *count == 1
            && let Err(error) = File::create(mark(&self.folder, digest))
        {
            tracing::warn!(
                "other servers with the same cache may evict component {digest}, which is in use: {error}"
            );
        }
        InUse {
            digest: digest.clone(),
            folder: self.folder.clone(),
            used: self.used.clone(),
        }
    }

    /// A temporary file in this process's folder, deleted on drop.
    pub(super) fn file(&self) -> io::Result<tempfile::NamedTempFile> {
        tempfile::NamedTempFile::new_in(self.folder.path())
    }

    /// Writes a file atomically: the path has no file, the old file or the complete new file.
    pub(super) fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(self.folder.path())?;
        for part in parts {
            file.write_all(part)?;
        }
        file.persist(path)?;
        Ok(())
    }

    /// Deletes the folders of processes that have ended.
    pub(super) fn remove_dead(&self, cache: &Path) {
        let all = cache.join(PROCESSES);
        let Ok(guard) = File::options().append(true).open(all.join(LOCK)) else {
            return;
        };
        // A starting process holds the lock: the next eviction deletes the folders.
        if guard.try_lock().is_err() {
            return;
        }
        for (_, folder) in folders(cache) {
            let is_dead = match File::options().append(true).open(folder.join(LOCK)) {
                Ok(lock) => lock.try_lock().is_ok(),
                // The process ended while it created or deleted the folder.
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
            if is_dead && let Err(error) = fs::remove_dir_all(&folder) {
                tracing::debug!("{} could not be deleted: {error}", folder.display());
            }
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut used = lock(&self.used);
        if let Some(count) = used.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                used.remove(&self.digest);
                // A mark that cannot be removed keeps a file in the cache until this process ends.
                let _ = fs::remove_file(mark(&self.folder, &self.digest));
            }
        }
    }
}

fn mark(folder: &tempfile::TempDir, digest: &Digest) -> PathBuf {
    folder.path().join(&*digest.0)
}

/// The digests of all components that some process uses.
pub(super) fn in_use(cache: &Path) -> HashSet<String> {
    let marks = folders(cache).flat_map(|(_, folder)| entries(&folder));
    let names = marks.map(|(name, _)| name);
    names.filter(|name| is_hex(name, 64)).collect()
}

fn folders(cache: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let all = entries(&cache.join(PROCESSES)).into_iter();
    all.filter(|(name, _)| name.starts_with(PREFIX))
}
