//! The kernel's rules as text: a script of what happens, and the events that must follow.
//!
//! The first line of a script is the graph, the second the state to begin with; each further
//! line is something that happens to the step that the run is at:
//!
//!     answer UPDATE              the function answers and the edges lead on
//!     again UPDATE               … and the node is repeated
//!     goto NODE,NODE UPDATE      … and names where to go
//!     end UPDATE                 … and the branch ends
//!     tool RESULT                a tool answers: `next` and `loop` in the result route
//!     fail KIND MESSAGE          the function fails
//!     log LEVEL MESSAGE          the function writes a line
//!     resume                     an engine takes the run up after a crash
//!     stale UPDATE               an earlier attempt answers
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

use std::{collections::BTreeMap, sync::Arc};

use expect_test::{Expect, expect};
use heddle_kernel::{
    Definition, Digest, Event, Failure, FailureKind, Function, FunctionKind, Graph, Input, Level, Next,
    Object, Outcome, Owed, Recorded, Route, Run, RunId, Timestamp,
    event::FunctionRef,
    graph,
    object::{self, json},
};

fn make(definition: &str) -> Graph {
    let any = |_: &str| {
        Ok(Function {
            kind: FunctionKind::Node,
            routes: Vec::new(),
        })
    };
    let definition = Definition::parse(definition).expect("a definition of the right form");
    graph::check(&definition, any).expect("a graph without errors").0
}

fn functions(graph: &Graph) -> BTreeMap<Arc<str>, FunctionRef> {
    let function = |uses: &Arc<str>| FunctionRef {
        digest: Digest::of(b"component"),
        plugin: "p".into(),
        version: "1.0.0".into(),
        function: uses.clone(),
    };
    graph
        .nodes
        .iter()
        .map(|node| (node.uses.clone(), function(&node.uses)))
        .collect()
}

fn show(recorded: &Recorded) -> String {
    let seq = recorded.seq;
    match &recorded.event {
        Event::RunStarted { state, .. } => format!("{seq} run started {state:?}"),
        Event::StepStarted {
            step, node, attempt, ..
        } => format!("{seq} step {step} at {node}, attempt {attempt}"),
        Event::Log {
            step, level, message, ..
        } => format!("{seq} step {step} logs {}: {message}", level.as_str()),
        Event::StepFinished {
            step, update, next, ..
        } => match next {
            Next::Node(node) => format!("{seq} step {step} gives {update:?}, next {node}"),
            Next::End => format!("{seq} step {step} gives {update:?}, end"),
        },
        Event::StepFailed { step, failure, .. } => {
            format!("{seq} step {step} fails ({}): {failure}", failure.kind.as_str())
        }
        Event::RunFinished => format!("{seq} run finished"),
        Event::RunFailed { error } => format!(
            "{seq} run failed ({}) at {}: {}",
            error.code, error.node, error.message
        ),
    }
}

fn split(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap_or((line, ""))
}

fn happens(run: &Run, line: &str) -> Input {
    let (verb, rest) = split(line);
    let update = |text: &str| Object::parse(if text.is_empty() { "{}" } else { text }).unwrap();
    let Some(Owed::Call { step, attempt, .. }) = run.owed().next() else {
        return Input::Answered {
            step: 1,
            attempt: 1,
            result: Ok(Outcome {
                update: update(""),
                route: Route::Edges,
            }),
        };
    };
    let result = match verb {
        "answer" | "stale" => Ok(Outcome {
            update: update(rest),
            route: Route::Edges,
        }),
        "again" => Ok(Outcome {
            update: update(rest),
            route: Route::Again,
        }),
        "end" => Ok(Outcome {
            update: update(rest),
            route: Route::End,
        }),
        "goto" => {
            let (names, rest) = split(rest);
            let names = names
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect();
            Ok(Outcome {
                update: update(rest),
                route: Route::Goto(names),
            })
        }
        "tool" => Outcome::from_tool_result(&json(rest).unwrap()),
        "fail" => {
            let kind = if rest.starts_with("retryable") {
                FailureKind::Retryable
            } else {
                FailureKind::Trap
            };
            Err(Failure::new(kind, split(rest).1))
        }
        "log" => {
            let level = if rest.starts_with("warn") {
                Level::Warn
            } else {
                Level::Info
            };
            let lines = [(level, Arc::from(split(rest).1))].into();
            return Input::Logged { step, attempt, lines };
        }
        "resume" => return Input::Resumed,
        other => panic!("no such verb: {other}"),
    };
    let attempt = if verb == "stale" { attempt - 1 } else { attempt };
    Input::Answered {
        step,
        attempt,
        result,
    }
}

fn check(script: &str, expected: Expect) {
    let mut lines = script.trim().lines().map(str::trim);
    let graph = Arc::new(make(lines.next().expect("a graph")));
    let state = Object::parse(lines.next().expect("a state")).expect("an object");
    let id = RunId(uuid::Uuid::nil());
    let (mut run, mut journal) = Run::start(id, graph.clone(), state, functions(&graph), Timestamp(0));
    let mut told: Vec<String> = journal.iter().map(|event| show(event)).collect();
    for (turn, line) in lines.enumerate() {
        match run.take(happens(&run, line), Timestamp(turn as i64 + 1)) {
            Ok(events) => {
                told.extend(events.iter().map(|event| show(event)));
                journal.extend(events);
            }
            Err(refusal) => told.push(format!("- refused: {refusal}")),
        }
    }
    told.push(format!("{} {:?}", run.status.as_str(), run.state));
    expected.assert_eq(&told.join("\n"));

    // Whatever happened, the run is the fold of its journal.
    let mut folded = Run::from_first(id, graph, &journal[0]).unwrap();
    journal[1..].iter().for_each(|event| folded.fold(event).unwrap());
    assert_eq!(format!("{run:?}"), format!("{folded:?}"));
}

const LINE: &str =
    r#"{"nodes": {"extract": {}, "analyze": {}}, "edges": {"extract": "analyze", "analyze": "end"}}"#;

#[test]
fn a_line_of_nodes_runs_to_its_end_and_merges_key_by_key() {
    check(
        &format!(
            "{LINE}\n{{\"input\":\"some data\"}}\nanswer {{\"words\":2}}\nanswer {{\"words\":3,\"ease\":1}}"
        ),
        expect![[r#"
            1 run started {"input":"some data"}
            2 step 1 at extract, attempt 1
            3 step 1 gives {"words":2}, next analyze
            4 step 2 at analyze, attempt 1
            5 step 2 gives {"ease":1,"words":3}, end
            6 run finished
            finished {"ease":1,"input":"some data","words":3}"#]],
    );
}

#[test]
fn what_a_node_says_stands_before_its_edges() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}}, "edges": {"a": "b", "b": "c"}}
           {}
           goto c
           goto a {"x":1}
           end {"y":2}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, next c
            4 step 2 at c, attempt 1
            5 step 2 gives {"x":1}, next a
            6 step 3 at a, attempt 1
            7 step 3 gives {"y":2}, end
            8 run finished
            finished {"x":1,"y":2}"#]],
    );
}

#[test]
fn a_tool_routes_by_keys_that_do_not_enter_the_state() {
    check(
        r#"{"nodes": {"a": {}, "b": {}}, "edges": {"a": "b"}}
           {}
           tool {"n":1,"loop":true}
           tool {"n":2,"loop":true,"next":"b"}
           tool {"n":3,"loop":false,"next":"end"}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {"n":1}, next a
            4 step 2 at a, attempt 1
            5 step 2 gives {"n":2}, next a
            6 step 3 at a, attempt 1
            7 step 3 gives {"n":3}, end
            8 run finished
            finished {"n":3}"#]],
    );
}

#[test]
fn a_tool_must_answer_an_object_and_routes_of_the_right_type() {
    for result in [
        "[1,2]",
        r#"{"next": 5}"#,
        r#"{"next": ["a", 1]}"#,
        r#"{"loop": "yes"}"#,
        "\"text\"",
    ] {
        let failure = Outcome::from_tool_result(&json(result).unwrap()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidOutcome, "{result}: {failure}");
    }
    let plain = Outcome::from_tool_result(&json(r#"{"next": null, "loop": null, "x": 1}"#).unwrap()).unwrap();
    assert_eq!(
        plain,
        Outcome {
            update: Object::parse(r#"{"x":1}"#).unwrap(),
            route: Route::Edges
        }
    );
}

#[test]
fn a_next_that_is_no_node_fails_the_run_and_leaves_the_state() {
    check(
        r#"{"nodes": {"gate": {}, "improve": {}}, "edges": {"gate": "improve"}}
           {}
           goto improv {"x":1}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at gate, attempt 1
            3 step 1 fails (invalid_outcome): node `gate` answered `next`: `improv`, which is no node of the graph; did it mean `improve`?
            4 run failed (invalid_outcome) at gate: node `gate` answered `next`: `improv`, which is no node of the graph; did it mean `improve`?
            failed {}"#]],
    );
}

#[test]
fn several_nodes_in_next_are_refused_by_name() {
    check(
        r#"{"nodes": {"a": {}, "b": {}}}
           {}
           goto a,b {"x":1}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 fails (invalid_outcome): node `a` answered several nodes in `next` (a, b): a branch goes to one node
            4 run failed (invalid_outcome) at a: node `a` answered several nodes in `next` (a, b): a branch goes to one node
            failed {}"#]],
    );
}

#[test]
fn a_loop_ends_at_the_step_limit_with_what_to_do() {
    check(
        r#"{"nodes": {"spin": {}}, "limits": {"steps": 2}}
           {}
           again {"n":1}
           again {"n":2}
           again {"n":3}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at spin, attempt 1
            3 step 1 gives {"n":1}, next spin
            4 step 2 at spin, attempt 1
            5 step 2 gives {"n":2}, next spin
            6 run failed (step_limit) at spin: the run took 2 steps, its limit, and was about to visit `spin`: it may be in an endless loop; if not, raise `limits.steps` in the graph
            - refused: the run is over
            failed {"n":2}"#]],
    );
}

#[test]
fn a_run_that_is_taken_up_calls_again_and_only_the_latest_attempt_may_speak() {
    check(
        r#"{"nodes": {"a": {}}}
           {}
           log info begins
           resume
           stale {"from":"the dead engine"}
           answer {"from":"the second attempt"}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 logs info: begins
            4 step 1 at a, attempt 2
            - refused: this attempt is not the latest of a step that the run is at
            5 step 1 gives {"from":"the second attempt"}, end
            6 run finished
            finished {"from":"the second attempt"}"#]],
    );
}

#[test]
fn a_failure_ends_the_run_with_node_step_attempt_and_message() {
    check(
        r#"{"nodes": {"a": {}, "b": {}}, "edges": {"a": "b"}}
           {"k":0}
           answer {"k":1}
           fail trap out of bounds
           answer"#,
        expect![[r#"
            1 run started {"k":0}
            2 step 1 at a, attempt 1
            3 step 1 gives {"k":1}, next b
            4 step 2 at b, attempt 1
            5 step 2 fails (trap): out of bounds
            6 run failed (trap) at b: out of bounds
            - refused: the run is over
            failed {"k":1}"#]],
    );
}

fn found(definition: &str) -> String {
    let known = ["extract", "analyze", "gate"];
    let find = |uses: &str| match known.contains(&uses) {
        true => Ok(Function {
            kind: FunctionKind::Node,
            routes: if uses == "gate" {
                vec!["improve".into(), "end".into()]
            } else {
                Vec::new()
            },
        }),
        false => Err(format!("no registered plugin has a function `{uses}`")),
    };
    let found = match Definition::parse(definition).map(|definition| graph::check(&definition, find)) {
        Ok(Ok((graph, warnings))) => (format!("starts at {}", graph.node(graph.start).name), warnings),
        Ok(Err(found)) | Err(found) => ("refused".to_owned(), found),
    };
    let findings = found
        .1
        .iter()
        .map(|found| format!("\n{:?} {}: {}", found.severity, found.pointer, found.message));
    found.0 + &findings.collect::<String>()
}

#[test]
fn a_definition_is_refused_with_every_mistake_at_its_place() {
    expect![[r#"
        refused
        Error /nodez: unknown key `nodez`; did you mean `nodes`?
        Error /start: expected a string, got a number
        Error : `nodes` is missing: an object from each node's name to the node, as in {"extract": {}}
        Error /edges/a: expected the name of a node or "end", got an array
        Error /limits/steps: expected a whole number from 1 to 100000000, got 0"#]]
    .assert_eq(&found(
        r#"{"nodez": {}, "start": 1, "edges": {"a": ["b"]}, "limits": {"steps": 0}}"#,
    ));
    expect![[r#"
        refused
        Error /nodes/extact: no registered plugin has a function `extact`
        Error /edges/extract: an edge leads from `extract`, which is no node of the graph; did you mean `extact`?
        Error /edges/analyze: an edge leads to `ende`, which is no node of the graph; did you mean `end`?"#]]
    .assert_eq(&found(r#"{"nodes": {"extact": {}, "analyze": {}}, "edges": {"extract": "analyze", "analyze": "ende"}}"#));
    expect![[r#"
        refused
        Error /nodes/end: `end` is the name of the end; give the node another name
        Error /nodes/a~1b/confg: unknown key `confg`; did you mean `config`?"#]]
    .assert_eq(&found(
        r#"{"nodes": {"end": {}, "a/b": {"uses": "extract", "confg": 1}}}"#,
    ));
    expect![[r#"
        refused
        Error : the graph is not JSON: EOF while parsing an object at line 1 column 13"#]]
    .assert_eq(&found(r#"{"nodes": {} "#));
}

#[test]
fn warnings_do_not_stop_a_graph() {
    expect![[r#"
        starts at extract
        Warning /nodes/gate: its function may route to `improve`, which is no node of the graph: the run fails if it does
        Warning /nodes/analyze: no edge and no declared route leads to `analyze` from the start; only a `next` that names it does"#]]
    .assert_eq(&found(
        r#"{"start": "extract", "nodes": {"extract": {}, "gate": {}, "analyze": {}}, "edges": {"extract": "gate"}}"#,
    ));
}

#[test]
fn the_start_is_said_or_the_one_free_node_or_the_first() {
    assert_eq!(
        found(r#"{"nodes": {"analyze": {}, "extract": {}}, "edges": {"extract": "analyze"}}"#),
        "starts at extract"
    );
    assert_eq!(
        found(
            r#"{"nodes": {"analyze": {}, "extract": {}}, "edges": {"extract": "analyze", "analyze": "extract"}}"#
        ),
        "starts at analyze"
    );
    assert!(found(r#"{"nodes": {"extract": {}, "analyze": {}}}"#).starts_with("starts at extract"));
    assert!(
        found(r#"{"nodes": {"extract": {}, "analyze": {}}, "start": "analyze"}"#)
            .starts_with("starts at analyze")
    );
}

#[test]
fn a_graph_has_the_same_id_for_the_same_content_however_it_is_spaced() {
    let spaced = make(&LINE.replace(": ", " :\n ")).id;
    assert_eq!(make(LINE).id, spaced);
    assert_ne!(make(LINE).id, make(r#"{"nodes": {"extract": {}}}"#).id);
}

#[test]
fn values_keep_their_text_through_a_merge() {
    let mut state = Object::parse(r#"{"big": 12345678901234567890123, "pi": 3.10, "s": "\u00e9"}"#).unwrap();
    state.merge(&Object::parse(r#"{"new": {"b": 1, "a": 2}}"#).unwrap());
    assert_eq!(
        state.to_text(),
        r#"{"big":12345678901234567890123,"new":{"b": 1, "a": 2},"pi":3.10,"s":"\u00e9"}"#
    );
    assert!(
        Object::parse("[1]")
            .unwrap_err()
            .to_string()
            .contains("got an array")
    );
    assert!(
        Object::parse("not json")
            .unwrap_err()
            .to_string()
            .contains("not JSON")
    );
    assert_eq!(object::kind_of(" {"), Some("an object"));
}
