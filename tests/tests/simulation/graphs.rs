//! Random graphs with deterministic functions: a result depends only on the input, so a run has exactly one correct end
//! whatever happens to the engine.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use heddle_json::{Object, object::to_json};
use heddle_kernel::{Definition, Failure, FailureKind, Function, FunctionKind, Graph, Outcome, Route, graph};
use heddle_tests::random::Random;
use serde_json::{Value, json};

/// The keys that functions write, with their merge policies.
const KEYS: [(&str, &str); 7] = [
    ("append", "append"),
    ("add", "add"),
    ("max", "max"),
    ("min", "min"),
    ("union", "union"),
    ("deep", "deep"),
    ("last", "last"),
];

/// The error message of `broken` until its run is retried.
pub(crate) const MEND: &str = "mend me";

/// Facts about a node besides its graph. Nodes of different graphs have different names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The possible targets of its function.
    leads: Vec<String>,
    /// Whether its function may fail permanently and may change a key without a policy. False in a nested graph, where a
    /// failure would cancel other branches at arbitrary points.
    outer: bool,
    /// The signal that the node waits for.
    pub(crate) signal: Option<String>,
}

/// A root graph and the nested graph that its nodes run.
pub(crate) struct Pair {
    pub(crate) child: String,
    pub(crate) root: String,
    pub(crate) nodes: HashMap<String, Facts>,
}

struct NodeDraft {
    kind: u64,
    edges: Vec<u64>,
    next: Vec<u64>,
    on_error: Option<u64>,
}

impl NodeDraft {
    fn random(random: &mut Random) -> Self {
        let mut some = |most: u64| -> Vec<u64> {
            (0..random.in_range(0..most))
                .map(|_| random.in_range(0..10))
                .collect()
        };
        let (edges, next) = (some(4), some(3));
        Self {
            edges,
            next,
            kind: random.in_range(0..16),
            on_error: random.one_in(5).then(|| random.in_range(0..10)),
        }
    }
}

/// Generates a graph with the name `root-NUMBER` that can reach its end.
pub(crate) fn pair(random: &mut Random, number: usize) -> Pair {
    loop {
        let mut drafts = |most: u64| -> Vec<NodeDraft> {
            (0..random.in_range(1..most))
                .map(|_| NodeDraft::random(random))
                .collect()
        };
        let (inner, outer) = (drafts(4), drafts(9));
        let forward = random.one_in(2);
        let child_name = format!("child-{number}");
        let child = definition(&inner, &child_name, &format!("c{number}n"), true, None);
        let root = definition(
            &outer,
            &format!("root-{number}"),
            &format!("r{number}n"),
            forward,
            Some(&child_name),
        );
        let (Some(child), Some(root)) = (make(&child), make(&root)) else {
            continue;
        };
        let mut nodes = HashMap::new();
        for (graph, outer) in [(&child, false), (&root, true)] {
            nodes.extend(
                graph
                    .nodes
                    .iter()
                    .map(|node| (node.name.to_string(), facts(graph, node, outer))),
            );
        }
        return Pair {
            child: child.definition.to_string(),
            root: root.definition.to_string(),
            nodes,
        };
    }
}

fn facts(graph: &Graph, node: &graph::Node, outer: bool) -> Facts {
    let leads = node.leads.iter().map(|to| graph.node(*to).name.to_string());
    let text: Value = serde_json::from_str(&graph.definition).expect("a definition is JSON");
    let written = &text["nodes"][&*node.name];
    Facts {
        // Items of a map have no routes.
        leads: if outer && node.uses().is_some() && written["map"].is_null() {
            leads.collect()
        } else {
            Vec::new()
        },
        outer,
        signal: written["wait"]["signal"].as_str().map(str::to_owned),
    }
}

fn definition(drafts: &[NodeDraft], name: &str, prefix: &str, forward: bool, child: Option<&str>) -> Value {
    let leads = |from: usize, to: u64| {
        // A graph without loops has only forward edges.
        let to = if forward { from as u64 + 1 + to % 4 } else { to };
        match to < drafts.len() as u64 {
            true => format!("{prefix}{to}"),
            false => "end".to_owned(),
        }
    };
    let (mut nodes, mut edges) = (serde_json::Map::new(), serde_json::Map::new());
    for (at, draft) in drafts.iter().enumerate() {
        let to = |all: &[u64]| {
            let mut names: Vec<String> = all.iter().map(|to| leads(at, *to)).collect();
            let mut seen = std::collections::HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
            names
        };
        let uses = |function: &str| json!({"uses": function, "next": to(&draft.next)});
        let mut node = match (draft.kind, child) {
            (0, Some(_)) => {
                json!({"map": {"over": "state.append", "uses": "pure", "into": "last", "at_once": 2, "on_item_error": "collect"}})
            }
            (1, Some(child)) => {
                json!({"graph": child, "input": {"append": "state.append"}, "output": "last"})
            }
            (2, Some(child)) => json!({"map": {"over": "state.append", "graph": child, "into": "union"}}),
            (3, _) => json!({"sleep": "15ms"}),
            (4, Some(_)) => json!({"wait": {"signal": format!("go-{prefix}{at}")}, "output": "max"}),
            (5, _) => {
                let mut node = uses("flaky");
                node["retry"] = json!({"attempts": 9, "backoff": "10ms"});
                node
            }
            (6, Some(_)) if draft.on_error.is_none() => uses("broken"),
            (7..=10, _) => uses("granted"),
            _ => uses("pure"),
        };
        if let Some(on_error) = draft.on_error.filter(|_| draft.kind != 3) {
            node["on_error"] = leads(at, on_error).into();
        }
        nodes.insert(format!("{prefix}{at}"), node);
        if !draft.edges.is_empty() {
            edges.insert(format!("{prefix}{at}"), json!(to(&draft.edges)));
        }
    }
    let state: serde_json::Map<_, _> = KEYS
        .iter()
        .map(|(key, merge)| ((*key).to_owned(), json!({"merge": merge})))
        .collect();
    json!({
        "name": name, "start": format!("{prefix}0"), "nodes": nodes, "edges": edges, "state": state, "limits": {"steps": 40},
    })
}

/// Compiles a definition. None if it cannot reach its end.
fn make(definition: &Value) -> Option<Arc<Graph>> {
    let any = |_: &str| {
        Ok(Function {
            kind: FunctionKind::Node,
            routes: Vec::new(),
            input: Value::Null,
            output: Value::Null,
        })
    };
    let definition = Definition::parse(&definition.to_string()).expect("it has the right form");
    let graph = graph::check(&definition, any, |_| Ok(None)).ok()?.0;
    Some(Arc::new(graph))
}

/// A hash of a value and a salt.
pub(crate) fn hash_of(of: &impl Hash, salt: u8) -> u64 {
    let mut hasher = DefaultHasher::new();
    (of, salt).hash(&mut hasher);
    hasher.finish()
}

/// The result of a function.
pub(crate) fn answer(
    function: &str,
    node: &str,
    facts: &Facts,
    seen: &Object,
    attempt: u32,
) -> Result<Outcome, Failure> {
    // The state is hashed once because it can be large.
    let seed = (node, hash_of(&seen.to_text(), 0));
    if function == "flaky" && u64::from(attempt) <= hash_of(&seed, 6) % 3 {
        return Err(Failure::new(FailureKind::Retryable, "busy"));
    }
    if function == "broken" && attempt == 1 {
        return Err(Failure::new(FailureKind::Permanent, MEND));
    }
    if facts.outer && hash_of(&seed, 0).is_multiple_of(25) {
        return Err(Failure::new(FailureKind::Permanent, "on purpose"));
    }
    let mut update = Object::default();
    let number = (hash_of(&seed, 1) % 9) as i64;
    for (at, (key, policy)) in KEYS.iter().enumerate() {
        if hash_of(&seed, 10 + at as u8).is_multiple_of(3) {
            let value = match *policy {
                "append" | "union" => json!([number]),
                "deep" => json!({node: {"n": number}}),
                _ => json!(number),
            };
            update.insert(*key, to_json(&value));
        }
    }
    if facts.outer && hash_of(&seed, 2).is_multiple_of(12) {
        update.insert("plain", to_json(&number));
    }
    let leads = &facts.leads;
    let route = match hash_of(&seed, 3) % 8 {
        0 => Route::End,
        1 => Route::Again,
        2 | 3 if !leads.is_empty() => {
            let first = hash_of(&seed, 4) as usize % leads.len();
            let count = 1 + hash_of(&seed, 5) as usize % 2;
            Route::Goto(leads.iter().cycle().skip(first).take(count).cloned().collect())
        }
        _ => Route::Edges,
    };
    Ok(Outcome { update, route })
}
