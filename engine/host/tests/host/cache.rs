//! Compiled components are kept on disk, and a file that is damaged costs a compilation.

use std::{fs, path::PathBuf};

use super::*;

fn in_folder(folder: &Path) -> HostSettings {
    HostSettings {
        cache_dir: Some(folder.join("cache")),
        ..settings()
    }
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect();
    // Beside what is compiled stands the component as it is.
    files.retain(|path| path.extension().is_some_and(|extension| extension == "code"));
    files.sort();
    files
}

#[tokio::test]
async fn a_component_is_compiled_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = in_folder(folder.path());
    host_with(settings.clone(), &["fixtures/raw"]).await;
    let kept = files(folder.path());
    assert_eq!(kept.len(), 1, "one file, and nothing half-written: {kept:?}");
    // The file of one component is put in the place of another's: where it is used, it shows.
    host_with(settings.clone(), &["fixtures/raw-tool"]).await;
    let other = files(folder.path())
        .into_iter()
        .find(|path| *path != kept[0])
        .unwrap();
    fs::copy(&kept[0], other).unwrap();
    let host = Host::new(settings).unwrap();
    let info = register(&host, component("fixtures/raw-tool"), Some("mixed"))
        .await
        .unwrap();
    assert!(
        info.functions
            .iter()
            .any(|function| &*function.name == "not-json"),
        "{info:?}"
    );
}

#[tokio::test]
async fn a_damaged_file_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let settings = in_folder(folder.path());
    host_with(settings.clone(), &["fixtures/raw"]).await;
    let [file] = &files(folder.path())[..] else {
        panic!("one file")
    };
    let whole = fs::read(file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() / 2], &whole[..10], b""] {
        fs::write(file, damaged).unwrap();
        let host = host_with(settings.clone(), &["fixtures/raw"]).await;
        assert_eq!(
            failure(&host, "array").await.kind,
            heddle_kernel::FailureKind::InvalidOutcome
        );
        assert_eq!(fs::read(file).unwrap(), whole, "it is mended");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_enter_the_folder() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    host_with(in_folder(folder.path()), &["fixtures/raw"]).await;
    let file = &files(folder.path())[0];
    let mode = fs::metadata(file.parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn without_a_folder_nothing_is_kept_and_all_works() {
    let host = host_with(
        HostSettings {
            cache_dir: None,
            ..settings()
        },
        &["fixtures/raw"],
    )
    .await;
    assert_eq!(
        failure(&host, "array").await.kind,
        heddle_kernel::FailureKind::InvalidOutcome
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let settings = HostSettings {
        cache_dir: Some(file.path().join("below")),
        ..settings()
    };
    assert!(
        Host::new(settings)
            .err()
            .unwrap()
            .to_string()
            .contains("folder for compiled components")
    );
}
