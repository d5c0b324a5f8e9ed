//! The entries of a folder for a guest that reads them one by one. Some entries are read ahead, never all.

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

/// The memory of a listing: the entries that were read ahead, and the system's buffer.
pub(super) const LISTING_BYTES: usize = 128 << 10;

type Entry = Result<DirectoryEntry, ErrorCode>;

/// A folder that is being listed.
pub(super) struct Listing {
    ahead: VecDeque<Entry>,
    /// None at the end, or while more is read.
    rest: Option<ReadDir>,
    worker: FileWorker,
    open: Option<OpenFile>,
    _charge: Charge,
}

impl Listing {
    /// Starts listing a folder. Blocks.
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

    /// The rest of the folder, if there may be more entries.
    pub(super) fn take_rest(&mut self) -> Option<ReadDir> {
        self.rest.take()
    }

    /// Continues with entries that were read.
    pub(super) fn put(&mut self, (ahead, rest): (VecDeque<Entry>, Option<ReadDir>)) {
        (self.ahead, self.rest) = (ahead, rest);
    }
}

impl Drop for Listing {
    /// Closing a folder may wait for its file system, so a thread for files does it.
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            let folder = self.rest.take();
            self.worker.close(open, folder);
        }
    }
}

/// Reads entries ahead. Blocks.
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

/// Maps file types as wasmtime-wasi does: guests' libraries know no others.
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
