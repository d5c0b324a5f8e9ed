//! Faults under the store of a process: writes and syncs that fail, stand still, or end the process.
//!
//! The process is started with a library of ours (`tests/fault/fault.c`) in front of the C library's calls.
//! It is compiled here, by `cc`, on first use; it works on Linux only.

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

use crate::{PATIENCE, lot::Lot, repository, target};

/// The bytes that a disk writes as a whole or not at all.
const SECTOR: usize = 512;

/// The files that a store is, beside its lock and what is only in memory.
const SUFFIXES: [&str; 3] = ["", "-wal", "-journal"];

/// The places of the control file's words: `struct control` in `fault.c`.
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

/// What is meant by a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Writes, and cuts.
    Writes = 1,
    /// Syncs.
    Syncs = 2,
    /// Both, each counted by itself.
    Both = 3,
}

/// What is done to a write or a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It fails with this error.
    Fail(Errno),
    /// The process dies instead of it.
    DieBefore,
    /// The process dies right after it.
    DieAfter,
    /// Half of it is done, and the process dies.
    Tear,
    /// It stands still until the plan is another one, and is done then.
    Freeze,
}

/// The errors of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// EIO: the disk is broken.
    Broken = 5,
    /// ENOSPC: it is full.
    Full = 28,
    /// EROFS: it can only be read.
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
    /// Faults under the store at this path, whose folder is there. None happens until it is planned.
    pub fn under(store: &Path) -> Self {
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
        // What is there at the beginning is on the disk.
        for (file, disk) in faults.files() {
            if file.exists() {
                fs::copy(file, disk).expect("the store can be read");
            }
        }
        faults
    }

    /// What the process is to find in its environment. With `disk` it also keeps what is on the disk for sure,
    /// see [`Faults::after_power_failure`].
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

    /// From here on this is done to these writes or syncs, counted from 1 since the process began.
    pub fn plan(&self, of: Of, which: RangeInclusive<u64>, does: Does) {
        let (action, error) = match does {
            Does::Fail(errno) => (1, errno as u64),
            Does::DieBefore => (2, 0),
            Does::DieAfter => (3, 0),
            Does::Tear => (4, 0),
            Does::Freeze => (5, 0),
        };
        self.heal();
        for (word, value) in [
            (word::KINDS, of as u64),
            (word::FIRST, *which.start()),
            (word::LAST, *which.end()),
            (word::ERROR, error),
            (word::ACTION, action),
        ] {
            self.set(word, value);
        }
    }

    /// From here on nothing goes wrong, and what stood still goes on.
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

    /// How many of them something was done to.
    pub fn hit(&self) -> u64 {
        self.get(word::HIT)
    }

    /// How many of them stand still.
    pub fn frozen(&self) -> u64 {
        self.get(word::FROZEN)
    }

    /// Waits until this holds; false where that takes too long. What it waits for happens in another process,
    /// so it looks again and again.
    #[must_use]
    pub fn wait_for(&self, holds: impl Fn(&Self) -> bool) -> bool {
        let began = Instant::now();
        while !holds(self) {
            if began.elapsed() >= PATIENCE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Puts into another folder what a power failure could have left of the store: of every sector, either what
    /// was synced or what was written since. Without a lot, nothing that was not synced. Answers the store's path there.
    pub fn after_power_failure(&self, folder: &Path, mut lot: Option<&mut Lot>) -> PathBuf {
        let name = |path: &Path| folder.join(path.file_name().expect("a store is a file"));
        for (file, disk) in self.files() {
            let read = |path: &Path| fs::read(path).ok();
            let left = match (read(&disk), read(&file), lot.as_deref_mut()) {
                (synced, Some(written), Some(lot)) => Some(mixed(&synced.unwrap_or_default(), &written, lot)),
                (synced, _, _) => synced,
            };
            if let Some(left) = left {
                fs::write(name(&file), left).expect("room for a copy");
            }
        }
        name(&self.store)
    }

    /// Each file of the store, and what is on the disk of it.
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

/// Of every sector one of its two contents, and one of the two lengths.
fn mixed(synced: &[u8], written: &[u8], lot: &mut Lot) -> Vec<u8> {
    let length = match lot.once_in(2) {
        true => synced.len(),
        false => written.len(),
    };
    let mut left = vec![0; length];
    for (at, sector) in left.chunks_mut(SECTOR).enumerate() {
        let from = match lot.once_in(2) {
            true => synced,
            false => written,
        };
        // A sector that was never written holds nothing.
        if let Some(from) = from.get(at * SECTOR..) {
            let length = from.len().min(sector.len());
            sector[..length].copy_from_slice(&from[..length]);
        }
    }
    left
}

/// The library, compiled where it is not there.
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
    // Tests that begin at once do not see each other's half of it.
    let own = TempDir::new_in(&folder).expect("the target folder can be written");
    let made = own.path().join("fault.so");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(&compiler)
        .args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-o"])
        .arg(&made)
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
    fs::rename(made, &library).expect("the target folder can be written");
    library
}

/// What a process is to find in its environment so that reads of the files in a folder stand still, for as long as the
/// file `gate` is there. Linux only.
pub fn stalled(folder: &Path, gate: &Path) -> Vec<(&'static str, OsString)> {
    let folder = fs::canonicalize(folder).expect("the folder is there");
    vec![
        ("LD_PRELOAD", library("stall").into()),
        ("HEDDLE_STALL_FOLDER", folder.into()),
        ("HEDDLE_STALL_WHILE", gate.into()),
    ]
}
