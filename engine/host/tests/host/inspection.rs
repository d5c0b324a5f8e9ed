//! Inspecting a component shows it as it would be registered, and registers nothing.

use heddle_runtime::ports::{Functions, NewPlugin, RegisterError};

use super::*;

#[tokio::test]
async fn an_inspection_shows_requested_permissions_and_grants_and_registers_nothing() {
    let host = Host::new(granting("plugins: {http: {http: [api.example.org]}}")).unwrap();
    let inspect = |name: &str| host.inspect(NewPlugin::of(component(name)));
    let info = inspect("http").await.unwrap();
    assert_eq!(&*info.name, "http");
    assert_eq!(info.grants, ["http: https://api.example.org"]);
    let hostile = inspect("fixtures/hostile").await.unwrap();
    for (requested, expected) in [
        (&info.requested_permissions, &["http", "tools"][..]),
        (
            &hostile.requested_permissions,
            &["clock", "environment", "files", "random", "sockets"],
        ),
    ] {
        let is_requested = |permission: &&str| requested.iter().any(|one| one == *permission);
        assert!(expected.iter().all(is_requested), "{requested:?}");
    }
    assert!(info.functions.iter().any(|function| &*function.name == "request"));
    assert!(host.plugins().is_empty() && !host.has(&info.digest));
    assert_eq!(inspect("fixtures/raw-tool").await.unwrap_err().to_string(), {
        let refused = register(&host, component("fixtures/raw-tool"), None).await;
        refused.unwrap_err().to_string()
    });
}

#[tokio::test]
async fn an_inspection_refuses_what_a_registration_would_refuse() {
    let host = host_with(settings(), &["bench"]).await;
    let known = host.inspect(NewPlugin::of(component("bench"))).await.unwrap();
    assert_eq!(known.digest, host.plugins()[0].digest);
    let other = NewPlugin {
        name: Some("other".to_owned()),
        ..NewPlugin::of(component("bench"))
    };
    let refused = host.inspect(other).await.unwrap_err();
    assert!(
        refused.to_string().contains("a component has only one name"),
        "{refused}"
    );
    let taken = NewPlugin {
        name: Some("bench".to_owned()),
        version: Some(known.version.to_string()),
        ..NewPlugin::of(component("starter"))
    };
    let refused = host.inspect(taken).await.unwrap_err();
    assert!(matches!(refused, RegisterError::VersionTaken { .. }), "{refused}");
    assert_eq!(host.plugins().len(), 1);
}
