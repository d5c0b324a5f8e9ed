//! What a step was given, derived from a run; and the limit of the state.

use std::sync::Arc;

use heddle_json::Object;
use heddle_kernel::{
    Answer, FailureKind, Input, Outcome, Route, Run, RunId, Status, Timestamp, run::StepInput,
};

use crate::calls::decide;
use crate::script::{functions, make};

fn begin(definition: &str, state: &str, max_state_bytes: usize) -> Run {
    let graph = Arc::new(make(definition));
    let functions = functions(std::iter::once(&graph));
    let id = RunId(uuid::Uuid::from_u128(7));
    let state = Object::parse(state).expect("a state");
    let mut unstarted = Run::create(id, graph, Arc::default(), state, functions, Timestamp(0));
    unstarted.run.max_state_bytes = max_state_bytes;
    unstarted.start().0
}

/// What step 1 was given, in short.
fn step_input(definition: &str, state: &str) -> Option<String> {
    let run = begin(definition, state, usize::MAX);
    assert!(run.step_input(9).is_none(), "there is no step 9");
    run.step_input(1).map(|given| match given {
        Ok(StepInput::Call {
            function,
            input,
            config,
        }) => format!("{} {} {}", function.function, input.to_text(), config.get()),
        Ok(StepInput::Map(items)) => format!("items {}", items.get()),
        Ok(StepInput::Graph(state)) => format!("graph {}", state.to_text()),
        Ok(StepInput::Wait(wait)) => format!("signal {:?} prompt {:?}", wait.signal, wait.prompt),
        Ok(StepInput::Sleep { until }) => format!("until {:?}", until.map(|until| until.0)),
        Err(failure) => format!("{:?}: {}", failure.kind, failure.message),
    })
}

#[test]
fn the_input_of_an_active_step_is_derived() {
    for (node, expected) in [
        (
            r#"{"uses": "p/f", "input": {"b": "state.a + 1"}, "config": {"c": 2}}"#,
            r#"p/f {"b":2} {"c":2}"#,
        ),
        (
            r#"{"map": {"over": "[state.a, 5]", "uses": "p/f", "into": "all"}}"#,
            "items [1,5]",
        ),
        (
            r#"{"wait": {"signal": "go", "prompt": "Go on?"}}"#,
            r#"signal Some("go") prompt Some("Go on?")"#,
        ),
        (r#"{"sleep": "10s"}"#, "until Some(10000)"),
    ] {
        let definition = format!(r#"{{"nodes": {{"n": {node}}}}}"#);
        assert_eq!(
            step_input(&definition, r#"{"a": 1}"#).as_deref(),
            Some(expected),
            "{node}"
        );
    }
}

#[test]
fn a_state_may_be_as_large_as_its_limit() {
    // The state `{}` counts 2 bytes, the update `{"a":1}` counts 8.
    for (limit, fits) in [(10, true), (9, false)] {
        let mut run = begin(r#"{"nodes": {"n": {}}}"#, "{}", limit);
        let answered = Input::Answered {
            step: 1,
            attempt: 1,
            result: Ok(Answer::Outcome(Outcome {
                update: Object::parse(r#"{"a":1}"#).expect("an update"),
                route: Route::Edges,
            })),
        };
        decide(&mut run, answered, Timestamp(1)).expect("the answer counts");
        match fits {
            true => assert_eq!(run.status, Status::Finished, "limit {limit}"),
            false => {
                assert_eq!(run.status, Status::Failed, "limit {limit}");
                let error = run.error.as_ref().expect("an error").failure();
                assert_eq!(error.kind, FailureKind::Limit);
                let expected = "would take 10 bytes, more than its limit of 9 (max_state_bytes)";
                assert!(error.message.contains(expected), "{}", error.message);
            }
        }
    }
}
