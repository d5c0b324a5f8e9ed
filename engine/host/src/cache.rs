//! Keeps compiled components on disk.
//!
//! A file is named by the engine's configuration and the component's digest, so neither another
//! configuration nor another component ever finds it. Behind the machine code stands its CRC-32: a
//! file that was damaged is compiled anew and replaced. A CRC, since it is to find accidents in a
//! folder that nobody else can enter, and reading a large component must take milliseconds.
//!
//! The machine code is mapped from the file, so its pages are read when they are first needed, and
//! are shared by all processes that have the component. A file is put in place as a whole and never
//! written again.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use crc32fast::Hasher;

use heddle_kernel::Digest;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use wasmtime::{Engine, component::Component};

/// How many bytes of a file stand behind the machine code.
const SUM_LEN: u64 = 4;

/// How much of a file is read at once to sum it.
const PIECE: usize = 256 << 10;

/// The folder, in the cache's own, of components as they are, for other machines to compile.
const SOURCES: &str = "components";

/// Where the bytes of a component are found again.
#[derive(Clone)]
pub(crate) enum Source {
    /// In a file of the cache.
    File(PathBuf),
    /// Here: there is no cache.
    Memory(Arc<[u8]>),
}

impl Source {
    /// Keeps a component's bytes in the cache's folder, where there is one.
    pub(crate) fn keep(folder: Option<&Path>, digest: &Digest, bytes: &Arc<[u8]>) -> Self {
        let Some(folder) = folder else {
            return Self::Memory(bytes.clone());
        };
        let folder = folder.join(SOURCES);
        let path = folder.join(format!("{digest}.wasm"));
        let is_kept = fs::metadata(&path).is_ok_and(|file| file.len() == bytes.len() as u64);
        let kept = match is_kept {
            true => Ok(()),
            false => private_folder(&folder).and_then(|()| write(&folder, &path, &[bytes])),
        };
        match kept {
            Ok(()) => Self::File(path),
            Err(error) => {
                tracing::warn!("a component could not be kept as {}: {error}", path.display());
                Self::Memory(bytes.clone())
            }
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// What became of them.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Arc<[u8]>, String> {
        match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::File(path) => match fs::read(path) {
                Ok(bytes) if Digest::of(&bytes) == *digest => Ok(bytes.into()),
                Ok(_) => Err(format!("{} is damaged: start the server again", path.display())),
                Err(error) => Err(format!("{}: {error}: start the server again", path.display())),
            },
        }
    }
}

/// A folder of compiled components.
pub(crate) struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// Opens the cache in `folder`, which is made where it is not there; without one nothing is kept.
    pub(crate) fn open(folder: Option<&Path>, engine: &Engine) -> io::Result<Self> {
        let Some(folder) = folder else {
            return Ok(Self { folder: None });
        };
        let folder = folder.join(configuration(engine));
        private_folder(&folder)?;
        Ok(Self { folder: Some(folder) })
    }

    /// A component that was compiled before. It reads all of the file, so call it where blocking is allowed.
    pub(crate) fn find(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let path = self.path(digest)?;
        match read(engine, &path) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("{} is compiled again: {error:#}", path.display());
                None
            }
        }
    }

    /// A file for the compiler to write machine code to, which only this user can open. It is removed unless
    /// [`keep`](Self::keep) takes it.
    pub(crate) fn begin(&self) -> io::Result<NamedTempFile> {
        if let Some(folder) = &self.folder {
            match NamedTempFile::new_in(folder) {
                Ok(file) => return Ok(file),
                // A full disk costs a compilation at the next start, and nothing else.
                Err(error) => tracing::warn!(
                    "compiled components are not kept, as {} takes no files: {error}",
                    folder.display()
                ),
            }
        }
        NamedTempFile::new()
    }

    /// Loads the machine code that the compiler wrote to a file of [`begin`](Self::begin), and keeps it where
    /// there is a cache.
    pub(crate) fn keep(
        &self,
        engine: &Engine,
        digest: &Digest,
        mut code: NamedTempFile,
    ) -> wasmtime::Result<Component> {
        let sum = sum(code.as_file_mut(), None)?;
        code.write_all(&sum.to_le_bytes())?;
        if let Some(path) = self.path(digest) {
            match code.persist(&path) {
                Ok(_) => {
                    return read(engine, &path)?
                        .ok_or_else(|| wasmtime::format_err!("{} is gone", path.display()));
                }
                Err(error) => {
                    tracing::warn!(
                        "a compiled component could not be kept as {}: {error}",
                        path.display()
                    );
                    code = error.file;
                }
            }
        }
        // It stays mapped when the file is removed.
        read(engine, code.path())?.ok_or_else(|| wasmtime::format_err!("{} is gone", code.path().display()))
    }

    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        Some(folder.join(format!("{digest}.code")))
    }
}

/// Loads a compiled component; none where there is no such file.
fn read(engine: &Engine, path: &Path) -> wasmtime::Result<Option<Component>> {
    match is_whole(path) {
        Ok(true) => {}
        Ok(false) => wasmtime::bail!("the file is damaged"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // SAFETY: `deserialize_file` trusts that the file came from `Component::serialize`, was not
    // changed since, and is not changed while it is mapped, as it is mapped as machine code.
    // - Only `keep` above puts such files into this folder: what this program's compiler wrote, under its name at
    //   once and as a whole, and nobody opens one to write again. A file that is replaced or removed stays as it
    //   was for those that have it mapped. Where a file is not kept, its name is a random one that only this
    //   user could make and open, and nobody else is given it.
    // - The CRC-32 behind the code was compared just before, so neither a half-written file nor
    //   damage that the disk did up to then gets here. Should another process have put its own file
    //   in place meanwhile, that is as whole, and of the same component.
    // - What a disk does to a file later, it does to every program that is mapped from it.
    // - The folder belongs to this user and lets nobody else in (`private_folder`). Who can write
    //   to it can replace this program too.
    // - wasmtime itself checks that its version and configuration are those of the code.
    #[allow(unsafe_code)]
    let component = unsafe { Component::deserialize_file(engine, path) }?;
    Ok(Some(component))
}

/// Whether the sum at the file's end is that of what stands before it.
fn is_whole(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let Some(code_len) = file.metadata()?.len().checked_sub(SUM_LEN) else {
        return Ok(false);
    };
    let sum = sum(&mut file, Some(code_len))?;
    let mut kept = [0; SUM_LEN as usize];
    file.read_exact(&mut kept)?;
    Ok(u32::from_le_bytes(kept) == sum)
}

/// Sums a file from its beginning: this many bytes of it, or all.
fn sum(file: &mut File, len: Option<u64>) -> io::Result<u32> {
    file.seek(SeekFrom::Start(0))?;
    let mut sum = Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut code = file.take(len.unwrap_or(u64::MAX));
    loop {
        match code.read(&mut piece)? {
            0 => return Ok(sum.finalize()),
            len => sum.update(&piece[..len]),
        }
    }
}

/// Puts the file in its place as a whole: under its name is nothing, the old file or the new one.
fn write(folder: &Path, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.persist(path)?;
    Ok(())
}

/// Makes a folder that only its owner may enter.
fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    // A folder that was there before keeps its mode: it is narrowed, which only its owner can do.
    #[cfg(unix)]
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

/// A short name for everything of the engine that compiled code depends on.
pub(crate) fn configuration(engine: &Engine) -> String {
    use std::hash::{Hash, Hasher};

    struct Sum(Sha256);
    impl Hasher for Sum {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            let sum = self.0.clone().finalize();
            u64::from_be_bytes(sum[..8].try_into().expect("a SHA-256 has more than 8 bytes"))
        }
    }

    let mut sum = Sum(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut sum);
    format!("{:016x}", sum.finish())
}
