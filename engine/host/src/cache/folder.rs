//! Folders and files of the cache.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The subfolder with the components themselves.
pub(super) const COMPONENTS: &str = "components";

/// Creates a folder that only its owner may enter.
pub(super) fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    // An existing folder keeps its mode at creation, so the mode is set here. Only the owner may do that.
    #[cfg(unix)]
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

/// The names and paths in a folder; empty if the folder cannot be read.
pub(super) fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let entries = entries.filter_map(Result::ok);
    entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect()
}

pub(super) fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Records a use of a file in its modification time.
pub(super) fn touch(path: &Path) {
    // If that fails, the file is evicted earlier.
    if let Ok(file) = fs::File::options().append(true).open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}
