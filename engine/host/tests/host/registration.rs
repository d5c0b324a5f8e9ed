//! What is registered, what is refused and why, and which function a name refers to.

use std::time::Duration;

use heddle_kernel::{Digest, FunctionKind};
use heddle_runtime::ports::{Functions, ResolveError};

use super::*;

/// The component with a custom section that names it.
pub(crate) fn named(component: &[u8], identity: &str) -> Arc<[u8]> {
    let section = "heddle-plugin";
    let len = |len: usize| {
        u8::try_from(len)
            .ok()
            .filter(|&len| len < 128)
            .expect("a LEB128 of one byte")
    };
    let mut bytes = component.to_vec();
    bytes.extend([0, len(1 + section.len() + identity.len()), len(section.len())]);
    bytes.extend(section.bytes().chain(identity.bytes()));
    bytes.into()
}

async fn refusal(component: &[u8]) -> String {
    let host = Host::new(HostSettings {
        call_timeout: Duration::from_millis(200),
        ..settings()
    })
    .unwrap();
    let error = register(&host, component.into(), Some("bad")).await.unwrap_err();
    assert!(matches!(error, RegisterError::Refused(_)), "{error:?}");
    assert!(host.plugins().is_empty(), "what is refused is not visible");
    error.to_string()
}

pub(crate) async fn refusal_of_text(text: &str) -> String {
    refusal(&wat::parse_str(text).unwrap()).await
}

#[tokio::test]
async fn the_descriptions_of_all_plugins_take_only_so_many_bytes() {
    let host = host_with(settings(), &["basics"]).await;
    let bytes: usize = host.plugins()[0]
        .functions
        .iter()
        .map(|function| function.input.get().len() + function.output.get().len() + function.summary.len())
        .sum();
    let host = Host::new(HostSettings {
        max_description_bytes: 4 * bytes,
        ..settings()
    })
    .unwrap();
    // Other bytes under another name; the first name in a component is used.
    let copy = |name: &str| NewPlugin {
        name: Some(name.to_owned()),
        ..NewPlugin::of(named(&component("basics"), name))
    };
    let mut registered = 0;
    let refused = loop {
        match host.register(copy(&format!("copy{registered}"))).await {
            Ok(_) => registered += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!((1..4).contains(&registered), "{registered}");
    assert!(refused.contains("max_description_bytes"), "{refused}");
    assert_eq!(host.plugins().len(), registered);
    // A hidden plugin, which runs are pinned to, has as much room again.
    let kept = NewPlugin {
        hidden: true,
        ..copy("kept")
    };
    host.register(kept).await.unwrap();
    // Removing a plugin makes room.
    host.remove(&host.plugins()[0].digest);
    host.register(copy("another")).await.unwrap_err();
    host.remove(&Digest::of(&named(&component("basics"), "kept")));
    host.register(copy("another")).await.unwrap();
}

#[tokio::test]
async fn a_plugin_is_listed_as_it_describes_itself() {
    let host = host_with(settings(), &["bench", "fixtures/raw"]).await;
    let listed = host.plugins();
    let names: Vec<_> = listed.iter().map(|plugin| &*plugin.name).collect();
    assert_eq!(names, ["bench", "raw"]);
    let bench = &listed[0];
    assert_eq!((bench.digest.clone(), bench.size), {
        let component = component("bench");
        (Digest::of(&component), component.len() as u64)
    });
    assert!(
        bench
            .imports
            .iter()
            .any(|import| import == "heddle:plugin/host@0.1.0"),
        "{:?}",
        bench.imports
    );
    let count = bench
        .functions
        .iter()
        .find(|function| &*function.name == "count")
        .unwrap();
    assert_eq!(
        (count.kind, count.read_only, count.idempotent),
        (FunctionKind::Node, true, true)
    );
    assert_eq!(count.routes, ["even", "odd"]);
    assert!(count.config.as_ref().unwrap().get().contains("until"));
    assert_eq!(
        &*listed[1].version, "0.0.0",
        "it carries no version, and is named by its file"
    );
}

#[tokio::test]
async fn a_component_that_is_not_a_plugin_is_refused_with_the_reason() {
    assert!(refusal(b"\x89PNG").await.contains("not WebAssembly"));
    assert!(
        refusal(b"\0asm\x01\0\0\0")
            .await
            .contains("core WebAssembly module, not a component")
    );
    let newer = r#"(component (instance $i) (export "heddle:plugin/node@9.0.0" (instance $i)))"#;
    let newer = refusal_of_text(newer).await;
    assert!(
        newer.contains("another version of the contract")
            && newer.contains("neither `heddle:plugin/node@0.1.0` nor `heddle:plugin/tool@0.1.0`"),
        "{newer}"
    );
}

#[tokio::test]
async fn an_import_that_the_host_does_not_have_is_named() {
    let text = r#"(component
        (import "acme:db/query@1.0.0" (instance (export "ask" (func))))
        (instance $i) (export "heddle:plugin/node@0.1.0" (instance $i)))"#;
    let refused = refusal_of_text(text).await;
    assert!(refused.contains("`acme:db/query@1.0.0`"), "{refused}");
}

#[tokio::test]
async fn an_interface_without_its_functions_is_refused() {
    let text = r#"(component (instance $i) (export "heddle:plugin/tool@0.1.0" (instance $i)))"#;
    let refused = refusal_of_text(text).await;
    assert!(
        refused.contains("`heddle:plugin/tool@0.1.0` without the function `describe`"),
        "{refused}"
    );
}

/// A component whose functions have other types than those of the contract, and whose start function does `start`.
pub(crate) fn with_start(start: &str) -> String {
    format!(
        r#"(component
            (core module $m (func $start {start}) (start $start) (func (export "f")))
            (core instance $c (instantiate $m))
            (func $f (canon lift (core func $c "f")))
            (instance $i (export "describe" (func $f)) (export "call" (func $f)))
            (export "heddle:plugin/tool@0.1.0" (instance $i)))"#
    )
}

#[tokio::test]
async fn functions_of_another_type_are_refused() {
    let refused = refusal_of_text(&with_start("")).await;
    assert!(
        refused.contains("does not describe its functions") && refused.contains("type mismatch"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_component_that_traps_or_never_ends_when_asked_is_refused() {
    let traps = refusal_of_text(&with_start("unreachable")).await;
    assert!(
        traps.contains("wasm `unreachable` instruction executed"),
        "{traps}"
    );
    let recurses = refusal_of_text(&with_start("(call $start)")).await;
    assert!(recurses.contains("call stack exhausted"), "{recurses}");
    let loops = refusal_of_text(&with_start("(loop (br 0))")).await;
    assert!(
        loops.contains("ran longer than its limit of 200 ms (time, the server's default)"),
        "{loops}"
    );
}

#[tokio::test]
async fn a_component_that_begins_with_too_much_memory_is_refused() {
    let text = with_start("").replace("(func $start", "(memory 1600) (func $start");
    let refused = refusal_of_text(&text).await;
    let limit = "needed more memory than its limit of 64 MiB (memory, the server's default)";
    assert!(refused.contains(limit), "{refused}");
}

#[tokio::test]
async fn registering_the_same_component_again_succeeds() {
    let host = host_with(settings(), &["bench"]).await;
    let again = register(&host, component("bench"), Some("another"))
        .await
        .unwrap();
    assert_eq!(&*again.name, "bench");
    assert_eq!(host.plugins().len(), 1);
}

#[tokio::test]
async fn a_version_belongs_to_one_component() {
    let host = Host::new(settings()).unwrap();
    let raw = named(&component("fixtures/raw"), "twice@1.0.0");
    register(&host, raw.clone(), None).await.unwrap();
    let error = register(&host, named(&component("fixtures/raw-tool"), "twice@1.0.0"), None)
        .await
        .unwrap_err();
    let RegisterError::VersionTaken {
        name,
        version,
        registered,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(
        (name.as_str(), version.as_str(), registered),
        ("twice", "1.0.0", Digest::of(&raw))
    );
    assert_eq!(host.plugins().len(), 1);
}

#[tokio::test]
async fn a_bare_name_finds_the_function_that_only_one_plugin_has() {
    let host = host_with(settings(), &["bench", "fixtures/hostile"]).await;
    assert_eq!(host.resolve("touch").unwrap().function.to_string(), "bench/touch");
    let raw = component("fixtures/raw");
    register(&host, named(&raw, "one@1.0.0"), None).await.unwrap();
    register(&host, named(&raw, "two@1.0.0"), None).await.unwrap();
    let candidates = vec!["one/array".to_owned(), "two/array".to_owned()];
    let error = host.resolve("array").unwrap_err();
    assert_eq!(
        error,
        ResolveError::Ambiguous {
            uses: "array".to_owned(),
            candidates
        }
    );
    let ResolveError::Unknown { similar, .. } = host.resolve("bench/tuch").unwrap_err() else {
        panic!()
    };
    assert_eq!(similar, ["bench/touch"]);
    assert!(matches!(
        host.resolve("nobody/touch"),
        Err(ResolveError::Unknown { .. })
    ));
    assert!(matches!(host.resolve(""), Err(ResolveError::Unknown { .. })));
}

#[tokio::test]
async fn a_hidden_plugin_is_called_by_digest_alone_until_it_is_shown() {
    let host = host_with(settings(), &["fixtures/raw"]).await;
    let old = named(&component("fixtures/raw-tool"), "raw@0.0.0");
    let add = |hidden| NewPlugin {
        hidden,
        ..NewPlugin::of(old.clone())
    };
    let info = host.register(add(true)).await.unwrap();
    assert!(host.has(&info.digest));
    assert_eq!(host.plugins().len(), 1);
    assert!(host.resolve("as-given").is_err());
    let mut call = call(&host, "array", "{}", "null");
    call.function.digest = info.digest.clone();
    call.function.function = "goes-on".into();
    host.call(call).await.unwrap();
    let taken = host.register(add(false)).await.unwrap_err();
    assert!(matches!(taken, RegisterError::VersionTaken { .. }), "{taken}");
    let renamed = NewPlugin {
        name: Some("renamed".to_owned()),
        ..add(false)
    };
    assert_eq!(&*host.register(renamed).await.unwrap().name, "renamed");
    assert_eq!(
        host.resolve("as-given").unwrap().function.to_string(),
        "renamed/as-given"
    );
}

#[tokio::test]
async fn registrations_at_the_same_time_end_well() {
    let host = Host::new(settings()).unwrap();
    let both =
        futures_util::future::join_all((0..4).map(|_| register(&host, component("bench"), None))).await;
    assert!(both.iter().all(Result::is_ok));
    assert_eq!(host.plugins().len(), 1);
}
