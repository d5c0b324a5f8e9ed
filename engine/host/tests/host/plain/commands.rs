//! Commands and other programs that exit: their status and their arguments.

use super::{of_text::of_text, *};

/// A component whose functions exit with the given status.
const EXITS: &str = r#"(component
    (import "wasi:cli/exit@0.2.12" (instance $exit
        (export "exit" (func (param "status" (result))))
        (export "exit-with-code" (func (param "status-code" u8)))))
    (core func $exit (canon lower (func $exit "exit")))
    (core func $exit-with-code (canon lower (func $exit "exit-with-code")))
    (core module $m
        (import "wasi" "exit" (func $exit (param i32)))
        (import "wasi" "exit-with-code" (func $exit-with-code (param i32)))
        (func (export "run") (result i32) (call $exit (i32.const 0)) (i32.const 1))
        (func (export "fail") (result i32) (call $exit (i32.const 1)) (i32.const 0))
        (func (export "nothing") (param i32) (call $exit-with-code (local.get 0)))
        (func (export "number") (param i32) (result i32) (call $exit-with-code (local.get 0)) (i32.const 7)))
    (core instance $w
        (export "exit" (func $exit))
        (export "exit-with-code" (func $exit-with-code)))
    (core instance $c (instantiate $m (with "wasi" (instance $w))))
    (func $run (result (result)) (canon lift (core func $c "run")))
    (instance $i (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $i))
    (func $fail (result (result)) (canon lift (core func $c "fail")))
    (export "fail" (func $fail))
    (func $nothing (param "status" u8) (canon lift (core func $c "nothing")))
    (export "nothing" (func $nothing))
    (func $number (param "status" u8) (result u32) (canon lift (core func $c "number")))
    (export "number" (func $number)))"#;

#[tokio::test]
async fn an_exit_with_status_0_is_a_success_without_a_result() {
    let (host, _) = of_text(EXITS).await.unwrap();
    for (tool, input) in [("run.run", "{}"), ("nothing", r#"{"status": 0}"#)] {
        let result = call_tool(&host, &format!("text/{tool}"), input).await.unwrap();
        assert_eq!(result.get(), "null", "{tool}");
        // As a node it changes nothing.
        let state = run(&host, &format!("text/{tool}"), input, "null").await.unwrap();
        assert_eq!(
            (state.update.to_text().as_str(), state.route),
            ("{}", Route::Edges)
        );
    }
}

#[tokio::test]
async fn an_exit_with_another_status_is_a_permanent_failure_that_names_it() {
    let (host, _) = of_text(EXITS).await.unwrap();
    for (tool, input, message) in [
        ("fail", "{}", "`text/fail` exited with status 1"),
        (
            "nothing",
            r#"{"status": 3}"#,
            "`text/nothing` exited with status 3",
        ),
        (
            "number",
            r#"{"status": 255}"#,
            "`text/number` exited with status 255",
        ),
        (
            "number",
            r#"{"status": 0}"#,
            "`text/number` exited with status 0 before it returned its result",
        ),
    ] {
        let failure = call_tool(&host, &format!("text/{tool}"), input)
            .await
            .unwrap_err();
        assert_eq!(
            (failure.kind, &*failure.message),
            (FailureKind::Permanent, message)
        );
    }
}

/// A component that returns the number of its arguments, and the first one.
const ARGUMENTS: &str = r#"(component
    (import "wasi:cli/environment@0.2.0" (instance $env
        (export "get-arguments" (func (result (list string))))))
    (core module $m (memory (export "m") 1) (global $at (mut i32) (i32.const 1024))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (local $p i32)
            (local.set $p (i32.and (i32.add (global.get $at) (i32.const 7)) (i32.const -8)))
            (global.set $at (i32.add (local.get $p) (local.get 3)))
            (local.get $p)))
    (core instance $mem (instantiate $m))
    (core func $args (canon lower (func $env "get-arguments")
        (memory (core memory $mem "m")) (realloc (core func $mem "realloc"))))
    (core module $n
        (import "env" "m" (memory 1))
        (import "env" "args" (func $args (param i32)))
        (func (export "count") (result i32) (call $args (i32.const 0)) (i32.load (i32.const 4)))
        (func (export "first") (result i32) (call $args (i32.const 0)) (i32.load (i32.const 0))))
    (core instance $env
        (export "m" (memory $mem "m"))
        (export "args" (func $args)))
    (core instance $c (instantiate $n (with "env" (instance $env))))
    (func $count (result u32) (canon lift (core func $c "count")))
    (export "count" (func $count))
    (func $first (result string) (canon lift (core func $c "first") (memory (core memory $mem "m"))))
    (export "first" (func $first)))"#;

#[tokio::test]
async fn the_only_argument_of_a_program_is_the_name_of_its_plugin() {
    let (host, _) = of_text(ARGUMENTS).await.unwrap();
    let count = call_tool(&host, "text/count", "{}").await.unwrap();
    let first = call_tool(&host, "text/first", "{}").await.unwrap();
    assert_eq!((count.get(), first.get()), ("1", r#""text""#));
}
