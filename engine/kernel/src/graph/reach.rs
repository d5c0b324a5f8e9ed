//! Which node can still come to which: what decides whether a branch that came to a node has to
//! wait for another one there.
//!
//! A branch at node M is in the way of one that came to node N if a path leads from M to N. But in
//! a loop every node leads to every other, and two arms of a fork inside of a loop would wait for each
//! other's next round. So paths to N leave out the edges that begin a new round of a loop that N
//! is in: the edges from inside of the loop to its header, unless N is that header itself. Loops
//! are found as strongly connected parts; their headers' back edges taken away, the loops inside of them
//! are found the same way. docs/joins.md holds the argument why this never deadlocks.

use std::{fmt, sync::OnceLock};

use petgraph::{algo::kosaraju_scc, graphmap::DiGraphMap};

use super::{
    NodeIx,
    definition::{MAX_LOOP_DEPTH, MAX_LOOP_EDGES},
};

/// Which node can come to which, in a graph's declared routes.
pub struct Reach {
    /// For each node those that lead to it.
    before: Vec<Vec<u32>>,
    /// For each node the headers of the loops that it is in, outermost first.
    loops: Vec<Vec<u32>>,
    /// For each node a bit for every node that can come to it; made when it is first asked for.
    into: Vec<OnceLock<Box<[u64]>>>,
}

impl Reach {
    /// The reach in a graph in which node n leads to `leads[n]`, and runs begin at `start`. `None` where
    /// loops are nested deeper than [`MAX_LOOP_DEPTH`], or their edges are more than [`MAX_LOOP_EDGES`]
    /// counted once for each loop: finding them takes that long.
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

    /// Whether a branch that is at `from` has to be waited for at `to`.
    pub fn leads(&self, from: NodeIx, to: NodeIx) -> bool {
        let into = self.into[to.0 as usize].get_or_init(|| self.collect(to.0));
        into[from.0 as usize / 64] >> (from.0 % 64) & 1 == 1
    }

    /// Whether `header` is the header of a loop that `node` is in, and another node than it.
    pub fn heads(&self, header: NodeIx, node: NodeIx) -> bool {
        header != node && self.loops[node.0 as usize].contains(&header.0)
    }

    /// Goes back from a node, over every edge but those that begin a new round of a loop it is in.
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

/// For each node the headers of the loops that it is in, outermost first.
fn loops(leads: &[Vec<NodeIx>], before: &[Vec<u32>], start: u32) -> Option<Vec<Vec<u32>>> {
    let mut found: Vec<Vec<u32>> = vec![Vec::new(); leads.len()];
    let all: Vec<u32> = (0..leads.len() as u32).collect();
    let mut open = vec![(all, None)];
    let mut looked_at = 0;
    while let Some((nodes, within)) = open.pop() {
        // The part's own edges, without those to the header of the loop that it is.
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
            // Where it is entered: at the start, or by an edge from outside; else at its first node.
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

    /// The reach in a graph in which node 0 leads to itself so many times, and node 1 to node 0 once.
    fn looped(times: usize) -> Option<Reach> {
        Reach::new(&[vec![NodeIx(0); times], vec![NodeIx(0)]], NodeIx(1))
    }

    #[test]
    fn edges_are_limited_counted_once_for_each_loop_that_they_are_in() {
        // All edges are looked at for the whole graph, then those of node 0 for its loop.
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
