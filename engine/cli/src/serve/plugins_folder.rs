//! The plugins folder: registers its `.wasm` files at the start and, with `--watch`, again when they change.
//!
//! The folder is scanned at intervals. This works on every file system, also over a network and in containers, unlike
//! notifications of the operating system. A file is registered when two consecutive scans find it unchanged, so that a file
//! that is being written is not read. If an incomplete file is read nevertheless, the engine refuses it, and the complete
//! file is another change. If a file is refused or removed, its registered plugin stays.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use heddle_kernel::Digest;
use heddle_runtime::{Engine, RegisterPluginError};

use crate::output;

/// The interval between two scans. A change is registered at the second scan after it.
const SCAN_INTERVAL: Duration = Duration::from_millis(200);
/// After how many scans a component is registered again if the store could not be written: 5 s.
const SCANS_UNTIL_RETRY: u32 = 25;

/// Without `--plugins`, the first of these folders that has a `.wasm` file is used. `cargo xtask plugins` writes the plugins
/// of this repository to the second one.
const DEFAULT_FOLDERS: [&str; 2] = ["plugins", "target/plugins"];

/// The plugins folder, and what was registered from it.
pub(super) struct PluginsFolder {
    path: PathBuf,
    /// Whether the operator named the folder; then it must exist.
    named: bool,
    scans: FolderScans,
    /// The digest of each file when it was registered.
    registered: BTreeMap<PathBuf, Digest>,
    /// Whether the last scan failed, so that the failure is logged once.
    unreadable: bool,
}

/// The folder that the operator named, or the default folder.
pub(super) fn default_folder(named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| first_with_plugins(Path::new("")), Path::to_owned)
}

impl PluginsFolder {
    /// The folder that the operator named, or the default folder, which need not exist.
    pub(super) fn new(named: Option<&Path>) -> Self {
        Self {
            path: default_folder(named),
            named: named.is_some(),
            scans: FolderScans::default(),
            registered: BTreeMap::new(),
            unreadable: false,
        }
    }

    /// Registers every file of the folder. A file that is refused is logged and skipped.
    ///
    /// # Errors
    /// If the operator named the folder and it cannot be read.
    pub(super) async fn register_all(&mut self, engine: &Engine) -> anyhow::Result<()> {
        let found = match self.found().await {
            Ok(found) => found,
            Err(error) if !self.named && error.kind() == io::ErrorKind::NotFound => {
                self.warn_no_plugins();
                self.unreadable = true;
                return Ok(());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("--plugins {}", output::path(&self.path)));
            }
        };
        match (found.is_empty(), self.named) {
            (true, true) => tracing::warn!(
                "no .wasm file in {}: no plugin is registered from there",
                self.path.display()
            ),
            (true, false) => self.warn_no_plugins(),
            (false, _) => tracing::info!("registering plugins from {}", absolute(&self.path)),
        }
        for file in self.scans.take_all(found) {
            self.register(&file, engine).await;
        }
        Ok(())
    }

    /// Logs which folders have no plugins, and what to do.
    fn warn_no_plugins(&self) {
        let [first, second] = DEFAULT_FOLDERS.map(|folder| absolute(Path::new(folder)));
        tracing::warn!(
            "no plugins folder: neither {first} nor {second} has a .wasm file. Use `heddle serve --plugins DIR` for \
             another folder, or `heddle plugin add FILE` to add a plugin to the running server"
        );
    }

    /// Registers files that are changed or added in the folder, until the future is dropped.
    pub(super) async fn watch(mut self, engine: Engine) {
        let mut interval = tokio::time::interval(SCAN_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let found = match self.found().await {
                Ok(found) => found,
                Err(error) => {
                    if !std::mem::replace(&mut self.unreadable, true) {
                        tracing::error!(
                            "the plugins folder {} cannot be read; its registered plugins stay: {error}",
                            self.path.display()
                        );
                    }
                    continue;
                }
            };
            if std::mem::replace(&mut self.unreadable, false) {
                tracing::info!("the plugins folder {} can be read again", self.path.display());
            }
            let Changes { ready, removed } = self.scans.scan(found);
            for file in removed {
                if self.registered.remove(&file).is_some() {
                    tracing::info!(
                        "{} was removed; its registered plugin stays until the server restarts",
                        file.display()
                    );
                }
            }
            for file in ready {
                self.register(&file, &engine).await;
            }
        }
    }

    /// Registers the component in a file, unless it is the one that was registered last.
    async fn register(&mut self, file: &Path, engine: &Engine) {
        let component = match off_thread(file, |file| std::fs::read(file)).await {
            Ok(bytes) => Arc::<[u8]>::from(bytes),
            // The file may have been replaced since the scan, so it is tried again.
            Err(error) => {
                self.log_skipped(file, &error);
                return self.scans.retry(file);
            }
        };
        let digest = Digest::of(&component);
        let before = self.registered.get(file);
        if before == Some(&digest) {
            return;
        }
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        match engine.register_from_folder(component, stem.into_owned()).await {
            Ok(plugin) => {
                tracing::info!(
                    "registered {}@{} with {} functions{}",
                    plugin.name,
                    plugin.version,
                    plugin.functions.len(),
                    match before {
                        Some(_) => format!(", because {} has changed", file.display()),
                        None => String::new(),
                    }
                );
                self.registered.insert(file.to_owned(), digest);
            }
            Err(error) => {
                self.log_skipped(file, &error);
                if let RegisterPluginError::Store(_) = error {
                    self.scans.retry(file);
                }
            }
        }
    }

    fn log_skipped(&self, file: &Path, error: &dyn std::fmt::Display) {
        let stays = match self.registered.get(file) {
            Some(_) => "; the plugin that was registered from it stays",
            None => "",
        };
        tracing::error!("{} is not registered{stays}: {error}", file.display());
    }

    /// The `.wasm` files of the folder.
    async fn found(&self) -> io::Result<BTreeMap<PathBuf, FileStamp>> {
        off_thread(&self.path, stamps).await
    }
}

/// The first default folder below `root` that has a `.wasm` file, otherwise the first default folder.
fn first_with_plugins(root: &Path) -> PathBuf {
    let folders = DEFAULT_FOLDERS.map(|folder| root.join(folder));
    let has_plugin = |folder: &&PathBuf| stamps(folder).is_ok_and(|found| !found.is_empty());
    folders.iter().find(has_plugin).unwrap_or(&folders[0]).clone()
}

/// An absolute path for a log line.
fn absolute(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.display().to_string()
}

/// Runs blocking file access on another thread.
async fn off_thread<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || work(&path))
        .await
        .map_err(io::Error::other)?
}

fn stamps(folder: &Path) -> io::Result<BTreeMap<PathBuf, FileStamp>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.path();
        if file.extension().is_none_or(|extension| extension != "wasm") {
            continue;
        }
        // The file may have been removed since the folder was listed.
        let Ok(is) = std::fs::metadata(&file) else {
            continue;
        };
        if is.is_file() {
            let changed = is.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let bytes = is.len();
            found.insert(file, FileStamp { changed, bytes });
        }
    }
    Ok(found)
}

/// The metadata that change when a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    changed: SystemTime,
    bytes: u64,
}

/// The results of the scans so far; decides when a file is registered.
#[derive(Default)]
struct FolderScans {
    files: BTreeMap<PathBuf, KnownFile>,
}

struct KnownFile {
    stamp: FileStamp,
    /// After how many more scans the file is registered if it is still unchanged; none if it has been registered.
    due: Option<u32>,
    /// Whether the last scan did not find the file.
    missing: bool,
}

/// The changes that a scan found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    /// Files to register, sorted by name.
    ready: Vec<PathBuf>,
    /// Files that two consecutive scans have not found.
    removed: Vec<PathBuf>,
}

impl FolderScans {
    /// The first scan: every file is registered at once.
    fn take_all(&mut self, found: BTreeMap<PathBuf, FileStamp>) -> Vec<PathBuf> {
        let files: Vec<PathBuf> = found.keys().cloned().collect();
        let known = |stamp| KnownFile {
            stamp,
            due: None,
            missing: false,
        };
        self.files = found
            .into_iter()
            .map(|(file, stamp)| (file, known(stamp)))
            .collect();
        files
    }

    /// Compares a scan with the earlier ones.
    fn scan(&mut self, mut found: BTreeMap<PathBuf, FileStamp>) -> Changes {
        let mut changes = Changes::default();
        self.files.retain(|file, known| {
            let Some(stamp) = found.remove(file) else {
                // Build tools may remove a file before they write it again. So a file is removed only if it stays away.
                if known.missing {
                    changes.removed.push(file.clone());
                }
                return !std::mem::replace(&mut known.missing, true);
            };
            known.missing = false;
            if known.stamp != stamp {
                *known = KnownFile::new(stamp);
            } else if let Some(scans) = &mut known.due {
                *scans = scans.saturating_sub(1);
                if *scans == 0 {
                    known.due = None;
                    changes.ready.push(file.clone());
                }
            }
            true
        });
        let new = found
            .into_iter()
            .map(|(file, stamp)| (file, KnownFile::new(stamp)));
        self.files.extend(new);
        changes
    }

    /// Schedules another attempt to register a file that has not changed.
    fn retry(&mut self, file: &Path) {
        if let Some(known) = self.files.get_mut(file) {
            known.due = Some(SCANS_UNTIL_RETRY);
        }
    }
}

impl KnownFile {
    /// A new or changed file: the next scan must find it unchanged.
    fn new(stamp: FileStamp) -> Self {
        Self {
            stamp,
            due: Some(1),
            missing: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The changes of a scan that finds files with these names of one letter and these sizes: `a3 b5`.
    fn scan(scans: &mut FolderScans, found: &str) -> String {
        let Changes { ready, removed } = scans.scan(files(found));
        let names = |files: Vec<PathBuf>, sign: &str| {
            let name = |file: PathBuf| format!("{sign}{}", file.display());
            files.into_iter().map(name).collect::<Vec<_>>()
        };
        [names(ready, "+"), names(removed, "-")].concat().join(" ")
    }

    fn files(found: &str) -> BTreeMap<PathBuf, FileStamp> {
        let file = |word: &str| {
            let (name, bytes) = word.split_at(1);
            let stamp = FileStamp {
                changed: SystemTime::UNIX_EPOCH,
                bytes: bytes.parse().unwrap(),
            };
            (PathBuf::from(name), stamp)
        };
        found.split_whitespace().map(file).collect()
    }

    #[test]
    fn the_default_folder_is_the_first_that_has_a_plugin() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(first_with_plugins(root), root.join("plugins"), "neither is there");
        // Sources of plugins do not count.
        std::fs::create_dir_all(root.join("plugins/starter/src")).unwrap();
        std::fs::create_dir_all(root.join("target/plugins")).unwrap();
        assert_eq!(
            first_with_plugins(root),
            root.join("plugins"),
            "neither has a plugin"
        );
        std::fs::write(root.join("target/plugins/starter.wasm"), "").unwrap();
        assert_eq!(first_with_plugins(root), root.join("target/plugins"));
        std::fs::write(root.join("plugins/own.wasm"), "").unwrap();
        assert_eq!(first_with_plugins(root), root.join("plugins"));
    }

    #[test]
    fn a_file_is_registered_once_when_two_scans_find_it_unchanged() {
        let mut scans = FolderScans::default();
        assert_eq!(scans.take_all(files("a1")), [PathBuf::from("a")]);
        assert_eq!(scan(&mut scans, "a1"), "");
        assert_eq!(scan(&mut scans, "a2 b1"), "");
        assert_eq!(scan(&mut scans, "a3 b1"), "+b", "a is still being written");
        assert_eq!(scan(&mut scans, "a3 b1"), "+a");
        assert_eq!(scan(&mut scans, "a3 b1"), "");
    }

    #[test]
    fn a_file_is_removed_when_two_scans_do_not_find_it() {
        let mut scans = FolderScans::default();
        scans.take_all(files("a1 b1"));
        assert_eq!(scan(&mut scans, "b1"), "", "it may be on its way");
        assert_eq!(scan(&mut scans, "a1 b1"), "");
        assert_eq!(scan(&mut scans, "b1"), "");
        assert_eq!(scan(&mut scans, "b1"), "-a");
        assert_eq!(scan(&mut scans, "b1 a1"), "");
        assert_eq!(scan(&mut scans, "b1 a1"), "+a", "it came back");
    }

    #[test]
    fn a_file_that_could_not_be_stored_is_tried_again_after_a_while() {
        let mut scans = FolderScans::default();
        scans.take_all(files("a1"));
        scans.retry(Path::new("a"));
        for _ in 1..SCANS_UNTIL_RETRY {
            assert_eq!(scan(&mut scans, "a1"), "");
        }
        assert_eq!(scan(&mut scans, "a1"), "+a");
    }
}
