//! Compiled components are cached on disk: a damaged or replaced file costs a compilation, and the folder stays within
//! its limits.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::*;

fn in_folder(folder: &Path) -> HostSettings {
    HostSettings {
        cache: Some(CacheSettings::new(folder.join("cache"), cache_key())),
        ..settings()
    }
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect();
    files.sort();
    files
}

/// The files of compiled components.
fn compiled(folder: &Path) -> Vec<PathBuf> {
    let mut files = files(folder);
    // The component itself is stored beside its code.
    files.retain(|path| path.extension().is_some_and(|extension| extension == "code"));
    files
}

/// The names of the cached files of these components.
fn names(folder: &Path, components: &[&str]) -> Vec<String> {
    let of = |name: &&str| {
        let digest = heddle_kernel::Digest::of(&component(name)).0;
        [format!("{digest}.code"), format!("{digest}.wasm")]
    };
    let mut expected: Vec<String> = components.iter().flat_map(of).collect();
    expected.sort();
    let kept = files(folder).into_iter();
    let mut kept: Vec<String> = kept
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name.contains('.'))
        .collect();
    kept.sort();
    assert_eq!(kept, expected, "the files of {components:?}");
    kept
}

/// Sets the last use of a file to this many days ago.
fn age(path: &Path, days: u64) {
    let file = fs::File::options().append(true).open(path).unwrap();
    let used_at = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
    file.set_modified(used_at).unwrap();
}

#[tokio::test]
async fn a_component_is_compiled_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = in_folder(folder.path());
    host_with(settings.clone(), &["fixtures/raw"]).await;
    let kept = compiled(folder.path());
    assert_eq!(kept.len(), 1, "one file, and nothing half-written: {kept:?}");
    let written = fs::metadata(&kept[0]).unwrap().modified().unwrap();
    host_with(settings.clone(), &["fixtures/raw"]).await;
    assert_eq!(compiled(folder.path()), kept);
    let used = fs::metadata(&kept[0]).unwrap().modified().unwrap();
    assert!(used > written, "its use is noted");
}

#[tokio::test]
async fn the_code_of_another_component_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let settings = in_folder(folder.path());
    host_with(settings.clone(), &["fixtures/raw", "fixtures/raw-tool"]).await;
    let [one, other] = &compiled(folder.path())[..] else {
        panic!("two files")
    };
    let whole = fs::read(other).unwrap();
    fs::copy(one, other).unwrap();
    let host = host_with(settings, &["fixtures/raw", "fixtures/raw-tool"]).await;
    let functions = |name: &str| {
        let plugins = host.plugins();
        let plugin = plugins.iter().find(|plugin| &*plugin.name == name).unwrap();
        plugin
            .functions
            .iter()
            .map(|function| function.name.to_string())
            .collect::<Vec<_>>()
    };
    assert!(functions("raw").contains(&"array".to_owned()));
    assert!(functions("raw-tool").contains(&"as-given".to_owned()));
    assert_eq!(fs::read(other).unwrap(), whole, "it is mended");
}

#[tokio::test]
async fn a_damaged_file_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let settings = in_folder(folder.path());
    host_with(settings.clone(), &["fixtures/raw"]).await;
    let [file] = &compiled(folder.path())[..] else {
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
async fn other_users_may_not_enter_the_folder() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    host_with(in_folder(folder.path()), &["fixtures/raw"]).await;
    let file = &compiled(folder.path())[0];
    let mode = fs::metadata(file.parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn without_a_folder_nothing_is_cached_and_everything_works() {
    let host = host_with(
        HostSettings {
            cache: None,
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
        cache: Some(CacheSettings::new(file.path().join("below"), cache_key())),
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

#[tokio::test]
async fn code_of_another_store_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    host_with(in_folder(folder.path()), &["fixtures/raw"]).await;
    let first = compiled(folder.path());
    let key = CacheKey::random().unwrap();
    let settings = HostSettings {
        cache: Some(CacheSettings::new(folder.path().join("cache"), key)),
        ..settings()
    };
    host_with(settings.clone(), &["fixtures/raw"]).await;
    let mut both = compiled(folder.path());
    both.retain(|file| *file != first[0]);
    let [second] = &both[..] else {
        panic!("{both:?}: it was compiled again, for the other key")
    };
    // Nor in the place of that store's own file.
    let whole = fs::read(second).unwrap();
    fs::copy(&first[0], second).unwrap();
    host_with(settings, &["fixtures/raw"]).await;
    assert_eq!(fs::read(second).unwrap(), whole, "it is mended");
}

#[tokio::test]
async fn a_file_that_changes_later_changes_nothing_that_was_loaded() {
    let folder = tempfile::tempdir().unwrap();
    host_with(in_folder(folder.path()), &["fixtures/raw"]).await;
    let host = host_with(in_folder(folder.path()), &["fixtures/raw"]).await;
    let file = &compiled(folder.path())[0];
    // In place, like an attacker who expects that the file is mapped.
    let len = fs::metadata(file).unwrap().len();
    fs::write(file, vec![0xcc; usize::try_from(len).unwrap()]).unwrap();
    assert_eq!(
        failure(&host, "array").await.kind,
        heddle_kernel::FailureKind::InvalidOutcome
    );
}

/// The same folder, with these limits.
fn limited(folder: &Path, max_bytes: u64) -> HostSettings {
    let cache = CacheSettings {
        max_bytes,
        ..CacheSettings::new(folder.join("cache"), cache_key())
    };
    HostSettings {
        cache: Some(cache),
        ..settings()
    }
}

#[tokio::test]
async fn files_in_use_stay_and_the_others_are_evicted_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let host = host_with(limited(folder.path(), 1 << 30), &["fixtures/raw"]).await;
    let inspected = NewPlugin {
        fallback_name: Some("raw-tool".to_owned()),
        ..NewPlugin::of(component("fixtures/raw-tool"))
    };
    host.inspect(inspected).await.unwrap();
    names(folder.path(), &["fixtures/raw", "fixtures/raw-tool"]);
    // Another server with the same folder has room for one component. The first server's component stays.
    let bytes = |name: &str| {
        let digest = heddle_kernel::Digest::of(&component(name)).0;
        let of_it = files(folder.path()).into_iter();
        let of_it = of_it.filter(|path| path.to_string_lossy().contains(&*digest));
        of_it.map(|path| fs::metadata(path).unwrap().len()).sum::<u64>()
    };
    let room = bytes("fixtures/raw");
    let other = Host::new(limited(folder.path(), room)).unwrap();
    names(folder.path(), &["fixtures/raw"]);
    register(&other, component("fixtures/raw-tool"), Some("raw-tool"))
        .await
        .unwrap();
    names(folder.path(), &["fixtures/raw", "fixtures/raw-tool"]);
    // Each server releases its component when the plugin is removed.
    other.remove(&heddle_kernel::Digest::of(&component("fixtures/raw-tool")));
    drop(other);
    drop(Host::new(limited(folder.path(), room)).unwrap());
    names(folder.path(), &["fixtures/raw"]);
    drop(host);
    drop(Host::new(limited(folder.path(), 1)).unwrap());
    names(folder.path(), &[]);
}

#[tokio::test]
async fn unused_files_are_evicted_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let settings = in_folder(folder.path());
    host_with(settings.clone(), &["fixtures/raw", "fixtures/raw-tool"]).await;
    for file in compiled(folder.path()) {
        age(&file, 29);
    }
    let digest = heddle_kernel::Digest::of(&component("fixtures/raw")).0;
    for file in files(folder.path()) {
        if file.to_string_lossy().contains(&*digest) {
            age(&file, 31);
        }
    }
    drop(Host::new(settings).unwrap());
    names(folder.path(), &["fixtures/raw-tool"]);
}

#[tokio::test]
async fn files_of_crashed_processes_are_deleted_and_those_of_running_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    let settings = in_folder(folder.path());
    let host = host_with(settings.clone(), &["fixtures/raw"]).await;
    let processes = folder.path().join("cache/processes");
    let living = || {
        let folders = fs::read_dir(&processes)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        folders.filter(|path| path.is_dir()).count()
    };
    assert_eq!(living(), 1);
    // A process that was killed while it wrote.
    let dead = processes.join("process-dead");
    fs::create_dir(&dead).unwrap();
    for name in ["lock", ".tmpHalf", &"0".repeat(64)] {
        fs::write(dead.join(name), "half").unwrap();
    }
    let second = Host::new(settings).unwrap();
    assert!(!dead.exists());
    assert_eq!(living(), 2, "the first one's is still there");
    drop(second);
    drop(host);
    assert_eq!(living(), 0, "each deletes its own");
}
