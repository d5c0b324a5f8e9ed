//! The random input of a law: the drafts of graphs, and the luck of a run.

use std::{collections::BTreeMap, sync::Arc};

use heddle_kernel::{Digest, event::FunctionRef};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::random_graphs::{self, NodeDraft, hash_of};

/// Between one and `most` drafts of nodes.
pub(crate) fn drafts(most: usize) -> impl Strategy<Value = Vec<NodeDraft>> {
    let draft = (
        0..12u8,
        prop::collection::vec(0..10u8, 0..4),
        prop::collection::vec(0..10u8, 0..3),
        prop::option::weighted(0.2, 0..10u8),
    );
    let draft = draft.prop_map(|(kind, edges, next, on_error)| NodeDraft {
        kind,
        edges,
        next,
        on_error,
    });
    prop::collection::vec(draft, 1..most)
}

/// The luck of a run: the order of its results, crashes, duplicates and control requests.
#[derive(Clone, Debug)]
pub(crate) struct Luck {
    picks: Vec<u8>,
    pub(crate) crashes: u64,
    pub(crate) twice: bool,
    /// The seed of control requests, if there are any.
    pub(crate) steers: Option<u64>,
}

pub(crate) fn luck() -> impl Strategy<Value = Luck> {
    (
        prop::collection::vec(any::<u8>(), 1..40),
        any::<u64>(),
        any::<bool>(),
        prop::option::of(any::<u64>()),
    )
        .prop_map(|(picks, crashes, twice, steers)| Luck {
            picks,
            crashes,
            twice,
            steers,
        })
}

pub(crate) const CALM: Luck = Luck {
    picks: Vec::new(),
    crashes: 0,
    twice: false,
    steers: None,
};

impl Luck {
    /// Whether an event with a probability of 1 in `every` happens at this turn.
    pub(crate) fn strikes(&self, turn: i64, what: u8, every: u64) -> bool {
        self.steers
            .is_some_and(|steers| hash_of(&(steers, turn), what).is_multiple_of(every))
    }

    pub(crate) fn pick<T: Copy>(&self, turn: i64, from: &[T]) -> T {
        let pick = self.picks.get(turn as usize % self.picks.len().max(1));
        from[usize::from(pick.copied().unwrap_or(0)) % from.len()]
    }
}

/// The definition of drafts. Its nodes run the graph `child`, if any.
pub(crate) fn definition(drafts: &[NodeDraft], name: &str, forward: bool, child: Option<&str>) -> Value {
    let mut definition = random_graphs::definition(drafts, name, "n", forward, |draft, _, next| {
        match (draft.kind, child) {
            (0, Some(_)) => {
                json!({"map": {"over": "state.append", "uses": "f", "into": "last", "at_once": 2, "on_item_error": "collect"}})
            }
            (1, Some(child)) => {
                json!({"graph": child, "input": {"append": "state.append"}, "output": "last"})
            }
            (2, Some(child)) => {
                json!({"map": {"over": "state.append", "graph": child, "into": "union"}})
            }
            (3, _) => json!({"sleep": "5ms"}),
            (4, Some(_)) => json!({"uses": "f", "next": next, "compensate": "undo"}),
            // The result depends on the number of steps before it.
            (5, _) => {
                json!({"uses": "f", "input": {"steps": "run.steps", "append": "has(state.append) ? state.append : []"}, "next": next})
            }
            _ => json!({"uses": "f", "next": next}),
        }
    });
    if child.is_some() {
        definition["nodes"]["undo"] = json!({"uses": "f"});
    }
    definition
}

pub(crate) fn functions() -> BTreeMap<Arc<str>, FunctionRef> {
    let f = FunctionRef {
        digest: Digest::of(b""),
        plugin: "p".into(),
        version: "1.0.0".into(),
        function: "f".into(),
        routes: Vec::new(),
        granted: false,
    };
    BTreeMap::from([("f".into(), f)])
}
