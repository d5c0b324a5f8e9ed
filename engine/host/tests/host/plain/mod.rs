//! Components that were built without Heddle's WIT: their functions become tools, and their values JSON.

mod commands;
mod misfits;
mod of_text;

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

/// The problems for which an input is refused, as (pointer, problem).
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
async fn functions_whose_types_have_no_json_form_are_left_out_with_the_reason() {
    let host = typed().await;
    let left_out = &host.plugins()[0].left_out;
    let reasons: Vec<_> = [
        "`acme:typed/store@1.2.0#[constructor]counter`: it returns a resource",
        "`acme:typed/store@1.2.0#[method]counter.add`: it takes a resource",
        "`acme:typed/store@1.2.0#open`: it returns a resource",
        "`acme:typed/store@1.2.0#sum-of`: it takes a resource",
    ]
    .into_iter()
    .collect();
    assert_eq!(left_out.len(), reasons.len(), "{left_out:?}");
    for reason in reasons {
        assert!(
            left_out.iter().any(|entry| entry.starts_with(reason)),
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
    // An optional field may be null or absent, and is returned as null.
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
async fn numbers_are_exact_and_other_values_are_refused_by_name() {
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
            "`shapes.divide` returned the error \"by-zero\"".to_owned(),
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
    assert_eq!(message, "\"x\" is not a u32: invalid digit found in string");
    assert_eq!(data, Some(json!(message).to_string()));
    assert_eq!(
        failed("shapes.check", json!({"fit": false})).await,
        (
            "`shapes.check` returned an error without details".to_owned(),
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
            "`typed/shapes.wide` returned 120001 bytes, more than its limit of 100000 bytes (result, the server's \
             default)"
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
                &*format!("`typed/{tool}` passed more values than its limit of 4 MiB allows (value_bytes)")
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
    // Long enough to be read on a thread for inputs.
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
            .ends_with("its input has more values than its limit of 4 MiB allows (value_bytes)"),
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
    let tool_call = ToolCall {
        function: host.resolve("typed/shapes.say").unwrap().function,
        input: object::json(r#"{"text": "what is printed is logged"}"#).unwrap(),
        started_at: Timestamp(0),
        sink: heard.clone(),
    };
    host.call_tool(tool_call).await.unwrap();
    assert_eq!(heard.lines()[0].1, "what is printed is logged");
}
