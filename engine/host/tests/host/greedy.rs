//! Components that ask for more memories, tables, handles, functions and network than they may have.

use heddle_kernel::FailureKind;

use super::*;
use crate::registration::{refusal_of_text, with_start};

#[tokio::test]
async fn a_table_grows_up_to_its_limit() {
    let grown = |elements: usize| {
        let start = format!(
            "(if (i32.eq (table.grow $t (ref.null func) (i32.const {elements})) (i32.const -1)) (then unreachable))"
        );
        with_start(&start).replace("(func $start", "(table $t 1 funcref) (func $start")
    };
    let refused = refusal_of_text(&grown(70_000)).await;
    assert!(
        refused.contains("needed more table elements than its limit of 65536 (table_elements)"),
        "{refused}"
    );
    let five = "(table $t 1 funcref) (table 60000 funcref) (table 60000 funcref) (table 60000 funcref) (table 60000 \
                funcref)";
    let refused = refusal_of_text(&grown(60_000).replace("(table $t 1 funcref)", five)).await;
    assert!(
        refused.contains("needed more table elements than its limit of 262144 (table_elements)"),
        "{refused}"
    );
    let refused = refusal_of_text(&grown(60_000)).await;
    assert!(
        refused.contains("type mismatch"),
        "it is as far as one that grows none: {refused}"
    );
}

#[tokio::test]
async fn memories_and_tables_are_counted() {
    for (what, limit) in [("(memory 1)", 4), ("(table 1 funcref)", 8)] {
        let many = format!("{} (func $start", what.repeat(limit + 1));
        let refused = refusal_of_text(&with_start("").replace("(func $start", &many)).await;
        assert!(
            refused.contains("cannot be compiled") && refused.contains(&format!("limit of {limit}")),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn memories_count_together() {
    // Two of 40 MiB each.
    let two = "(memory 640) (memory 640) (func $start";
    let refused = refusal_of_text(&with_start("").replace("(func $start", two)).await;
    assert!(
        refused.contains("needed more memory than its limit of 64 MiB (memory"),
        "{refused}"
    );
    // The largest 32-bit memory.
    let all = "(memory 65536) (func $start";
    let refused = refusal_of_text(&with_start("").replace("(func $start", all)).await;
    assert!(
        refused.contains("needed more memory than its limit of 64 MiB (memory"),
        "{refused}"
    );
}

#[tokio::test]
async fn ten_thousand_handles_are_enough_for_anybody() {
    let host = host_with(settings(), &["fixtures/hostile"]).await;
    let failure = failure(&host, "handles").await;
    assert!(
        matches!(failure.kind, FailureKind::Limit | FailureKind::Trap),
        "{failure}"
    );
    assert!(
        failure
            .message
            .contains("held more handles than its limit of 10000 (handles)"),
        "{failure}"
    );
}

/// A component whose `describe` returns this number of functions, all with empty texts.
fn describing(functions: usize) -> String {
    let pages = (functions * 96).div_ceil(1 << 16) + 1;
    format!(
        r#"(component
            (type $kind' (enum "node" "tool"))
            (type $hints' (flags "read-only" "idempotent"))
            (import "heddle:plugin/types@0.1.0" (instance $types
                (type $k (enum "node" "tool")) (export "kind" (type $kind (eq $k)))
                (type $h (flags "read-only" "idempotent")) (export "hints" (type $hints (eq $h)))
                (type $f (record (field "name" string) (field "kind" $kind) (field "summary" string) (field "input" string)
                    (field "output" string) (field "config" (option string)) (field "hints" $hints)
                    (field "routes" (list string))))
                (export "function" (type (eq $f)))
                (type $e (record (field "message" string) (field "data" (option string))))
                (export "error" (type $error (eq $e)))
                (type $x (variant (case "retryable" $error) (case "permanent" $error) (case "invalid-input" $error)))
                (export "failure" (type (eq $x)))))
            (alias export $types "function" (type $function))
            (alias export $types "failure" (type $failure))
            (core module $m
                (memory (export "memory") {pages})
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
                (func (export "describe") (result i32)
                    (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const {functions}))
                    (i32.const 0))
                (func (export "call") (param i32 i32 i32 i32) (result i32) unreachable))
            (core instance $c (instantiate $m))
            (func $describe (result (list $function))
                (canon lift (core func $c "describe") (memory $c "memory") (realloc (func $c "realloc"))))
            (func $call (param "name" string) (param "input" string) (result (result string (error $failure)))
                (canon lift (core func $c "call") (memory $c "memory") (realloc (func $c "realloc"))))
            (instance $i (export "describe" (func $describe)) (export "call" (func $call)))
            (export "heddle:plugin/tool@0.1.0" (instance $i)))"#
    )
}

#[tokio::test]
async fn a_component_that_describes_far_too_many_functions_is_refused() {
    let thousands = refusal_of_text(&describing(2000)).await;
    assert!(
        thousands.contains("it describes 2000 functions; the most is 1000"),
        "{thousands}"
    );
    let many = refusal_of_text(&describing(600_000)).await;
    assert!(
        many.contains("passed more at once than its limit of 8 MiB (result, the server's default)"),
        "{many}"
    );
}
