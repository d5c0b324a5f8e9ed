//! Where a component's bytes are read again, when it is compiled another way.

use std::{fs, path::PathBuf, sync::Arc};

use heddle_kernel::Digest;

use super::process::InUse;

/// Where the bytes of a component are found again.
#[derive(Clone)]
pub(crate) enum Source {
    /// In a file of the cache, which stays there as long as this lives.
    File { path: PathBuf, _in_use: Arc<InUse> },
    /// Here: there is no cache.
    Memory(Arc<[u8]>),
}

impl Source {
    /// The bytes.
    ///
    /// # Errors
    /// What became of them.
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
