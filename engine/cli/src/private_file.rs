//! Creates files that only their owner may read, for the data of runs.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

/// Creates or truncates a file. Restricts the permissions of an existing file first, unless it is a pipe or a device.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        // Before anything is written.
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        file.set_len(0)?;
    }
    Ok(file)
}

/// Creates a folder that only its owner may enter. An existing folder is unchanged.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::{io::Write, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn only_its_owner_can_read_a_file_even_if_it_existed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/er/file");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        create_folder(path.parent().expect("a folder")).expect("it is made");
        assert_eq!(mode(path.parent().expect("a folder")), 0o700);
        create(&path)
            .expect("it is made")
            .write_all(b"long")
            .expect("it is written");
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is widened");
        create(&path)
            .expect("it is opened")
            .write_all(b"x")
            .expect("it is written");
        assert_eq!(
            (mode(&path), fs::read(&path).expect("it is read")),
            (0o600, b"x".to_vec())
        );
        create(Path::new("/dev/null")).expect("a device is unchanged");
    }
}
