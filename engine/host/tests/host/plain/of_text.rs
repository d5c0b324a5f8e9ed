//! Components of WebAssembly text, and some from other tools: names, refusals, documentation.

use super::*;

/// A component of WebAssembly text.
pub(super) async fn of_text(text: &str) -> Result<(Host, PluginInfo), RegisterError> {
    let host = Host::new(settings()).unwrap();
    let bytes = wat::parse_str(text).unwrap();
    let info = register(&host, bytes.into(), Some("text")).await?;
    Ok((host, info))
}

/// A core module with a function that adds, lifted as `$add`.
const ADDS: &str = r#"
    (core module $m (func (export "add") (param i32 i32) (result i32)
        (i32.add (local.get 0) (local.get 1))))
    (core instance $c (instantiate $m))
    (func $add (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $c "add")))"#;

#[tokio::test]
async fn a_component_of_text_is_a_plugin() {
    let (host, info) = of_text(&format!(r#"(component {ADDS} (export "add-up" (func $add)))"#))
        .await
        .unwrap();
    assert_eq!((&*info.name, &*info.version), ("text", "0.0.0"));
    let sum = call_tool(&host, "text/add-up", r#"{"b": 2, "a": 40}"#)
        .await
        .unwrap();
    assert_eq!(sum.get(), "42");
}

#[tokio::test]
async fn interfaces_with_the_same_last_part_are_named_with_their_packages() {
    let (host, info) = of_text(&format!(
        r#"(component {ADDS}
            (instance $i (export "add" (func $add)))
            (export "acme:one/math@1.0.0" (instance $i))
            (export "acme:two/math@1.0.0" (instance $i))
            (export "acme:three/other@1.0.0" (instance $i))
            (export "acme:three/other@1.1.0" (instance $i))
            (export "plain" (instance $i)))"#
    ))
    .await
    .unwrap();
    let names: Vec<_> = info.functions.iter().map(|function| &*function.name).collect();
    assert_eq!(names, ["one-math.add", "other.add", "plain.add", "two-math.add"]);
    assert_eq!(info.left_out.len(), 1);
    assert!(
        info.left_out[0].starts_with("`acme:three/other@1.0.0`: a newer version"),
        "{:?}",
        info.left_out
    );
    let sum = call_tool(&host, "text/two-math.add", r#"{"b": 2, "a": 1}"#)
        .await
        .unwrap();
    assert_eq!(sum.get(), "3");
}

#[tokio::test]
async fn a_component_without_a_function_that_could_be_a_tool_is_refused_with_the_reasons() {
    let refusal = async |text: &str| of_text(text).await.map(|(_, info)| info).unwrap_err().to_string();
    let empty = refusal("(component)").await;
    assert!(
        empty.contains("it exports nothing. A plugin is built with a Heddle SDK"),
        "{empty}"
    );
    let types = refusal(r#"(component (type $t (record (field "a" u8))) (export "t" (type $t)))"#).await;
    assert!(types.contains("it exports no function"), "{types}");
    let handles = refusal(
        r#"(component
            (type $r (resource (rep i32)))
            (export $e "r" (type $r))
            (core module $m (func (export "f") (param i32)))
            (core instance $c (instantiate $m))
            (func $f (param "of" (own $e)) (canon lift (core func $c "f")))
            (export "close" (func $f)))"#,
    )
    .await;
    assert!(
        handles.contains("no function that it exports can be a tool: `close`: it takes a resource"),
        "{handles}"
    );
}

#[tokio::test]
async fn a_function_whose_types_are_too_many_is_left_out_and_the_others_stay() {
    let mut types =
        r#"(type $t0 (record (field "a" u8) (field "b" u8)))(export $e0 "t0" (type $t0))"#.to_owned();
    for at in 1..14 {
        let before = at - 1;
        types.push_str(&format!(
            r#"(type $t{at} (record (field "a" $e{before}) (field "b" $e{before})))
               (export $e{at} "t{at}" (type $t{at}))"#
        ));
    }
    let (_, info) = of_text(&format!(
        r#"(component {ADDS} (export "add" (func $add)) {types}
            (core module $n (memory (export "m") 1) (func (export "f") (result i32) (i32.const 0)))
            (core instance $d (instantiate $n))
            (func $f (result $e13) (canon lift (core func $d "f") (memory (core memory $d "m"))))
            (export "wide" (func $f)))"#
    ))
    .await
    .unwrap();
    assert_eq!(info.functions.len(), 1);
    assert_eq!(
        info.left_out,
        ["`wide`: it returns values that are made of more than 5000 types"]
    );
}

#[tokio::test]
async fn schemas_and_the_list_of_left_out_exports_have_limits() {
    let mut types = String::from(r#"(type $t0 (record (field "a" u8)))(export $e0 "t0" (type $t0))"#);
    for at in 1..11 {
        let before = at - 1;
        types.push_str(&format!(
            r#"(type $t{at} (record (field "a" $e{before}) (field "b" $e{before})))
               (export $e{at} "t{at}" (type $t{at}))"#
        ));
    }
    let exports: String = (0..200)
        .map(|at| format!(r#"(export "f{at}" (func $f))"#))
        .collect();
    let (_, info) = of_text(&format!(
        r#"(component {types}
            (core module $n (memory (export "m") 1) (func (export "f") (result i32) (i32.const 0)))
            (core instance $d (instantiate $n))
            (func $f (result $e10) (canon lift (core func $d "f") (memory (core memory $d "m"))))
            {exports})"#
    ))
    .await
    .unwrap();
    let bytes: usize = info
        .functions
        .iter()
        .map(|function| function.output.get().len())
        .sum();
    assert!((3 << 20..=4 << 20).contains(&bytes), "{bytes}");
    assert_eq!(info.left_out.len(), 101);
    assert!(
        info.left_out[0].ends_with("the schemas of all functions would take more than 4 MiB"),
        "{}",
        info.left_out[0]
    );
    let more = 200 - info.functions.len() - 100;
    assert_eq!(info.left_out[100], format!("{more} more"));
}

#[tokio::test]
async fn a_component_that_traps_when_it_starts_is_refused() {
    let refused = of_text(
        r#"(component
            (core module $m (func $s unreachable) (start $s) (func (export "f")))
            (core instance $c (instantiate $m))
            (func $f (canon lift (core func $c "f")))
            (export "f" (func $f)))"#,
    )
    .await
    .map(|(_, info)| info)
    .unwrap_err()
    .to_string();
    assert!(
        refused.contains("wasm `unreachable` instruction executed"),
        "{refused}"
    );
}

/// The section in which WIT tools store the doc comments of a package, as WebAssembly text.
fn documentation(wit: &str) -> String {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("math.wit", wit).unwrap();
    let section = wit_parser::PackageMetadata::extract(&resolve, package)
        .encode()
        .unwrap();
    let bytes: String = section.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!(r#"(@custom "package-docs" "{bytes}")"#)
}

#[tokio::test]
async fn documentation_that_a_component_carries_describes_its_tools() {
    let docs = documentation(
        r#"
        package acme:one@1.0.0;

        interface math {
            /// Adds,
            /// too.
            add: func(a: u32, b: u32) -> u32;
        }

        world calculator {
            export math;
            export inner: interface {
                /// Adds inside.
                add: func(a: u32, b: u32) -> u32;
            }

            /// Adds two numbers.
            ///
            /// They wrap.
            export add: func(a: u32, b: u32) -> u32;
        }
        "#,
    );
    let (_, info) = of_text(&format!(
        r#"(component {ADDS}
            (instance $i (export "add" (func $add)))
            (export "add" (func $add))
            (export "inner" (instance $i))
            (export "acme:one/math@1.0.0" (instance $i))
            {docs})"#
    ))
    .await
    .unwrap();
    let add = function(&info, "add");
    assert_eq!(add.summary, "Adds two numbers.");
    let input: Value = serde_json::from_str(add.input.get()).unwrap();
    assert_eq!(input["description"], "Adds two numbers.\n\nThey wrap.");
    assert_eq!(function(&info, "math.add").summary, "Adds, too.");
    assert_eq!(function(&info, "inner.add").summary, "Adds inside.");
    for damaged in [r"\01{", r"\07{}", r"\01[]", r"\01{\22worlds\22:1}", ""] {
        let (_, info) = of_text(&format!(
            r#"(component {ADDS} (export "add" (func $add)) (@custom "package-docs" "{damaged}"))"#
        ))
        .await
        .unwrap();
        assert_eq!(info.functions[0].summary, "", "{damaged}");
    }
}

#[tokio::test]
async fn a_component_for_wasi_0_3_is_refused_with_a_hint() {
    let refused = of_text(
        r#"(component
            (core module $m (func (export "f") (param i32)))
            (core instance $c (instantiate $m))
            (func $f (param "of" (stream u8)) (canon lift (core func $c "f")))
            (export "f" (func $f)))"#,
    )
    .await
    .map(|(_, info)| info)
    .unwrap_err()
    .to_string();
    assert!(
        refused.ends_with("are of WASI 0.3: build it for WASI 0.2"),
        "{refused}"
    );
}

#[tokio::test]
async fn the_function_that_builds_a_python_component_is_not_a_tool() {
    let (_, info) = of_text(&format!(
        r#"(component {ADDS}
            (core module $n (func (export "init") (param i32 i32 i32)))
            (core instance $d (instantiate $n))
            (func $init (param "app-name" u32) (param "symbols" u32) (param "stub-wasi" bool)
                (canon lift (core func $d "init")))
            (instance $i (export "init" (func $init)))
            (export "add" (func $add))
            (export "exports" (instance $i)))"#
    ))
    .await
    .unwrap();
    assert_eq!(info.functions.len(), 1);
    assert_eq!(
        info.left_out,
        ["`exports#init`: componentize-py calls it once, when it builds the component"]
    );
}

#[tokio::test]
async fn a_component_of_the_contract_is_called_by_it_alone() {
    let other = component("fixtures/other");
    let host = host_with(settings(), &["bench"]).await;
    assert!(host.plugins()[0].left_out.is_empty());
    let info = register(&host, other, Some("other")).await.unwrap();
    assert_eq!(info.functions.len(), 1);
    assert_eq!(
        call_tool(&host, "other/greet", r#"{"name": "you"}"#)
            .await
            .unwrap()
            .get(),
        "\"Hello, you!\""
    );
}

#[tokio::test]
async fn a_component_that_others_published_is_a_plugin() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/elsewhere/adder.wasm");
    let host = Host::new(settings()).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let info = register(&host, bytes.into(), Some("adder")).await.unwrap();
    let names: Vec<_> = info.functions.iter().map(|function| &*function.name).collect();
    assert_eq!(names, ["add.add"]);
    let input: Value = serde_json::from_str(info.functions[0].input.get()).unwrap();
    assert_eq!(input["required"], json!(["x", "y"]));
    let sum = call_tool(&host, "adder/add.add", r#"{"x": 40, "y": 2}"#)
        .await
        .unwrap();
    assert_eq!(sum.get(), "42");
}
