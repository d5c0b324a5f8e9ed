//! Components that were built without Heddle's WIT: what becomes of their functions and their values.

use heddle_kernel::{FailureKind, FunctionKind};
use heddle_runtime::ports::{FunctionInfo, Functions};
use serde_json::{Value, json};

use super::*;

async fn typed() -> Host {
    host_with(settings(), &["fixtures/typed"]).await
}

fn function<'a>(plugin: &'a PluginInfo, name: &str) -> &'a FunctionInfo {
    plugin
        .functions
        .iter()
        .find(|function| &*function.name == name)
        .unwrap_or_else(|| panic!("there is no {name}"))
}

async fn ask(host: &Host, tool: &str, input: Value) -> Result<Value, Failure> {
    let answer = call_tool(host, &format!("typed/{tool}"), &input.to_string()).await?;
    Ok(serde_json::from_str(answer.get()).unwrap())
}

/// The problems that an input is refused with, as (pointer, problem).
async fn problems(host: &Host, tool: &str, input: &str) -> Vec<(String, String)> {
    let failure = call_tool(host, &format!("typed/{tool}"), input)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidInput, "{failure}");
    assert!(
        failure
            .message
            .starts_with(&format!("`typed/{tool}` was not called: its input ")),
        "{failure}"
    );
    let data: Value = serde_json::from_str(failure.data.as_ref().unwrap().get()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let problems = data["problems"].as_array().unwrap().iter();
    problems
        .map(|problem| (text(&problem["pointer"]), text(&problem["problem"])))
        .collect()
}

fn everything() -> Value {
    json!({
        "yes": true,
        "integers": {
            "s8": i8::MIN, "u8": u8::MAX, "s16": i16::MIN, "u16": u16::MAX,
            "s32": i32::MIN, "u32": u32::MAX, "s64": i64::MIN, "u64": u64::MAX,
        },
        "single": 0.1,
        "double": 1e300,
        "letter": "🧵",
        "text": "line\n\"quoted\" \u{0} ü",
        "bytes": [0, 255],
        "pair": [7, "seven"],
        "point": {"x": -1, "y": 1, "label": null},
        "figures": [
            "nothing", {"circle": 0.5}, {"path": [{"x": 0, "y": 0, "label": "origin"}]},
            {"maybe": null}, {"maybe": 3},
        ],
        "colour": "dark-blue",
        "access": ["read", "list-all"],
        "many": ["b0", "b31"],
        "maybe": null,
        "doubly": {"some": null},
        "results": [{"ok": 1}, {"error": "no"}],
        "bare": [{"ok": null}, {"error": null}],
        "half": {"error": null},
    })
}

#[tokio::test]
async fn every_exported_function_is_a_tool_with_schemas_of_its_types() {
    let host = typed().await;
    let plugin = host.plugins()[0].clone();
    let names: Vec<_> = plugin.functions.iter().map(|function| &*function.name).collect();
    assert_eq!(
        names,
        [
            "greet",
            "shapes.check",
            "shapes.divide",
            "shapes.echo",
            "shapes.flagged",
            "shapes.listed",
            "shapes.maybe",
            "shapes.nothing",
            "shapes.odd",
            "shapes.parse",
            "shapes.records",
            "shapes.say",
            "shapes.spin",
            "shapes.sum",
            "shapes.thrice",
            "shapes.wide",
            "store.counter.limit",
            "store.ready",
        ]
    );
    assert!(
        plugin
            .functions
            .iter()
            .all(|function| function.kind == FunctionKind::Tool)
    );
    let schema = |text: &Json| serde_json::from_str::<Value>(text.get()).unwrap();
    let greet = function(&plugin, "greet");
    assert_eq!(
        schema(&greet.input),
        json!({
            "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"],
            "additionalProperties": false,
        })
    );
    assert_eq!(schema(&greet.output), json!({"type": "string"}));
    let value = schema(&function(&plugin, "shapes.echo").output);
    let of = |key: &str| value["properties"][key].clone();
    assert_eq!(
        value["properties"]["integers"]["properties"]["u64"],
        json!({"type": "integer", "minimum": 0, "maximum": u64::MAX})
    );
    assert_eq!(
        of("letter"),
        json!({"type": "string", "minLength": 1, "maxLength": 1})
    );
    assert_eq!(
        of("pair")["prefixItems"],
        json!([{"type": "integer", "minimum": 0, "maximum": 255}, {"type": "string"}])
    );
    assert_eq!(
        of("colour"),
        json!({"type": "string", "enum": ["red", "green", "dark-blue"]})
    );
    assert_eq!(
        of("access"),
        json!({
            "type": "array", "items": {"type": "string", "enum": ["read", "write", "list-all"]},
            "uniqueItems": true,
        })
    );
    assert_eq!(
        of("maybe"),
        json!({"type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX})
    );
    let required = value["required"].as_array().unwrap();
    assert!(
        !required.contains(&json!("maybe")) && required.contains(&json!("half")),
        "{required:?}"
    );
    assert_eq!(
        schema(&function(&plugin, "shapes.check").output),
        json!({"type": "null"})
    );
    assert_eq!(
        schema(&function(&plugin, "shapes.nothing").input),
        json!({"type": "object", "properties": {}, "additionalProperties": false})
    );
}

#[tokio::test]
async fn what_cannot_be_json_is_left_out_with_the_reason() {
    let host = typed().await;
    let left_out = &host.plugins()[0].left_out;
    let reasons: Vec<_> = [
        "`acme:typed/store@1.2.0#[constructor]counter`: it gives a resource",
        "`acme:typed/store@1.2.0#[method]counter.add`: it takes a resource",
        "`acme:typed/store@1.2.0#open`: it gives a resource",
        "`acme:typed/store@1.2.0#sum-of`: it takes a resource",
    ]
    .into_iter()
    .collect();
    assert_eq!(left_out.len(), reasons.len(), "{left_out:?}");
    for reason in reasons {
        assert!(
            left_out.iter().any(|told| told.starts_with(reason)),
            "{reason}: {left_out:?}"
        );
    }
    assert_eq!(
        ask(&host, "store.counter.limit", json!({})).await.unwrap(),
        json!(u32::MAX)
    );
    assert_eq!(ask(&host, "store.ready", json!({})).await.unwrap(), json!(true));
}

#[tokio::test]
async fn every_type_crosses_in_and_out_as_it_is() {
    let host = typed().await;
    let value = everything();
    // A field that is an option is null or left out, and comes back as null.
    assert_eq!(
        ask(&host, "shapes.echo", json!({"value": value})).await.unwrap(),
        value
    );
    let mut short = value.clone();
    short.as_object_mut().unwrap().remove("maybe");
    short["point"].as_object_mut().unwrap().remove("label");
    assert_eq!(
        ask(&host, "shapes.echo", json!({"value": short})).await.unwrap(),
        value
    );
    for (value, same) in [
        (json!(null), json!(null)),
        (json!({"some": null}), json!({"some": null})),
        (json!({"some": {"some": null}}), json!({"some": {"some": null}})),
        (json!({"some": {"some": true}}), json!({"some": {"some": true}})),
    ] {
        assert_eq!(
            ask(&host, "shapes.thrice", json!({"value": value}))
                .await
                .unwrap(),
            same
        );
    }
    let listed = json!([null, {"some": null}, {"some": 1}]);
    assert_eq!(
        ask(&host, "shapes.listed", json!({"values": listed}))
            .await
            .unwrap(),
        listed
    );
    assert_eq!(ask(&host, "shapes.maybe", json!({})).await.unwrap(), json!(null));
    let mut sum = serde_json::Map::new();
    for name in "abcdefghijklmnop".chars() {
        sum.insert(name.to_string(), json!(u32::MAX));
    }
    assert_eq!(
        ask(&host, "shapes.sum", json!(sum)).await.unwrap(),
        json!(16 * u64::from(u32::MAX))
    );
    assert_eq!(
        ask(&host, "shapes.nothing", json!({})).await.unwrap(),
        json!(null)
    );
    assert_eq!(
        ask(&host, "greet", json!({"name": "you"})).await.unwrap(),
        json!("Hello, you!")
    );
}

#[tokio::test]
async fn numbers_are_exact_and_what_is_no_number_is_named() {
    let host = typed().await;
    let quotient = call_tool(
        &host,
        "typed/shapes.divide",
        r#"{"a": -9223372036854775807, "b": 1}"#,
    );
    assert_eq!(quotient.await.unwrap().get(), "-9223372036854775807");
    let mut value = everything();
    for (single, double) in [
        (json!("NaN"), json!("NaN")),
        (json!("Infinity"), json!("-Infinity")),
        (json!(3.4028235e38), json!(f64::MIN_POSITIVE)),
        (json!(-0.0), json!(-0.0)),
    ] {
        value["single"] = single;
        value["double"] = double;
        let given = json!({"value": value}).to_string();
        let answer = call_tool(&host, "typed/shapes.echo", &given).await.unwrap();
        assert_eq!(answer.get(), value.to_string());
    }
    assert_eq!(
        ask(&host, "shapes.odd", json!({})).await.unwrap(),
        json!(["NaN", "NaN", "Infinity", "-Infinity"])
    );
    assert_eq!(
        ask(&host, "shapes.maybe", json!({"value": 1e3})).await.unwrap(),
        json!(1000)
    );
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_its_pointer() {
    let host = typed().await;
    for (change, pointer, problem) in [
        (json!({"yes": 1}), "/value/yes", "expected true or false, got 1"),
        (
            json!({"letter": "ab"}),
            "/value/letter",
            "expected a string of one character, got \"ab\"",
        ),
        (json!({"letter": ""}), "/value/letter", "one character"),
        (
            json!({"text": null}),
            "/value/text",
            "expected a string, got null",
        ),
        (
            json!({"single": 1e39}),
            "/value/single",
            "expected a number (f32)",
        ),
        (json!({"double": "1"}), "/value/double", "expected a number (f64)"),
        (
            json!({"bytes": [0, 256]}),
            "/value/bytes/1",
            "a whole number from 0 to 255 (u8), got 256",
        ),
        (
            json!({"bytes": "AAEC"}),
            "/value/bytes",
            "expected an array (list<u8>), got \"AAEC\"",
        ),
        (
            json!({"pair": [1]}),
            "/value/pair",
            "expected an array of 2, got one of 1",
        ),
        (json!({"pair": [-1, "x"]}), "/value/pair/0", "got -1"),
        (
            json!({"point": {"x": 0}}),
            "/value/point",
            "the field `y` (s32) is missing",
        ),
        (json!({"point": {"x": 0, "y": 0.5}}), "/value/point/y", "got 0.5"),
        (
            json!({"point": {"x": 0, "y": 0, "z/~": 0}}),
            "/value/point/z~1~0",
            "there is no such field",
        ),
        (
            json!({"point": []}),
            "/value/point",
            "expected an object of fields, got an array",
        ),
        (
            json!({"figures": ["nothing", {"square": 1}]}),
            "/value/figures/1/square",
            "`circle`, `path` or `maybe`",
        ),
        (
            json!({"figures": ["circle"]}),
            "/value/figures/0",
            "the case `circle` carries a value",
        ),
        (
            json!({"figures": [{"nothing": null}]}),
            "/value/figures/0/nothing",
            "no such case",
        ),
        (
            json!({"figures": ["square"]}),
            "/value/figures/0",
            "there is no case \"square\"",
        ),
        (
            json!({"figures": [{"maybe": 1, "path": []}]}),
            "/value/figures/0",
            "an object with one key",
        ),
        (
            json!({"figures": [{"path": [{"x": 0, "y": "0"}]}]}),
            "/value/figures/0/path/0/y",
            "got \"0\"",
        ),
        (
            json!({"colour": "blue"}),
            "/value/colour",
            "expected `red`, `green` or `dark-blue`, got \"blue\"",
        ),
        (
            json!({"access": ["read", "own"]}),
            "/value/access/1",
            "there is no flag \"own\"",
        ),
        (
            json!({"access": ["read", "read"]}),
            "/value/access/1",
            "given twice",
        ),
        (
            json!({"access": {"read": true}}),
            "/value/access",
            "got an object",
        ),
        (json!({"maybe": -1}), "/value/maybe", "got -1"),
        (
            json!({"doubly": "bare"}),
            "/value/doubly",
            "an object with one key of `some`",
        ),
        (
            json!({"results": [{"ok": 256}]}),
            "/value/results/0/ok",
            "got 256",
        ),
        (
            json!({"results": [{"err": "x"}]}),
            "/value/results/0/err",
            "expected `ok` or `error`",
        ),
        (
            json!({"bare": [{"ok": 1}]}),
            "/value/bare/0/ok",
            "expected null, got 1",
        ),
        (
            json!({"integers": {}}),
            "/value/integers",
            "the field `s8` (s8) is missing",
        ),
    ] {
        let mut value = everything();
        let object = value.as_object_mut().unwrap();
        object.extend(change.as_object().unwrap().clone());
        let given = json!({"value": value}).to_string();
        let told = problems(&host, "shapes.echo", &given).await;
        assert!(
            told[0].0 == pointer && told[0].1.contains(problem),
            "{change}: {told:?}"
        );
    }
}

#[tokio::test]
async fn integers_out_of_their_range_are_refused() {
    let host = typed().await;
    for (name, below, above) in [
        ("s8", "-129", "128"),
        ("u8", "-1", "256"),
        ("s16", "-32769", "32768"),
        ("u16", "-1", "65536"),
        ("s32", "-2147483649", "2147483648"),
        ("u32", "-1", "4294967296"),
        ("s64", "-9223372036854775809", "9223372036854775808"),
        ("u64", "-1", "18446744073709551616"),
    ] {
        for number in [
            below,
            above,
            "1e300",
            "1e999",
            "0.5",
            "123456789012345678901234567890123456789012",
        ] {
            let mut value = everything();
            value["integers"][name] = json!("here");
            let given = json!({"value": value}).to_string().replace("\"here\"", number);
            let told = problems(&host, "shapes.echo", &given).await;
            assert_eq!(told[0].0, format!("/value/integers/{name}"), "{number}");
            assert!(
                told[0]
                    .1
                    .ends_with(&format!("got {}", &number[..number.len().min(40)]))
                    || told[0].1.ends_with('…'),
                "{told:?}"
            );
        }
    }
}

#[tokio::test]
async fn missing_and_extra_parameters_are_refused_and_all_problems_told_at_once() {
    let host = typed().await;
    let told = problems(&host, "shapes.divide", r#"{"b": "x", "c": 1}"#).await;
    let told: Vec<_> = told
        .iter()
        .map(|(at, problem)| (at.as_str(), problem.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("/c", "there is no such parameter: expected `a` or `b`"),
            ("", "the parameter `a` (s64) is missing"),
            (
                "/b",
                "expected a whole number from -9223372036854775808 to 9223372036854775807 (s64), got \"x\""
            ),
        ]
    );
    let many = call_tool(&host, "typed/shapes.sum", "{}").await.unwrap_err();
    assert!(many.message.ends_with("; and 11 more"), "{many}");
    let none = problems(&host, "shapes.nothing", r#"{"a": 1}"#).await;
    assert_eq!(none[0].1, "there is no such parameter: expected none");
    let other = problems(&host, "shapes.nothing", "[1]").await;
    assert_eq!(
        other[0],
        (
            String::new(),
            "expected an object of parameters, got an array".to_owned()
        )
    );
    let half = problems(&host, "greet", r#"{"name": "\ud800"}"#).await;
    assert_eq!(half[0].0, "/name");
}

#[tokio::test]
async fn the_error_of_a_function_is_a_failure_with_the_error_as_data() {
    let host = typed().await;
    let failed = async |tool: &str, input: Value| {
        let failure = ask(&host, tool, input).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Permanent);
        let data = failure.data.map(|data| data.get().to_owned());
        (failure.message.to_string(), data)
    };
    assert_eq!(
        failed("shapes.divide", json!({"a": 1, "b": 0})).await,
        (
            "`shapes.divide` answered the error \"by-zero\"".to_owned(),
            Some("\"by-zero\"".to_owned())
        )
    );
    let (message, data) = failed("shapes.divide", json!({"a": i64::MIN, "b": -1})).await;
    assert_eq!(
        data.as_deref(),
        Some(r#"{"too-large":-9223372036854775808}"#),
        "{message}"
    );
    let (message, data) = failed("shapes.parse", json!({"text": "x"})).await;
    assert_eq!(message, "\"x\" is no u32: invalid digit found in string");
    assert_eq!(data, Some(json!(message).to_string()));
    assert_eq!(
        failed("shapes.check", json!({"fit": false})).await,
        (
            "`shapes.check` answered an error, and says no more of it".to_owned(),
            None
        )
    );
    assert_eq!(
        ask(&host, "shapes.parse", json!({"text": "7"})).await.unwrap(),
        json!(7)
    );
    assert_eq!(
        ask(&host, "shapes.check", json!({"fit": true})).await.unwrap(),
        json!(null)
    );
}

#[tokio::test]
async fn a_state_may_hold_more_than_a_function_takes_and_must_hold_that() {
    let host = typed().await;
    let state = r#"{"a": 7, "b": 2, "other": {"x": 1}}"#;
    let answer = host
        .call(call(&host, "typed/shapes.divide", state, "null"))
        .await
        .unwrap();
    let Answer::Result(answer) = answer else {
        panic!("a tool gives a result")
    };
    assert_eq!(answer.get(), "3");
    let short = call(&host, "typed/shapes.divide", r#"{"a": 7}"#, "null");
    let failure = host.call(short).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    assert!(
        failure.message.contains("the parameter `b` (s64) is missing"),
        "{failure}"
    );
    let mapped = Call {
        mapped: true,
        ..call(&host, "typed/shapes.divide", state, "null")
    };
    let failure = host.call(mapped).await.unwrap_err();
    assert!(
        failure.message.contains("at /other: there is no such parameter"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_plugin_calls_a_typed_tool_by_its_name() {
    let host = host_with(settings(), &["fixtures/typed", "fixtures/hostile"]).await;
    let called = async |tool: &str, input: &str| {
        let config = format!(r#"{{"tool": "{tool}", "input": {input}}}"#);
        let outcome = run(&host, "call", "{}", &config).await?;
        Ok::<_, Failure>(outcome.update.get("answer").unwrap().get().to_owned())
    };
    assert_eq!(
        called("typed/shapes.divide", r#"{"a": 6, "b": 3}"#)
            .await
            .unwrap(),
        "2"
    );
    assert_eq!(
        called("greet", r#"{"name": "you"}"#).await.unwrap(),
        "\"Hello, you!\""
    );
    let refused = called("greet", "{}").await.unwrap_err();
    assert_eq!(refused.kind, FailureKind::InvalidInput);
}

#[tokio::test]
async fn a_wide_result_ends_at_a_limit() {
    let host = host_with(
        HostSettings {
            result_bytes: 100_000,
            value_bytes: 4 << 20,
            ..settings()
        },
        &["fixtures/typed"],
    )
    .await;
    let of = async |tool: &str, len: u32| ask(&host, tool, json!({"len": len})).await;
    assert_eq!(
        of("shapes.wide", 20_000).await.unwrap().as_array().unwrap().len(),
        20_000
    );
    let failure = of("shapes.wide", 30_000).await.unwrap_err();
    assert_eq!(
        (failure.kind, &*failure.message),
        (
            FailureKind::Limit,
            "`typed/shapes.wide` answered 120001 bytes, more than its limit of 100000 bytes (result, the server's default)"
        )
    );
    for (tool, len) in [
        ("shapes.wide", 10_000_000),
        ("shapes.flagged", 20_000),
        ("shapes.records", 100_000),
    ] {
        let failure = of(tool, len).await.unwrap_err();
        assert_eq!(
            (failure.kind, &*failure.message),
            (
                FailureKind::Limit,
                &*format!(
                    "`typed/{tool}` handed over more values than its limit of 4 MiB holds (value_bytes)"
                )
            )
        );
    }
}

#[tokio::test]
async fn a_wide_input_ends_at_a_limit() {
    let host = host_with(
        HostSettings {
            value_bytes: 4 << 20,
            ..settings()
        },
        &["fixtures/typed"],
    )
    .await;
    let list = |len: usize| format!(r#"{{"values": [{}null]}}"#, "null,".repeat(len - 1));
    // Long enough to be read on a thread of its own.
    assert!(
        call_tool(&host, "typed/shapes.listed", &list(60_000))
            .await
            .is_ok()
    );
    let failure = call_tool(&host, "typed/shapes.listed", &list(1_000_000))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    assert!(
        failure
            .message
            .ends_with("its input has more values than its limit of 4 MiB holds (value_bytes)"),
        "{failure}"
    );
    let deep = format!(r#"{{"values": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let failure = call_tool(&host, "typed/shapes.listed", &deep).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidInput, "{failure}");
}

#[tokio::test]
async fn every_limit_of_a_call_holds_for_a_typed_function() {
    let host = host_with(
        HostSettings {
            call_timeout: std::time::Duration::from_millis(300),
            ..settings()
        },
        &["fixtures/typed"],
    )
    .await;
    let spun = ask(&host, "shapes.spin", json!({})).await.unwrap_err();
    assert_eq!(
        (spun.kind, &*spun.message),
        (
            FailureKind::Timeout,
            "`typed/shapes.spin` ran longer than its limit of 300 ms (time, the server's default)"
        )
    );
    let grown = ask(&host, "shapes.wide", json!({"len": 100_000_000}))
        .await
        .unwrap_err();
    assert!(
        grown.message.contains("(memory, the server's default)"),
        "{grown}"
    );
    let heard = Arc::new(Heard::default());
    let said = ToolCall {
        function: host.resolve("typed/shapes.say").unwrap().function,
        input: object::json(r#"{"text": "what is printed is logged"}"#).unwrap(),
        started_at: Timestamp(0),
        sink: heard.clone(),
    };
    host.call_tool(said).await.unwrap();
    assert_eq!(heard.lines()[0].1, "what is printed is logged");
}

/// A component of WebAssembly text.
async fn of_text(text: &str) -> Result<(Host, PluginInfo), RegisterError> {
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
async fn interfaces_that_end_alike_are_told_apart_by_their_packages() {
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
        ["`wide`: it gives values that are made of more than 5000 types"]
    );
}

#[tokio::test]
async fn the_schemas_of_all_functions_together_have_a_limit_and_so_has_what_is_told() {
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

/// The section in which WIT tools keep the doc comments of a package, as WebAssembly text.
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
async fn what_is_of_wasi_0_3_is_refused_with_what_to_do() {
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
async fn the_function_that_builds_a_python_component_is_no_tool() {
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
