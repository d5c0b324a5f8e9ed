//! Folders and files of the cache.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The subfolder of components as they are.
pub(super) const COMPONENTS: &str = "components";

/// Makes a folder that only its owner may enter.
pub(super) fn private_folder(folder: &Path) -> io::Result<()> {
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

/// What is in a folder; nothing where it cannot be read.
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

/// Notes that a file was used, by the time of its last change.
pub(super) fn touch(path: &Path) {
    // Where it cannot be noted, the file is evicted earlier.
    if let Ok(file) = fs::File::options().append(true).open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}
