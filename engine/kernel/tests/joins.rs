//! The rule for joins (docs/joins.md), checked over all moves of branches in small graphs. Only positions are
//! simulated, with the kernel's own [`Reach`]: from every reachable state, every move that a function could
//! cause. So each step of the proof is checked in each state.
#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::HashSet;

use heddle_kernel::graph::{NodeIx, Reach};

/// The number of branches; a fork beyond this number is not made.
const BRANCHES: u8 = 4;

/// The positions of the branches: for each node, how many wait before it and how many are in a step at it.
type State = Vec<(u8, u8)>;

struct Model {
    leads: Vec<Vec<NodeIx>>,
    reach: Reach,
}

fn ix(node: usize) -> NodeIx {
    NodeIx(u32::try_from(node).unwrap())
}

impl Model {
    /// A graph with this number of nodes; bit `from * nodes + to` of `edges` is an edge.
    fn new(nodes: usize, edges: u64) -> Self {
        let leads = |from: usize| {
            (0..nodes)
                .filter(move |to| edges >> (from * nodes + to) & 1 == 1)
                .map(ix)
        };
        let leads: Vec<Vec<NodeIx>> = (0..nodes).map(|from| leads(from).collect()).collect();
        let reach = Reach::new(&leads, NodeIx(0)).unwrap();
        Self { leads, reach }
    }

    /// The kernel's decision whether branches that wait before a node may start its step.
    fn ready(&self, state: &State, node: usize) -> bool {
        let to = ix(node);
        let in_the_way = |at: usize, (before, steps): (u8, u8)| {
            let from = ix(at);
            let leads = self.reach.leads(from, to);
            (steps > 0 && leads) || (before > 0 && at != node && leads && !self.reach.heads(from, to))
        };
        state[node].0 > 0 && !state.iter().enumerate().any(|(at, count)| in_the_way(at, *count))
    }

    /// Every state that is one move away.
    fn moves(&self, state: &State) -> Vec<State> {
        let mut next = Vec::new();
        let branches: u8 = state.iter().map(|(before, steps)| before + steps).sum();
        for node in 0..state.len() {
            if self.ready(state, node) {
                let mut joined = state.clone();
                joined[node] = (0, state[node].1 + 1);
                next.push(joined);
            }
            if state[node].1 == 0 {
                continue;
            }
            let mut ended = state.clone();
            ended[node].1 -= 1;
            // To the same node again is always possible; so is the end.
            let to: Vec<usize> = self.leads[node]
                .iter()
                .map(|to| to.0 as usize)
                .chain([node])
                .collect();
            for (position, first) in to.iter().enumerate() {
                let mut moved = ended.clone();
                moved[*first].0 += 1;
                for second in to[position + 1..].iter().filter(|_| branches < BRANCHES) {
                    let mut forked = moved.clone();
                    forked[*second].0 += 1;
                    next.push(forked);
                }
                next.push(moved);
            }
            next.push(ended);
        }
        next
    }

    /// Visits every state that is reachable from up to three branches anywhere: a function may send a run's
    /// only branch to undeclared nodes.
    fn explore(&self) -> usize {
        let nodes = self.leads.len();
        let mut open: Vec<State> = Vec::new();
        for first in 0..nodes {
            for second in first..nodes {
                for third in second..nodes {
                    let mut state = vec![(0, 0); nodes];
                    for at in [first, second, third] {
                        state[at].0 = 1;
                    }
                    open.push(state);
                }
            }
        }
        let mut seen: HashSet<State> = open.iter().cloned().collect();
        while let Some(state) = open.pop() {
            self.look(&state);
            open.extend(
                self.moves(&state)
                    .into_iter()
                    .filter(|next| seen.insert(next.clone())),
            );
        }
        seen.len()
    }

    fn look(&self, state: &State) {
        let shown = || format!("{state:?} in {:?}", self.leads);
        let ready: Vec<usize> = (0..state.len()).filter(|node| self.ready(state, *node)).collect();
        let waits = state.iter().any(|(before, _)| *before > 0);
        let steps = state.iter().any(|(_, steps)| *steps > 0);
        assert!(!waits || steps || !ready.is_empty(), "stuck: {}", shown());
        for (before, steps) in state {
            assert!(*steps == 0 || before + steps == 1, "two at one node: {}", shown());
        }
        for next in self.moves(state) {
            for node in &ready {
                let begun = next[*node] == (0, 1);
                let as_before = next[*node].0 == state[*node].0 && self.ready(&next, *node);
                assert!(
                    begun || as_before,
                    "node {node} is ready no more: {} to {next:?}",
                    shown()
                );
            }
        }
    }
}

#[test]
fn in_every_graph_of_three_nodes_nothing_is_stuck_and_ready_joins_stay_ready() {
    for edges in 0..1 << 9 {
        Model::new(3, edges).explore();
    }
}

#[test]
fn in_larger_graphs_nothing_is_stuck_and_ready_joins_stay_ready() {
    // A sample of all graphs. The step is odd, so it reaches every kind of graph.
    for (nodes, step, count) in [
        (4, 40_503, 4_000),
        (5, 20_345_701, 1_000),
        (6, 40_927_345_673, 300),
    ] {
        let graphs = (0..count).map(|index: u64| index.wrapping_mul(step) % (1 << (nodes * nodes)));
        let states: usize = graphs.map(|edges| Model::new(nodes, edges).explore()).sum();
        assert!(
            states > 10_000,
            "{states} states of {nodes} nodes are not worth a test"
        );
    }
}

#[test]
fn a_number_that_was_text_is_the_same_number() {
    // What several branches add up is text between two of them, and how often depends on which ended first.
    let mut bits: u64 = 1;
    for _ in 0..100_000 {
        bits = bits
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let number = f64::from_bits(bits);
        if number.is_finite() {
            let text = serde_json::to_string(&number).unwrap();
            let again: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(again.as_f64().unwrap().to_bits(), bits, "{text}");
        }
    }
}
