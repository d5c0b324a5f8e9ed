//! Folders that may not be granted, since the engine relies on their contents.

use std::fs;

use heddle_host::Protected;
use heddle_runtime::ports::PolicyRefused;
use serde_json::{Value, json};

use super::*;

/// A host with a store and a cache below this folder.
fn host(root: &Path, policy: &Value) -> Result<Host, String> {
    let protected = vec![
        Protected::new("the store", root.join("data/heddle.db")),
        Protected::new("the cache", root.join("data/heddle.db.cache")),
        Protected::new("the program", root.join("bin/heddle")).readable(),
    ];
    let settings = HostSettings {
        protected,
        ..granting(&policy.to_string())
    };
    Host::new(settings).map_err(|error| error.to_string())
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["data/heddle.db.cache/components", "data/free", "secrets", "bin"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    fs::write(root.path().join("secrets/key"), "correct horse").unwrap();
    root
}

#[tokio::test]
async fn a_folder_that_the_engine_relies_on_is_granted_by_no_policy() {
    let root = root();
    let at = |path: &str| root.path().join(path);
    let secret = json!({"key": {"file": at("secrets/key"), "hosts": ["api.example.org"]}});
    for (dir, what) in [
        ("data", "contains the store"),
        ("", "contains the store"),
        ("data/heddle.db.cache", "contains the cache"),
        ("data/heddle.db.cache/components", "is in the cache"),
        (
            "secrets",
            "contains the file of the secret `key` of plugin `other`",
        ),
    ] {
        let policy = json!({"plugins": {"a": {"dirs": [{"path": at(dir), "at": "/x"}]}, "other": {"secrets": secret}}});
        let refusal = host(root.path(), &policy).err().unwrap();
        let named = at(dir).display().to_string();
        assert!(
            refusal.contains("plugin `a`") && refusal.contains(what) && refusal.contains(&named),
            "{dir}: {refusal}"
        );
    }
    let dir = |write| json!({"plugins": {"a": {"dirs": [{"path": at("bin"), "at": "/x", "write": write}]}}});
    assert!(host(root.path(), &dir(false)).is_ok());
    assert!(
        host(root.path(), &dir(true))
            .err()
            .unwrap()
            .contains("contains the program")
    );
}

/// They have the engine's memory and environment.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_files_of_processes_are_granted_by_no_policy() {
    let root = root();
    let link = root.path().join("link");
    std::os::unix::fs::symlink("/proc/self", &link).unwrap();
    for dir in [
        Path::new("/proc"),
        Path::new("/proc/self"),
        Path::new("/proc/self/fd"),
        &link,
    ] {
        let policy = json!({"plugins": {"a": {"dirs": [{"path": dir, "at": "/x"}]}}});
        let refusal = host(root.path(), &policy).err().unwrap();
        assert!(
            refusal.contains("the files of the system's processes"),
            "{}: {refusal}",
            dir.display()
        );
    }
}

#[tokio::test]
async fn a_policy_that_is_set_over_the_api_may_not_overlap_either() {
    let root = root();
    let at = |path: &str| root.path().join(path);
    let host = host(root.path(), &json!({"plugins": {}})).unwrap();
    let set = async |name: &str, policy: Value| {
        let policy = object::json(&policy.to_string()).unwrap();
        host.set_policy(name, Some(policy))
            .await
            .map_err(|refused| match refused {
                PolicyRefused::Invalid(problem) => problem,
                fixed => panic!("{fixed}"),
            })
    };
    let dir = |path: &str| json!({"dirs": [{"path": at(path), "at": "/x"}]});
    let secret = json!({"secrets": {"key": {"file": at("secrets/key"), "hosts": ["api.example.org"]}}});
    assert!(
        set("a", dir("data"))
            .await
            .unwrap_err()
            .contains("contains the store")
    );
    set("a", dir("data/free")).await.unwrap();
    set("a", dir("secrets")).await.unwrap();
    // In either order.
    let refusal = set("b", secret.clone()).await.unwrap_err();
    assert!(
        refusal.contains("plugin `a`") && refusal.contains("of plugin `b`"),
        "{refusal}"
    );
    host.set_policy("a", None).await.unwrap();
    set("b", secret).await.unwrap();
    assert!(
        set("a", dir("secrets"))
            .await
            .unwrap_err()
            .contains("of plugin `b`")
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_granted_folder_that_becomes_a_link_leads_nowhere() {
    let root = root();
    let at = |path: &str| root.path().join(path);
    fs::write(at("secrets/x.txt"), "secret").unwrap();
    fs::write(at("data/free/x.txt"), "free").unwrap();
    let policy = json!({"plugins": {"granted": {"dirs": [{"path": at("data/free"), "at": "/data"}]}}});
    let host = host_with(granting(&policy.to_string()), &["fixtures/granted"]).await;
    let read = async || {
        let config = json!({"tries": ["read /data/x.txt"]}).to_string();
        let outcome = run(&host, "granted/file", "{}", &config).await;
        outcome.map(|outcome| outcome.update.to_text())
    };
    assert!(read().await.unwrap().contains("free"));
    // A plugin that may write to the folder above could do this.
    fs::rename(at("data/free"), at("data/away")).unwrap();
    std::os::unix::fs::symlink(at("secrets"), at("data/free")).unwrap();
    assert!(read().await.is_err());
}
