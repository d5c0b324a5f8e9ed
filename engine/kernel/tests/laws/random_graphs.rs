//! Random graphs with deterministic functions, for the property tests of the kernel and for the simulation of the engine
//! (`tests/tests/simulation/graphs.rs` includes this file).
//!
//! A result depends only on the node and its input, so a run has exactly one correct end, whatever order its branches
//! finish in and whatever happens to the engine. Callers choose the random numbers and what each kind of node does.

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};

use heddle_json::{Object, object::to_json};
use heddle_kernel::{Definition, Failure, FailureKind, Function, FunctionKind, Graph, Outcome, Route, graph};
use serde_json::{Map, Value, json};

/// The keys that functions write. Each has the merge policy of its name.
const KEYS: [&str; 8] = ["append", "add", "max", "min", "union", "deep", "last", "by_key"];

/// The random numbers of a node: its kind, and its targets by index. An index past the last node is the end.
#[derive(Clone, Debug)]
pub(crate) struct NodeDraft {
    pub(crate) kind: u8,
    pub(crate) edges: Vec<u8>,
    pub(crate) next: Vec<u8>,
    pub(crate) on_error: Option<u8>,
}

/// Builds a definition. Node names are `prefix` and a number; with `forward` all edges lead to later nodes. `node` returns
/// the node of a draft, given its name and the targets of its function.
pub(crate) fn definition(
    drafts: &[NodeDraft],
    name: &str,
    prefix: &str,
    forward: bool,
    node: impl Fn(&NodeDraft, &str, &[String]) -> Value,
) -> Value {
    let target = |from: usize, to: u8| {
        let to = usize::from(to);
        let to = if forward { from + 1 + to % 4 } else { to };
        match to < drafts.len() {
            true => format!("{prefix}{to}"),
            false => "end".to_owned(),
        }
    };
    let (mut nodes, mut edges) = (Map::new(), Map::new());
    for (at, draft) in drafts.iter().enumerate() {
        let targets = |all: &[u8]| {
            let mut names: Vec<String> = all.iter().map(|to| target(at, *to)).collect();
            let mut seen = HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
            names
        };
        let name = format!("{prefix}{at}");
        let mut node = node(draft, &name, &targets(&draft.next));
        // A sleep cannot fail.
        if let Some(on_error) = draft.on_error.filter(|_| node["sleep"].is_null()) {
            node["on_error"] = target(at, on_error).into();
        }
        if !draft.edges.is_empty() {
            edges.insert(name.clone(), json!(targets(&draft.edges)));
        }
        nodes.insert(name, node);
    }
    let state: Map<_, _> = KEYS
        .iter()
        .map(|key| ((*key).to_owned(), json!({"merge": key})))
        .collect();
    json!({
        "name": name, "start": format!("{prefix}0"), "nodes": nodes, "edges": edges, "state": state, "limits": {"steps": 40},
    })
}

/// Compiles a definition whose functions are all node functions. None if the graph cannot reach its end.
pub(crate) fn compile(definition: &Value) -> Option<Arc<Graph>> {
    let any = |_: &str| {
        Ok(Function {
            kind: FunctionKind::Node,
            routes: Vec::new(),
            input: Value::Null,
            output: Value::Null,
        })
    };
    let definition = Definition::parse(&definition.to_string()).expect("the definition has the right form");
    let graph = graph::check(&definition, any, |_| Ok(None)).ok()?.0;
    Some(Arc::new(graph))
}

/// A hash of a value and a salt.
pub(crate) fn hash_of(value: &impl Hash, salt: u8) -> u64 {
    let mut hasher = DefaultHasher::new();
    (value, salt).hash(&mut hasher);
    hasher.finish()
}

/// The result of a node's function. `conflicts` is how rarely it changes a key without a merge policy (1 in that number,
/// or never); with `fails` one of 25 results is a permanent failure.
pub(crate) fn outcome(
    node: &str,
    input: &Object,
    targets: &[String],
    conflicts: Option<u64>,
    fails: bool,
) -> Result<Outcome, Failure> {
    // The input is hashed once because it can be large.
    let seed = (node, hash_of(&input.to_text(), 0));
    if fails && hash_of(&seed, 0).is_multiple_of(25) {
        return Err(Failure::new(FailureKind::Permanent, "on purpose"));
    }
    let mut update = Object::default();
    let number = (hash_of(&seed, 1) % 9) as i64;
    for (at, key) in KEYS.into_iter().enumerate() {
        if hash_of(&seed, 10 + at as u8).is_multiple_of(3) {
            let value = match key {
                "append" | "union" => json!([number]),
                "deep" => json!({node: {"n": number}}),
                "by_key" if number == 0 => json!({"id": hash_of(&seed, 20) % 4, "$remove": true}),
                "by_key" => json!([{"id": number % 4, "of": node}, {"id": number % 3, "n": number}]),
                _ => json!(number),
            };
            update.insert(key, to_json(&value));
        }
    }
    if conflicts.is_some_and(|conflicts| hash_of(&seed, 2).is_multiple_of(conflicts)) {
        update.insert("plain", to_json(&number));
    }
    let route = match hash_of(&seed, 3) % 8 {
        0 => Route::End,
        1 => Route::Again,
        2 | 3 if !targets.is_empty() => {
            let first = hash_of(&seed, 4) as usize % targets.len();
            let count = 1 + hash_of(&seed, 5) as usize % 2;
            Route::Goto(targets.iter().cycle().skip(first).take(count).cloned().collect())
        }
        _ => Route::Edges,
    };
    Ok(Outcome { update, route })
}
