use std::{collections::VecDeque, sync::Arc};

use expect_test::expect;
use heddle_json::{Object, object::json};
use heddle_kernel::{
    Answer, Event, EventRecord, FailureKind, Input, Level, Outcome, Refusal, Route, Run, RunId, Status,
    Timestamp, run::Snapshot,
};

use crate::{
    calls::decide,
    script::{check, started},
};

const KIB: usize = 1 << 10;

/// A run of this graph whose journal has this limit.
fn start(definition: &str, max_journal_bytes: u64) -> Run {
    started(definition, |run| run.max_journal_bytes = max_journal_bytes)
}

fn text(bytes: usize) -> String {
    format!("{{\"text\":\"{}\"}}", "x".repeat(bytes))
}

fn answer(run: &mut Run, update: &str, route: Route) -> Result<Vec<Arc<EventRecord>>, Refusal> {
    let step = run.active_step_ids().next().unwrap_or(run.steps);
    let attempt = run.active_step(step).map_or(1, |task| task.attempt);
    let update = Object::parse(update).unwrap();
    let result = Ok(Answer::Outcome(Outcome { update, route }));
    let answered = Input::Answered {
        step,
        attempt,
        result,
    };
    decide(run, answered, Timestamp(1))
}

#[test]
fn a_run_fails_when_its_journal_is_full_and_says_which_limit_it_was() {
    check(
        r#"{"nodes": {"spin": {}}, "limits": {"journal": "1000 B"}}
           {}
           again {"n":1}
           again {"n":2}
           again {"n":3}
           retry
           signal go 1"#,
        expect![[r#"
            1 run started {}
            2 step 1 at spin, attempt 1
            3 step 1 gives {"n":1}, next spin
            4 step 2 at spin, attempt 1
            5 step 2 gives {"n":2}, next spin
            6 step 3 at spin, attempt 1
            7 run failed (journal_limit) at spin: the run's journal takes 1138 bytes, and its limit is 1000 (limits.journal): have its steps return and log less, split the work into several runs, or raise the limit
            - refused: the run is over
            - refused: the run's journal has 1462 bytes, and 160 more would exceed its limit of 1000 (limits.journal): the run can be cancelled, or upgraded to a graph with a higher limit
            - refused: the run is over
            failed {"n":2}"#]],
    );
}

#[test]
fn the_limit_counts_results_logs_and_items_and_room_is_left_for_the_failure() {
    let definition = r#"{"nodes": {"spin": {}}}"#;
    let mut run = start(definition, 100 * KIB as u64);
    let mut rounds = 0;
    while !run.status.is_over() {
        answer(&mut run, &text(10 * KIB), Route::Again).expect("the run goes on");
        rounds += 1;
    }
    assert_eq!((run.status, rounds), (Status::Failed, 10));
    let error = run.error.as_ref().expect("why it failed");
    assert_eq!(error.kind, FailureKind::JournalLimit);
    assert!(
        error.message.contains("102400 (max_journal_bytes)"),
        "{}",
        error.message
    );
    assert_eq!(run.state().size(), Object::parse(&text(10 * KIB)).unwrap().size());

    let mut run = start(definition, 100 * KIB as u64);
    let lines: VecDeque<_> = (0..1_000)
        .map(|_| (Level::Info, "y".repeat(KIB).into()))
        .collect();
    let (step, attempt) = (1, 1);
    let events = decide(&mut run, Input::Logged { step, attempt, lines }, Timestamp(1)).unwrap();
    assert_eq!(run.status, Status::Failed);
    assert!(events.len() < 100, "{} events", events.len());
    assert!(matches!(events.last().unwrap().event, Event::RunFailed { .. }));

    let list = format!(
        "{{\"list\":[{}]}}",
        vec![format!("\"{}\"", "z".repeat(KIB)); 90].join(",")
    );
    let mut run = start(
        r#"{"nodes": {"a": {}, "each": {"map": {"over": "state.list", "as": "x", "uses": "f", "into": "out", "at_once": 1000}}},
            "edges": {"a": "each"}}"#,
        200 * KIB as u64,
    );
    answer(&mut run, &list, Route::Edges).unwrap();
    assert_eq!(run.status, Status::Running);
    let mut run = start(
        r#"{"nodes": {"a": {}, "each": {"map": {"over": "state.list", "as": "x", "uses": "f", "into": "out", "at_once": 1000}}},
            "edges": {"a": "each"}}"#,
        185 * KIB as u64,
    );
    let events = answer(&mut run, &list, Route::Edges).unwrap();
    assert_eq!(run.status, Status::Failed);
    assert!(
        events.len() < 60,
        "no item begins once it is full: {}",
        events.len()
    );
}

#[test]
fn a_run_that_a_full_journal_ends_is_compensated_while_there_is_room() {
    let definition = r#"{"nodes": {"book": {"compensate": "cancel"}, "spin": {}, "cancel": {}},
        "start": "book", "edges": {"book": "spin"}}"#;
    let mut run = start(definition, 20 * KIB as u64);
    answer(&mut run, "{\"a\":1}", Route::Edges).unwrap();
    let events = answer(&mut run, &text(20 * KIB), Route::Again).unwrap();
    assert!(
        events
            .iter()
            .any(|event| matches!(event.event, Event::UndoStarted { .. }))
    );
    assert_eq!(run.status, Status::Running);
    answer(&mut run, "{\"undone\":true}", Route::Edges).unwrap();
    assert_eq!(run.status, Status::Failed);
    assert_eq!(run.error.as_ref().unwrap().kind, FailureKind::JournalLimit);
    assert_eq!(run.state().get("undone").unwrap().get(), "true");

    let definition = r#"{"nodes": {"book": {"compensate": "cancel"}, "cancel": {}}, "start": "book"}"#;
    let mut run = start(definition, 20 * KIB as u64);
    for _ in 0..3 {
        answer(&mut run, "{\"a\":1}", Route::Again).unwrap();
    }
    answer(&mut run, &text(20 * KIB), Route::Again).unwrap();
    answer(&mut run, &text(2 << 20), Route::Edges).unwrap();
    let error = run.error.as_ref().expect("the room for undoing is used up");
    assert_eq!(
        (run.status, error.kind),
        (Status::Failed, FailureKind::JournalLimit)
    );
    assert!(
        error.message.contains("failed compensations: 3 steps"),
        "{}",
        error.message
    );
}

#[test]
fn inputs_that_do_not_fit_are_refused_and_the_run_continues() {
    let definition = r#"{"nodes": {"ask": {"wait": {"signal": "go"}}}}"#;
    let mut run = start(definition, 100 * KIB as u64);
    let signal = |bytes: usize| Input::Signal {
        name: "go".into(),
        payload: json(&format!("\"{}\"", "x".repeat(bytes))).unwrap(),
        wait: None,
    };
    let refusal = decide(&mut run, signal(100 * KIB), Timestamp(1)).expect_err("it is too large");
    let Refusal::JournalFull { limit, name, .. } = refusal else {
        panic!("{refusal:?}")
    };
    assert_eq!((limit, name), (100 * KIB as u64, "max_journal_bytes"));
    assert!(run.is_waiting());
    decide(&mut run, signal(10), Timestamp(2)).expect("this one fits");
    assert_eq!(run.status, Status::Finished);
}

#[test]
fn the_bytes_are_counted_on_across_snapshots_and_anew_in_a_fork() {
    let mut run = start(r#"{"nodes": {"spin": {}}}"#, 1 << 30);
    for _ in 0..3 {
        answer(&mut run, &text(KIB), Route::Again).unwrap();
    }
    assert!(run.journal_bytes > 3 * KIB as u64);
    let snapshot = Snapshot::read(run.snapshot().get()).unwrap();
    let restored = snapshot
        .restore(run.id, run.graph.clone(), run.graphs.clone())
        .unwrap();
    assert_eq!(restored.journal_bytes, run.journal_bytes);
    let id = RunId(uuid::Uuid::from_u128(8));
    let (fork, events) = Run::fork(id, &run, 3, Object::default(), Timestamp(2)).unwrap();
    let bytes: usize = events.iter().map(|event| event.event.size()).sum();
    assert_eq!(fork.journal_bytes, bytes as u64);
    // A snapshot of an earlier version has no count.
    let text = run.snapshot().get().replace("\"journal_bytes\"", "\"unknown\"");
    let snapshot = Snapshot::read(&text).unwrap();
    let restored = snapshot
        .restore(run.id, run.graph.clone(), run.graphs.clone())
        .unwrap();
    assert_eq!(restored.journal_bytes, 0);
}
