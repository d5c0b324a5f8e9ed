//! Assigns each vertex to a rank and finds the edges that run upward.
//!
//! An edge that leads back to the current path of a depth-first walk from the start closes a loop and runs upward. All other
//! edges lead down by at least one rank. The walk does not recurse, so deep graphs do not overflow the stack.

/// An edge. The walk takes secondary edges (errors, timeouts, compensations) after the others of their vertex.
pub(super) struct RankEdge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) secondary: bool,
}

/// The rank of each vertex, from 0 without gaps, and whether each edge runs upward.
pub(super) struct Ranks {
    pub(super) rank: Vec<usize>,
    pub(super) upward: Vec<bool>,
}

/// Assigns the ranks. The walk starts at `root`, which is the only vertex that may have the first rank. Self loops are
/// ignored.
pub(super) fn assign_ranks(vertices: usize, root: Option<usize>, edges: &[RankEdge]) -> Ranks {
    let mut leaving = vec![Vec::new(); vertices];
    for secondary in [false, true] {
        for (index, edge) in edges.iter().enumerate() {
            if edge.from != edge.to && edge.secondary == secondary {
                leaving[edge.from].push(index);
            }
        }
    }
    let upward = loops(vertices, root, edges, &leaving);
    // The edges of each vertex as they lead down, whatever their direction.
    let mut down = vec![Vec::new(); vertices];
    let mut coming = vec![0_usize; vertices];
    for (edge, upward) in edges.iter().zip(&upward) {
        if edge.from != edge.to {
            let (upper, lower) = if *upward {
                (edge.to, edge.from)
            } else {
                (edge.from, edge.to)
            };
            down[upper].push(lower);
            coming[lower] += 1;
        }
    }
    let mut rank: Vec<usize> = (0..vertices)
        .map(|vertex| usize::from(root.is_some_and(|root| root != vertex)))
        .collect();
    let mut waiting = coming.clone();
    let mut walked: Vec<usize> = (0..vertices).filter(|vertex| coming[*vertex] == 0).collect();
    let mut next = 0;
    while let Some(&vertex) = walked.get(next) {
        next += 1;
        for &lower in &down[vertex] {
            rank[lower] = rank[lower].max(rank[vertex] + 1);
            waiting[lower] -= 1;
            if waiting[lower] == 0 {
                walked.push(lower);
            }
        }
    }
    // A vertex without incoming edges is placed just above its nearest successor.
    for &vertex in walked.iter().rev() {
        let nearest = down[vertex].iter().map(|lower| rank[*lower] - 1).min();
        if let (Some(nearest), true) = (nearest, coming[vertex] == 0 && Some(vertex) != root) {
            rank[vertex] = nearest;
        }
    }
    close_gaps(&mut rank);
    Ranks { rank, upward }
}

/// Finds the edges that lead to a vertex on the path of the walk.
fn loops(vertices: usize, root: Option<usize>, edges: &[RankEdge], leaving: &[Vec<usize>]) -> Vec<bool> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        OnPath,
        Done,
    }
    let mut upward = vec![false; edges.len()];
    let mut seen = vec![Seen::Not; vertices];
    let mut path: Vec<(usize, usize)> = Vec::new();
    for first in root.into_iter().chain(0..vertices) {
        if seen[first] != Seen::Not {
            continue;
        }
        seen[first] = Seen::OnPath;
        path.push((first, 0));
        while let Some((vertex, at)) = path.last_mut() {
            let Some(&index) = leaving[*vertex].get(*at) else {
                seen[*vertex] = Seen::Done;
                path.pop();
                continue;
            };
            *at += 1;
            let to = edges[index].to;
            match seen[to] {
                Seen::OnPath => upward[index] = true,
                Seen::Done => {}
                Seen::Not => {
                    seen[to] = Seen::OnPath;
                    path.push((to, 0));
                }
            }
        }
    }
    upward
}

fn close_gaps(rank: &mut [usize]) {
    let rank_count = rank.iter().max().map_or(0, |last| last + 1);
    let mut used = vec![false; rank_count];
    for at in rank.iter() {
        used[*at] = true;
    }
    let mut new = Vec::with_capacity(rank_count);
    let mut count = 0;
    for used in used {
        new.push(count);
        count += usize::from(used);
    }
    for at in rank {
        *at = new[*at];
    }
}

/// A wider rank is split into up to this number of ranks, alternating, so that a wide fork fits on a page.
const MAX_RANK_WIDTH: f64 = 1_500.0;
const MAX_PARTS: usize = 4;

/// Splits the ranks that are too wide. `widths` has the width of each vertex.
pub(super) fn split_wide_ranks(rank: &mut [usize], widths: &[f64]) {
    let rank_count = rank.iter().max().map_or(0, |last| last + 1);
    let mut room = vec![0.0; rank_count];
    for (rank, width) in rank.iter().zip(widths) {
        room[*rank] += width;
    }
    let mut first = Vec::with_capacity(rank_count);
    let mut parts = Vec::with_capacity(rank_count);
    let mut count = 0;
    for room in room {
        let needed = (room / MAX_RANK_WIDTH).ceil().max(1.0);
        first.push(count);
        parts.push((needed as usize).min(MAX_PARTS));
        count += parts[parts.len() - 1];
    }
    let mut met = vec![0; rank_count];
    for at in rank {
        let old = *at;
        *at = first[old] + met[old] % parts[old];
        met[old] += 1;
    }
}
