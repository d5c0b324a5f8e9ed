//! Guests that were compiled against a released version of the contract can use all of it on this host.

use heddle_kernel::{FailureKind, FunctionKind, Route};
use heddle_runtime::ports::Functions;
use serde_json::{Value, json};

use super::*;

/// The guest that was compiled for the release, and the guest that its source compiles to today.
fn guests() -> [(&'static str, Arc<[u8]>); 2] {
    let released = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/0.1.0/contract.wasm");
    [
        ("as released", std::fs::read(released).unwrap().into()),
        ("as built", component("fixtures/contract")),
    ]
}

async fn each(test: impl AsyncFn(&Host, &str)) {
    for (which, guest) in guests() {
        let host = Host::new(settings()).unwrap();
        let info = register(&host, guest, Some("contract")).await.unwrap();
        assert_eq!(&*info.name, "contract", "{which}");
        test(&host, which).await;
    }
}

fn parsed(text: &Json) -> Value {
    serde_json::from_str(text.get()).unwrap()
}

#[tokio::test]
async fn version_0_1_0_describes_its_functions() {
    each(async |host, which| {
        let info = host.plugins()[0].clone();
        let names: Vec<_> = info
            .functions
            .iter()
            .map(|function| (&*function.name, function.kind))
            .collect();
        use FunctionKind::{Node, Tool};
        let expected = [
            ("route", Node),
            ("context", Node),
            ("fail", Node),
            ("speak", Node),
            ("ask", Node),
            ("echo", Tool),
            ("retryable", Tool),
            ("permanent", Tool),
            ("invalid-input", Tool),
        ];
        assert_eq!(names, expected, "{which}");
        let route = &info.functions[0];
        assert_eq!(
            (route.read_only, route.idempotent, &*route.summary),
            (true, true, "Does `route`.")
        );
        assert_eq!(route.routes, ["left", "right"]);
        assert!(route.config.as_ref().unwrap().get().contains("again"));
        let echo = &info.functions[5];
        assert_eq!(
            (echo.read_only, echo.idempotent, echo.config.is_none()),
            (false, false, true)
        );
        assert_eq!(
            (echo.input.get(), echo.output.get()),
            (r#"{"type":"object"}"#, "true")
        );
    })
    .await;
}

#[tokio::test]
async fn version_0_1_0_routes_in_every_way() {
    each(async |host, which| {
        let both = vec!["left".to_owned(), "right".to_owned()];
        for (config, route) in [
            ("edges", Route::Edges),
            ("again", Route::Again),
            ("goto", Route::Goto(both)),
            ("end", Route::End),
        ] {
            let outcome = run(host, "contract/route", "{}", &json!(config).to_string())
                .await
                .unwrap();
            assert_eq!(outcome.route, route, "{which}");
            assert_eq!(
                outcome.update.to_text(),
                json!({ "route": config }).to_string(),
                "{which}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn version_0_1_0_receives_its_context_and_the_state() {
    each(async |host, which| {
        let outcome = run(host, "contract/context", r#"{"a":[1]}"#, "null")
            .await
            .unwrap();
        let context = parsed(outcome.update.get("context").unwrap());
        let run_id = Uuid::from_u128(7).to_string();
        assert_eq!(
            context,
            json!({
                "run": run_id, "node": "here", "step": 3, "attempt": 1, "key": format!("{run_id}-3"),
                "state": {"a": [1]},
            }),
            "{which}"
        );
    })
    .await;
}

#[tokio::test]
async fn version_0_1_0_fails_in_every_way() {
    each(async |host, which| {
        let data = Some(json!({"why": "on purpose"}));
        for (kind, failed, message, data) in [
            ("retryable", FailureKind::Retryable, "not this time", data.clone()),
            ("permanent", FailureKind::Permanent, "not ever", data),
            ("invalid-input", FailureKind::InvalidInput, "not this", None),
        ] {
            let as_node = run(host, "contract/fail", "{}", &json!(kind).to_string())
                .await
                .unwrap_err();
            let as_tool = call_tool(host, &format!("contract/{kind}"), "{}")
                .await
                .unwrap_err();
            for failure in [as_node, as_tool] {
                let actual_data = failure.data.as_ref().map(parsed);
                assert_eq!(
                    (failure.kind, &*failure.message, actual_data),
                    (failed, message, data.clone()),
                    "{which}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn version_0_1_0_logs_and_emits() {
    each(async |host, which| {
        let heard = Arc::new(Heard::default());
        let call = Call {
            sink: heard.clone(),
            ..call(host, "contract/speak", "{}", "null")
        };
        host.call(call).await.unwrap();
        let lines = [
            (Level::Trace, "trace"),
            (Level::Debug, "debug"),
            (Level::Info, "info"),
            (Level::Warn, "warn"),
            (Level::Error, "error"),
        ];
        assert_eq!(
            heard.lines(),
            lines.map(|(level, line)| (level, line.to_owned())),
            "{which}"
        );
        assert_eq!(*heard.chunks.lock().unwrap(), [r#"{"progress":0.5}"#], "{which}");
    })
    .await;
}

#[tokio::test]
async fn version_0_1_0_calls_tools_and_hears_of_their_failures() {
    each(async |host, which| {
        let asked =
            async |tool: &str| run(host, "contract/ask", r#"{"b":2}"#, &json!(tool).to_string()).await;
        let outcome = asked("contract/echo").await.unwrap();
        assert_eq!(outcome.update.to_text(), r#"{"ask":{"b":2}}"#, "{which}");
        for (tool, kind) in [
            ("retryable", FailureKind::Retryable),
            ("contract/permanent", FailureKind::Permanent),
            ("invalid-input", FailureKind::InvalidInput),
            ("contract/no-such", FailureKind::Permanent),
        ] {
            assert_eq!(asked(tool).await.unwrap_err().kind, kind, "{which}: {tool}");
        }
    })
    .await;
}
