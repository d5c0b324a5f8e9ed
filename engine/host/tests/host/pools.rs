//! Pools that calls share: a call waits instead of failing, and no plugin takes everything.

use futures_util::future::join_all;
use heddle_kernel::FailureKind;
use serde_json::json;

use super::*;

const MIB: usize = 1 << 20;

/// A component whose instances have eight memories and compute for longer than an epoch.
const EIGHT_MEMORIES: &str = r#"(component
    (core module $memories (memory 0) (memory 0) (memory 0) (memory 0))
    (core instance (instantiate $memories))
    (core instance (instantiate $memories))
    (core module $m (func (export "work") (result i32) (local $n i32)
        (loop $more
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $n) (i32.const 5000000))))
        (local.get $n)))
    (core instance $c (instantiate $m))
    (func $work (result u32) (canon lift (core func $c "work")))
    (export "work" (func $work)))"#;

#[tokio::test]
async fn calls_wait_for_slots_of_instances_and_hold_up_no_other_plugin() {
    let host = host_with(
        HostSettings {
            call_depth: 1,
            ..settings()
        },
        &["bench"],
    )
    .await;
    let bytes = wat::parse_str(EIGHT_MEMORIES).unwrap();
    register(&host, bytes.into(), Some("eight")).await.unwrap();
    let many = join_all((0..64).map(|_| call_tool(&host, "eight/work", "{}")));
    let others = join_all((0..64).map(|_| run(&host, "bench/touch", "{}", r#"{"key": "k"}"#)));
    let (many, others) = tokio::join!(many, others);
    for result in many {
        assert_eq!(result.unwrap().get(), "5000000");
    }
    for result in others {
        result.unwrap();
    }
}

/// A host whose calls may have so much memory, each and all together.
async fn with_memory(each: usize, total: usize) -> Host {
    let settings = HostSettings {
        max_memory_bytes: each,
        total_memory_bytes: Some(total),
        ..settings()
    };
    host_with(settings, &["fixtures/hostile", "bench"]).await
}

/// The memory that a call gets if it grows until it is refused.
async fn hoard(host: &Host) -> usize {
    let got = call_tool(host, "hostile/hoard", "{}").await.unwrap();
    got.get().parse().unwrap()
}

#[tokio::test]
async fn calls_that_need_much_memory_wait_for_each_other_and_each_gets_all_of_its_own() {
    // There is room for one of them at a time.
    let host = with_memory(16 * MIB, 64 * MIB).await;
    let hoards = join_all((0..12).map(|_| hoard(&host)));
    let others = join_all((0..12).map(|_| run(&host, "bench/touch", "{}", r#"{"key": "k"}"#)));
    let (hoards, others) = tokio::join!(hoards, others);
    assert!(
        hoards.iter().all(|got| (8 * MIB..16 * MIB).contains(got)),
        "{hoards:?}"
    );
    assert!(others.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_call_that_waited_for_memory_until_its_end_says_so() {
    let host = with_memory(16 * MIB, 64 * MIB).await;
    // The input alone is more than a call's own part, so the call takes memory and keeps it while it sleeps.
    let text = json!({"text": "x".repeat(3 * MIB)}).to_string();
    let keeps = run(&host, "hostile/sleep", &text, r#"{"ms": 60000}"#);
    let waits = Call {
        timeout: Some(std::time::Duration::from_millis(100)),
        ..call(&host, "hostile/hog", "{}", "null")
    };
    let failure = tokio::select! {
        biased;
        ended = keeps => panic!("it sleeps: {ended:?}"),
        waited = outcome(&host, waits) => waited.unwrap_err(),
    };
    assert_eq!(
        (failure.kind, &*failure.message),
        (
            FailureKind::Timeout,
            "`hostile/hog` ran longer than its limit of 100 ms (the node's timeout): it waited for memory that \
             other calls \
             had (total_memory)"
        )
    );
}

#[tokio::test]
async fn tools_that_need_much_memory_wait_for_each_other_at_any_depth() {
    let host = with_memory(16 * MIB, 64 * MIB).await;
    // Each call has a tool that takes what it can, while its caller has little.
    let config = json!({"tool": "hostile/hoard", "input": {}}).to_string();
    let calls = join_all((0..12).map(|_| run(&host, "hostile/call", "{}", &config)));
    for outcome in calls.await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_may_have_more_than_there_is_ends_with_the_name_of_the_total() {
    let host = with_memory(1024 * MIB, 64 * MIB).await;
    let got = hoard(&host).await;
    assert!((20 * MIB..40 * MIB).contains(&got), "{got}");
    let failure = failure(&host, "hostile/hog").await;
    assert_eq!(failure.kind, FailureKind::Limit);
    assert!(
        failure
            .message
            .contains("needed more memory than one call and its tools may use of the memory of all calls")
            && failure.message.contains("(total_memory)"),
        "{failure}"
    );
    assert!(hoard(&host).await >= 20 * MIB, "what was taken was given back");
}
