//! Injects faults below the store of a process: writes and syncs that fail, stall, or end the process.
//!
//! The library `tests/fault/fault.c` is preloaded into the process and intercepts the calls of the C library. It is
//! compiled with `cc` on first use and works only on Linux.

use std::{
    ffi::OsString,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    ops::RangeInclusive,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{TIMEOUT, random::Random, repository, target};

/// The size in bytes that a disk writes atomically.
const SECTOR: usize = 512;

/// The suffixes of the store's durable files.
const SUFFIXES: [&str; 3] = ["", "-wal", "-journal"];

/// The positions of the words in the control file: `struct control` in `fault.c`.
mod word {
    pub(super) const WRITES: u64 = 0;
    pub(super) const SYNCS: u64 = 1;
    pub(super) const HIT: u64 = 2;
    pub(super) const FROZEN: u64 = 3;
    pub(super) const ACTION: u64 = 4;
    pub(super) const KINDS: u64 = 5;
    pub(super) const FIRST: u64 = 6;
    pub(super) const LAST: u64 = 7;
    pub(super) const ERROR: u64 = 8;
    pub(super) const COUNT: usize = 9;
}

/// The operations that a fault affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultTarget {
    /// Only writes and truncations.
    Writes = 1,
    /// Only syncs.
    Syncs = 2,
    /// Both, counted separately.
    Both = 3,
}

/// The effect of a fault on a write or a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// It fails with this error.
    Fail(Errno),
    /// The process dies before it.
    DieBefore,
    /// The process dies right after it.
    DieAfter,
    /// The process dies after half of the write.
    Tear,
    /// It stalls until the plan changes, then it is done.
    Freeze,
}

/// The errors of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// EIO: the disk is broken.
    Broken = 5,
    /// ENOSPC: the disk is full.
    Full = 28,
    /// EROFS: the disk is read-only.
    ReadOnly = 30,
}

/// The faults of one store.
pub struct Faults {
    control: File,
    store: PathBuf,
    library: PathBuf,
    folder: TempDir,
}

impl Faults {
    /// Prepares faults for the store at this path, whose folder must exist. No fault happens until it is planned.
    pub fn new(store: &Path) -> Self {
        let folder = TempDir::new().expect("a folder for the faults");
        let control = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(folder.path().join("control"))
            .expect("a control file");
        control
            .set_len(word::COUNT as u64 * 8)
            .expect("room for its words");
        fs::create_dir(folder.path().join("disk")).expect("a folder for the disk");
        let parent = store.parent().expect("a store is in a folder");
        let parent = fs::canonicalize(parent).expect("the folder of the store");
        let faults = Self {
            control,
            store: parent.join(store.file_name().expect("a store is a file")),
            library: library("fault"),
            folder,
        };
        // The initial files count as synced.
        for (file, disk) in faults.files() {
            if file.exists() {
                fs::copy(file, disk).expect("the store can be read");
            }
        }
        faults
    }

    /// The environment variables for the process. With `disk` the library also records the synced contents for
    /// [`Faults::after_power_failure`].
    pub fn environment(&self, disk: bool) -> Vec<(&'static str, OsString)> {
        let mut all: Vec<(&str, OsString)> = vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("HEDDLE_FAULT_STORE", self.store.clone().into()),
            ("HEDDLE_FAULT_CONTROL", self.folder.path().join("control").into()),
        ];
        if disk {
            all.push(("HEDDLE_FAULT_DISK", self.folder.path().join("disk").into()));
        }
        all
    }

    /// Plans a fault for these writes or syncs, counted from 1 since the process started. Replaces the previous plan.
    pub fn plan(&self, target: FaultTarget, which: RangeInclusive<u64>, action: FaultAction) {
        let (action, error) = match action {
            FaultAction::Fail(errno) => (1, errno as u64),
            FaultAction::DieBefore => (2, 0),
            FaultAction::DieAfter => (3, 0),
            FaultAction::Tear => (4, 0),
            FaultAction::Freeze => (5, 0),
        };
        self.heal();
        for (word, value) in [
            (word::KINDS, target as u64),
            (word::FIRST, *which.start()),
            (word::LAST, *which.end()),
            (word::ERROR, error),
            (word::ACTION, action),
        ] {
            self.set(word, value);
        }
    }

    /// Ends all faults. Stalled operations continue.
    pub fn heal(&self) {
        self.set(word::ACTION, 0);
    }

    /// How many writes and cuts of the store's files there were.
    pub fn writes(&self) -> u64 {
        self.get(word::WRITES)
    }

    /// How many syncs of the store's files there were.
    pub fn syncs(&self) -> u64 {
        self.get(word::SYNCS)
    }

    /// How many of them got a fault.
    pub fn hit(&self) -> u64 {
        self.get(word::HIT)
    }

    /// How many of them are blocked now.
    pub fn frozen(&self) -> u64 {
        self.get(word::FROZEN)
    }

    /// Waits until `holds` returns true; returns false after a timeout. Polls, because the counters change in another
    /// process.
    #[must_use]
    pub fn wait_for(&self, holds: impl Fn(&Self) -> bool) -> bool {
        let began = Instant::now();
        while !holds(self) {
            if began.elapsed() >= TIMEOUT {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Copies into another folder what a power failure could have left of the store: of every sector, either the synced or
    /// the latest contents, at random. Without `random`, only synced contents. Returns the path of the copy.
    pub fn after_power_failure(&self, folder: &Path, mut random: Option<&mut Random>) -> PathBuf {
        let name = |path: &Path| folder.join(path.file_name().expect("a store is a file"));
        for (file, disk) in self.files() {
            let read = |path: &Path| fs::read(path).ok();
            let left = match (read(&disk), read(&file), random.as_deref_mut()) {
                (synced, Some(written), Some(random)) => {
                    Some(mixed(&synced.unwrap_or_default(), &written, random))
                }
                (synced, _, _) => synced,
            };
            if let Some(left) = left {
                fs::write(name(&file), left).expect("room for a copy");
            }
        }
        name(&self.store)
    }

    /// Each file of the store with the file of its synced contents.
    fn files(&self) -> impl Iterator<Item = (PathBuf, PathBuf)> {
        SUFFIXES.iter().map(|suffix| {
            let with = |mut path: OsString| {
                path.push(suffix);
                PathBuf::from(path)
            };
            let disk = self.folder.path().join("disk");
            let disk = disk.join(self.store.file_name().expect("a store is a file"));
            (with(self.store.clone().into()), with(disk.into()))
        })
    }

    fn get(&self, word: u64) -> u64 {
        let mut bytes = [0; 8];
        self.control
            .read_exact_at(&mut bytes, word * 8)
            .expect("the control file can be read");
        u64::from_ne_bytes(bytes)
    }

    fn set(&self, word: u64, value: u64) {
        self.control
            .write_all_at(&value.to_ne_bytes(), word * 8)
            .expect("the control file can be written");
    }
}

/// Picks one of two contents for every sector, and one of the two lengths.
fn mixed(synced: &[u8], written: &[u8], random: &mut Random) -> Vec<u8> {
    let length = match random.one_in(2) {
        true => synced.len(),
        false => written.len(),
    };
    let mut left = vec![0; length];
    for (at, sector) in left.chunks_mut(SECTOR).enumerate() {
        let from = match random.one_in(2) {
            true => synced,
            false => written,
        };
        // A sector that was never written is zero.
        if let Some(from) = from.get(at * SECTOR..) {
            let length = from.len().min(sector.len());
            sector[..length].copy_from_slice(&from[..length]);
        }
    }
    left
}

/// The path of a preload library. Compiles it if necessary.
fn library(name: &str) -> PathBuf {
    let source = repository().join(format!("tests/fault/{name}.c"));
    let text = fs::read_to_string(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let folder = target().join("fault");
    let library = folder.join(format!("{name}-{:016x}.so", hasher.finish()));
    if library.exists() {
        return library;
    }
    fs::create_dir_all(&folder).expect("the target folder can be written");
    // Concurrent tests do not see each other's partial file.
    let own = TempDir::new_in(&folder).expect("the target folder can be written");
    let built = own.path().join("fault.so");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(&compiler)
        .args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-o"])
        .arg(&built)
        .arg(&source)
        .args(["-ldl", "-lpthread"])
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "the faults need a C compiler: {} cannot be run: {error}; install one, or name it with CC",
                compiler.display()
            )
        });
    assert!(
        output.status.success(),
        "{} does not compile {} (it needs Linux and glibc):\n{}",
        compiler.display(),
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(built, &library).expect("the target folder can be written");
    library
}

/// The environment variables that make a process stall when it reads files of a folder, as long as the file `gate` exists.
/// Linux only.
pub fn stalled(folder: &Path, gate: &Path) -> Vec<(&'static str, OsString)> {
    let folder = fs::canonicalize(folder).expect("the folder is there");
    vec![
        ("LD_PRELOAD", library("stall").into()),
        ("HEDDLE_STALL_FOLDER", folder.into()),
        ("HEDDLE_STALL_WHILE", gate.into()),
    ]
}
