//! The bytes of a registered component, for compiling it with another configuration.

use std::{fs, path::PathBuf, sync::Arc};

use heddle_kernel::Digest;

use super::process::InUse;

/// The bytes of a component.
#[derive(Clone)]
pub(crate) enum Source {
    /// In a file of the cache, which is not evicted while this lives.
    File { path: PathBuf, _in_use: Arc<InUse> },
    /// In memory: there is no cache.
    Memory(Arc<[u8]>),
}

impl Source {
    /// Reads the bytes.
    ///
    /// # Errors
    /// If the file is damaged or cannot be read.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Arc<[u8]>, String> {
        match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::File { path, .. } => match fs::read(path) {
                Ok(bytes) if Digest::of(&bytes) == *digest => Ok(bytes.into()),
                Ok(_) => Err(format!("{} is damaged: start the server again", path.display())),
                Err(error) => Err(format!("{}: {error}: start the server again", path.display())),
            },
        }
    }
}
