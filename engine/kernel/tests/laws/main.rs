//! Property tests of the kernel over random graphs, results, orders, crashes, duplicates and control requests: pauses,
//! retries, upgrades, forks, cancellations, and snapshots at any moment.
//!
//! Every decision is also checked for the law of its calls (`calls.rs`).
//!
//! A failing case prints its seed and the smallest input that fails. `PROPTEST_CASES` sets the number of cases of each
//! test, and `PROPTEST_RNG_SEED` the seed.
#![allow(clippy::unwrap_used)] // a test may panic

mod calls;
mod input;
mod random_graphs;
mod world;

use std::{collections::BTreeMap, hash::BuildHasher, sync::Arc};

use heddle_json::{Json, Object};
use heddle_kernel::{Event, EventRecord, Input, Next, Run, Status, Timestamp};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};

use crate::{
    calls::decide,
    input::{CALM, drafts, luck},
    world::{World, calls, undoes},
};

/// The default number of cases per test: all tests together take a few tens of seconds.
const CASES: u32 = 10_000;

/// Whether a step belongs to a nested graph, by its events.
fn nested(journal: &[Arc<EventRecord>], of: u64) -> bool {
    let mut events = journal.iter();
    events.any(
        |event| matches!(event.event, Event::StepStarted { step, within, .. } if step == of && within > 0),
    )
}

/// The visits of a run with their results and routes, without numbers, attempts and times.
fn route(journal: &[Arc<EventRecord>]) -> Vec<String> {
    let text = |json: &Option<Json>| json.as_ref().map(|json| json.get().to_owned());
    let mut joins: BTreeMap<u64, usize> = BTreeMap::new();
    let mut visits: Vec<String> = Vec::new();
    for recorded in journal {
        match &recorded.event {
            Event::StepStarted { step, joined, .. } => {
                joins.entry(*step).or_insert(joined.len());
            }
            Event::StepFinished {
                step,
                node,
                update,
                next,
                ..
            } => {
                let next: Vec<&str> = match next {
                    Next::Node(node) => vec![node],
                    Next::Fork(arms) => arms.iter().map(|arm| &*arm.to).collect(),
                    Next::End => vec!["end"],
                };
                visits.push(format!("{node} joins {} {update:?} {next:?}", joins[step]));
            }
            Event::ItemFinished {
                node, item, result, ..
            } => {
                visits.push(format!("{node} item {} {:?}", item.index, text(result)));
            }
            _ => {}
        }
    }
    visits.sort();
    visits
}

fn config() -> Config {
    let set = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    // Different cases in every run: the hasher's keys are random.
    let seed = set("PROPTEST_RNG_SEED").unwrap_or_else(|| std::hash::RandomState::new().hash_one(0));
    // Printed if a test fails.
    eprintln!("PROPTEST_RNG_SEED={seed}");
    Config {
        cases: set("PROPTEST_CASES").map_or(CASES, |cases| u32::try_from(cases).unwrap_or(u32::MAX)),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_order_of_completions_crashes_and_duplicates_change_neither_state_nor_route(
        root in drafts(9), child in drafts(4), forward in any::<bool>(), conflicts in any::<bool>(), luck in luck(),
    ) {
        let Some(world) = World::new(&root, &child, forward, conflicts) else { return Ok(()) };
        let (calm, calm_journal) = world.play(&CALM);
        let (other, journal) = world.play(&luck);
        prop_assert_eq!(calm.status == Status::Finished, other.status == Status::Finished);
        if calm.status == Status::Finished {
            prop_assert_eq!(calm.state().to_text(), other.state().to_text());
            prop_assert_eq!(route(&calm_journal), route(&journal));
        }
    }

    #[test]
    fn a_run_is_the_fold_of_its_journal_and_its_events_are_numbered_without_gap(
        root in drafts(9), child in drafts(4), luck in luck(),
    ) {
        let Some(world) = World::new(&root, &child, false, true) else { return Ok(()) };
        let (run, journal) = world.play(&luck);
        // The journal survives being stored as text.
        let stored: Vec<Arc<EventRecord>> = journal
            .iter()
            .map(|event| Arc::new(serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap()))
            .collect();
        prop_assert_eq!(format!("{run:?}"), format!("{:?}", world.fold(&stored)));
        prop_assert_eq!(run.pending_work().count(), 0);
        for (position, event) in stored.iter().enumerate() {
            prop_assert_eq!(event.seq, position as u64 + 1);
        }
    }

    #[test]
    fn a_fork_from_any_step_ends_as_the_run_did(
        root in drafts(9), child in drafts(4), from in any::<prop::sample::Index>(), one in luck(), other in luck(),
    ) {
        let Some(world) = World::new(&root, &child, false, false) else { return Ok(()) };
        let (run, journal) = world.play(&one);
        let ends: Vec<usize> = (0..journal.len())
            .filter(|at| *at == 0 || journal[*at].event.ends_step().is_some())
            .collect();
        let at = ends[from.index(ends.len())];
        let of = world.fold(&journal[..=at]);
        let step = journal[at].event.ends_step().unwrap_or(0);
        let fork = Run::fork(run.id, &of, step, Object::default(), Timestamp(0));
        prop_assert_eq!(fork.is_ok(), !undoes(&journal[..=at]));
        let Ok((mut fork, mut journal)) = fork else { return Ok(()) };
        fork.stage(world.graph.clone(), world.graphs.clone());
        world.go_on(&mut fork, &mut journal, &other);
        if run.status == Status::Finished {
            prop_assert_eq!(fork.status, Status::Finished);
            prop_assert_eq!(run.state().to_text(), fork.state().to_text());
        }
        prop_assert_eq!(format!("{fork:?}"), format!("{:?}", world.fold(&journal)));
    }

    #[test]
    fn a_cancelled_run_starts_nothing_and_compensates_its_steps(
        root in drafts(9), child in drafts(4), when in 0..12usize, grace in 0..3u64, luck in luck(),
    ) {
        let Some(world) = World::new(&root, &child, false, false) else { return Ok(()) };
        let (_, journal) = world.play(&luck);
        // The run after some event, as an engine that loads it then sees it.
        let mut journal: Vec<Arc<EventRecord>> = journal[..journal.len().min(1 + when * 3)].to_vec();
        let mut run = world.fold(&journal);
        let now = Timestamp(20_000);
        journal.extend(decide(&mut run, Input::Activate, now).into_iter().flatten());
        let before = journal.len();
        let cancel = Input::Cancel { reason: "not wanted".into(), grace_ms: grace };
        let Ok(events) = decide(&mut run, cancel, now) else { return Ok(()) };
        journal.extend(events);
        prop_assert_eq!(run.is_suspended(), !run.status.is_over() && !undoes(&journal));
        let mut turn = 0;
        while !run.status.is_over() {
            turn += 1;
            let all: Vec<(u64, u32)> = calls(&run).collect();
            let input = match luck.strikes(turn, 7, 5) && run.due().is_some() {
                true => Input::Due,
                false => {
                    let (step, attempt) = luck.pick(turn, &all);
                    world.answered(&run, step, attempt)
                }
            };
            journal.extend(decide(&mut run, input, Timestamp(now.0 + grace as i64)).unwrap());
            run = world.restore(&run);
        }
        prop_assert_eq!(run.status, Status::Cancelled);
        let (mut done, mut undone) = (Vec::new(), Vec::new());
        for (at, recorded) in journal.iter().enumerate() {
            match &recorded.event {
                Event::StepStarted { undoes: Some(step), attempt: 1, .. } => undone.push(*step),
                Event::StepStarted { .. } => prop_assert!(at < before, "{recorded:?}"),
                Event::StepFinished { step, node, .. } => {
                    let own = world.graph.find(node).map(|node| world.graph.node(node).compensate.is_some());
                    let undo = node.as_ref() == "undo" || !own.unwrap_or_default() || nested(&journal, *step);
                    done.extend((!undo).then_some(*step));
                }
                _ => {}
            }
        }
        done.reverse();
        prop_assert_eq!(done, undone);
        prop_assert_eq!(format!("{run:?}"), format!("{:?}", world.fold(&journal)));
    }

    #[test]
    fn without_loops_no_node_is_visited_twice(root in drafts(9), child in drafts(4), luck in luck()) {
        // `loop` in an answer is a visit of the same node by the same branch, and counts as one.
        let Some(world) = World::new(&root, &child, true, false) else { return Ok(()) };
        let (_, journal) = world.play(&luck);
        let mut again: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        for recorded in &journal {
            match &recorded.event {
                Event::StepStarted { node, within: 0, attempt: 1, item: None, undoes: None, .. } => {
                    let seen = again.insert(node.clone(), false);
                    prop_assert_ne!(seen, Some(false), "{} was visited twice", node);
                }
                Event::StepFinished { node, next: Next::Node(next), .. } if node == next => {
                    again.insert(node.clone(), true);
                }
                _ => {}
            }
        }
    }
}
