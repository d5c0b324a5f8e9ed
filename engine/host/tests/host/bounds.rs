//! Limits of a plugin, set by the policy, and of a node, which only narrow them: each ends a call with its name, its
//! value and its source.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use heddle_kernel::{FailureKind, graph::Bounds};
use heddle_runtime::ports::Functions;
use serde_json::{Value, json};

use super::*;

async fn hostile(policy: Value) -> Host {
    let policy = json!({"plugins": {"hostile": {"limits": policy}}});
    host_with(granting(&policy.to_string()), &["fixtures/hostile"]).await
}

/// A call of a node with these limits.
fn narrowed(host: &Host, uses: &str, config: &str, limits: &Value) -> Call {
    let bounds = Bounds {
        of: format!("graph/{limits}").into(),
        limits: Some(object::to_json(limits)),
        grants: None,
    };
    Call {
        bounds: Some(Arc::new(bounds)),
        ..call(host, uses, "{}", config)
    }
}

async fn exceeded(host: &Host, uses: &str, config: &str, limits: Value) -> String {
    let failure = outcome(host, narrowed(host, uses, config, &limits))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Limit, "{failure}");
    failure.message.to_string()
}

#[tokio::test]
async fn each_limit_of_a_plugin_ends_its_call_and_is_named() {
    let host = hostile(
        json!({"memory": "8MiB", "log": "4KiB", "emit": 2000, "result": "1KiB", "fuel": 100_000_000}),
    )
    .await;
    let chunks = r#"{"count": 1000, "bytes": 100}"#;
    for (uses, config, expected) in [
        (
            "hog",
            "null",
            "needed more memory than its limit of 8 MiB (memory, set by the policy)",
        ),
        (
            "flood",
            "{}",
            "logged more than its limit of 4 KiB (log, set by the policy)",
        ),
        (
            "chunks",
            chunks,
            "emitted more than its limit of 2000 bytes (emit, set by the policy)",
        ),
        (
            "big",
            r#"{"bytes": 1500}"#,
            "more than its limit of 1 KiB (result, set by the policy)",
        ),
        (
            "spin",
            "null",
            "computed more than its limit of 100000000 (fuel, set by the policy)",
        ),
    ] {
        let failure = run(&host, uses, "{}", config).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Limit, "{failure}");
        assert!(
            failure.message.starts_with(&format!("`hostile/{uses}` ")),
            "{failure}"
        );
        assert!(failure.message.contains(expected), "{failure}");
    }
}

#[tokio::test]
async fn the_policy_may_allow_a_plugin_more_than_others_have() {
    let host = hostile(json!({"memory": "96MiB", "log": "32MiB"})).await;
    let got = call_tool(&host, "hoard", "{}").await.unwrap();
    let got: usize = got.get().parse().unwrap();
    assert!(((80 << 20)..(96 << 20)).contains(&got), "{got}");
    assert!(run(&host, "flood", "{}", "{}").await.is_ok());
    let shown = host.plugins().iter().map(|plugin| plugin.limits.clone()).next();
    assert_eq!(shown.unwrap(), ["memory: 96 MiB", "log: 32 MiB"]);
}

#[tokio::test]
async fn the_smaller_limit_of_a_node_and_its_plugin_applies() {
    let host = hostile(json!({"memory": "16MiB", "fuel": 50_000_000})).await;
    for (limits, expected) in [
        (json!({"memory": "8MiB"}), "8 MiB (memory, set by the node)"),
        (json!({"memory": "1GiB"}), "16 MiB (memory, set by the policy)"),
    ] {
        let message = exceeded(&host, "hog", "null", limits).await;
        assert!(message.contains(expected), "{message}");
    }
    for (limits, expected) in [
        (json!({"fuel": 1_000_000}), "1000000 (fuel, set by the node)"),
        (json!({"fuel": 900_000_000}), "50000000 (fuel, set by the policy)"),
    ] {
        let message = exceeded(&host, "spin", "null", limits).await;
        assert!(message.contains(expected), "{message}");
    }
    let slow = narrowed(&host, "sleep", r#"{"ms": 60000}"#, &json!({"time": "50ms"}));
    let failure = outcome(&host, slow).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert!(
        failure.message.ends_with("50 ms (time, set by the node)"),
        "{failure}"
    );
}

#[tokio::test]
async fn limits_of_a_node_are_checked_key_by_key() {
    let host = hostile(json!({})).await;
    let check = |limits: &str| host.check_bounds("spin", Some(&object::json(limits).unwrap()), None);
    assert_eq!(check(r#"{"memory": "16MiB", "at_once": 2}"#), Ok(()));
    let problems = check(r#"{"memory": "16 megabytes", "tim": "1s", "at_once": 1}"#).unwrap_err();
    let places: Vec<_> = problems.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, ["/limits/memory", "/limits/tim"]);
    assert!(
        problems[1].1.contains("known fields: memory, time"),
        "{problems:?}"
    );
}

#[tokio::test]
async fn the_same_fuel_ends_at_the_same_instruction() {
    let mut line_counts = Vec::new();
    // Another host compiles for itself; the second call on a host finds everything compiled.
    for _ in 0..2 {
        let host = hostile(json!({"log": "64MiB"})).await;
        for _ in 0..2 {
            let heard = Arc::new(Heard::default());
            let mut flood = narrowed(
                &host,
                "flood",
                r#"{"bytes": 100000000}"#,
                &json!({"fuel": 10_000_000}),
            );
            flood.sink = heard.clone();
            let failure = outcome(&host, flood).await.unwrap_err();
            assert!(failure.message.contains("(fuel, set by the node)"), "{failure}");
            line_counts.push(heard.lines().len());
        }
    }
    assert!(
        line_counts[0] > 10 && line_counts.iter().all(|lines| *lines == line_counts[0]),
        "{line_counts:?}"
    );
}

#[tokio::test]
async fn calls_with_a_fuel_limit_return_the_same_as_others() {
    let host = host_with(settings(), &["bench"]).await;
    let config = r#"{"key": "k"}"#;
    let counted = narrowed(&host, "touch", config, &json!({"fuel": 100_000_000}));
    let counted = outcome(&host, counted).await.unwrap().update.to_text();
    let plain = run(&host, "touch", "{}", config).await.unwrap().update.to_text();
    assert_eq!(counted, plain);
}

#[tokio::test]
async fn a_node_has_no_more_active_calls_than_its_limit() {
    let host = host_with(settings(), &["fixtures/hostile"]).await;
    let limits = json!({"at_once": 2});
    let began = Instant::now();
    let sleep = || outcome(&host, narrowed(&host, "sleep", r#"{"ms": 50}"#, &limits));
    let slept = join_all((0..6).map(|_| sleep())).await;
    assert!(slept.iter().all(Result::is_ok));
    assert!(began.elapsed() >= Duration::from_millis(150), "two at a time");

    // Another node does not wait for them.
    let long = || outcome(&host, narrowed(&host, "sleep", r#"{"ms": 60000}"#, &limits));
    let others = || run(&host, "sleep", "{}", r#"{"ms": 50}"#);
    tokio::select! {
        biased;
        ended = join_all((0..6).map(|_| long())) => panic!("the long calls ended first: {ended:?}"),
        others = join_all((0..6).map(|_| others())) => assert!(others.iter().all(Result::is_ok)),
    }
}

#[tokio::test]
async fn a_tools_own_time_ends_the_tool_and_not_its_caller() {
    let host = hostile(json!({"time": "100ms"})).await;
    hostile_as(&host, "patient").await;
    let failure = run(&host, "patient/call", "{}", r#"{"tool": "hostile/stall"}"#)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent, "{failure}");
    assert_eq!(
        &*failure.message,
        "`hostile/stall` ran longer than its limit of 100 ms (time, set by the policy)"
    );
    let timeout = Some(Duration::from_millis(50));
    let hurried = Call {
        timeout,
        ..call(&host, "patient/call", "{}", r#"{"tool": "hostile/stall"}"#)
    };
    let failure = outcome(&host, hurried).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert_eq!(
        &*failure.message,
        "`patient/call` ran longer than its limit of 50 ms (the node's timeout)"
    );
}

#[tokio::test]
async fn output_of_a_tool_counts_against_its_caller_and_its_own_limit() {
    let policy = json!({"plugins": {"quiet": {"limits": {"emit": 1000}}}});
    let settings = HostSettings {
        emit_bytes: 10_000,
        ..granting(&policy.to_string())
    };
    let host = host_with(settings, &["fixtures/hostile"]).await;
    for name in ["quiet", "loud"] {
        hostile_as(&host, name).await;
    }
    let murmur = |tool: &str, count: usize| {
        let config = json!({"tool": format!("{tool}/murmur"), "input": {"count": count, "bytes": 100}});
        call(&host, "hostile/call", "{}", &config.to_string())
    };
    let quiet = outcome(&host, murmur("quiet", 20)).await.unwrap_err();
    assert_eq!(
        (quiet.kind, &*quiet.message),
        (
            FailureKind::Permanent,
            "`quiet/murmur` emitted more than its limit of 1000 bytes (emit, set by the policy)"
        ),
        "the error reached the caller, which failed because of it"
    );
    assert!(outcome(&host, murmur("loud", 20)).await.is_ok());
    let loud = outcome(&host, murmur("loud", 200)).await.unwrap_err();
    assert_eq!(
        (loud.kind, &*loud.message),
        (
            FailureKind::Limit,
            "`hostile/call` emitted more than its limit of 10000 bytes (emit, the server's default)"
        ),
        "what the tool wrote was the caller's"
    );
}
