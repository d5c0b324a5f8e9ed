use heddle_json::{Object, object::json};
use heddle_kernel::{Answer, FailureKind, Input, Outcome, Route, Run, Status, Timestamp};

use crate::{calls::decide, script::started};

const MIB: usize = 1 << 20;

fn start(definition: &str, max_run_bytes: usize) -> Run {
    started(definition, |run| run.max_run_bytes = max_run_bytes)
}

/// Answers the first active call.
fn answer(run: &mut Run, update: &str) {
    let step = run.active_step_ids().next().expect("an active call");
    let attempt = run.active_step(step).map_or(1, |step| step.attempt);
    let result = Ok(Answer::Outcome(Outcome {
        update: Object::parse(update).unwrap(),
        route: Route::Edges,
    }));
    let answered = Input::Answered {
        step,
        attempt,
        result,
    };
    decide(run, answered, Timestamp(1)).expect("it goes on");
}

fn text(bytes: usize) -> String {
    format!("{{\"text\":\"{}\"}}", "x".repeat(bytes))
}

/// A graph with this number of arms of one step each.
fn fan(arms: usize) -> String {
    let names: Vec<String> = (0..arms).map(|arm| format!("\"arm{arm}\"")).collect();
    let nodes: String = names.iter().map(|name| format!(", {name}: {{}}")).collect();
    format!(
        r#"{{"nodes": {{"big": {{}}{nodes}, "rest": {{}}}}, "start": "big", "edges": {{"big": [{}], {}}},
            "state": {{"list": {{"merge": "append"}}}}}}"#,
        names.join(","),
        names
            .iter()
            .map(|name| format!("{name}: \"rest\""))
            .collect::<Vec<_>>()
            .join(",")
    )
}

#[test]
fn branches_that_share_a_value_hold_it_once_and_each_change_counts() {
    let mut run = start(&fan(100), 8 * MIB);
    answer(&mut run, &format!("{{\"list\":[\"{}\"]}}", "x".repeat(MIB)));
    run.recount_memory();
    assert!(
        (MIB..MIB + MIB / 2).contains(&run.memory_bytes()),
        "{}",
        run.memory_bytes()
    );
    // A small event makes the branch hold a separate list.
    let mut arms = 0;
    while !run.status.is_over() {
        answer(&mut run, "{\"list\":[1]}");
        arms += 1;
        assert!(run.memory_bytes() < 10 * MIB);
    }
    assert!((6..=9).contains(&arms), "{arms} arms have a list");
    let error = run.error.as_ref().expect("why it failed");
    assert_eq!((run.status, error.kind), (Status::Failed, FailureKind::Limit));
    assert!(
        error.message.contains("8388608 (max_run_bytes)"),
        "{}",
        error.message
    );
}

#[test]
fn the_states_of_steps_that_can_be_undone_count() {
    let definition = r#"{"nodes": {"book": {"compensate": "cancel"}, "cancel": {}}, "start": "book", "edges": {"book": "book"}}"#;
    let mut run = start(definition, 8 * MIB);
    let mut rounds = 0;
    while run.error.is_none() && rounds < 20 && run.active_step(rounds + 1).is_some() {
        answer(&mut run, &text(MIB));
        rounds += 1;
    }
    assert!((7..=9).contains(&rounds), "{rounds} states");
    // The run compensates its steps and then has failed.
    while !run.status.is_over() {
        answer(&mut run, "{}");
    }
    assert_eq!(run.error.as_ref().unwrap().kind, FailureKind::Limit);
}

#[test]
fn values_that_a_run_no_longer_holds_do_not_count() {
    let mut run = start(r#"{"nodes": {"spin": {}}, "edges": {"spin": "spin"}}"#, 3 * MIB);
    for _ in 0..50 {
        answer(&mut run, &text(MIB));
        assert!(run.memory_bytes() <= 3 * MIB, "{}", run.memory_bytes());
    }
    assert_eq!(run.status, Status::Running);
}

#[test]
fn the_items_of_a_map_and_signals_count() {
    let definition = r#"{"nodes": {"a": {}, "each": {"map": {"over": "state.list", "as": "x", "uses": "f", "into": "out"}},
        "ask": {"wait": {"signal": "go"}}}, "edges": {"a": ["each", "ask"]}}"#;
    let mut run = start(definition, 5 * MIB);
    let list = vec![format!("\"{}\"", "z".repeat(MIB / 4)); 4].join(",");
    answer(&mut run, &format!("{{\"list\":[{list}]}}"));
    run.recount_memory();
    // The list and its items.
    assert!(
        (2 * MIB..3 * MIB).contains(&run.memory_bytes()),
        "{}",
        run.memory_bytes()
    );
    let signal = Input::Signal {
        name: "go".into(),
        payload: json(&format!("\"{}\"", "x".repeat(4 * MIB))).unwrap(),
        wait: None,
    };
    decide(&mut run, signal, Timestamp(1)).unwrap();
    assert_eq!(run.error.as_ref().unwrap().kind, FailureKind::Limit);
}
