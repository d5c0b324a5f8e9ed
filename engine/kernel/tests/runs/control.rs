//! Queued, paused, resumed and cancelled runs.

use std::sync::Arc;

use expect_test::expect;
use heddle_json::Object;
use heddle_kernel::{Event, EventRecord, Input, PendingWork, Run, RunId, Status, Timestamp, run::Graphs};

use crate::calls::decide;
use crate::script::{LINE, check, functions, make, started};

/// Two arms that join.
const DIAMOND: &str =
    r#"{"nodes": {"a": {}, "b": {}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}}"#;

#[test]
fn a_queued_run_begins_when_an_engine_takes_it_up() {
    check(
        r#"{"nodes": {"ask": {"wait": {"signal": "yes"}}, "a": {}}, "edges": {"a": "ask"}}
           queued {}
           signal yes 1
           pause not yet
           upgrade {"nodes": {"a": {}}}
           at 60000
           resume
           answer"#,
        expect![[r#"
            1 run started {}
            2 signal yes 1
            - refused: the run is queued and has not started: pause it after its start, or cancel it
            - refused: the run is queued and has not started: cancel it and start another, or upgrade it after its start
            3 step 1 at a, attempt 1
            4 step 1 gives {}, next ask
            5 step 2 at ask, attempt 1
            6 step 2 gives {"yes":1} by signal 2, end
            7 run finished
            finished {"yes":1}"#]],
    );
    check(
        &format!(
            "{LINE}
             queued {{}}
             cancel not wanted"
        ),
        expect![[r#"
            1 run started {}
            2 run cancelled: not wanted
            cancelled {}"#]],
    );
}

#[test]
fn the_time_of_a_queued_run_begins_with_its_first_step() {
    check(
        r#"{"nodes": {"a": {}}, "limits": {"time": "1s"}}
           queued {}
           at 60000
           resume
           at 60999
           at 61001"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 run failed (time_limit) at a: the run took longer than its limit of 1000 ms (`limits.time` in the graph)
            failed {}"#]],
    );
}

#[test]
fn while_a_run_is_paused_calls_may_answer_and_nothing_begins() {
    check(
        &format!(
            "{DIAMOND}
             {{}}
             answer
             pause look at it
             pause again
             b: answer {{\"b\": 1}}
             log info still there
             at 60000
             go on
             c: answer
             go on
             d: answer"
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 run paused: look at it
            - refused: the run is paused: resume it to continue
            7 step 2 gives {"b":1}, next d
            8 step 3 logs info: still there
            9 run resumed
            10 step 3 gives {}, next d
            11 step 4 at d, attempt 1, branch 1 joins [2]
            - refused: the run is running: only a paused run can be resumed
            12 step 4 gives {}, end
            13 run finished
            finished {"b":1}"#]],
    );
}

#[test]
fn a_paused_run_ends_when_it_is_resumed() {
    check(
        r#"{"nodes": {"a": {}}}
           {}
           pause stop
           answer {"a": 1}
           go on"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 run paused: stop
            4 step 1 gives {"a":1}, end
            5 run resumed
            6 run finished
            finished {"a":1}"#]],
    );
}

#[test]
fn calls_that_were_lost_are_made_again() {
    check(
        &format!(
            "{DIAMOND}
             {{}}
             answer
             pause stop
             resume
             go on without c
             c: stale
             c: answer
             b: answer
             d: answer"
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 run paused: stop
            7 run resumed
            8 step 3 at c, attempt 2
            - refused: this attempt is not the latest attempt of an active step
            9 step 3 gives {}, next d
            10 step 2 gives {}, next d
            11 step 4 at d, attempt 1, branch 1 joins [2]
            12 step 4 gives {}, end
            13 run finished
            finished {}"#]],
    );
}

#[test]
fn a_paused_run_keeps_signals_and_delays_due_timers() {
    check(
        r#"{"nodes": {"ask": {"wait": {"signal": "yes", "timeout": "1s"}}, "rest": {"sleep": "10s"}, "fork": {}}, "start": "fork", "edges": {"fork": ["ask", "rest"]}}
           {}
           answer
           pause stop
           signal yes 1
           at 10001
           go on"#,
        expect![[r#"
            1 run started {}
            2 step 1 at fork, attempt 1
            3 step 1 gives {}, fork 1 to ask, 2 to rest
            4 step 2 at ask, attempt 1, until 1001
            5 step 3 at rest, attempt 1, until 10001
            6 run paused: stop
            7 signal yes 1
            8 run resumed
            9 step 2 gives {"yes":1} by signal 7, end
            10 step 3 gives {}, end
            11 run finished
            finished {"yes":1}"#]],
    );
}

#[test]
fn a_retry_is_made_when_the_run_goes_on() {
    check(
        r#"{"nodes": {"a": {"retry": {"attempts": 3, "backoff": "1s"}}}}
           {}
           pause stop
           fail retryable busy
           at 5000
           go on
           answer"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 run paused: stop
            4 step 1 fails (retryable), again at 1002: busy
            5 run resumed
            6 step 1 at a, attempt 2
            7 step 1 gives {}, end
            8 run finished
            finished {}"#]],
    );
}

#[test]
fn a_failure_while_it_is_paused_fails_the_run() {
    check(
        r#"{"nodes": {"book": {"compensate": "unbook"}, "pay": {}, "unbook": {}}, "edges": {"book": "pay"}}
           {}
           answer
           pause stop
           fail permanent broke
           pause stop
           answer
           go on"#,
        expect![[r#"
            1 run started {}
            2 step 1 at book, attempt 1
            3 step 1 gives {}, next pay
            4 step 2 at pay, attempt 1
            5 run paused: stop
            6 step 2 fails (permanent): broke
            7 undo, since broke
            8 step 3 at unbook, attempt 1, undoes 1
            - refused: the run is compensating its steps: it can no longer be paused
            9 step 3 gives {}, end
            10 run failed (permanent) at pay: broke
            - refused: the run has failed: retry it instead
            failed {}"#]],
    );
}

#[test]
fn the_items_of_a_map_go_on_when_the_run_does() {
    check(
        r#"{"nodes": {"each": {"map": {"over": "state.all", "uses": "f", "into": "out", "at_once": 1}}}}
           {"all": [1, 2]}
           tool 10
           pause stop
           each#1: tool 20
           go on"#,
        expect![[r#"
            1 run started {"all":[1, 2]}
            2 step 1 at each, attempt 1
            3 step 1 maps [1, 2]
            4 step 2 at each, attempt 1, item 0 of 1
            5 step 2 gives item 0 of 1: 10
            6 step 3 at each, attempt 1, item 1 of 1
            7 run paused: stop
            8 step 3 gives item 1 of 1: 20
            9 run resumed
            10 step 1 gives {"out":[10,20]}, end
            11 run finished
            finished {"all":[1, 2],"out":[10,20]}"#]],
    );
    check(
        r#"{"nodes": {"each": {"map": {"over": "state.all", "uses": "f", "into": "out", "at_once": 1}}}}
           {"all": [1, 2]}
           pause stop
           each#0: tool 10
           go on
           each#1: tool 20"#,
        expect![[r#"
            1 run started {"all":[1, 2]}
            2 step 1 at each, attempt 1
            3 step 1 maps [1, 2]
            4 step 2 at each, attempt 1, item 0 of 1
            5 run paused: stop
            6 step 2 gives item 0 of 1: 10
            7 run resumed
            8 step 3 at each, attempt 1, item 1 of 1
            9 step 3 gives item 1 of 1: 20
            10 step 1 gives {"out":[10,20]}, end
            11 run finished
            finished {"all":[1, 2],"out":[10,20]}"#]],
    );
}

#[test]
fn the_time_in_which_a_run_is_paused_does_not_count() {
    check(
        r#"with child {"nodes": {"in": {}}, "limits": {"time": "2s"}}
           {"nodes": {"child": {"graph": "child", "on_error": "late"}, "late": {}}, "limits": {"time": "5s"}}
           {}
           at 1000
           pause stop
           at 60000
           go on
           at 60990
           at 61002
           at 64002"#,
        expect![[r#"
            1 run started {}
            2 step 1 at child, attempt 1
            3 step 1 runs child with {}
            4 step 2 at in, attempt 1, within 1
            5 run paused: stop
            6 run resumed
            7 step 1 fails (time_limit), next late: graph `fd58bf6a8d654132321cda010d352801`, node `in`: the graph took longer than its limit of 2000 ms (`limits.time` in the graph)
            8 step 3 at late, attempt 1
            9 run failed (time_limit) at late: the run took longer than its limit of 5000 ms (`limits.time` in the graph)
            failed {}"#]],
    );
}

#[test]
fn active_calls_may_answer_while_a_run_is_being_cancelled() {
    check(
        r#"{"nodes": {"fork": {}, "book": {"compensate": "unbook"}, "pay": {}, "more": {}, "unbook": {}}, "edges": {"fork": ["book", "pay"], "book": "more"}}
           {}
           answer
           cancel within 5000 not wanted
           signal go
           pause stop
           cancel within 100 again
           book: answer {"booked": 7}
           pay: fail permanent broke
           unbook: answer"#,
        expect![[r#"
            1 run started {}
            2 step 1 at fork, attempt 1
            3 step 1 gives {}, fork 1 to book, 2 to pay
            4 step 2 at book, attempt 1
            5 step 3 at pay, attempt 1
            6 cancel requested, calls may answer until 5002: not wanted
            - refused: the run is ending: it is being cancelled, or its steps are being compensated
            - refused: the run is being cancelled: it can no longer be paused
            - refused: the run is ending: it is being cancelled, or its steps are being compensated
            7 step 2 gives {"booked":7}, next more
            8 step 3 fails (permanent): broke
            9 undo, since not wanted
            10 step 4 at unbook, attempt 1, undoes 2
            11 step 4 gives {}, end
            12 run cancelled: not wanted
            cancelled {"booked":7}"#]],
    );
}

#[test]
fn calls_that_do_not_answer_in_the_grace_period_are_abandoned() {
    check(
        &format!(
            "{DIAMOND}
             {{}}
             answer
             cancel within 5000 not wanted
             b: answer {{\"b\": 1}}
             at 5000
             at 5002
             c: answer"
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 cancel requested, calls may answer until 5002: not wanted
            7 step 2 gives {"b":1}, next d
            8 run cancelled: not wanted
            - refused: the run is over
            cancelled {"b":1}"#]],
    );
    check(
        &format!(
            "{DIAMOND}
             {{}}
             answer
             pause stop
             cancel within 5000 not wanted
             cancel now"
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 run paused: stop
            7 cancel requested, calls may answer until 5003: not wanted
            8 run cancelled: now
            cancelled {}"#]],
    );
}

#[test]
fn without_active_calls_a_cancelled_run_ends_at_once() {
    check(
        r#"{"nodes": {"ask": {"wait": {"signal": "yes"}}}}
           {}
           cancel within 5000 not wanted"#,
        expect![[r#"
            1 run started {}
            2 step 1 at ask, attempt 1
            3 run cancelled: not wanted
            cancelled {}"#]],
    );
    // After a crash, no call is active.
    check(
        &format!(
            "{LINE}
             {{}}
             cancel within 5000 not wanted
             resume"
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at extract, attempt 1
            3 cancel requested, calls may answer until 5001: not wanted
            4 run cancelled: not wanted
            cancelled {}"#]],
    );
}

/// A run that was paused by an imported event and then resumed.
fn resumed_after(graph: &str, queued: bool, inputs: Vec<Input>) -> Run {
    let graph = Arc::new(make(graph));
    let functions = functions([&graph].into_iter());
    let (id, graphs, now) = (RunId(uuid::Uuid::nil()), Arc::new(Graphs::new()), Timestamp(0));
    let unstarted = Run::create(id, graph, graphs, Object::default(), functions, now);
    let (mut run, _) = if queued {
        unstarted.queue()
    } else {
        unstarted.start()
    };
    for input in inputs {
        decide(&mut run, input, now).unwrap();
    }
    let event = Event::RunPaused {
        reason: "imported".into(),
    };
    let (seq, at) = (run.seq + 1, now);
    run.fold(&EventRecord { seq, at, event }).unwrap();
    assert_eq!(run.shown_status(), Status::Paused);
    assert_eq!(run.pause_reason().map(|reason| &**reason), Some("imported"));
    assert!(decide(&mut run, Input::Activate, now).unwrap().is_empty());
    let resume = Input::Resume {
        active_calls: Vec::new(),
    };
    decide(&mut run, resume, now).unwrap();
    run
}

#[test]
fn a_run_continues_in_every_state_in_which_it_was_imported() {
    let cancel = |grace_ms: u64| Input::Cancel {
        reason: "not wanted".into(),
        grace_ms,
    };
    let run = resumed_after(LINE, true, Vec::new());
    assert_eq!(
        run.pending_work().next(),
        Some(PendingWork::Call { step: 1, attempt: 1 })
    );
    let run = resumed_after(LINE, false, vec![cancel(5)]);
    assert_eq!(run.status, Status::Cancelled);
    let graph = r#"{"nodes": {"book": {"sleep": "0s", "compensate": "unbook"}, "ask": {"wait": {"signal": "yes"}}, "unbook": {}}, "edges": {"book": "ask"}}"#;
    let run = resumed_after(graph, false, vec![Input::Due, cancel(0)]);
    assert_eq!(
        run.pending_work().next(),
        Some(PendingWork::Call { step: 3, attempt: 2 })
    );
}

#[test]
fn event_times_never_go_backwards() {
    let mut run = started(LINE, |_| ());
    let mut at = |input, now| {
        let decision = heddle_kernel::decide(&mut run, input, Timestamp(now)).unwrap();
        decision.events[0].at
    };
    let pause = || Input::Pause {
        reason: "wait".into(),
    };
    let resume = || Input::Resume {
        active_calls: Vec::new(),
    };
    assert_eq!(at(pause(), 5_000), Timestamp(5_000));
    // The clock was set back, or the next owner's clock is behind.
    assert_eq!(at(resume(), 1_000), Timestamp(5_000));
    assert_eq!(at(pause(), 6_000), Timestamp(6_000));
}
