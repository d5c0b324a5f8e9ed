//! Reachability: which nodes a branch can still reach. It decides whether a branch at a node must wait for
//! another branch.
//!
//! A branch at node M is waited for at node N if a path leads from M to N. In a loop every node leads to
//! every other node, so two arms of a fork inside of a loop would wait for each other's next round. Therefore
//! paths to N leave out the edges that start a new round of a loop around N: the edges from inside of the
//! loop to its header, unless N is the header itself. Loops are strongly connected components; the loops
//! inside of a loop are found in the same way after its edges back to the header are removed. docs/joins.md
//! proves that this never deadlocks.

use std::{fmt, sync::OnceLock};

use petgraph::{algo::kosaraju_scc, graphmap::DiGraphMap};

use super::{
    NodeIx,
    definition::{MAX_LOOP_DEPTH, MAX_LOOP_EDGES},
};

/// The reachability between nodes, by the declared routes of a graph.
pub struct Reach {
    /// For each node, the nodes with an edge to it.
    before: Vec<Vec<u32>>,
    /// For each node, the headers of the loops around it, the outermost first.
    loops: Vec<Vec<u32>>,
    /// For each node, a bit for every node that can reach it; computed when it is first needed.
    into: Vec<OnceLock<Box<[u64]>>>,
}

impl Reach {
    /// The reachability in a graph whose node n has edges to `leads[n]` and whose start is `start`. `None` if
    /// loops are nested deeper than [`MAX_LOOP_DEPTH`], or if they have more than [`MAX_LOOP_EDGES`] edges,
    /// counted once for each loop around an edge.
    pub fn new(leads: &[Vec<NodeIx>], start: NodeIx) -> Option<Self> {
        let mut before = vec![Vec::new(); leads.len()];
        for (from, to) in edges(leads) {
            before[to as usize].push(from);
        }
        Some(Self {
            loops: loops(leads, &before, start.0)?,
            before,
            into: leads.iter().map(|_| OnceLock::new()).collect(),
        })
    }

    /// Whether a branch at `to` must wait for a branch at `from`.
    pub fn leads(&self, from: NodeIx, to: NodeIx) -> bool {
        let into = self.into[to.0 as usize].get_or_init(|| self.collect(to.0));
        into[from.0 as usize / 64] >> (from.0 % 64) & 1 == 1
    }

    /// Whether `header` is the header of a loop around `node`, and not `node` itself.
    pub fn heads(&self, header: NodeIx, node: NodeIx) -> bool {
        header != node && self.loops[node.0 as usize].contains(&header.0)
    }

    /// Walks back from a node over every edge except those that start a new round of a loop around it.
    fn collect(&self, to: u32) -> Box<[u64]> {
        let mut seen = vec![0u64; self.before.len().div_ceil(64)].into_boxed_slice();
        let mut open = vec![to];
        while let Some(node) = open.pop() {
            for &from in &self.before[node as usize] {
                let again = node != to
                    && self.loops[to as usize].contains(&node)
                    && self.loops[from as usize].contains(&node);
                let (word, bit) = (from as usize / 64, 1 << (from % 64));
                if !again && seen[word] & bit == 0 {
                    seen[word] |= bit;
                    open.push(from);
                }
            }
        }
        seen
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reach({} nodes)", self.before.len())
    }
}

fn edges(leads: &[Vec<NodeIx>]) -> impl Iterator<Item = (u32, u32)> + '_ {
    (0..)
        .zip(leads)
        .flat_map(|(from, to)| to.iter().map(move |to| (from, to.0)))
}

/// For each node, the headers of the loops around it, the outermost first.
fn loops(leads: &[Vec<NodeIx>], before: &[Vec<u32>], start: u32) -> Option<Vec<Vec<u32>>> {
    let mut found: Vec<Vec<u32>> = vec![Vec::new(); leads.len()];
    let all: Vec<u32> = (0..leads.len() as u32).collect();
    let mut open = vec![(all, None)];
    let mut looked_at = 0;
    while let Some((nodes, within)) = open.pop() {
        // The edges inside of the component, without those to the header of its loop.
        let mut part = DiGraphMap::<u32, ()>::with_capacity(nodes.len(), nodes.len());
        for &node in &nodes {
            part.add_node(node);
        }
        for &from in &nodes {
            looked_at += leads[from as usize].len();
            if looked_at > MAX_LOOP_EDGES {
                return None;
            }
            for to in leads[from as usize].iter().map(|to| to.0) {
                if Some(to) != within && part.contains_node(to) {
                    part.add_edge(from, to, ());
                }
            }
        }
        for mut body in kosaraju_scc(&part) {
            if body.len() == 1 && !part.contains_edge(body[0], body[0]) {
                continue;
            }
            body.sort_unstable();
            // The header: the start, or a node with an edge from outside; else the first node.
            let entered = |node: u32| {
                node == start
                    || before[node as usize]
                        .iter()
                        .any(|from| body.binary_search(from).is_err())
            };
            let header = body
                .iter()
                .copied()
                .find(|node| entered(*node))
                .unwrap_or(body[0]);
            for &node in &body {
                found[node as usize].push(header);
            }
            if found[header as usize].len() > MAX_LOOP_DEPTH {
                return None;
            }
            open.push((body, Some(header)));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reachability in a graph whose node 0 has this many edges to itself, and whose node 1 has one edge
    /// to node 0.
    fn looped(times: usize) -> Option<Reach> {
        Reach::new(&[vec![NodeIx(0); times], vec![NodeIx(0)]], NodeIx(1))
    }

    #[test]
    fn edges_are_limited_counted_once_for_each_loop_that_they_are_in() {
        // All edges are counted for the whole graph, and those of node 0 again for its loop.
        assert!(looped((MAX_LOOP_EDGES - 1) / 2).is_some());
        assert!(looped(MAX_LOOP_EDGES / 2).is_none());
    }

    #[test]
    fn only_loops_have_headers() {
        let leads = [
            vec![NodeIx(1)],
            vec![NodeIx(2)],
            vec![NodeIx(1), NodeIx(3)],
            vec![],
        ];
        let reach = Reach::new(&leads, NodeIx(0)).unwrap();
        assert!(reach.heads(NodeIx(1), NodeIx(2)));
        assert!(!reach.heads(NodeIx(1), NodeIx(1)), "a header is not below itself");
        assert!(!reach.heads(NodeIx(0), NodeIx(1)) && !reach.heads(NodeIx(1), NodeIx(3)));
    }
}
