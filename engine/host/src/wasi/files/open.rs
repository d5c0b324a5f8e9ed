//! Opens folders and files for a guest: regular files and directories only.
//!
//! A pipe or a device can block its reader for ever, and opening a device can have side effects. The target of a path
//! is checked before it is opened, so that devices are not touched, and again through the open descriptor, in case it
//! was replaced in between. A pipe is opened without waiting for its other end.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use cap_primitives::{
    ambient_authority,
    fs::{FollowSymlinks, OpenOptions, open, open_ambient_dir, open_dir_nofollow, stat},
};
use wasmtime_wasi::{
    FsPerms,
    filesystem::{Descriptor, Dir, File, OpenMode},
    p2::bindings::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags, PathFlags},
};

use crate::policy::DirGrant;

/// The library may block: it runs on a thread for files.
const BLOCKS: bool = true;

/// Why something was not opened.
#[derive(Debug)]
pub(super) enum Refusal {
    /// An error of the system or of the sandbox.
    Code(ErrorCode),
    /// Something that is neither a regular file nor a directory.
    Special(&'static str),
}

impl Refusal {
    /// The error code for the guest.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Code(code) => *code,
            Self::Special(_) => ErrorCode::NotPermitted,
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Code(error.into())
    }
}

/// Opens a granted folder.
pub(super) fn open_folder(dir: &DirGrant) -> io::Result<Descriptor> {
    let (perms, mode) = match dir.write {
        true => (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE),
        false => (FsPerms::ReadOnly, OpenMode::READ),
    };
    let file = without_links(&dir.path)?;
    Ok(Descriptor::Dir(Dir::new(file, perms, mode, BLOCKS)))
}

/// Opens a folder at a path that had no links when the policy was read. If a part of it is a link now, it was
/// replaced, perhaps by a plugin that may write to a folder above: the link is not followed.
fn without_links(path: &Path) -> io::Result<fs::File> {
    let mut root = PathBuf::new();
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            part => root.push(part),
        }
    }
    // This opens directories only, and never blocks.
    let mut open_folder = open_ambient_dir(&root, ambient_authority())?;
    for name in names {
        open_folder = open_dir_nofollow(&open_folder, name.as_ref())?;
    }
    Ok(open_folder)
}

/// Opens the target of a path beneath a folder.
pub(super) fn open_beneath(
    dir: &Dir,
    follow: PathFlags,
    path: &str,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Descriptor, Refusal> {
    let (options, mode) = options(follow, how, flags)?;
    if dir.perms.write_not_permitted() && mode.contains(OpenMode::WRITE) {
        return Err(Refusal::Code(ErrorCode::NotPermitted));
    }
    check(dir, follow, path)?;
    open_checked(dir, path, how, &options, mode)
}

/// Opens the target and checks its type through the descriptor.
fn open_checked(
    dir: &Dir,
    path: &str,
    how: OpenFlags,
    options: &OpenOptions,
    mode: OpenMode,
) -> Result<Descriptor, Refusal> {
    let file = open(&dir.dir, path.as_ref(), options)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Ok(Descriptor::Dir(Dir::new(file, dir.perms, mode, BLOCKS)));
    }
    if !kind.is_file() {
        return Err(Refusal::Special(name_of(kind)));
    }
    match how.contains(OpenFlags::DIRECTORY) {
        true => Err(Refusal::Code(ErrorCode::NotDirectory)),
        false => Ok(Descriptor::File(File::new(file, dir.perms, mode, BLOCKS))),
    }
}

/// Refuses a path whose target is neither a file nor a directory at this moment.
fn check(dir: &Dir, follow: PathFlags, path: &str) -> Result<(), Refusal> {
    // An absent file may be created; the opening reports any other error.
    let Ok(found) = stat(&dir.dir, path.as_ref(), of(follow)) else {
        return Ok(());
    };
    let kind = found.file_type();
    match kind.is_file() || kind.is_dir() || kind.is_symlink() {
        true => Ok(()),
        false => Err(Refusal::Special(name_of_cap(kind))),
    }
}

fn of(follow: PathFlags) -> FollowSymlinks {
    match follow.contains(PathFlags::SYMLINK_FOLLOW) {
        true => FollowSymlinks::Yes,
        false => FollowSymlinks::No,
    }
}

/// The options for the system, as wasmtime-wasi sets them, and the rights of the descriptor.
fn options(
    follow: PathFlags,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> Result<(OpenOptions, OpenMode), Refusal> {
    let synced = DescriptorFlags::FILE_INTEGRITY_SYNC
        | DescriptorFlags::DATA_INTEGRITY_SYNC
        | DescriptorFlags::REQUESTED_WRITE_SYNC;
    if flags.intersects(synced) {
        return Err(Refusal::Code(ErrorCode::Unsupported));
    }
    let creates = OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE;
    if how.contains(OpenFlags::DIRECTORY) && how.intersects(creates) {
        return Err(Refusal::Code(ErrorCode::Invalid));
    }
    let (creates, truncates) = (how.contains(OpenFlags::CREATE), how.contains(OpenFlags::TRUNCATE));
    let writes = flags.contains(DescriptorFlags::WRITE);
    // A file opened without rights is opened for reading; the rights of the descriptor forbid everything.
    let reads = flags.contains(DescriptorFlags::READ) || !writes;
    let mut mode = OpenMode::empty();
    mode.set(OpenMode::READ, reads);
    mode.set(OpenMode::WRITE, writes || creates || truncates);
    let mut options = OpenOptions::new();
    options
        .read(reads)
        .write(mode.contains(OpenMode::WRITE))
        .truncate(truncates)
        .create(creates && !how.contains(OpenFlags::EXCLUSIVE))
        .create_new(creates && how.contains(OpenFlags::EXCLUSIVE));
    // The crate cap-fs-ext calls these; they are hidden from the documentation.
    options
        ._cap_fs_ext_follow(of(follow))
        ._cap_fs_ext_maybe_dir(true)
        ._cap_fs_ext_nonblock(cfg!(unix));
    Ok((options, mode))
}

#[cfg(unix)]
fn name_of(kind: fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;

    match () {
        () if kind.is_fifo() => "a pipe (FIFO)",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "something special",
    }
}

#[cfg(unix)]
fn name_of_cap(kind: cap_primitives::fs::FileType) -> &'static str {
    use cap_primitives::fs::FileTypeExt;

    match () {
        () if kind.is_fifo() => "a pipe (FIFO)",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "something special",
    }
}

#[cfg(not(unix))]
fn name_of(_: fs::FileType) -> &'static str {
    "something special"
}

#[cfg(not(unix))]
fn name_of_cap(_: cap_primitives::fs::FileType) -> &'static str {
    "something special"
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn dir(write: bool) -> (tempfile::TempDir, Dir) {
        let root = tempfile::tempdir().expect("a folder");
        let mkfifo = std::process::Command::new("mkfifo")
            .arg(root.path().join("pipe"))
            .status();
        assert!(mkfifo.expect("mkfifo is there").success());
        let grant = DirGrant {
            path: root.path().to_owned(),
            at: "/data".to_owned(),
            write,
        };
        match open_folder(&grant).expect("it is a folder") {
            Descriptor::Dir(dir) => (root, dir),
            Descriptor::File(_) => panic!("a folder is a directory"),
        }
    }

    #[test]
    fn a_pipe_that_replaces_a_file_after_the_check_is_not_opened_either() {
        let (_root, dir) = dir(true);
        let special = |flags| {
            let (options, mode) = options(PathFlags::SYMLINK_FOLLOW, OpenFlags::empty(), flags).unwrap();
            match open_checked(&dir, "pipe", OpenFlags::empty(), &options, mode) {
                Err(refusal) => refusal,
                Ok(_) => panic!("it was opened"),
            }
        };
        assert!(matches!(
            special(DescriptorFlags::READ),
            Refusal::Special("a pipe (FIFO)")
        ));
        let both = DescriptorFlags::READ | DescriptorFlags::WRITE;
        assert!(matches!(special(both), Refusal::Special("a pipe (FIFO)")));
        // The pipe has no reader, so the system refuses to open it for writing.
        assert!(matches!(special(DescriptorFlags::WRITE), Refusal::Code(_)));
    }

    #[test]
    fn a_path_that_is_not_a_directory_is_refused_at_once() {
        let (root, _) = dir(false);
        let grant = DirGrant {
            path: root.path().join("pipe"),
            at: "/data".to_owned(),
            write: false,
        };
        assert!(open_folder(&grant).is_err());
    }

    #[test]
    fn a_read_only_file_cannot_be_created_truncated_or_written() {
        let (root, dir) = dir(false);
        fs::write(root.path().join("file"), "text").unwrap();
        for (how, flags) in [
            (OpenFlags::CREATE, DescriptorFlags::READ),
            (OpenFlags::TRUNCATE, DescriptorFlags::READ),
            (OpenFlags::empty(), DescriptorFlags::WRITE),
        ] {
            let refusal = open_beneath(&dir, PathFlags::empty(), "file", how, flags).err();
            assert!(
                matches!(refusal, Some(Refusal::Code(ErrorCode::NotPermitted))),
                "{how:?}"
            );
        }
        assert_eq!(fs::read(root.path().join("file")).unwrap(), b"text");
    }
}
