//! The kernel's laws over random graphs, outcomes, crashes and duplicates. A failing case
//! prints its seed and the smallest input that shows it.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

use std::{collections::BTreeMap, sync::Arc};

use heddle_kernel::{
    Definition, Digest, Event, Failure, FailureKind, Function, FunctionKind, Graph, Input, Object, Outcome,
    Owed, Recorded, Refusal, Route, Run, RunId, Timestamp, event::FunctionRef, graph, object::to_json,
};
use proptest::prelude::*;

/// What a function answers at its n-th step, and what goes wrong around it.
#[derive(Clone, Debug)]
struct Turn {
    key: u8,
    route: u8,
    crash: bool,
    twice: bool,
    fails: bool,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = (
        0..5u8,
        0..12u8,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.03),
    );
    prop::collection::vec(
        turn.prop_map(|(key, route, crash, twice, fails)| Turn {
            key,
            route,
            crash,
            twice,
            fails,
        }),
        1..60,
    )
}

/// A graph of `edges.len()` nodes; an edge past the last node leads to the end.
fn graph_of(edges: &[u8]) -> Arc<Graph> {
    let nodes: serde_json::Map<_, _> = (0..edges.len())
        .map(|node| (format!("n{node}"), serde_json::json!({"uses": "f"})))
        .collect();
    let leads = |to: u8| {
        if usize::from(to) < edges.len() {
            format!("n{to}")
        } else {
            "end".to_owned()
        }
    };
    let edges: serde_json::Map<_, _> = edges
        .iter()
        .enumerate()
        .map(|(from, to)| (format!("n{from}"), leads(*to).into()))
        .collect();
    let text = serde_json::json!({"nodes": nodes, "edges": edges, "limits": {"steps": 40}}).to_string();
    let any = |_: &str| {
        Ok(Function {
            kind: FunctionKind::Node,
            routes: Vec::new(),
        })
    };
    Arc::new(graph::check(&Definition::parse(&text).unwrap(), any).unwrap().0)
}

fn outcome(turn: &Turn, step: u64) -> Result<Outcome, Failure> {
    if turn.fails {
        return Err(Failure::new(FailureKind::Permanent, "on purpose"));
    }
    let mut update = Object::default();
    update.insert(format!("k{}", turn.key), to_json(&step));
    let route = match turn.route {
        0 => Route::End,
        1 => Route::Again,
        named @ 2..=5 => Route::Goto(vec![format!("n{named}")]),
        _ => Route::Edges,
    };
    Ok(Outcome { update, route })
}

fn fold(id: RunId, graph: &Arc<Graph>, journal: &[Arc<Recorded>]) -> Run {
    let mut run = Run::from_first(id, graph.clone(), &journal[0]).unwrap();
    journal[1..].iter().for_each(|event| run.fold(event).unwrap());
    run
}

/// Runs a graph on these turns. With `trouble`, the engine dies and comes back, and answers come twice.
fn play(graph: &Arc<Graph>, turns: &[Turn], trouble: bool) -> (Run, Vec<Arc<Recorded>>) {
    let id = RunId(uuid::Uuid::nil());
    let f = FunctionRef {
        digest: Digest::of(b""),
        plugin: "p".into(),
        version: "1.0.0".into(),
        function: "f".into(),
    };
    let functions = BTreeMap::from([("f".into(), f)]);
    let (mut run, mut journal) = Run::start(id, graph.clone(), Object::default(), functions, Timestamp(0));
    let next = |run: &Run| run.owed().next();
    while let Some(Owed::Call { step, attempt, .. }) = next(&run) {
        let turn = &turns[(step as usize - 1) % turns.len()];
        let answer = |attempt| Input::Answered {
            step,
            attempt,
            result: outcome(turn, step),
        };
        let mut latest = attempt;
        if trouble && turn.crash {
            // What was in memory is gone; the journal is all there is.
            run = fold(id, graph, &journal);
            journal.extend(run.take(Input::Resumed, Timestamp(1)).unwrap());
            latest += 1;
            assert_eq!(
                run.take(answer(attempt), Timestamp(1)).unwrap_err(),
                Refusal::Stale
            );
        }
        journal.extend(run.take(answer(latest), Timestamp(2)).unwrap());
        if trouble && turn.twice {
            assert!(
                run.take(answer(latest), Timestamp(3)).is_err(),
                "an answer counted twice"
            );
        }
    }
    (run, journal)
}

/// The route that a run took and what each step gave, without attempts and times.
fn route(journal: &[Arc<Recorded>]) -> Vec<String> {
    let told = journal.iter().filter_map(|recorded| match &recorded.event {
        Event::StepFinished {
            step,
            node,
            update,
            next,
            ..
        } => Some(format!("{step} {node} {update:?} {next:?}")),
        Event::RunFailed { error } => Some(format!("{} {}", error.code, error.message)),
        _ => None,
    });
    told.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn crashes_and_duplicates_change_neither_state_nor_route(
        edges in prop::collection::vec(0..8u8, 1..6), turns in turns(),
    ) {
        let graph = graph_of(&edges);
        let (calm, calm_journal) = play(&graph, &turns, false);
        let (troubled, journal) = play(&graph, &turns, true);
        prop_assert_eq!(&calm.state, &troubled.state);
        prop_assert_eq!(calm.status, troubled.status);
        prop_assert_eq!(route(&calm_journal), route(&journal));
    }

    #[test]
    fn every_run_ends_and_its_events_are_numbered_without_gap(
        edges in prop::collection::vec(0..8u8, 1..6), turns in turns(),
    ) {
        let graph = graph_of(&edges);
        let (run, journal) = play(&graph, &turns, true);
        prop_assert!(run.status.is_over());
        prop_assert!(run.steps <= graph.max_steps);
        prop_assert_eq!(run.owed().count(), 0);
        for (position, event) in journal.iter().enumerate() {
            prop_assert_eq!(event.seq, position as u64 + 1);
        }
    }

    #[test]
    fn a_run_is_the_fold_of_every_prefix_of_its_journal(
        edges in prop::collection::vec(0..8u8, 1..6), turns in turns(),
    ) {
        let graph = graph_of(&edges);
        let (run, journal) = play(&graph, &turns, true);
        // The journal survives being stored as text.
        let stored: Vec<Arc<Recorded>> = journal
            .iter()
            .map(|event| Arc::new(serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap()))
            .collect();
        let folded = fold(run.id, &graph, &stored);
        prop_assert_eq!(format!("{run:?}"), format!("{folded:?}"));
        for end in 1..stored.len() {
            let prefix = fold(run.id, &graph, &stored[..end]);
            prop_assert_eq!(prefix.seq, end as u64);
        }
    }
}
