//! The plugins folder: its `.wasm` files are registered at the start and, under `--watch`, again when they change.
//!
//! The folder is looked at again and again instead of the system being asked to tell of changes, so that it works on
//! every file system, over the network and in containers, too. A file is taken once two looks in a row found it the
//! same, so one that is being written is left alone; should half a file be taken nevertheless, it is refused, and the
//! whole one is another change. What is refused, or gone, takes nothing away: the plugin that was registered stays.

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

/// How often the folder is looked at. A change is taken at the second look after it.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// After how many looks a component is tried again that could not be kept: 5 s.
const LOOKS_UNTIL_AGAIN: u32 = 25;

/// Where plugins are looked for where no folder was named: the first of these that has a `.wasm` file. The second is
/// where `cargo xtask plugins` puts the plugins of this repository.
const USUAL: [&str; 2] = ["plugins", "target/plugins"];

/// The plugins folder, and what was taken from it.
pub(crate) struct PluginsFolder {
    path: PathBuf,
    /// Somebody named it, so it must be there.
    named: bool,
    looks: Looks,
    /// The digest of what each file was when it was registered.
    registered: BTreeMap<PathBuf, Digest>,
    /// Whether the last look failed, so that it is told once.
    unreadable: bool,
}

/// The folder that plugins are registered from: the one that was named, or else one of the usual ones.
pub(crate) fn folder(named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| usual(Path::new("")), Path::to_owned)
}

impl PluginsFolder {
    /// The folder that was named, or else one of the usual ones, which need not be there.
    pub(crate) fn new(named: Option<&Path>) -> Self {
        Self {
            path: folder(named),
            named: named.is_some(),
            looks: Looks::default(),
            registered: BTreeMap::new(),
            unreadable: false,
        }
    }

    /// Registers every file that is there. One that is refused is told and left out.
    ///
    /// # Errors
    /// Where the folder was named and cannot be read.
    pub(crate) async fn register_all(&mut self, engine: &Engine) -> anyhow::Result<()> {
        let found = match self.found().await {
            Ok(found) => found,
            Err(error) if !self.named && error.kind() == io::ErrorKind::NotFound => {
                self.tell_none();
                self.unreadable = true;
                return Ok(());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("--plugins {}", output::path(&self.path)));
            }
        };
        match (found.is_empty(), self.named) {
            (true, true) => tracing::warn!(
                "no .wasm file in {}: nothing to register from there",
                self.path.display()
            ),
            (true, false) => self.tell_none(),
            (false, _) => tracing::info!("plugins are registered from {}", absolute(&self.path)),
        }
        for file in self.looks.take_all(found) {
            self.register(&file, engine).await;
        }
        Ok(())
    }

    /// Says where plugins were looked for in vain, and what to do.
    fn tell_none(&self) {
        let [first, second] = USUAL.map(|folder| absolute(Path::new(folder)));
        tracing::warn!(
            "no plugins folder: there is no .wasm file in {first} or {second}. `heddle serve --plugins DIR` names \
             another folder, `heddle plugin add FILE` adds a plugin to this server while it runs"
        );
    }

    /// Registers what is changed or added in the folder, for as long as it is polled.
    pub(crate) async fn follow(mut self, engine: Engine) {
        let mut pace = tokio::time::interval(LOOK_EVERY);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let found = match self.found().await {
                Ok(found) => found,
                Err(error) => {
                    if !std::mem::replace(&mut self.unreadable, true) {
                        tracing::error!(
                            "the plugins folder {} cannot be read any more, its plugins stay: {error}",
                            self.path.display()
                        );
                    }
                    continue;
                }
            };
            if std::mem::replace(&mut self.unreadable, false) {
                tracing::info!("the plugins folder {} can be read", self.path.display());
            }
            let Changes { settled, gone } = self.looks.look(found);
            for file in gone {
                if self.registered.remove(&file).is_some() {
                    tracing::info!(
                        "{} is gone; what was registered from it stays until the server starts again",
                        file.display()
                    );
                }
            }
            for file in settled {
                self.register(&file, &engine).await;
            }
        }
    }

    /// Registers what is in a file, unless it was registered last.
    async fn register(&mut self, file: &Path, engine: &Engine) {
        let component = match off_thread(file, |file| std::fs::read(file)).await {
            Ok(bytes) => Arc::<[u8]>::from(bytes),
            // It may be readable in a moment: between the look and this, somebody replaced it.
            Err(error) => {
                self.tell_left_out(file, &error);
                return self.looks.again(file);
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
                        Some(_) => format!(", as {} has changed", file.display()),
                        None => String::new(),
                    }
                );
                self.registered.insert(file.to_owned(), digest);
            }
            Err(error) => {
                self.tell_left_out(file, &error);
                if let RegisterPluginError::Store(_) = error {
                    self.looks.again(file);
                }
            }
        }
    }

    fn tell_left_out(&self, file: &Path, error: &dyn std::fmt::Display) {
        let stays = match self.registered.get(file) {
            Some(_) => "; what was registered from it before stays",
            None => "",
        };
        tracing::error!("{} is left out{stays}: {error}", file.display());
    }

    /// The `.wasm` files that are there.
    async fn found(&self) -> io::Result<BTreeMap<PathBuf, Stamp>> {
        off_thread(&self.path, stamps).await
    }
}

/// The first of the usual folders below this one that has a `.wasm` file, else the first of them.
fn usual(root: &Path) -> PathBuf {
    let folders = USUAL.map(|folder| root.join(folder));
    let has_plugin = |folder: &&PathBuf| stamps(folder).is_ok_and(|found| !found.is_empty());
    folders.iter().find(has_plugin).unwrap_or(&folders[0]).clone()
}

/// A path that says where it is to a reader elsewhere.
fn absolute(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.display().to_string()
}

/// Runs what blocks on a file or folder where it holds up nothing else.
async fn off_thread<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || work(&path))
        .await
        .map_err(io::Error::other)?
}

fn stamps(folder: &Path) -> io::Result<BTreeMap<PathBuf, Stamp>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.path();
        if file.extension().is_none_or(|extension| extension != "wasm") {
            continue;
        }
        // What vanishes between being listed and being looked at is not there.
        let Ok(is) = std::fs::metadata(&file) else {
            continue;
        };
        if is.is_file() {
            let changed = is.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let bytes = is.len();
            found.insert(file, Stamp { changed, bytes });
        }
    }
    Ok(found)
}

/// What is other of a file once it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    changed: SystemTime,
    bytes: u64,
}

/// What the looks at the folder have found: decides when a file is taken.
#[derive(Default)]
struct Looks {
    files: BTreeMap<PathBuf, Seen>,
}

struct Seen {
    stamp: Stamp,
    /// In how many looks it is to be taken, if it is the same then; none once it was.
    due: Option<u32>,
    /// Whether the last look did not find it.
    missing: bool,
}

/// What a look tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    /// What is to be taken, in the order of names.
    settled: Vec<PathBuf>,
    /// What two looks have not found.
    gone: Vec<PathBuf>,
}

impl Looks {
    /// Takes everything that was found, at the first look.
    fn take_all(&mut self, found: BTreeMap<PathBuf, Stamp>) -> Vec<PathBuf> {
        let files: Vec<PathBuf> = found.keys().cloned().collect();
        let seen = |stamp| Seen {
            stamp,
            due: None,
            missing: false,
        };
        self.files = found
            .into_iter()
            .map(|(file, stamp)| (file, seen(stamp)))
            .collect();
        files
    }

    /// Takes up what a look found.
    fn look(&mut self, mut found: BTreeMap<PathBuf, Stamp>) -> Changes {
        let mut changes = Changes::default();
        self.files.retain(|file, seen| {
            let Some(stamp) = found.remove(file) else {
                // Builds replace a file by removing it first: it is gone only if it stays away.
                if seen.missing {
                    changes.gone.push(file.clone());
                }
                return !std::mem::replace(&mut seen.missing, true);
            };
            seen.missing = false;
            if seen.stamp != stamp {
                *seen = Seen::new(stamp);
            } else if let Some(looks) = &mut seen.due {
                *looks = looks.saturating_sub(1);
                if *looks == 0 {
                    seen.due = None;
                    changes.settled.push(file.clone());
                }
            }
            true
        });
        let new = found.into_iter().map(|(file, stamp)| (file, Seen::new(stamp)));
        self.files.extend(new);
        changes
    }

    /// Has a file taken once more, though it did not change.
    fn again(&mut self, file: &Path) {
        if let Some(seen) = self.files.get_mut(file) {
            seen.due = Some(LOOKS_UNTIL_AGAIN);
        }
    }
}

impl Seen {
    /// A file that is other than it was: the next look must find it the same.
    fn new(stamp: Stamp) -> Self {
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

    /// What looks tell that find files with these sizes, in a letter each: `a3 b5`.
    fn look(looks: &mut Looks, found: &str) -> String {
        let Changes { settled, gone } = looks.look(files(found));
        let names = |files: Vec<PathBuf>, sign: &str| {
            let name = |file: PathBuf| format!("{sign}{}", file.display());
            files.into_iter().map(name).collect::<Vec<_>>()
        };
        [names(settled, "+"), names(gone, "-")].concat().join(" ")
    }

    fn files(found: &str) -> BTreeMap<PathBuf, Stamp> {
        let file = |word: &str| {
            let (name, bytes) = word.split_at(1);
            let stamp = Stamp {
                changed: SystemTime::UNIX_EPOCH,
                bytes: bytes.parse().unwrap(),
            };
            (PathBuf::from(name), stamp)
        };
        found.split_whitespace().map(file).collect()
    }

    #[test]
    fn without_a_name_the_folder_is_the_first_usual_one_that_has_a_plugin() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(usual(root), root.join("plugins"), "neither is there");
        // The sources of plugins are no plugins.
        std::fs::create_dir_all(root.join("plugins/starter/src")).unwrap();
        std::fs::create_dir_all(root.join("target/plugins")).unwrap();
        assert_eq!(usual(root), root.join("plugins"), "neither has a plugin");
        std::fs::write(root.join("target/plugins/starter.wasm"), "").unwrap();
        assert_eq!(usual(root), root.join("target/plugins"));
        std::fs::write(root.join("plugins/own.wasm"), "").unwrap();
        assert_eq!(usual(root), root.join("plugins"));
    }

    #[test]
    fn a_file_is_taken_once_when_two_looks_find_it_the_same() {
        let mut looks = Looks::default();
        assert_eq!(looks.take_all(files("a1")), [PathBuf::from("a")]);
        assert_eq!(look(&mut looks, "a1"), "");
        assert_eq!(look(&mut looks, "a2 b1"), "");
        assert_eq!(look(&mut looks, "a3 b1"), "+b", "a is still being written");
        assert_eq!(look(&mut looks, "a3 b1"), "+a");
        assert_eq!(look(&mut looks, "a3 b1"), "");
    }

    #[test]
    fn a_file_is_gone_when_two_looks_do_not_find_it() {
        let mut looks = Looks::default();
        looks.take_all(files("a1 b1"));
        assert_eq!(look(&mut looks, "b1"), "", "it may be on its way");
        assert_eq!(look(&mut looks, "a1 b1"), "");
        assert_eq!(look(&mut looks, "b1"), "");
        assert_eq!(look(&mut looks, "b1"), "-a");
        assert_eq!(look(&mut looks, "b1 a1"), "");
        assert_eq!(look(&mut looks, "b1 a1"), "+a", "it came back");
    }

    #[test]
    fn what_could_not_be_kept_is_taken_again_after_a_while() {
        let mut looks = Looks::default();
        looks.take_all(files("a1"));
        looks.again(Path::new("a"));
        for _ in 1..LOOKS_UNTIL_AGAIN {
            assert_eq!(look(&mut looks, "a1"), "");
        }
        assert_eq!(look(&mut looks, "a1"), "+a");
    }
}
