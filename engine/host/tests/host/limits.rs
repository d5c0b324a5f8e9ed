//! Functions that use up what they can: each ends in a failure that names the exceeded limit, and delays no other
//! call.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use heddle_kernel::FailureKind;
use heddle_runtime::ports::Functions;

use super::*;

fn quick() -> HostSettings {
    HostSettings {
        call_timeout: Duration::from_millis(300),
        ..settings()
    }
}

async fn hostile(settings: HostSettings) -> Host {
    host_with(settings, &["fixtures/hostile"]).await
}

#[tokio::test]
async fn an_endless_loop_ends_at_the_deadline() {
    let host = hostile(quick()).await;
    let failure = failure(&host, "spin").await;
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert_eq!(
        &*failure.message,
        "`hostile/spin` ran longer than its limit of 300 ms (time, the server's default)"
    );
}

#[tokio::test]
async fn a_sleep_ends_at_the_deadline_and_holds_no_thread() {
    let host = hostile(quick()).await;
    let sleeps = join_all((0..4).map(|_| run(&host, "sleep", "{}", r#"{"ms": 60000}"#))).await;
    assert!(
        sleeps
            .iter()
            .all(|slept| slept.as_ref().unwrap_err().kind == FailureKind::Timeout)
    );
    // One thread: if a sleep blocked it, no other call would end before the sleep does.
    let host = hostile(settings()).await;
    tokio::select! {
        biased;
        ended = join_all((0..4).map(|_| run(&host, "sleep", "{}", r#"{"ms": 60000}"#))) => panic!("{ended:?}"),
        slept = run(&host, "sleep", "{}", r#"{"ms": 20}"#) => {
            assert_eq!(slept.unwrap().update.to_text(), r#"{"slept_ms":20}"#);
        }
    }
}

#[tokio::test]
async fn a_tool_that_never_answers_ends_its_caller_too() {
    let host = hostile(quick()).await;
    let failure = run(&host, "call", "{}", r#"{"tool": "stall"}"#)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert!(failure.message.contains("`hostile/call` ran longer"), "{failure}");
}

#[tokio::test]
async fn the_smaller_of_the_two_time_limits_ends_a_call_and_is_named() {
    let host = hostile(quick()).await;
    let within = async |ms: u64, config: &str, uses: &str| {
        let call = Call {
            timeout: Some(Duration::from_millis(ms)),
            ..call(&host, uses, "{}", config)
        };
        outcome(&host, call).await
    };
    let nodes = "ran longer than its limit of 50 ms (the node's timeout)";
    for (uses, config) in [
        ("spin", "null"),
        ("sleep", r#"{"ms": 60000}"#),
        ("call", r#"{"tool": "stall"}"#),
    ] {
        let failure = within(50, config, uses).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Timeout);
        assert_eq!(&*failure.message, format!("`hostile/{uses}` {nodes}"));
    }
    let operators = within(60_000, "null", "spin").await.unwrap_err();
    assert_eq!(
        &*operators.message,
        "`hostile/spin` ran longer than its limit of 300 ms (time, the server's default)"
    );
    assert!(within(250, r#"{"ms": 1}"#, "sleep").await.is_ok());
}

#[tokio::test]
async fn a_memory_bomb_ends_at_the_memory_limit() {
    let host = hostile(HostSettings {
        max_memory_bytes: 16 << 20,
        ..settings()
    })
    .await;
    let failure = failure(&host, "hog").await;
    assert_eq!(failure.kind, FailureKind::Limit);
    assert!(
        failure.message.contains(
            "`hostile/hog` needed more memory than its limit of 16 MiB (memory, the server's default)"
        ),
        "{failure}"
    );
    let got: usize = call_tool(&host, "hoard", "{}")
        .await
        .unwrap()
        .get()
        .parse()
        .unwrap();
    assert!(
        (8 << 20..16 << 20).contains(&got),
        "growing in small steps reaches nearly all of it: {got}"
    );
}

#[tokio::test]
async fn recursion_without_an_end_traps() {
    let host = hostile(settings()).await;
    let failure = failure(&host, "recurse").await;
    assert_eq!(failure.kind, FailureKind::Trap);
    assert_eq!(
        &*failure.message,
        "`hostile/recurse` trapped: out of bounds memory access, as in unbounded recursion"
    );
}

#[tokio::test]
async fn a_flood_of_logs_ends_the_call_and_earlier_lines_stay() {
    let host = hostile(settings()).await;
    let heard = Arc::new(Heard::default());
    let mut flood = call(&host, "flood", "{}", "{}");
    flood.sink = heard.clone();
    let failure = outcome(&host, flood).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Limit);
    assert_eq!(
        &*failure.message,
        "`hostile/flood` logged more than its limit of 256 KiB (log, the server's default)"
    );
    let lines = heard.lines();
    let bytes: usize = lines.iter().map(|(_, line)| line.len()).sum();
    assert!(
        (200 << 10..=256 << 10).contains(&bytes),
        "{bytes} bytes were kept"
    );
}

#[tokio::test]
async fn a_result_may_have_its_limit_and_no_more() {
    let host = hostile(HostSettings {
        result_bytes: 100_000,
        ..settings()
    })
    .await;
    assert!(run(&host, "big", "{}", r#"{"bytes": 99000}"#).await.is_ok());
    let failure = run(&host, "big", "{}", r#"{"bytes": 100000}"#).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Limit);
    assert!(
        failure
            .message
            .contains("limit of 100000 bytes (result, the server's default)"),
        "{failure}"
    );
    let failure = run(&host, "big", "{}", r#"{"bytes": 5000000}"#)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Limit, "{failure}");
    assert!(
        failure.message.contains("(result, the server's default)"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_panic_a_trap_and_an_exit_are_reported_with_the_guests_last_error_lines() {
    let host = hostile(settings()).await;
    let panicked = failure(&host, "panic").await;
    assert_eq!(panicked.kind, FailureKind::Trap);
    assert!(
        panicked.message.starts_with("`hostile/panic` trapped: "),
        "{panicked}"
    );
    assert!(
        panicked.message.contains("the guest panics on purpose"),
        "{panicked}"
    );
    assert!(
        panicked
            .message
            .ends_with("(wasm `unreachable` instruction executed)"),
        "{panicked}"
    );
    assert!(!panicked.message.contains("backtrace"), "{panicked}");
    let trapped = failure(&host, "trap").await;
    assert_eq!(
        &*trapped.message,
        "`hostile/trap` trapped: wasm `unreachable` instruction executed"
    );
    let exited = failure(&host, "exit").await;
    assert_eq!(
        (exited.kind, &*exited.message),
        (FailureKind::Permanent, "`hostile/exit` exited with status 1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_answered_beside_functions_that_never_end() {
    let settings = HostSettings {
        call_timeout: Duration::from_secs(60),
        ..settings()
    };
    let host = host_with(settings, &["fixtures/hostile", "bench"]).await;
    let spinning: Vec<_> = (0..4)
        .map(|_| {
            let (host, call) = (host.clone(), call(&host, "spin", "{}", "null"));
            tokio::spawn(async move { host.call(call).await })
        })
        .collect();
    let calls = (0..100).map(|_| {
        let (host, call) = (host.clone(), call(&host, "touch", "{}", r#"{"key": "k"}"#));
        tokio::spawn(async move { host.call(call).await })
    });
    let answers = tokio::time::timeout(Duration::from_secs(20), join_all(calls)).await;
    assert!(
        answers
            .expect("the others are not held up")
            .into_iter()
            .all(|answer| answer.unwrap().is_ok())
    );
    assert!(spinning.iter().all(|spinning| !spinning.is_finished()));
    spinning.iter().for_each(|spinning| spinning.abort());
}

#[tokio::test]
async fn calls_wait_when_the_most_calls_are_active() {
    let host = host_with(
        HostSettings {
            calls_at_once: 2,
            ..settings()
        },
        &["fixtures/hostile"],
    )
    .await;
    let began = Instant::now();
    let slept = join_all((0..6).map(|_| run(&host, "sleep", "{}", r#"{"ms": 50}"#))).await;
    assert!(slept.iter().all(Result::is_ok));
    assert!(
        began.elapsed() >= Duration::from_millis(150),
        "two at a time: {:?}",
        began.elapsed()
    );
}

#[test]
fn settings_that_cannot_be_are_refused() {
    for (settings, named) in [
        (
            HostSettings {
                max_memory_bytes: 5 << 30,
                ..settings()
            },
            "max_memory_bytes",
        ),
        (
            HostSettings {
                calls_at_once: 0,
                ..settings()
            },
            "calls_at_once",
        ),
        (
            HostSettings {
                call_depth: 0,
                ..settings()
            },
            "call_depth",
        ),
    ] {
        let error = Host::new(settings).err().expect("it cannot be");
        assert!(error.to_string().contains(named), "{error}");
    }
}
