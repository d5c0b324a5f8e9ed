//! The scratch file, in which a worker records each case before it runs it: if the process dies, the case is known.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
};

/// The size in bytes of the numbers before the input.
const HEAD: usize = 4 * 8;

/// The progress of a worker, which survives its death.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Noted {
    /// The number of the current case.
    pub(crate) case: u64,
    /// The number of accepted cases before it.
    pub(crate) accepted: u64,
    /// The number of inputs that the pool has added.
    pub(crate) learnt: u64,
    /// The input of the current case.
    pub(crate) input: Vec<u8>,
}

/// The scratch file as the worker writes it.
pub(crate) struct Scratch {
    file: File,
    buffer: Vec<u8>,
}

impl Scratch {
    /// Creates the file, or empties an existing one.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Self {
            file,
            buffer: Vec::new(),
        })
    }

    /// Records the next case.
    pub(crate) fn note(&mut self, case: u64, accepted: u64, learnt: u64, input: &[u8]) -> io::Result<()> {
        self.buffer.clear();
        for number in [case, accepted, learnt, input.len() as u64] {
            self.buffer.extend_from_slice(&number.to_le_bytes());
        }
        self.buffer.extend_from_slice(input);
        self.file.write_all_at(&self.buffer, 0)
    }
}

/// Reads the latest record. None if the worker has not started.
pub(crate) fn read(path: &Path) -> io::Result<Option<Noted>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else {
        return Ok(None);
    };
    let number = |at: usize| u64::from_le_bytes(head[at * 8..at * 8 + 8].try_into().expect("it has 8 bytes"));
    let len = usize::try_from(number(3)).unwrap_or(usize::MAX).min(rest.len());
    Ok(Some(Noted {
        case: number(0),
        accepted: number(1),
        learnt: number(2),
        input: rest[..len].to_vec(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_note_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("scratch");
        assert_eq!(read(&path).expect("it can be read"), None);
        let mut scratch = Scratch::create(&path).expect("it can be made");
        scratch
            .note(1, 0, 0, b"a longer input")
            .expect("it can be written");
        scratch.note(2, 1, 1, b"short").expect("it can be written");
        let noted = read(&path).expect("it can be read").expect("it is there");
        assert_eq!((noted.case, &*noted.input), (2, &b"short"[..]));
    }
}
