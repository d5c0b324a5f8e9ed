//! Files with what runs were given and gave: only their owner may read them.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

/// Opens a file to write it anew. One that is there is narrowed first, unless it is a pipe or a device.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        // Before anything is in it.
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        file.set_len(0)?;
    }
    Ok(file)
}

/// Makes a folder that only its owner may enter; one that is there stays as it is.
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
    fn a_file_is_for_its_owner_alone_also_where_it_was_there() {
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
        create(Path::new("/dev/null")).expect("a device is left as it is");
    }
}
