//! Who may register a component under a name that has grants.

use heddle_kernel::Digest;
use heddle_runtime::ports::PolicySource;
use serde_json::json;

use super::*;

const GRANT: &str = "http: https://api.example.org";

/// A component like the fixture, with this name and version.
fn built(name: &str) -> NewPlugin {
    let component = registration::named(&component("fixtures/raw-tool"), name);
    NewPlugin {
        replace_granted: false,
        ..NewPlugin::of(component)
    }
}

fn digest(plugin: &NewPlugin) -> Digest {
    Digest::of(&plugin.component)
}

fn host_for(entry: &serde_json::Value) -> Host {
    Host::new(granting(&json!({"plugins": {"shop": entry}}).to_string())).unwrap()
}

#[tokio::test]
async fn a_component_that_is_new_under_a_granted_name_needs_a_word_for_it() {
    let host = host_for(&json!({"http": ["api.example.org"]}));
    let refused = host.register(built("shop@1.0.0")).await.unwrap_err();
    let RegisterError::Granted { name, grants } = &refused else {
        panic!("{refused}")
    };
    assert_eq!((&**name, &grants[..]), ("shop", &[GRANT.to_owned()][..]));
    assert!(host.plugins().is_empty());
    let word = NewPlugin {
        replace_granted: true,
        ..built("shop@1.0.0")
    };
    assert_eq!(host.register(word).await.unwrap().grants, [GRANT]);
    // It is registered: registering it again changes nothing.
    host.register(built("shop@1.0.0")).await.unwrap();
    // A higher version would be the one that the name refers to.
    let refused = host.register(built("shop@9.0.0")).await.unwrap_err();
    assert!(matches!(refused, RegisterError::Granted { .. }), "{refused}");
    // Neither a given name nor the name of a hidden component avoids the check.
    let given = NewPlugin {
        name: Some("shop".to_owned()),
        ..built("other@1.0.0")
    };
    assert!(matches!(
        host.register(given).await,
        Err(RegisterError::Granted { .. })
    ));
    let hidden = NewPlugin {
        hidden: true,
        ..built("shop@8.0.0")
    };
    host.register(hidden).await.unwrap();
    let shown = host.register(built("shop@8.0.0")).await;
    assert!(matches!(shown, Err(RegisterError::Granted { .. })));
    // An inspection shows the grants that the component would have.
    assert_eq!(host.inspect(built("shop@7.0.0")).await.unwrap().grants, [GRANT]);
    // Limits are not grants.
    let limited = host_for(&json!({"limits": {"at_once": 1}}));
    limited.register(built("shop@1.0.0")).await.unwrap();
}

#[tokio::test]
async fn grants_with_digests_are_for_these_components_alone() {
    let listed = built("shop@1.0.0");
    let pin = format!("sha256:{}", digest(&listed));
    let host = host_for(&json!({"digest": pin, "http": ["api.example.org"], "limits": {"at_once": 3}}));
    assert_eq!(host.register(listed).await.unwrap().grants, [GRANT]);
    let other = built("shop@2.0.0");
    let other_digest = digest(&other);
    for replace_granted in [false, true] {
        let other = NewPlugin {
            replace_granted,
            ..built("shop@2.0.0")
        };
        let refused = host.register(other).await.unwrap_err();
        assert!(matches!(refused, RegisterError::NotPinned { .. }), "{refused}");
        let message = refused.to_string();
        assert!(
            message.contains(&format!("add \"sha256:{other_digest}\" to `digest`")),
            "{message}"
        );
    }
    // A run that is pinned to it can call it, without the grants.
    let kept = NewPlugin {
        hidden: true,
        ..other
    };
    let info = host.register(kept).await.unwrap();
    assert_eq!(
        (info.grants.len(), info.limits),
        (0, vec!["at_once: 3".to_owned()])
    );
    let mut function = host.resolve("shop/as-given").unwrap().function;
    assert!(host.is_granted(&function));
    function.digest = other_digest;
    assert!(!host.is_granted(&function));
}

#[tokio::test]
async fn later_grants_apply_only_to_the_listed_digests() {
    let host = Host::new(settings()).unwrap();
    let (one, two) = (built("shop@1.0.0"), built("shop@2.0.0"));
    let pin = digest(&one);
    host.register(one).await.unwrap();
    host.register(two).await.unwrap();
    let policy = json!({"digest": [pin.to_string()], "clock": true});
    let policy = object::json(&policy.to_string()).unwrap();
    host.set_policy("shop", Some(policy)).await.unwrap();
    assert_eq!(host.policy("shop").source, PolicySource::Set);
    let grants: Vec<_> = host
        .plugins()
        .iter()
        .map(|plugin| (plugin.version.to_string(), plugin.grants.len()))
        .collect();
    assert_eq!(grants, [("2.0.0".to_owned(), 0), ("1.0.0".to_owned(), 1)]);
}
