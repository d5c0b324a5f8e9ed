//! The entries of a folder, for a guest that reads them one after the other: some are read ahead, never all of them.

use std::{collections::VecDeque, io};

use cap_primitives::fs::{FileType, ReadDir, read_base_dir};
use wasmtime_wasi::{
    filesystem::Dir,
    p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode},
};

use super::worker::FileWorker;
use crate::{memory::Charge, sandbox::OpenFile};

/// How many entries are read ahead.
const AHEAD: usize = 128;

/// What a listing takes: the entries that were read ahead, each with its name, and what the system was asked for.
pub(super) const LISTING_BYTES: usize = 128 << 10;

type Entry = Result<DirectoryEntry, ErrorCode>;

/// A folder that is being listed.
pub(super) struct Listing {
    ahead: VecDeque<Entry>,
    /// None when the end was read, or while more is read.
    rest: Option<ReadDir>,
    worker: FileWorker,
    open: Option<OpenFile>,
    _charge: Charge,
}

impl Listing {
    /// Begins to list a folder: it blocks.
    pub(super) fn begin(dir: &Dir) -> io::Result<(VecDeque<Entry>, Option<ReadDir>)> {
        Ok(read(read_base_dir(&dir.dir)?))
    }

    pub(super) fn new(
        (ahead, rest): (VecDeque<Entry>, Option<ReadDir>),
        worker: FileWorker,
        open: OpenFile,
        charge: Charge,
    ) -> Self {
        Self {
            ahead,
            rest,
            worker,
            open: Some(open),
            _charge: charge,
        }
    }

    /// The next entry that was read ahead.
    pub(super) fn next(&mut self) -> Option<Entry> {
        self.ahead.pop_front()
    }

    /// What is to be read next, where there may be more.
    pub(super) fn take_rest(&mut self) -> Option<ReadDir> {
        self.rest.take()
    }

    /// Goes on with what was read.
    pub(super) fn put(&mut self, (ahead, rest): (VecDeque<Entry>, Option<ReadDir>)) {
        (self.ahead, self.rest) = (ahead, rest);
    }
}

impl Drop for Listing {
    /// Closing a folder may wait for its file system, so it is done on a thread for files.
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            let folder = self.rest.take();
            self.worker.close(open, folder);
        }
    }
}

/// Reads ahead: it blocks.
pub(super) fn read(mut folder: ReadDir) -> (VecDeque<Entry>, Option<ReadDir>) {
    let mut ahead = VecDeque::with_capacity(AHEAD);
    while ahead.len() < AHEAD {
        let Some(entry) = folder.next() else {
            return (ahead, None);
        };
        let entry = entry.and_then(|entry| Ok((entry.metadata()?.file_type(), entry.file_name())));
        ahead.push_back(match entry {
            Ok((kind, name)) => match name.into_string() {
                Ok(name) => Ok(DirectoryEntry {
                    type_: kind_of(kind),
                    name,
                }),
                Err(_) => Err(ErrorCode::IllegalByteSequence),
            },
            Err(error) => Err(error.into()),
        });
    }
    (ahead, Some(folder))
}

/// As wasmtime-wasi tells the kinds: libraries of guests know no others.
fn kind_of(kind: FileType) -> DescriptorType {
    #[cfg(unix)]
    {
        use cap_primitives::fs::FileTypeExt;

        match () {
            () if kind.is_block_device() => return DescriptorType::BlockDevice,
            () if kind.is_char_device() => return DescriptorType::CharacterDevice,
            () => {}
        }
    }
    match () {
        () if kind.is_dir() => DescriptorType::Directory,
        () if kind.is_symlink() => DescriptorType::SymbolicLink,
        () if kind.is_file() => DescriptorType::RegularFile,
        () => DescriptorType::Unknown,
    }
}
