//! Paths that no granted folder may overlap: the engine's own files, and the files of secrets.
//!
//! A plugin that could write there would decide what the engine runs and grants; a plugin that could read there would
//! have every run and every secret. So a granted folder must neither contain such a path nor be inside of it. Two
//! paths are compared as they are written, with links resolved, and by device and inode, so that neither a link nor a
//! second mount of the same folder hides an overlap.

use std::{
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

use super::dirs::DirGrant;

/// A file or folder that no granted folder may overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    /// Its name in errors, such as `the store`.
    pub what: String,
    /// Its path. The file need not exist.
    pub path: PathBuf,
    /// Whether read-only folders may overlap it.
    pub may_be_read: bool,
}

impl Protected {
    /// A path that plugins may neither read nor change.
    pub fn new(what: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            what: what.into(),
            path: path.into(),
            may_be_read: false,
        }
    }

    /// The same path, where plugins may read.
    pub fn readable(self) -> Self {
        Self {
            may_be_read: true,
            ..self
        }
    }
}

/// The folder in which Linux shows its processes.
const PROCESSES: &str = "/proc";

/// All protected paths, with their identities.
pub(super) struct ProtectedPaths(Vec<(Protected, PathIdentity)>);

/// A path as written, with links resolved, and the files on it.
struct PathIdentity {
    paths: [PathBuf; 2],
    /// The file or folder itself, then its parent folders. Empty on systems without inodes.
    ids: Vec<Id>,
}

type Id = (u64, u64);

impl ProtectedPaths {
    /// Looks up the identities. Blocks on the file system.
    pub(super) fn new(protected: impl IntoIterator<Item = Protected>) -> Self {
        let identity = |protected: Protected| {
            let identity = PathIdentity::of(&protected.path);
            (protected, identity)
        };
        // Of the engine's own process: its memory, environment and open files.
        let processes = Protected::new("the files of the system's processes", PROCESSES);
        let processes = Path::new(PROCESSES).exists().then_some(processes);
        Self(protected.into_iter().chain(processes).map(identity).collect())
    }

    /// Checks that the granted folders overlap no protected path. Blocks on the file system.
    pub(super) fn check(&self, dirs: &[DirGrant]) -> Result<(), String> {
        for dir in dirs {
            let granted = PathIdentity::of(&dir.path);
            let concerned = |protected: &Protected| dir.write || !protected.may_be_read;
            let mut all = self.0.iter();
            let overlap =
                all.find(|(protected, identity)| concerned(protected) && granted.overlaps(identity));
            if let Some((Protected { what, path, .. }, identity)) = overlap {
                let relation = match granted.contains(identity) {
                    true => "contains",
                    false => "is in",
                };
                return Err(format!(
                    "dirs: the folder {} {relation} {what}, {}, and a plugin that has it could read or change what the \
                     engine relies on: grant a folder apart from it",
                    dir.path.display(),
                    path.display()
                ));
            }
        }
        Ok(())
    }
}

impl PathIdentity {
    fn of(path: &Path) -> Self {
        let named = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let resolved = resolve(&named);
        Self {
            ids: ids(&resolved),
            paths: [without_dots(&named), resolved],
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.contains(other) || other.contains(self)
    }

    fn contains(&self, other: &Self) -> bool {
        let is_above = |path: &PathBuf| other.paths.iter().any(|inner| inner.starts_with(path));
        let is_there = |id: &Id| other.ids.contains(id);
        self.paths.iter().any(is_above) || self.ids.first().is_some_and(is_there)
    }
}

/// The path with the links of its existing part resolved.
fn resolve(path: &Path) -> PathBuf {
    let mut rest: Vec<OsString> = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(resolved) = existing.canonicalize() {
            let whole = rest.iter().rev().fold(resolved, |path, part| path.join(part));
            return without_dots(&whole);
        }
        let (Some(parent), Some(last)) = (existing.parent(), existing.components().next_back()) else {
            return without_dots(path);
        };
        rest.push(last.as_os_str().to_owned());
        existing = parent;
    }
}

/// The path with `..` replaced lexically.
fn without_dots(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    whole
}

#[cfg(unix)]
fn ids(path: &Path) -> Vec<Id> {
    use std::os::unix::fs::MetadataExt;

    let found = path.ancestors().map(std::fs::metadata);
    // A file that does not exist has no identity, only those of its parents.
    let exists = path.exists();
    let ids = found.filter_map(Result::ok).map(|is| (is.dev(), is.ino()));
    match exists {
        true => ids.collect(),
        false => std::iter::once((0, 0)).chain(ids).collect(),
    }
}

#[cfg(not(unix))]
fn ids(_: &Path) -> Vec<Id> {
    Vec::new()
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn refusal(granted: &Path, protected: &Path) -> Option<String> {
        let guard = ProtectedPaths::new([Protected::new("the store", protected)]);
        let dir = DirGrant {
            path: granted.to_owned(),
            at: "/data".to_owned(),
            write: false,
        };
        guard.check(&[dir]).err()
    }

    #[test]
    fn a_folder_above_below_or_at_a_protected_one_is_refused_by_every_path() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in ["data/cache/deep", "data/free", "data/cachet", "other"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("data/heddle.db"), "").unwrap();
        for (link, to) in [
            ("to-data", "data"),
            ("to-deep", "data/cache/deep"),
            ("to-free", "data/free"),
            ("other/heddle.db", "../data/heddle.db"),
        ] {
            symlink(to, at(link)).unwrap();
        }
        for (granted, protected) in [
            ("data", "data/heddle.db"),
            ("", "data/heddle.db"),
            ("data/cache", "data/cache"),
            ("data/cache/deep", "data/cache"),
            ("data/cache", "data/cache/deep/not-yet/there"),
            ("to-data", "data/heddle.db"),
            ("to-deep", "data/cache"),
            ("data/cache/../cache", "data/cache"),
            ("data", "to-data/heddle.db"),
            ("data/cache/deep", "to-data/cache"),
            // A process that can replace the link or its target decides which file is opened.
            ("other", "other/heddle.db"),
            ("data", "other/heddle.db"),
        ] {
            let refusal = refusal(&at(granted), &at(protected)).unwrap_or_default();
            for named in [
                &*at(granted).display().to_string(),
                &*at(protected).display().to_string(),
            ] {
                assert!(refusal.contains(named), "{granted} and {protected}: {refusal}");
            }
        }
        for (granted, protected) in [
            ("data/free", "data/heddle.db"),
            ("data/free", "data/cache"),
            ("to-free", "data/cache"),
            ("data/cachet", "data/cache"),
            ("data/cache", "data/cache-not-yet-there"),
            ("other", "data/cache"),
        ] {
            assert_eq!(
                refusal(&at(granted), &at(protected)),
                None,
                "{granted} and {protected}"
            );
        }
    }
}
