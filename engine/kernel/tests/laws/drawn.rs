//! What is drawn at random: graphs, what their functions answer, and the luck that a run has.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};

use heddle_json::{Object, object::to_json};
use heddle_kernel::{
    Definition, Digest, Failure, FailureKind, Function, FunctionKind, Graph, Outcome, Route,
    event::FunctionRef, graph,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What a node of a random graph is and where its edges lead; a number past the last node is the end.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    kind: u8,
    edges: Vec<u8>,
    next: Vec<u8>,
    on_error: Option<u8>,
}

/// The keys that random functions write, with their policies.
pub(crate) const KEYS: [(&str, &str); 8] = [
    ("append", "append"),
    ("add", "add"),
    ("max", "max"),
    ("min", "min"),
    ("union", "union"),
    ("deep", "deep"),
    ("last", "last"),
    ("by_key", "by_key"),
];

pub(crate) fn places(most: usize) -> impl Strategy<Value = Vec<Place>> {
    let place = (
        0..12u8,
        prop::collection::vec(0..10u8, 0..4),
        prop::collection::vec(0..10u8, 0..3),
        prop::option::weighted(0.2, 0..10u8),
    );
    let place = place.prop_map(|(kind, edges, next, on_error)| Place {
        kind,
        edges,
        next,
        on_error,
    });
    prop::collection::vec(place, 1..most)
}

/// How a run is played: which answer comes first, and what goes wrong around it.
#[derive(Clone, Debug)]
pub(crate) struct Luck {
    picks: Vec<u8>,
    pub(crate) crashes: u64,
    pub(crate) twice: bool,
    /// Set where the run is steered on its way: which way is drawn from it.
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
    /// Whether something happens at this turn that happens every so many.
    pub(crate) fn strikes(&self, turn: i64, what: u8, every: u64) -> bool {
        self.steers
            .is_some_and(|steers| drawn(&(steers, turn), what).is_multiple_of(every))
    }

    pub(crate) fn pick<T: Copy>(&self, turn: i64, from: &[T]) -> T {
        let pick = self.picks.get(turn as usize % self.picks.len().max(1));
        from[usize::from(pick.copied().unwrap_or(0)) % from.len()]
    }
}

pub(crate) fn definition(places: &[Place], name: &str, forward: bool, child: Option<&str>) -> Value {
    let count = places.len() as u8;
    let leads = |from: usize, to: u8| {
        // A graph without loops only leads on.
        let to = if forward { from as u8 + 1 + to % 4 } else { to };
        if to < count {
            format!("n{to}")
        } else {
            "end".to_owned()
        }
    };
    let mut nodes = serde_json::Map::new();
    let mut edges = serde_json::Map::new();
    for (at, place) in places.iter().enumerate() {
        let to = |all: &[u8]| {
            let mut names: Vec<String> = all.iter().map(|to| leads(at, *to)).collect();
            let mut seen = std::collections::HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
            names
        };
        let mut node = match (place.kind, child) {
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
            (4, Some(_)) => json!({"uses": "f", "next": to(&place.next), "compensate": "undo"}),
            // What the function answers depends on how many steps led to it.
            (5, _) => {
                json!({"uses": "f", "input": {"steps": "run.steps", "append": "has(state.append) ? state.append : []"}, "next": to(&place.next)})
            }
            _ => json!({"uses": "f", "next": to(&place.next)}),
        };
        if let Some(on_error) = place.on_error.filter(|_| place.kind != 3) {
            node["on_error"] = leads(at, on_error).into();
        }
        nodes.insert(format!("n{at}"), node);
        if !place.edges.is_empty() {
            edges.insert(format!("n{at}"), json!(to(&place.edges)));
        }
    }
    if child.is_some() {
        nodes.insert("undo".into(), json!({"uses": "f"}));
    }
    let state: serde_json::Map<_, _> = KEYS
        .iter()
        .map(|(key, merge)| ((*key).to_owned(), json!({"merge": merge})))
        .collect();
    // A node that a function may name at any time can be reached by it: nothing is unreachable.
    json!({"name": name, "start": "n0", "nodes": nodes, "edges": edges, "state": state, "limits": {"steps": 40}})
}

pub(crate) fn make(definition: &Value) -> Option<Arc<Graph>> {
    let any = |_: &str| {
        Ok(Function {
            kind: FunctionKind::Node,
            routes: Vec::new(),
            input: Value::Null,
            output: Value::Null,
        })
    };
    let definition = Definition::parse(&definition.to_string()).unwrap();
    // Some have no way to the end: those are not run.
    let graph = graph::check(&definition, any, |_| Ok(None)).ok()?.0;
    Some(Arc::new(graph))
}

pub(crate) fn drawn(seed: &impl Hash, salt: u8) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, salt).hash(&mut hasher);
    hasher.finish()
}

/// What the function answers: it depends on what it sees, and on nothing else.
pub(crate) fn outcome(
    node: &str,
    seen: &Object,
    leads: &[String],
    conflicts: bool,
    fails: bool,
) -> Result<Outcome, Failure> {
    let seed = (node, seen.to_text());
    if fails && drawn(&seed, 0).is_multiple_of(25) {
        return Err(Failure::new(FailureKind::Permanent, "on purpose"));
    }
    let mut update = Object::default();
    let number = (drawn(&seed, 1) % 9) as i64;
    for (at, (key, policy)) in KEYS.iter().enumerate() {
        if drawn(&seed, 10 + at as u8).is_multiple_of(3) {
            let value = match *policy {
                "append" | "union" => json!([number]),
                "deep" => json!({node: {"n": number}}),
                "by_key" if number == 0 => json!({"id": drawn(&seed, 20) % 4, "$remove": true}),
                "by_key" => json!([{"id": number % 4, "of": node}, {"id": number % 3, "n": number}]),
                _ => json!(number),
            };
            update.insert(*key, to_json(&value));
        }
    }
    if conflicts && drawn(&seed, 2).is_multiple_of(4) {
        update.insert("plain", to_json(&number));
    }
    let route = match drawn(&seed, 3) % 8 {
        0 => Route::End,
        1 => Route::Again,
        2 | 3 if !leads.is_empty() => {
            let first = drawn(&seed, 4) as usize % leads.len();
            let count = 1 + drawn(&seed, 5) as usize % 2;
            Route::Goto(leads.iter().cycle().skip(first).take(count).cloned().collect())
        }
        _ => Route::Edges,
    };
    Ok(Outcome { update, route })
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
