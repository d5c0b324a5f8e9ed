//! Maps over lists and objects.

use expect_test::expect;

use crate::script::check;

#[test]
fn results_keep_the_order_of_the_items_and_at_once_limits_the_active_calls() {
    check(
        r#"{"nodes": {"each": {"map": {"over": "state.files", "as": "file", "uses": "f", "at_once": 2, "into": "sizes"}}}}
           {"files": ["a", "b", "c"]}
           each#1: tool 20
           each#0: tool {"next": 10}
           each#2: answer {"size": 30}"#,
        expect![[r#"
            1 run started {"files":["a", "b", "c"]}
            2 step 1 at each, attempt 1
            3 step 1 maps ["a", "b", "c"]
            4 step 2 at each, attempt 1, item 0 of 1
            5 step 3 at each, attempt 1, item 1 of 1
            6 step 3 gives item 1 of 1: 20
            7 step 4 at each, attempt 1, item 2 of 1
            8 step 2 gives item 0 of 1: {"next": 10}
            9 step 4 gives item 2 of 1: {"size":30}
            10 step 1 gives {"sizes":[{"next": 10},20,{"size":30}]}, end
            11 run finished
            finished {"files":["a", "b", "c"],"sizes":[{"next": 10},20,{"size":30}]}"#]],
    );
}

#[test]
fn an_object_gives_an_object() {
    check(
        r#"{"nodes": {"each": {"map": {"over": "state.of", "uses": "f", "into": "to"}}}}
           {"of": {"z": 1, "a": 2}}
           each#1: tool 20
           each#0: tool 10"#,
        expect![[r#"
            1 run started {"of":{"z": 1, "a": 2}}
            2 step 1 at each, attempt 1
            3 step 1 maps {"z": 1, "a": 2}
            4 step 2 at each, attempt 1, item 0 of 1
            5 step 3 at each, attempt 1, item 1 of 1
            6 step 3 gives item 1 of 1: 20
            7 step 2 gives item 0 of 1: 10
            8 step 1 gives {"to":{"z":10,"a":20}}, end
            9 run finished
            finished {"of":{"z": 1, "a": 2},"to":{"z":10,"a":20}}"#]],
    );
}

#[test]
fn a_map_over_nothing_goes_on() {
    check(
        r#"{"nodes": {"each": {"map": {"over": "state.files", "uses": "f", "into": "sizes"}}}}
           {"files": []}
           at 1"#,
        expect![[r#"
            1 run started {"files":[]}
            2 step 1 at each, attempt 1
            3 step 1 maps []
            4 step 1 gives {"sizes":[]}, end
            5 run finished
            finished {"files":[],"sizes":[]}"#]],
    );
}

#[test]
fn items_that_fail_fail_the_map_or_are_left_out_or_are_reported() {
    for policy in ["fail", "skip", "collect"] {
        check(
            &format!(
                r#"{{"nodes": {{"each": {{"map": {{"over": "state.files", "uses": "f", "into": "sizes", "on_item_error": "{policy}"}}}}}}}}
                   {{"files": [1, 2]}}
                   each#0: fail permanent no such file
                   each#1: tool 2"#
            ),
            match policy {
                "fail" => expect![[r#"
                    1 run started {"files":[1, 2]}
                    2 step 1 at each, attempt 1
                    3 step 1 maps [1, 2]
                    4 step 2 at each, attempt 1, item 0 of 1
                    5 step 3 at each, attempt 1, item 1 of 1
                    6 step 2 fails (permanent): no such file
                    7 step 1 fails (permanent): item 0: no such file
                    8 run failed (permanent) at each: item 0: no such file
                    - refused: the run is over
                    failed {"files":[1, 2]}"#]],
                "skip" => expect![[r#"
                    1 run started {"files":[1, 2]}
                    2 step 1 at each, attempt 1
                    3 step 1 maps [1, 2]
                    4 step 2 at each, attempt 1, item 0 of 1
                    5 step 3 at each, attempt 1, item 1 of 1
                    6 step 2 fails (permanent), left out: no such file
                    7 step 2 gives item 0 of 1: nothing
                    8 step 3 gives item 1 of 1: 2
                    9 step 1 gives {"sizes":[2]}, end
                    10 run finished
                    finished {"files":[1, 2],"sizes":[2]}"#]],
                _ => expect![[r#"
                    1 run started {"files":[1, 2]}
                    2 step 1 at each, attempt 1
                    3 step 1 maps [1, 2]
                    4 step 2 at each, attempt 1, item 0 of 1
                    5 step 3 at each, attempt 1, item 1 of 1
                    6 step 2 fails (permanent), left out: no such file
                    7 step 2 gives item 0 of 1: {"error":{"code":"permanent","message":"no such file","node":"each"}}
                    8 step 3 gives item 1 of 1: 2
                    9 step 1 gives {"sizes":[{"error":{"code":"permanent","message":"no such file","node":"each"}},2]}, end
                    10 run finished
                    finished {"files":[1, 2],"sizes":[{"error":{"code":"permanent","message":"no such file","node":"each"}},2]}"#]],
            },
        );
    }
}

#[test]
fn an_item_is_tried_again_by_itself() {
    check(
        r#"{"nodes": {"each": {"map": {"over": "state.files", "uses": "f", "into": "sizes"}, "retry": {"attempts": 2, "backoff": "10ms"}}}}
           {"files": [1, 2]}
           each#0: fail retryable busy
           each#1: tool 2
           at 12
           each#0: tool 1"#,
        expect![[r#"
            1 run started {"files":[1, 2]}
            2 step 1 at each, attempt 1
            3 step 1 maps [1, 2]
            4 step 2 at each, attempt 1, item 0 of 1
            5 step 3 at each, attempt 1, item 1 of 1
            6 step 2 fails (retryable), again at 11: busy
            7 step 3 gives item 1 of 1: 2
            8 step 2 at each, attempt 2, item 0 of 1
            9 step 2 gives item 0 of 1: 1
            10 step 1 gives {"sizes":[1,2]}, end
            11 run finished
            finished {"files":[1, 2],"sizes":[1,2]}"#]],
    );
}

#[test]
fn items_of_a_map_run_a_graph_each() {
    check(
        r#"with review {"name": "review", "nodes": {"read": {}, "rate": {}}, "edges": {"read": "rate"}}
           {"nodes": {"each": {"map": {"over": "state.files", "as": "file", "graph": "review", "into": "reviews"}}}}
           {"files": ["a", "b"]}
           answer {"text": "A"}
           answer {"text": "B"}
           answer {"rate": 1}
           resume
           answer {"rate": 2}"#,
        expect![[r#"
            1 run started {"files":["a", "b"]}
            2 step 1 at each, attempt 1
            3 step 1 maps ["a", "b"]
            4 step 2 at each, attempt 1, item 0 of 1
            5 step 2 runs review with {"file":"a"}
            6 step 3 at each, attempt 1, item 1 of 1
            7 step 3 runs review with {"file":"b"}
            8 step 4 at read, attempt 1, within 2
            9 step 5 at read, attempt 1, within 3
            10 step 4 gives {"text":"A"}, next rate
            11 step 6 at rate, attempt 1, within 2
            12 step 5 gives {"text":"B"}, next rate
            13 step 7 at rate, attempt 1, within 3
            14 step 6 gives {"rate":1}, end
            15 step 2 gives item 0 of 1: {"file":"a","rate":1,"text":"A"}
            16 step 7 at rate, attempt 2, within 3
            17 step 7 gives {"rate":2}, end
            18 step 3 gives item 1 of 1: {"file":"b","rate":2,"text":"B"}
            19 step 1 gives {"reviews":[{"file":"a","rate":1,"text":"A"},{"file":"b","rate":2,"text":"B"}]}, end
            20 run finished
            finished {"files":["a", "b"],"reviews":[{"file":"a","rate":1,"text":"A"},{"file":"b","rate":2,"text":"B"}]}"#]],
    );
}

#[test]
fn a_value_that_is_not_a_list_is_an_error() {
    check(
        r#"{"nodes": {"each": {"map": {"over": "state.files", "uses": "f", "into": "sizes"}}}}
           {"files": 7}"#,
        expect![[r#"
            1 run started {"files":7}
            2 step 1 at each, attempt 1
            3 step 1 fails (expression): `map.over` has no value: `state.files`: the result must be a list or an object, and is a number
            4 run failed (expression) at each: `map.over` has no value: `state.files`: the result must be a list or an object, and is a number
            failed {"files":7}"#]],
    );
}

#[test]
fn a_run_that_waits_after_a_map_has_nothing_that_is_due() {
    check(
        r#"{"nodes": {"each": {"map": {"over": "state.files", "uses": "f", "into": "sizes"}}, "ask": {"wait": {"signal": "go"}}}, "edges": {"each": "ask"}}
           {"files": [1]}
           each#0: tool 1
           at 1000
           signal go"#,
        expect![[r#"
            1 run started {"files":[1]}
            2 step 1 at each, attempt 1
            3 step 1 maps [1]
            4 step 2 at each, attempt 1, item 0 of 1
            5 step 2 gives item 0 of 1: 1
            6 step 1 gives {"sizes":[1]}, next ask
            7 step 3 at ask, attempt 1
            8 signal go null
            9 step 3 gives {"go":null} by signal 8, end
            10 run finished
            finished {"files":[1],"go":null,"sizes":[1]}"#]],
    );
}

#[test]
fn a_failed_item_is_named_by_its_key_or_its_place() {
    for of in [r#"{"x": 1, "y": 2}"#, "[1, 2]"] {
        check(
            &format!(
                r#"{{"nodes": {{"each": {{"map": {{"over": "state.of", "uses": "f", "into": "to"}}}}}}}}
                   {{"of": {of}}}
                   each#1: fail permanent no"#
            ),
            match of {
                "[1, 2]" => expect![[r#"
                    1 run started {"of":[1, 2]}
                    2 step 1 at each, attempt 1
                    3 step 1 maps [1, 2]
                    4 step 2 at each, attempt 1, item 0 of 1
                    5 step 3 at each, attempt 1, item 1 of 1
                    6 step 3 fails (permanent): no
                    7 step 1 fails (permanent): item 1: no
                    8 run failed (permanent) at each: item 1: no
                    failed {"of":[1, 2]}"#]],
                _ => expect![[r#"
                    1 run started {"of":{"x": 1, "y": 2}}
                    2 step 1 at each, attempt 1
                    3 step 1 maps {"x": 1, "y": 2}
                    4 step 2 at each, attempt 1, item 0 of 1
                    5 step 3 at each, attempt 1, item 1 of 1
                    6 step 3 fails (permanent): no
                    7 step 1 fails (permanent): item `y`: no
                    8 run failed (permanent) at each: item `y`: no
                    failed {"of":{"x": 1, "y": 2}}"#]],
            },
        );
    }
}
