//! Orders the points of each layer so that few edges cross.
//!
//! Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System Structures" (1981): sweeps down
//! and up sort each layer by the mean position of the neighbours in the previous layer, and neighbours are swapped if that
//! reduces crossings. The best order found is kept. The initial order follows the definition, so a graph without
//! crossings keeps the order of its author.

use super::{layout::LayeredGraph, turns::sides};

/// The maximum number of sweeps, and of sweeps without an improvement.
const MAX_SWEEPS: usize = 24;
const MAX_IDLE_SWEEPS: usize = 6;
/// Swaps are expensive; graphs with more segments go without.
const MAX_SEGMENTS_FOR_SWAPS: usize = 4_000;
/// The maximum number of loops to improve: each needs several counts of all crossings.
const MAX_LOOPS_IMPROVED: usize = 40;

/// Orders the layers. The initial order starts at the point `first`.
pub(super) fn order(layered: &mut LayeredGraph, first: Option<usize>) {
    let (up, down) = layered.neighbours();
    let mut sorter = Sorter {
        layers: initial_order(layered, first, &down),
        position: vec![0; layered.points.len()],
        up,
        down,
    };
    sorter.place_all();
    let segments: usize = sorter.down.iter().map(Vec::len).sum();
    let mut best = sorter.layers.clone();
    let mut fewest = sorter.crossings();
    let mut idle = 0;
    for sweep in 0..MAX_SWEEPS {
        if fewest == 0 || idle == MAX_IDLE_SWEEPS {
            break;
        }
        sorter.sweep(sweep % 2 == 0);
        if segments <= MAX_SEGMENTS_FOR_SWAPS {
            sorter.swap_neighbours();
        }
        let crossings = sorter.crossings();
        idle += 1;
        if crossings < fewest {
            (fewest, idle) = (crossings, 0);
            best.clone_from(&sorter.layers);
        }
    }
    sorter.layers = best;
    sorter.place_all();
    if segments <= MAX_SEGMENTS_FOR_SWAPS {
        sorter.improve_loops(layered);
    }
    layered.layers = sorter.layers;
}

/// Returns the initial order: that of a depth-first walk along the edges of each point in their order.
fn initial_order(layered: &LayeredGraph, first: Option<usize>, down: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut layers = vec![Vec::new(); layered.layer_count];
    let mut seen = vec![false; layered.points.len()];
    let mut path: Vec<usize> = Vec::new();
    for root in first.into_iter().chain(0..layered.points.len()) {
        path.push(root);
        while let Some(point) = path.pop() {
            if !seen[point] {
                seen[point] = true;
                layers[layered.points[point].layer].push(point);
                path.extend(down[point].iter().rev());
            }
        }
    }
    layers
}

struct Sorter {
    layers: Vec<Vec<usize>>,
    /// The index of each point in its layer.
    position: Vec<usize>,
    up: Vec<Vec<usize>>,
    down: Vec<Vec<usize>>,
}

impl Sorter {
    fn place_all(&mut self) {
        for layer in &self.layers {
            for (position, point) in layer.iter().enumerate() {
                self.position[*point] = position;
            }
        }
    }

    /// Sorts every layer by the previous one, from the top or from the bottom.
    fn sweep(&mut self, downward: bool) {
        let count = self.layers.len();
        for step in 0..count {
            let at = if downward { step } else { count - 1 - step };
            let near = if downward { &self.up } else { &self.down };
            let mean = |point: &usize| {
                let near = &near[*point];
                let sum: usize = near.iter().map(|other| self.position[*other]).sum();
                if near.is_empty() {
                    self.position[*point] as f64
                } else {
                    sum as f64 / near.len() as f64
                }
            };
            let mut keyed: Vec<(f64, usize)> = self.layers[at]
                .iter()
                .map(|point| (mean(point), *point))
                .collect();
            keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
            for (position, (_, point)) in keyed.into_iter().enumerate() {
                self.layers[at][position] = point;
                self.position[point] = position;
            }
        }
    }

    /// Swaps neighbours in a layer if that reduces crossings.
    fn swap_neighbours(&mut self) {
        for at in 0..self.layers.len() {
            for position in 1..self.layers[at].len() {
                let (left, right) = (self.layers[at][position - 1], self.layers[at][position]);
                let crossed = |one: usize, other: usize| {
                    self.inversions(&self.up, one, other) + self.inversions(&self.down, one, other)
                };
                if crossed(right, left) < crossed(left, right) {
                    self.layers[at].swap(position - 1, position);
                    self.position[left] = position;
                    self.position[right] = position - 1;
                }
            }
        }
    }

    /// Moves upward edges away from between the other edges of their nodes: they turn beside the node and would cross the
    /// edges on that side.
    fn improve_loops(&mut self, layered: &LayeredGraph) {
        let loops = layered
            .chains
            .iter()
            .filter(|chain| chain.upward && chain.points.len() > 2);
        let mut fewest = self.crossings() + self.loop_crossings(layered);
        for chain in loops.take(MAX_LOOPS_IMPROVED) {
            let last = chain.points.len() - 1;
            for (vertex, point, downward) in [
                (chain.points[0], chain.points[1], true),
                (chain.points[last], chain.points[last - 1], false),
            ] {
                let near = if downward { &self.down } else { &self.up };
                let others = near[vertex]
                    .iter()
                    .filter(|other| **other != point)
                    .map(|other| self.position[*other]);
                let Some((first, end)) = others.clone().min().zip(others.max()) else {
                    continue;
                };
                for to in [first, end] {
                    let from = self.position[point];
                    self.shift(layered.points[point].layer, from, to);
                    let crossings = self.crossings() + self.loop_crossings(layered);
                    if crossings < fewest {
                        fewest = crossings;
                    } else {
                        self.shift(layered.points[point].layer, to, from);
                    }
                }
            }
        }
    }

    /// Moves a point to another position in its layer.
    fn shift(&mut self, layer: usize, from: usize, to: usize) {
        let point = self.layers[layer].remove(from);
        self.layers[layer].insert(to, point);
        for (position, point) in self.layers[layer].iter().enumerate() {
            self.position[*point] = position;
        }
    }

    /// Counts the crossings of upward edges where they turn.
    fn loop_crossings(&self, layered: &LayeredGraph) -> usize {
        let loops = layered.chains.iter().filter(|chain| chain.upward);
        let ends = loops.flat_map(|chain| {
            let last = chain.points.len() - 1;
            let upper = sides(chain.points[0], chain.points[1], &self.position, &self.down);
            let lower = sides(
                chain.points[last],
                chain.points[last - 1],
                &self.position,
                &self.up,
            );
            [upper, lower]
        });
        ends.map(|(left, right)| left.min(right)).sum()
    }

    /// Counts the crossings between the edges of two points if `one` is left of `other`.
    fn inversions(&self, near: &[Vec<usize>], one: usize, other: usize) -> usize {
        let positions = |point: usize| {
            let mut positions: Vec<usize> = near[point].iter().map(|near| self.position[*near]).collect();
            positions.sort_unstable();
            positions
        };
        let (ones, others) = (positions(one), positions(other));
        let mut smaller = 0;
        let mut count = 0;
        for position in ones {
            while others.get(smaller).is_some_and(|other| *other < position) {
                smaller += 1;
            }
            count += smaller;
        }
        count
    }

    /// Counts all crossings: Barth, Mutzel and Jünger, "Simple and Efficient
    /// Bilayer Cross Counting" (2002).
    fn crossings(&self) -> usize {
        let mut count = 0;
        for layer in &self.layers {
            let mut ends: Vec<(usize, usize)> = Vec::new();
            for (position, point) in layer.iter().enumerate() {
                ends.extend(
                    self.down[*point]
                        .iter()
                        .map(|lower| (position, self.position[*lower])),
                );
            }
            ends.sort_unstable();
            let widest = ends.iter().map(|end| end.1 + 1).max().unwrap_or(0);
            let mut tree = vec![0_usize; widest + 1];
            for (met, (_, lower)) in ends.iter().enumerate() {
                // Earlier segments that end at or left of this one do not cross it.
                let mut at = lower + 1;
                let mut within = 0;
                while at > 0 {
                    within += tree[at];
                    at &= at - 1;
                }
                count += met - within;
                let mut at = lower + 1;
                while at <= widest {
                    tree[at] += 1;
                    at += at & at.wrapping_neg();
                }
            }
        }
        count
    }
}
