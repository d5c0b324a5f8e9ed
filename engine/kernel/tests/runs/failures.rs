//! Retries, `on_error`, and compensations.

use expect_test::expect;

use crate::script::check;

#[test]
fn a_retryable_failure_is_tried_again_with_growing_pauses() {
    check(
        r#"{"nodes": {"a": {"retry": {"attempts": 3, "backoff": "1s", "factor": 10, "max": "5s"}}}}
           {}
           fail retryable busy
           stale {}
           at 2000
           resume
           fail retryable busy
           at 7000
           fail retryable busy"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 fails (retryable), again at 1001: busy
            - refused: this attempt is not the latest attempt of an active step
            4 step 1 at a, attempt 2
            5 step 1 at a, attempt 3
            6 step 1 fails (retryable), again at 7002: busy
            - refused: this attempt is not the latest attempt of an active step
            waiting {}"#]],
    );
}

#[test]
fn a_trap_is_tried_again_only_where_that_was_chosen() {
    check(
        r#"{"nodes": {"a": {"retry": {"attempts": 3}}}}
           {}
           fail trap out of bounds"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 fails (trap): out of bounds
            4 run failed (trap) at a: out of bounds
            failed {}"#]],
    );
    check(
        r#"{"nodes": {"a": {"retry": {"attempts": 3, "on": ["trap"]}}}}
           {}
           fail trap out of bounds
           at 1001
           answer"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 fails (trap), again at 1001: out of bounds
            4 step 1 at a, attempt 2
            5 step 1 gives {}, end
            6 run finished
            finished {}"#]],
    );
}

#[test]
fn an_error_leads_to_a_node_that_sees_it() {
    check(
        r#"{"nodes": {"a": {"on_error": "report"}, "report": {"uses": "f", "input": {"why": "state.error"}}}}
           {}
           fail permanent no
           tool {"reported": true}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 fails (permanent), next report: no
            4 step 2 at report, attempt 1
            5 step 2 gives {"reported":true}, end
            6 run finished
            finished {"reported":true}"#]],
    );
}

#[test]
fn a_failed_run_is_compensated_in_reverse_order() {
    check(
        r#"{"nodes": {"book": {"compensate": "unbook"}, "pay": {"compensate": "refund"}, "send": {}, "unbook": {}, "refund": {}}, "edges": {"book": "pay", "pay": "send"}, "start": "book"}
           {}
           answer {"booking": 7}
           answer {"payment": 8}
           fail permanent no stock
           resume
           answer {"refunded": true}
           answer {"unbooked": true}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at book, attempt 1
            3 step 1 gives {"booking":7}, next pay
            4 step 2 at pay, attempt 1
            5 step 2 gives {"payment":8}, next send
            6 step 3 at send, attempt 1
            7 step 3 fails (permanent): no stock
            8 undo, since no stock
            9 step 4 at refund, attempt 1, undoes 2
            10 step 4 at refund, attempt 2, undoes 2
            11 step 4 gives {"refunded":true}, end
            12 step 5 at unbook, attempt 1, undoes 1
            13 step 5 gives {"unbooked":true}, end
            14 run failed (permanent) at send: no stock
            failed {"booking":7,"payment":8,"refunded":true,"unbooked":true}"#]],
    );
}

#[test]
fn failed_compensations_are_reported_and_the_others_still_run() {
    check(
        r#"{"nodes": {"book": {"compensate": "unbook"}, "pay": {"compensate": "refund"}, "unbook": {}, "refund": {"retry": {"attempts": 2, "backoff": "1s"}}}, "edges": {"book": "pay"}, "start": "book"}
           {}
           answer
           cancel not wanted
           cancel again
           fail permanent gone"#,
        expect![[r#"
            1 run started {}
            2 step 1 at book, attempt 1
            3 step 1 gives {}, next pay
            4 step 2 at pay, attempt 1
            5 undo, since not wanted
            6 step 3 at unbook, attempt 1, undoes 1
            - refused: the run is ending: it is being cancelled, or its steps are being compensated
            7 step 3 fails (permanent): gone
            8 run cancelled: not wanted; `unbook` failed: gone
            cancelled {}"#]],
    );
    check(
        r#"{"nodes": {"book": {"compensate": "unbook"}, "pay": {}, "unbook": {"retry": {"attempts": 2, "backoff": "1s"}}}, "edges": {"book": "pay"}, "start": "book"}
           {}
           answer
           cancel not wanted
           fail retryable busy
           at 2000
           answer {"unbooked": true}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at book, attempt 1
            3 step 1 gives {}, next pay
            4 step 2 at pay, attempt 1
            5 undo, since not wanted
            6 step 3 at unbook, attempt 1, undoes 1
            7 step 3 fails (retryable), again at 1003: busy
            8 step 3 at unbook, attempt 2, undoes 1
            9 step 3 gives {"unbooked":true}, end
            10 run cancelled: not wanted
            cancelled {"unbooked":true}"#]],
    );
}

#[test]
fn a_cancelled_run_is_over_at_once_where_nothing_is_to_be_undone() {
    check(
        r#"{"nodes": {"a": {}}}
           {"k": 1}
           cancel not wanted
           answer"#,
        expect![[r#"
            1 run started {"k":1}
            2 step 1 at a, attempt 1
            3 run cancelled: not wanted
            - refused: the run is over
            cancelled {"k":1}"#]],
    );
}
