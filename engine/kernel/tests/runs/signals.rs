//! Signals that name a wait, waits inside of maps, and waits with expressions.
#![allow(clippy::unwrap_used)]

use expect_test::expect;
use heddle_json::{Object, object::json};
use heddle_kernel::{
    Event, FailureKind, Input, Refusal, Run, RunId, Timestamp,
    run::{MAX_SIGNAL_BYTES, MAX_SIGNALS},
};

use crate::calls::decide;
use crate::script::{check, make, restored};

/// A graph that waits, and one that runs it for each item.
const ASK: &str =
    r#"with ask {"name": "ask", "nodes": {"ask": {"wait": {"signal": "ok", "prompt": "Well?"}}}}"#;
const EACH: &str = r#"{"nodes": {"each": {"map": {"over": "state.of", "graph": "ask", "into": "all"}}}}"#;

#[test]
fn waits_inside_of_a_map_are_distinguished_by_their_items_and_resolved_in_order() {
    check(
        &format!(
            "{ASK}\n{EACH}\n{}",
            r#"{"of": ["a", "b", "c"]}
               waits
               signal ok 1
               signal ok@7 3
               waits
               resume
               signal ok 2"#
        ),
        expect![[r#"
            1 run started {"of":["a", "b", "c"]}
            2 step 1 at each, attempt 1
            3 step 1 maps ["a", "b", "c"]
            4 step 2 at each, attempt 1, item 0 of 1
            5 step 2 runs ask with {"item":"a"}
            6 step 3 at each, attempt 1, item 1 of 1
            7 step 3 runs ask with {"item":"b"}
            8 step 4 at each, attempt 1, item 2 of 1
            9 step 4 runs ask with {"item":"c"}
            10 step 5 at ask, attempt 1, within 2
            11 step 6 at ask, attempt 1, within 3
            12 step 7 at ask, attempt 1, within 4
            - wait 5 at each[0]/ask since 0 for ok, asks Well?
            - wait 6 at each[1]/ask since 0 for ok, asks Well?
            - wait 7 at each[2]/ask since 0 for ok, asks Well?
            13 signal ok 1
            14 step 5 gives {"ok":1} by signal 13, end
            15 step 2 gives item 0 of 1: {"item":"a","ok":1}
            16 signal ok 3 for wait 7
            17 step 7 gives {"ok":3} by signal 16, end
            18 step 4 gives item 2 of 1: {"item":"c","ok":3}
            - wait 6 at each[1]/ask since 0 for ok, asks Well?
            19 signal ok 2
            20 step 6 gives {"ok":2} by signal 19, end
            21 step 3 gives item 1 of 1: {"item":"b","ok":2}
            22 step 1 gives {"all":[{"item":"a","ok":1},{"item":"b","ok":2},{"item":"c","ok":3}]}, end
            23 run finished
            finished {"all":[{"item":"a","ok":1},{"item":"b","ok":2},{"item":"c","ok":3}],"of":["a", "b", "c"]}"#]],
    );
    check(
        &format!("{ASK}\n{EACH}\n{}", "{\"of\": {\"x\": 1, \"y\": 2}}\nwaits"),
        expect![[r#"
            1 run started {"of":{"x": 1, "y": 2}}
            2 step 1 at each, attempt 1
            3 step 1 maps {"x": 1, "y": 2}
            4 step 2 at each, attempt 1, item 0 of 1
            5 step 2 runs ask with {"item":1}
            6 step 3 at each, attempt 1, item 1 of 1
            7 step 3 runs ask with {"item":2}
            8 step 4 at ask, attempt 1, within 2
            9 step 5 at ask, attempt 1, within 3
            - wait 4 at each[x]/ask since 0 for ok, asks Well?
            - wait 5 at each[y]/ask since 0 for ok, asks Well?
            waiting {"of":{"x": 1, "y": 2}}"#]],
    );
}

#[test]
fn a_wait_in_maps_within_maps_tells_every_item() {
    let outer = r#"{"nodes": {"all": {"map": {"over": "state.groups", "graph": "group", "into": "to"}, "input": {"of": "item"}}}}"#;
    let group = format!("with group {}", EACH.replacen('{', r#"{"name": "group", "#, 1));
    check(
        &format!(
            "{ASK}\n{group}\n{outer}\n{}",
            r#"{"groups": {"p": ["a"], "q": ["b","c"]}}
            waits
            signal ok@9 1
            waits"#
        ),
        expect![[r#"
            1 run started {"groups":{"p": ["a"], "q": ["b","c"]}}
            2 step 1 at all, attempt 1
            3 step 1 maps {"p": ["a"], "q": ["b","c"]}
            4 step 2 at all, attempt 1, item 0 of 1
            5 step 2 runs group with {"of":["a"]}
            6 step 3 at all, attempt 1, item 1 of 1
            7 step 3 runs group with {"of":["b","c"]}
            8 step 4 at each, attempt 1, within 2
            9 step 4 maps ["a"]
            10 step 5 at each, attempt 1, within 2, item 0 of 4
            11 step 5 runs ask with {"item":"a"}
            12 step 6 at each, attempt 1, within 3
            13 step 6 maps ["b","c"]
            14 step 7 at each, attempt 1, within 3, item 0 of 6
            15 step 7 runs ask with {"item":"b"}
            16 step 8 at each, attempt 1, within 3, item 1 of 6
            17 step 8 runs ask with {"item":"c"}
            18 step 9 at ask, attempt 1, within 5
            19 step 10 at ask, attempt 1, within 7
            20 step 11 at ask, attempt 1, within 8
            - wait 9 at all[p]/each[0]/ask since 0 for ok, asks Well?
            - wait 10 at all[q]/each[0]/ask since 0 for ok, asks Well?
            - wait 11 at all[q]/each[1]/ask since 0 for ok, asks Well?
            21 signal ok 1 for wait 9
            22 step 9 gives {"ok":1} by signal 21, end
            23 step 5 gives item 0 of 4: {"item":"a","ok":1}
            24 step 4 gives {"all":[{"item":"a","ok":1}]}, end
            25 step 2 gives item 0 of 1: {"all":[{"item":"a","ok":1}],"of":["a"]}
            - wait 10 at all[q]/each[0]/ask since 0 for ok, asks Well?
            - wait 11 at all[q]/each[1]/ask since 0 for ok, asks Well?
            waiting {"groups":{"p": ["a"], "q": ["b","c"]}}"#]],
    );
}

#[test]
fn a_signal_that_names_a_wait_goes_to_no_other() {
    const TWO: &str = r#"{"nodes": {"a": {}, "w": {"wait": {"signal": "ok", "schema": {"type": "integer"}}, "output": "w"}, "v": {"wait": {"signal": "ok"}, "output": "v"}, "u": {"wait": {"signal": "no"}, "output": "u"}}, "edges": {"a": ["w", "v", "u"]}}"#;
    check(
        &format!(
            "{TWO}\n{}",
            r#"{}
            signal ok@1 1
            answer
            signal ok@3 2
            signal ok@3 3
            signal ok@1 4
            signal ok@99 4
            signal ok@4 4
            signal ok@2 "text"
            signal ok "text"
            signal ok 5
            signal no@4 6"#
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            - refused: the run has no wait 1 for this signal: the step with this number, at node `a`, waits for no signal; `waits` of the run lists those that it has
            3 step 1 gives {}, fork 1 to w, 2 to v, 3 to u
            4 step 2 at w, attempt 1
            5 step 3 at v, attempt 1
            6 step 4 at u, attempt 1
            7 signal ok 2 for wait 3
            8 step 3 gives {"v":2} by signal 7, end
            - refused: wait 3 takes no signal any more: it took a signal, timed out, or was stopped
            - refused: wait 1 takes no signal any more: it took a signal, timed out, or was stopped
            - refused: the run has no wait 99 for this signal: the run has begun 4 steps; `waits` of the run lists those that it has
            - refused: the run has no wait 4 for this signal: the wait with this id, at node `u`, is for the signal `no`; `waits` of the run lists those that it has
            - refused: the payload of `ok` does not fit: "text" is not of type "integer"
            9 signal ok "text"
            10 signal ok 5
            11 step 2 gives {"w":5} by signal 10, end
            12 signal no 6 for wait 4
            13 step 4 gives {"u":6} by signal 12, end
            14 run finished
            finished {"u":6,"v":2,"w":5}"#]],
    );
}

#[test]
fn while_a_run_is_paused_a_signal_waits_for_the_wait_that_it_names() {
    const TWO: &str = r#"{"nodes": {"a": {}, "w": {"wait": {"signal": "ok"}, "output": "w"}, "v": {"wait": {"signal": "ok"}, "output": "v"}}, "edges": {"a": ["w", "v"]}}"#;
    check(
        &format!(
            "{TWO}\n{}",
            r#"{}
            answer
            pause a while
            signal ok 1
            signal ok@2 2
            signal ok@2 3
            resume
            go on"#
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to w, 2 to v
            4 step 2 at w, attempt 1
            5 step 3 at v, attempt 1
            6 run paused: a while
            7 signal ok 1
            8 signal ok 2 for wait 2
            - refused: wait 2 takes no signal any more: a signal for it has come, which it takes when the run is resumed
            9 run resumed
            10 step 2 gives {"w":2} by signal 8, end
            11 step 3 gives {"v":1} by signal 7, end
            12 run finished
            finished {"v":1,"w":2}"#]],
    );
    // A fork gets the signal again; a wait that was stopped drops its signal.
    check(
        &format!(
            "{TWO}\n{}",
            r#"{}
            answer
            pause a while
            signal ok@3 1
            fork 1"#
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to w, 2 to v
            4 step 2 at w, attempt 1
            5 step 3 at v, attempt 1
            6 run paused: a while
            7 signal ok 1 for wait 3
            1 run forked from 00000000-0000-0000-0000-000000000000 after step 1 with {}
            2 step 2 at w, attempt 1
            3 step 3 at v, attempt 1
            waiting {}"#]],
    );
}

#[test]
fn the_name_of_a_signal_and_a_prompt_come_from_the_state() {
    const ASK: &str = r#"{"nodes": {"ask": {"wait": {"signal": {"expr": "'approve-' + state.id"}, "prompt": {"expr": "'Pay ' + string(state.sum) + '?'"}}}}}"#;
    check(
        &format!(
            "{ASK}\n{}",
            r#"{"id": "a7", "sum": 12}
            waits
            signal approve-b8 1
            signal approve-a7 true"#
        ),
        expect![[r#"
            1 run started {"id":"a7","sum":12}
            2 step 1 at ask, attempt 1, for approve-a7, asks "Pay 12?"
            - wait 1 at ask since 0 for approve-a7, asks Pay 12?
            3 signal approve-b8 1
            4 signal approve-a7 true
            5 step 1 gives {"approve-a7":true} by signal 4, end
            6 run finished
            finished {"approve-a7":true,"id":"a7","sum":12}"#]],
    );
    check(
        &format!("{ASK}\n{}", r#"{"id": 7, "sum": 12}"#),
        expect![[r#"
        1 run started {"id":7,"sum":12}
        2 step 1 at ask, attempt 1, until 0
        3 step 1 fails (expression): `wait.signal` has no value: `'approve-' + state.id`: `+` does not fit a string and an int; string(…) makes a string of a value
        4 run failed (expression) at ask: `wait.signal` has no value: `'approve-' + state.id`: `+` does not fit a string and an int; string(…) makes a string of a value
        failed {"id":7,"sum":12}"#]],
    );
    check(
        &format!("{ASK}\n{}", r#"{"id": "a!", "sum": 12}"#),
        expect![[r#"
        1 run started {"id":"a!","sum":12}
        2 step 1 at ask, attempt 1, until 0
        3 step 1 fails (expression): `wait.signal`: a signal's name has 1 to 100 bytes of letters, digits, spaces and `_-.:/`, got "approve-a!"
        4 run failed (expression) at ask: `wait.signal`: a signal's name has 1 to 100 bytes of letters, digits, spaces and `_-.:/`, got "approve-a!"
        failed {"id":"a!","sum":12}"#]],
    );
    // Early signals, with a name that the wait will have, are kept.
    check(
        &format!(
            "{}\n{}",
            r#"{"nodes": {"a": {}, "ask": {"wait": {"signal": {"expr": "state.who"}, "schema": {"type": "boolean"}}, "output": "got"}}, "edges": {"a": "ask"}}"#,
            r#"{}
            signal ada true
            signal ada 1
            answer {"who": "ada"}"#
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 signal ada true
            - refused: the payload of `ada` does not fit: 1 is not of type "boolean"
            4 step 1 gives {"who":"ada"}, next ask
            5 step 2 at ask, attempt 1, for ada
            6 step 2 gives {"got":true} by signal 3, end
            7 run finished
            finished {"got":true,"who":"ada"}"#]],
    );
    // A retry evaluates them again.
    check(
        &format!(
            "{ASK}\n{}",
            r#"{"sum": 12}
            fork 0 {"id": "z"}
            waits"#
        ),
        expect![[r#"
            1 run started {"sum":12}
            2 step 1 at ask, attempt 1, until 0
            3 step 1 fails (expression): `wait.signal` has no value: `'approve-' + state.id`: state has no key `id`; it has `sum`; has(state.id) tests whether the key exists
            4 run failed (expression) at ask: `wait.signal` has no value: `'approve-' + state.id`: state has no key `id`; it has `sum`; has(state.id) tests whether the key exists
            1 run forked from 00000000-0000-0000-0000-000000000000 after step 0 with {"id":"z"}
            2 step 1 at ask, attempt 1, for approve-z, asks "Pay 12?"
            - wait 1 at ask since 1 for approve-z, asks Pay 12?
            waiting {"id":"z","sum":12}"#]],
    );
}

fn waiting(definition: &str) -> Run {
    let graph = std::sync::Arc::new(make(definition));
    let id = RunId(uuid::Uuid::nil());
    Run::create(
        id,
        graph,
        Default::default(),
        Object::default(),
        Default::default(),
        Timestamp(0),
    )
    .start()
    .0
}

fn signal(run: &mut Run, name: &str, bytes: usize) -> Result<usize, Refusal> {
    let payload = format!("\"{}\"", "x".repeat(bytes - name.len() - 2));
    let input = Input::Signal {
        name: name.into(),
        payload: json(&payload).unwrap(),
        wait: None,
    };
    decide(run, input, Timestamp(1)).map(|events| events.len())
}

#[test]
fn the_signals_that_a_run_keeps_are_limited_in_bytes_and_in_number() {
    let first = r#"{"nodes": {"w": {"wait": {"signal": "now"}}, "v": {"wait": {"signal": "later"}}}, "edges": {"w": "v"}}"#;
    let mut run = waiting(first);
    signal(&mut run, "later", MAX_SIGNAL_BYTES / 2).unwrap();
    signal(&mut run, "later", MAX_SIGNAL_BYTES / 2 - 10).unwrap();
    let refused = signal(&mut run, "later", 11);
    assert_eq!(
        refused,
        Err(Refusal::SignalBytes {
            kept: MAX_SIGNAL_BYTES - 10,
            bytes: 11
        })
    );
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("max_signal_bytes") && message.contains("16777216"),
        "{message}"
    );
    // It is so after a restart, too.
    let mut back = restored(&run);
    assert!(signal(&mut back, "later", 11).is_err());
    signal(&mut back, "later", 10).unwrap();
    // A signal that a wait takes at once is not kept.
    assert_eq!(signal(&mut run, "now", 1_000), Ok(5));

    let mut run = waiting(first);
    for _ in 0..MAX_SIGNALS {
        signal(&mut run, "later", 10).unwrap();
    }
    assert_eq!(signal(&mut run, "later", 10), Err(Refusal::TooManySignals));
    signal(&mut run, "now", 10).unwrap();
}

#[test]
fn events_of_earlier_versions_are_read() {
    let old = r#"{"signal_received": {"name": "ok", "payload": 1}}"#;
    let event: Event = serde_json::from_str(old).unwrap();
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        old.replace(": ", ":").replace(", ", ",")
    );
    let old = r#"{"step_started":{"step":1,"branch":0,"node":"ask","attempt":1,"until":5}}"#;
    let event: Event = serde_json::from_str(old).unwrap();
    assert_eq!(serde_json::to_string(&event).unwrap(), old);
    assert_eq!(FailureKind::Conflict.as_str(), "conflict");
}
