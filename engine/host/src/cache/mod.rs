//! The cache: compiled components, and the components themselves, in a folder.
//!
//! Several processes and several configurations of the engine may share the folder:
//!
//! - `CONFIGURATION/DIGEST.code`: a compiled component ([`entry`]), for one configuration and one key,
//! - `components/DIGEST.wasm`: the component, for compiling it with another configuration later,
//! - `processes/ID/`: a folder of each running process, with its temporary files and marks of the components
//!   that it uses ([`process`]).
//!
//! A file is written in the process's own folder and renamed into place, and never changes afterwards. Nothing in the
//! folder is trusted: compiled code is loaded only if its authentication code is correct, and a component only if its
//! digest is. A damaged or replaced file costs a compilation, at worst.
//!
//! The cache is limited in size and age: files are deleted when the cache is opened and when an entry is added
//! ([`evict`]), never during a call.

mod entry;
mod evict;
mod folder;
mod process;
mod source;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use heddle_kernel::Digest;
use tempfile::NamedTempFile;
use wasmtime::{Engine, component::Component};

pub use self::entry::CacheKey;
use self::{
    entry::{EngineFingerprint, ReadError},
    evict::{CacheFile, Limits},
    folder::{COMPONENTS, private_folder, touch},
    process::Process,
};
pub(crate) use self::{process::InUse, source::Source};

/// The cache's folder, key and limits.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// The folder, created if absent. Several processes may share it.
    pub folder: PathBuf,
    /// Authenticates the compiled code in the folder.
    pub key: CacheKey,
    /// The largest size of compiled code and components, in bytes. Files in use always stay. Default: 2 GiB.
    pub max_bytes: u64,
    /// How long an unused file is kept. Files in use always stay. Default: 30 days.
    pub max_age: Duration,
}

impl CacheSettings {
    /// The default limits, for this folder and key.
    pub fn new(folder: impl Into<PathBuf>, key: CacheKey) -> Self {
        Self {
            folder: folder.into(),
            key,
            max_bytes: 2 << 30,
            max_age: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

/// The cache of a host, shared by its engines.
#[derive(Clone)]
pub(crate) struct Cache(Option<Arc<Shared>>);

struct Shared {
    folder: PathBuf,
    key: CacheKey,
    limits: Limits,
    process: Process,
    /// Whether a warning was logged that files in use exceed the limit.
    warned_full: AtomicBool,
}

impl Cache {
    /// Opens the cache, creating the folder if absent, and evicts files. Without settings nothing is cached.
    pub(crate) fn open(settings: Option<&CacheSettings>) -> io::Result<Self> {
        let Some(settings) = settings else {
            return Ok(Self(None));
        };
        let CacheSettings {
            folder,
            key,
            max_bytes,
            max_age,
        } = settings.clone();
        // The cache's files are in subfolders that only this user may enter. An existing folder may contain other
        // files, so it keeps its mode.
        if !folder.is_dir() {
            private_folder(&folder)?;
        }
        let shared = Shared {
            process: Process::create(&folder)?,
            limits: Limits { max_bytes, max_age },
            warned_full: AtomicBool::new(false),
            folder,
            key,
        };
        shared.evict();
        Ok(Self(Some(Arc::new(shared))))
    }

    /// The part of the cache for code of this engine.
    pub(crate) fn for_engine(&self, engine: &Engine) -> io::Result<EngineCache> {
        let Some(shared) = &self.0 else {
            return Ok(EngineCache(None));
        };
        let fingerprint = EngineFingerprint::of(engine);
        let folder = shared.folder.join(fingerprint.folder_name(&shared.key));
        private_folder(&folder)?;
        Ok(EngineCache(Some(EngineFolder {
            shared: shared.clone(),
            folder,
            fingerprint,
        })))
    }

    /// Marks a component as in use: while the mark lives, neither the component nor its code is evicted.
    pub(crate) fn mark(&self, digest: &Digest) -> Option<InUse> {
        self.0.as_ref().map(|shared| shared.process.mark(digest))
    }

    /// Stores a component's bytes under its mark, for reading them again.
    pub(crate) fn store_component(
        &self,
        in_use: Option<InUse>,
        digest: &Digest,
        bytes: &Arc<[u8]>,
    ) -> Source {
        let (Some(shared), Some(in_use)) = (&self.0, in_use) else {
            return Source::Memory(bytes.clone());
        };
        let path = shared.folder.join(COMPONENTS).join(format!("{digest}.wasm"));
        match shared.write_component(&path, bytes) {
            Ok(()) => Source::File {
                path,
                _in_use: Arc::new(in_use),
            },
            Err(error) => {
                tracing::warn!("a component could not be stored as {}: {error}", path.display());
                Source::Memory(bytes.clone())
            }
        }
    }
}

impl Shared {
    fn write_component(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let is_kept = fs::metadata(path).is_ok_and(|file| file.len() == bytes.len() as u64);
        if is_kept {
            touch(path);
            return Ok(());
        }
        private_folder(&self.folder.join(COMPONENTS))?;
        self.process.write(path, &[bytes])?;
        self.evict();
        Ok(())
    }

    /// Deletes files that are too old or too many. An error only leaves the cache larger than its limit.
    fn evict(&self) {
        self.process.remove_dead(&self.folder);
        let in_use = process::in_use(&self.folder);
        let list_files = evict::list_files(&self.folder);
        let eviction = evict::select(list_files, &in_use, self.limits, SystemTime::now());
        for CacheFile { path, .. } in &eviction.delete {
            match fs::remove_file(path) {
                Ok(()) => tracing::debug!("{} was evicted from the cache", path.display()),
                // Another process deleted the file first.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!("{} could not be evicted: {error}", path.display()),
            }
        }
        if eviction.bytes_left > self.limits.max_bytes && !self.warned_full.swap(true, Relaxed) {
            tracing::warn!(
                "the registered plugins take {} MiB of the cache {}, more than its limit of {} MiB (--cache-size): \
                 some are compiled again at the next start",
                eviction.bytes_left >> 20,
                self.folder.display(),
                self.limits.max_bytes >> 20
            );
        }
    }
}

/// The compiled components of one engine.
pub(crate) struct EngineCache(Option<EngineFolder>);

struct EngineFolder {
    shared: Arc<Shared>,
    folder: PathBuf,
    fingerprint: EngineFingerprint,
}

impl EngineCache {
    /// Loads a component that was compiled for this engine before. Blocks on the disk.
    pub(crate) fn get(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let EngineFolder {
            shared,
            folder,
            fingerprint,
        } = self.0.as_ref()?;
        let path = path_of(folder, digest);
        let read = entry::read(&path, &shared.key, fingerprint, digest, shared.limits.max_bytes);
        let loaded = read.and_then(|code| code.load(engine).map_err(ReadError::Unusable));
        match loaded {
            Ok(component) => {
                touch(&path);
                Some(component)
            }
            Err(ReadError::Missing) => None,
            Err(error) => {
                tracing::warn!(
                    "{} is not used, the component is compiled again: {error}",
                    path.display()
                );
                None
            }
        }
    }

    /// A temporary file for the compiler's machine code, which only this user can open. It is removed on drop.
    pub(crate) fn create(&self) -> io::Result<NamedTempFile> {
        if let Some(EngineFolder { shared, .. }) = &self.0 {
            match shared.process.file() {
                Ok(file) => return Ok(file),
                // A full disk only costs a compilation at the next start.
                Err(error) => tracing::warn!(
                    "compiled components are not cached, since no file can be created in the cache {}: {error}",
                    shared.folder.display()
                ),
            }
        }
        NamedTempFile::new()
    }

    /// Loads the machine code that the compiler wrote to a file of [`create`](Self::create), and adds it to the cache,
    /// if there is one. Blocks on the disk.
    pub(crate) fn load(
        &self,
        engine: &Engine,
        digest: &Digest,
        mut code: NamedTempFile,
    ) -> wasmtime::Result<Component> {
        let compiled = entry::VerifiedCode::of_compiler(code.as_file_mut())?;
        drop(code);
        let component = compiled.load(engine)?;
        self.put(digest, compiled.code());
        Ok(component)
    }

    /// Adds the code of a component, compiled by this engine or by a process of the same version and configuration.
    /// Blocks on the disk.
    pub(crate) fn put(&self, digest: &Digest, code: &[u8]) {
        let Some(EngineFolder {
            shared,
            folder,
            fingerprint,
        }) = &self.0
        else {
            return;
        };
        let path = path_of(folder, digest);
        if code.len() as u64 > shared.limits.max_bytes {
            tracing::warn!(
                "the code of component {digest} has {} MiB, more than the limit of the cache (--cache-size): it is \
                 compiled at every start",
                code.len() >> 20
            );
            return;
        }
        let head = entry::head(&shared.key, fingerprint, digest, code);
        match shared.process.write(&path, &[&head, code]) {
            Ok(()) => shared.evict(),
            // A full disk only costs a compilation at the next start.
            Err(error) => {
                tracing::warn!(
                    "a compiled component could not be stored as {}: {error}",
                    path.display()
                );
            }
        }
    }
}

/// The hash of everything of an engine that compiled code depends on.
pub(crate) fn configuration(engine: &Engine) -> String {
    EngineFingerprint::of(engine).to_text()
}

fn path_of(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(format!("{digest}.code"))
}
