//! Several versions of one plugin: which one a name refers to, new builds of a version, and removal.

use heddle_host::Host;
use heddle_kernel::Digest;
use heddle_runtime::ports::{Functions, NewPlugin, RegisterError, ResolveError};

use crate::{component, register, registration::named, settings};

/// A host with these versions of `many`.
async fn host_of(versions: &[&str]) -> Host {
    let host = Host::new(settings()).unwrap();
    let raw = component("fixtures/raw");
    for version in versions {
        register(&host, named(&raw, &format!("many@{version}")), None)
            .await
            .unwrap();
    }
    host
}

fn versions(host: &Host) -> Vec<String> {
    let plugins = host.plugins();
    plugins.iter().map(|plugin| plugin.version.to_string()).collect()
}

/// The version that a name refers to, or the error.
fn version_or_error(host: &Host, uses: &str) -> String {
    match host.resolve(uses) {
        Ok(resolved) => resolved.function.version.to_string(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn the_newest_version_of_a_name_is_found_and_all_are_listed() {
    let host = host_of(&["1.9.0", "1.10.0", "1.11.0-rc.1"]).await;
    assert_eq!(versions(&host), ["1.10.0", "1.9.0", "1.11.0-rc.1"]);
    assert_eq!(version_or_error(&host, "many/array"), "1.10.0");
    let bare = version_or_error(&host, "array");
    assert_eq!(bare, "1.10.0", "older versions do not make it ambiguous");
    let host = host_of(&["1.0.0-rc.1", "1.0.0-rc.2"]).await;
    assert_eq!(
        version_or_error(&host, "many/array"),
        "1.0.0-rc.2",
        "if there is no release"
    );
}

#[tokio::test]
async fn a_version_a_range_and_a_digest_find_the_newest_that_fits() {
    let host = host_of(&["1.2.0", "1.2.7", "1.3.0", "2.0.0-rc.1", "2.1.0"]).await;
    for (wanted, version) in [
        ("1.2.0", "1.2.0"),
        ("1.2", "1.2.7"),
        ("1", "1.3.0"),
        ("^1.2", "1.3.0"),
        ("~1.2", "1.2.7"),
        (">=1.2.5, <1.3", "1.2.7"),
        ("*", "2.1.0"),
        (">=2.0.0-rc.0, <2.1", "2.0.0-rc.1"),
        ("2.0.0-rc.1", "2.0.0-rc.1"),
    ] {
        assert_eq!(
            version_or_error(&host, &format!("many/array@{wanted}")),
            version,
            "{wanted}"
        );
        assert_eq!(
            version_or_error(&host, &format!("array@{wanted}")),
            version,
            "{wanted}"
        );
    }
    let plugins = host.plugins();
    let old = plugins.iter().find(|plugin| &*plugin.version == "1.2.0").unwrap();
    assert_eq!(
        version_or_error(&host, &format!("many/array@sha256:{}", &old.digest.0[..8])),
        "1.2.0"
    );
    assert_eq!(
        version_or_error(&host, &format!("many/array@sha256:{}", old.digest)),
        "1.2.0"
    );
}

#[tokio::test]
async fn an_unknown_version_is_refused_with_the_known_ones() {
    let host = host_of(&["1.2.0", "1.3.0"]).await;
    let error = host.resolve("many/array@^2").unwrap_err();
    let versions = vec!["1.3.0".to_owned(), "1.2.0".to_owned()];
    assert_eq!(
        error,
        ResolveError::NoVersion {
            uses: "many/array@^2".to_owned(),
            plugin: "many".to_owned(),
            versions
        }
    );
    let message = "no version of `many` with that function fits `array@^2`: there is 1.3.0, 1.2.0";
    assert_eq!(version_or_error(&host, "array@^2"), message);
    assert!(version_or_error(&host, "many/aray@^1").contains("no version of `many` with that function"));
    assert!(version_or_error(&host, "meny/array@^1").contains("did you mean many/array?"));
    assert!(version_or_error(&host, "many/array@newest").contains("`newest` is not a version"));
}

#[tokio::test]
async fn another_build_of_a_version_is_a_version_of_its_own_where_that_is_asked_for() {
    let host = host_of(&["1.2.0"]).await;
    let build = named(&component("fixtures/raw-tool"), "many@1.2.0");
    let plain = NewPlugin::of(build.clone());
    let taken = host.register(plain).await.unwrap_err();
    assert!(matches!(taken, RegisterError::VersionTaken { .. }), "{taken}");
    let renumbered = |component| NewPlugin {
        renumbered: true,
        ..NewPlugin::of(component)
    };
    let info = host.register(renumbered(build.clone())).await.unwrap();
    let own = format!("1.2.0+{}", &Digest::of(&build).0[..12]);
    assert_eq!(&*info.version, own);
    assert_eq!(versions(&host), [own.as_str(), "1.2.0"], "it is the newer one");
    assert_eq!(version_or_error(&host, "many/as-given"), own);
    assert_eq!(
        version_or_error(&host, "many/as-given@1.2.0"),
        own,
        "any build of the version"
    );
    assert_eq!(
        version_or_error(&host, "many/array@1.2.0"),
        "1.2.0",
        "the one that has the function"
    );
    assert_eq!(version_or_error(&host, &format!("many/as-given@{own}")), own);
    // An earlier build is registered again, and becomes the newest one.
    let first = named(&component("fixtures/raw"), "many@1.2.0");
    host.register(renumbered(first)).await.unwrap();
    assert_eq!(versions(&host), ["1.2.0", own.as_str()]);
    // A higher version has precedence over every build of a lower one.
    let higher = named(&component("fixtures/raw"), "many@1.2.1");
    host.register(renumbered(higher)).await.unwrap();
    host.register(renumbered(build)).await.unwrap();
    assert_eq!(versions(&host), ["1.2.1", own.as_str(), "1.2.0"]);
}

#[tokio::test]
async fn a_removed_plugin_is_not_found_and_others_are() {
    let host = host_of(&["1.0.0", "2.0.0"]).await;
    let newest = host.resolve("many/array").unwrap().function.digest;
    assert!(host.remove(&newest));
    assert!(!host.remove(&newest));
    assert!(!host.has(&newest));
    assert_eq!(version_or_error(&host, "array"), "1.0.0");
    let last = host.resolve("many/array").unwrap().function.digest;
    assert!(host.remove(&last));
    assert_eq!(host.plugins().len(), 0);
    assert!(version_or_error(&host, "array").contains("no registered plugin"));
}
