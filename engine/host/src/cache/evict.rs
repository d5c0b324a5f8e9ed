//! Selects the files to delete from the cache: those that were not used for too long, then the least recently used
//! ones until the rest fits.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::folder::{COMPONENTS, entries, is_hex};

/// The largest size and age of the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_bytes: u64,
    pub(super) max_age: Duration,
}

/// A file of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CacheFile {
    pub(super) path: PathBuf,
    /// The digest of the component that the file was made from.
    pub(super) digest: String,
    pub(super) bytes: u64,
    pub(super) used_at: SystemTime,
}

/// The result of a selection.
#[derive(Debug)]
pub(super) struct Eviction {
    pub(super) delete: Vec<CacheFile>,
    /// The size of the cache after the deletion.
    pub(super) bytes_left: u64,
}

/// Selects the files to delete. Files in use are never selected.
pub(super) fn select(
    mut list_files: Vec<CacheFile>,
    in_use: &HashSet<String>,
    limits: Limits,
    now: SystemTime,
) -> Eviction {
    list_files.sort_by_key(|file| file.used_at);
    let mut eviction = Eviction {
        bytes_left: list_files.iter().map(|file| file.bytes).sum(),
        delete: Vec::new(),
    };
    for file in list_files {
        // After the clock was set back, a file may seem to be used in the future: its age is zero.
        let age = now.duration_since(file.used_at).unwrap_or_default();
        let is_over = age > limits.max_age || eviction.bytes_left > limits.max_bytes;
        if is_over && !in_use.contains(&file.digest) {
            eviction.bytes_left -= file.bytes;
            eviction.delete.push(file);
        }
    }
    eviction
}

/// The files of the cache, of all configurations. Other files in the folder are ignored.
pub(super) fn list_files(folder: &Path) -> Vec<CacheFile> {
    let mut list_files = Vec::new();
    for (name, path) in entries(folder) {
        let extension = match &*name {
            COMPONENTS => "wasm",
            name if is_hex(name, 16) => "code",
            _ => continue,
        };
        for (name, path) in entries(&path) {
            let digest = name
                .strip_suffix(extension)
                .and_then(|name| name.strip_suffix('.'));
            // Earlier versions wrote temporary files into these folders, and left them behind in a crash.
            let is_leftover = name.starts_with(".tmp");
            let digest = match digest.filter(|digest| is_hex(digest, 64)) {
                Some(digest) => digest.to_owned(),
                None if is_leftover => String::new(),
                None => continue,
            };
            let Ok(is) = path.symlink_metadata() else { continue };
            if !is.is_file() {
                continue;
            }
            list_files.push(CacheFile {
                path,
                digest,
                bytes: is.len(),
                // Leftovers are deleted first.
                used_at: match is_leftover {
                    true => SystemTime::UNIX_EPOCH,
                    false => is.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                },
            });
        }
    }
    list_files
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LIMITS: Limits = Limits {
        max_bytes: 100,
        max_age: Duration::from_secs(10),
    };

    /// What is deleted of files `(name, bytes, age)`. Names of files in use begin with `u`.
    fn deleted(files: &[(&str, u64, u64)]) -> (Vec<String>, u64) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let list_files: Vec<_> = files
            .iter()
            .map(|&(name, bytes, age)| CacheFile {
                path: name.into(),
                digest: name.to_owned(),
                bytes,
                used_at: now - Duration::from_secs(age),
            })
            .collect();
        let in_use = files.iter().map(|file| file.0.to_owned());
        let in_use = in_use.filter(|name| name.starts_with('u')).collect();
        let eviction = select(list_files, &in_use, LIMITS, now);
        (
            eviction.delete.into_iter().map(|file| file.digest).collect(),
            eviction.bytes_left,
        )
    }

    #[test]
    fn files_that_were_unused_for_too_long_are_evicted() {
        assert_eq!(
            deleted(&[("a", 1, 10), ("b", 1, 11), ("u", 1, 12)]),
            (vec!["b".to_owned()], 2)
        );
    }

    #[test]
    fn the_least_recently_used_files_are_evicted_until_the_rest_fits() {
        assert_eq!(deleted(&[("a", 50, 1), ("b", 50, 2)]), (vec![], 100));
        assert_eq!(
            deleted(&[("a", 50, 1), ("b", 50, 3), ("c", 1, 2)]),
            (vec!["b".to_owned()], 51)
        );
        assert_eq!(
            deleted(&[("u", 90, 5), ("a", 50, 1), ("b", 50, 3)]),
            (vec!["b".to_owned(), "a".to_owned()], 90)
        );
        assert_eq!(deleted(&[("u", 90, 5), ("u2", 20, 5)]), (vec![], 110));
    }

    #[test]
    fn only_the_files_of_the_cache_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let (digest, configuration) = ("ab".repeat(32), "0123456789abcdef");
        for path in [
            format!("{configuration}/{digest}.code"),
            format!("{configuration}/.tmpAbc"),
            format!("{configuration}/notes.txt"),
            format!("{configuration}/{digest}.wasm"),
            format!("components/{digest}.wasm"),
            "components/mine.wasm".to_owned(),
            format!("other/{digest}.code"),
            format!("{digest}.code"),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let mut found: Vec<_> = list_files(folder.path())
            .into_iter()
            .map(|file| file.path)
            .collect();
        found.sort();
        let expected = [
            format!("{configuration}/.tmpAbc"),
            format!("{configuration}/{digest}.code"),
            format!("components/{digest}.wasm"),
        ];
        assert_eq!(found, expected.map(|path| folder.path().join(path)));
    }
}
