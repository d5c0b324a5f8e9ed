//! The graphs of the simulation, and the results of their functions.

use std::collections::HashMap;

use heddle_json::Object;
use heddle_kernel::{Failure, FailureKind, Graph, Outcome, graph};
use heddle_tests::random::Random;
use serde_json::{Value, json};

pub(crate) use crate::random_graphs::hash_of;
use crate::random_graphs::{self, NodeDraft, compile, outcome};

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

fn draft(random: &mut Random) -> NodeDraft {
    let mut some = |most: u64| -> Vec<u8> {
        (0..random.in_range(0..most))
            .map(|_| random.in_range(0..10) as u8)
            .collect()
    };
    let (edges, next) = (some(4), some(3));
    NodeDraft {
        edges,
        next,
        kind: random.in_range(0..16) as u8,
        on_error: random.one_in(5).then(|| random.in_range(0..10) as u8),
    }
}

/// Generates a graph with the name `root-NUMBER` that can reach its end.
pub(crate) fn pair(random: &mut Random, number: usize) -> Pair {
    loop {
        let mut drafts =
            |most: u64| -> Vec<NodeDraft> { (0..random.in_range(1..most)).map(|_| draft(random)).collect() };
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
        let (Some(child), Some(root)) = (compile(&child), compile(&root)) else {
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
    random_graphs::definition(drafts, name, prefix, forward, |draft, node, next| {
        let uses = |function: &str| json!({"uses": function, "next": next});
        match (draft.kind, child) {
            (0, Some(_)) => {
                json!({"map": {"over": "state.append", "uses": "pure", "into": "last", "at_once": 2, "on_item_error": "collect"}})
            }
            (1, Some(child)) => {
                json!({"graph": child, "input": {"append": "state.append"}, "output": "last"})
            }
            (2, Some(child)) => json!({"map": {"over": "state.append", "graph": child, "into": "union"}}),
            (3, _) => json!({"sleep": "15ms"}),
            (4, Some(_)) => json!({"wait": {"signal": format!("go-{node}")}, "output": "max"}),
            (5, _) => {
                let mut flaky = uses("flaky");
                flaky["retry"] = json!({"attempts": 9, "backoff": "10ms"});
                flaky
            }
            (6, Some(_)) if draft.on_error.is_none() => uses("broken"),
            (7..=10, _) => uses("granted"),
            _ => uses("pure"),
        }
    })
}

/// The result of a function.
pub(crate) fn answer(
    function: &str,
    node: &str,
    facts: &Facts,
    seen: &Object,
    attempt: u32,
) -> Result<Outcome, Failure> {
    // Whether these functions fail depends on the attempt.
    let seed = (node, hash_of(&seen.to_text(), 0));
    if function == "flaky" && u64::from(attempt) <= hash_of(&seed, 6) % 3 {
        return Err(Failure::new(FailureKind::Retryable, "busy"));
    }
    if function == "broken" && attempt == 1 {
        return Err(Failure::new(FailureKind::Permanent, MEND));
    }
    outcome(node, seen, &facts.leads, facts.outer.then_some(12), facts.outer)
}
