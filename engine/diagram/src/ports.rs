//! Ports: the points where edges meet their nodes. Also straightens the edges between the ports.

use super::layout::Layout;

/// The distance between ports on the upper and lower side, and on the left and right side.
const PORT_DISTANCE: f64 = 15.0;
const SIDE_PORT_DISTANCE: f64 = 7.0;
/// An edge with a smaller horizontal offset between two nodes is made straight.
const MAX_STRAIGHTENING: f64 = 44.0;
/// Smaller offsets count as straight.
const STRAIGHT_TOLERANCE: f64 = 0.05;

/// The ports of each chain, relative to the middle of the node: on the lower and upper side, or on the left or right side
/// of an upward edge.
pub(super) struct Ports {
    pub(super) out: Vec<f64>,
    pub(super) into: Vec<f64>,
}

/// The end of an edge at a side: the horizontal offset of its next point, its preferred port, and its chain.
struct End {
    offset: f64,
    preferred: Option<f64>,
    chain: usize,
}

impl Ports {
    pub(super) fn new(layout: &Layout) -> Self {
        let chains = &layout.layered.chains;
        let mut ports = Self {
            out: vec![0.0; chains.len()],
            into: vec![0.0; chains.len()],
        };
        let mut below: Vec<Vec<End>> = layout.vertices.iter().map(|_| Vec::new()).collect();
        let mut above: Vec<Vec<End>> = layout.vertices.iter().map(|_| Vec::new()).collect();
        for (index, chain) in chains.iter().enumerate().filter(|(_, chain)| !chain.upward) {
            let edge = &layout.edges[chain.edge];
            let last = chain.points.len() - 1;
            let (from, to) = (layout.bounds(edge.from).reach(), layout.bounds(edge.to).reach());
            let end = |vertex: usize, next: usize, reach: f64| {
                let offset = layout.at[chain.points[next]].0 - layout.at[chain.points[vertex]].0;
                let preferred = match last {
                    // Both ends move by half of the offset.
                    1 => Some(offset / 2.0)
                        .filter(|half| half.abs() <= from.min(to).min(MAX_STRAIGHTENING / 2.0)),
                    _ => Some(offset).filter(|offset| offset.abs() <= reach),
                };
                End {
                    offset,
                    preferred,
                    chain: index,
                }
            };
            below[edge.from].push(end(0, 1, from));
            above[edge.to].push(end(last, last - 1, to));
        }
        for vertex in 0..layout.vertices.len() {
            let reach = layout.bounds(vertex).reach();
            for (side, ports) in [(&mut below, &mut ports.out), (&mut above, &mut ports.into)] {
                spread(&mut side[vertex], reach, ports);
            }
        }
        ports.sides(layout);
        ports
    }

    /// Assigns the ports of upward edges: one alone in the middle, several so that none crosses another, and none where a
    /// self loop is.
    fn sides(&mut self, layout: &Layout) {
        let mut ends: Vec<Vec<(bool, f64, usize)>> = vec![Vec::new(); layout.vertices.len()];
        for (index, chain) in layout
            .layered
            .chains
            .iter()
            .enumerate()
            .filter(|(_, chain)| chain.upward)
        {
            let edge = &layout.edges[chain.edge];
            let last = chain.points.len() - 1;
            let x = |end: usize, vertex: usize| layout.at[chain.points[end]].0 - layout.at[vertex].0;
            ends[edge.from].push((true, x(last, edge.from), index));
            ends[edge.to].push((false, x(0, edge.to), index));
        }
        let mut looped = vec![false; layout.vertices.len()];
        for edge in layout.edges.iter().filter(|edge| edge.from == edge.to) {
            looped[edge.from] = true;
        }
        for (vertex, ends) in ends.iter().enumerate() {
            let half = layout.bounds(vertex).height / 2.0;
            for &(leaves, x, index) in ends {
                let same = ends.iter().filter(|end| (end.1 > 0.0) == (x > 0.0));
                let nearer = same
                    .clone()
                    .filter(|end| end.0 == leaves && end.1.abs() < x.abs())
                    .count();
                let alone = same.count() == 1 && !looped[vertex];
                let off = if alone {
                    0.0
                } else {
                    (half - 9.0 - SIDE_PORT_DISTANCE * nearer as f64).max(2.0)
                };
                match leaves {
                    true => self.out[index] = -off,
                    false => self.into[index] = off,
                }
            }
        }
    }
}

/// Spreads the ends along a side in the order of their next points: as near to the preferred ports as the distance allows,
/// the others evenly around the middle.
fn spread(ends: &mut [End], reach: f64, ports: &mut [f64]) {
    ends.sort_by(|one, other| one.offset.total_cmp(&other.offset));
    let count = ends.len();
    let min_distance = if count > 1 {
        PORT_DISTANCE.min(2.0 * reach / (count - 1) as f64)
    } else {
        0.0
    };
    // Without the distances, the ports only have to ascend, so runs that do not ascend are averaged (Ayer and others, "An
    // Empirical Distribution Function for Sampling with Incomplete Information", 1955). A run is a weight, a weighted sum
    // and a length.
    let mut runs: Vec<(f64, f64, usize)> = Vec::with_capacity(count);
    for (index, end) in ends.iter().enumerate() {
        let even = (index as f64 - (count - 1) as f64 / 2.0) * min_distance;
        let weight = if end.preferred.is_some() { 10_000.0 } else { 1.0 };
        let position = end.preferred.unwrap_or(even) - index as f64 * min_distance;
        runs.push((weight, weight * position, 1));
        while let [.., (before, before_sum, before_len), (weight, sum, len)] = runs[..] {
            if before_sum / before <= sum / weight {
                break;
            }
            runs.truncate(runs.len() - 2);
            runs.push((before + weight, before_sum + sum, before_len + len));
        }
    }
    let positions = runs
        .iter()
        .flat_map(|(weight, sum, len)| std::iter::repeat_n(sum / weight, *len));
    for (index, (end, position)) in ends.iter().zip(positions).enumerate() {
        let least = -reach + index as f64 * min_distance;
        let most = reach - (count - 1 - index) as f64 * min_distance;
        ports[end.chain] = (position + index as f64 * min_distance)
            .max(least)
            .min(most.max(least));
    }
}

/// The maximum number of rounds over all edges.
const MAX_ROUNDS: usize = 4;

/// Moves points of edges sideways, within the space between their neighbours, if that removes bends.
pub(super) fn straighten(layout: &mut Layout, ports: &Ports) {
    let position = layout.layered.positions();
    for _ in 0..MAX_ROUNDS {
        let mut moved = false;
        for index in 0..layout.layered.chains.len() {
            moved |= straighten_chain(layout, ports, &position, index);
        }
        if !moved {
            return;
        }
    }
}

fn straighten_chain(layout: &mut Layout, ports: &Ports, position: &[usize], index: usize) -> bool {
    let chain = &layout.layered.chains[index];
    let points = chain.points.clone();
    let mut xs: Vec<f64> = points.iter().map(|point| layout.at[*point].0).collect();
    // The ends of a downward edge are vertices, which do not move.
    let (first, last) = if chain.upward {
        (0, points.len())
    } else {
        (1, points.len() - 1)
    };
    if !chain.upward {
        xs[0] += ports.out[index];
        xs[last] += ports.into[index];
    }
    let mut moved = false;
    let mut begin = first;
    while begin < last {
        let mut end = begin + 1;
        while end < last && (xs[end] - xs[begin]).abs() < STRAIGHT_TOLERANCE {
            end += 1;
        }
        let before = begin.checked_sub(1).map(|at| xs[at]);
        let after = xs.get(end).copied();
        let turns = |x: f64| {
            let near = [before, after]
                .into_iter()
                .flatten()
                .map(|other| (x - other).abs());
            near.map(|by| {
                if by < STRAIGHT_TOLERANCE {
                    0.0
                } else {
                    10_000.0 + by
                }
            })
            .sum::<f64>()
        };
        for x in [before, after].into_iter().flatten() {
            let fits = points[begin..end]
                .iter()
                .all(|point| fits(layout, position, *point, x));
            if turns(x) < turns(xs[begin]) && fits {
                xs[begin..end].fill(x);
                points[begin..end]
                    .iter()
                    .for_each(|point| layout.at[*point].0 = x);
                moved = true;
            }
        }
        begin = end;
    }
    moved
}

/// Whether there is space for a point at `x` between its neighbours.
fn fits(layout: &Layout, position: &[usize], point: usize, x: f64) -> bool {
    let layered = &layout.layered;
    let layer = &layered.layers[layered.points[point].layer];
    let left = match position[point].checked_sub(1) {
        Some(at) => layout.at[layer[at]].0 + layered.min_distance(layer[at], point),
        None => layered.points[point].left,
    };
    let right = match layer.get(position[point] + 1) {
        Some(other) => layout.at[*other].0 - layered.min_distance(point, *other),
        None => layout.width - layered.points[point].right,
    };
    left <= x && x <= right
}
