//! The order of the points within each layer, so that few lines cross.
//!
//! Sweeps down and up sort each layer by the mean place of its neighbours in the layer before,
//! and neighbours are exchanged where that helps: Sugiyama, Tagawa and Toda, "Methods for Visual
//! Understanding of Hierarchical System Structures" (1981). The best order met is kept, and the
//! first one follows the graph's own order, so that what needs no other order has that.

use super::{beside::sides, layout::Plan};

/// Sweeps end after this many, and earlier when as many as the second have brought nothing.
const SWEEPS: usize = 24;
const PATIENCE: usize = 6;
/// Exchanges cost more than sweeps, and are left out past so many segments.
const SEGMENTS_EXCHANGED: usize = 4_000;
/// Each loop that is settled costs a few countings, so no more of them are.
const LOOPS_SETTLED: usize = 40;

/// Orders the layers of the plan; `first` is the point that the walk for the first order begins at.
pub(super) fn order(plan: &mut Plan, first: Option<usize>) {
    let (up, down) = plan.neighbours();
    let mut sorter = Sorter {
        layers: first_order(plan, first, &down),
        place: vec![0; plan.points.len()],
        up,
        down,
    };
    sorter.place_all();
    let segments: usize = sorter.down.iter().map(Vec::len).sum();
    let mut best = sorter.layers.clone();
    let mut fewest = sorter.crossings();
    let mut idle = 0;
    for sweep in 0..SWEEPS {
        if fewest == 0 || idle == PATIENCE {
            break;
        }
        sorter.sweep(sweep % 2 == 0);
        if segments <= SEGMENTS_EXCHANGED {
            sorter.exchange();
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
    if segments <= SEGMENTS_EXCHANGED {
        sorter.settle_loops(plan);
    }
    plan.layers = sorter.layers;
}

/// Orders each layer as a walk that takes every point's lines in their order first meets it.
fn first_order(plan: &Plan, first: Option<usize>, down: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut layers = vec![Vec::new(); plan.layer_count];
    let mut seen = vec![false; plan.points.len()];
    let mut path: Vec<usize> = Vec::new();
    for root in first.into_iter().chain(0..plan.points.len()) {
        path.push(root);
        while let Some(point) = path.pop() {
            if !seen[point] {
                seen[point] = true;
                layers[plan.points[point].layer].push(point);
                path.extend(down[point].iter().rev());
            }
        }
    }
    layers
}

struct Sorter {
    layers: Vec<Vec<usize>>,
    /// Each point's place in its layer.
    place: Vec<usize>,
    up: Vec<Vec<usize>>,
    down: Vec<Vec<usize>>,
}

impl Sorter {
    fn place_all(&mut self) {
        for layer in &self.layers {
            for (place, point) in layer.iter().enumerate() {
                self.place[*point] = place;
            }
        }
    }

    /// Sorts every layer by the one before it, from the top or from the bottom.
    fn sweep(&mut self, downward: bool) {
        let count = self.layers.len();
        for step in 0..count {
            let at = if downward { step } else { count - 1 - step };
            let near = if downward { &self.up } else { &self.down };
            let mean = |point: &usize| {
                let near = &near[*point];
                let sum: usize = near.iter().map(|other| self.place[*other]).sum();
                if near.is_empty() {
                    self.place[*point] as f64
                } else {
                    sum as f64 / near.len() as f64
                }
            };
            let mut keyed: Vec<(f64, usize)> = self.layers[at]
                .iter()
                .map(|point| (mean(point), *point))
                .collect();
            keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
            for (place, (_, point)) in keyed.into_iter().enumerate() {
                self.layers[at][place] = point;
                self.place[point] = place;
            }
        }
    }

    /// Exchanges neighbours in a layer wherever that makes fewer crossings.
    fn exchange(&mut self) {
        for at in 0..self.layers.len() {
            for place in 1..self.layers[at].len() {
                let (left, right) = (self.layers[at][place - 1], self.layers[at][place]);
                let crossed = |one: usize, other: usize| {
                    self.inversions(&self.up, one, other) + self.inversions(&self.down, one, other)
                };
                if crossed(right, left) < crossed(left, right) {
                    self.layers[at].swap(place - 1, place);
                    self.place[left] = place;
                    self.place[right] = place - 1;
                }
            }
        }
    }

    /// Moves the lines that run upward from between what else their solids lead to: they turn beside
    /// the solid, and would cross what is on that side.
    fn settle_loops(&mut self, plan: &Plan) {
        let loops = plan
            .chains
            .iter()
            .filter(|chain| chain.upward && chain.points.len() > 2);
        let mut fewest = self.crossings() + self.turned(plan);
        for chain in loops.take(LOOPS_SETTLED) {
            let last = chain.points.len() - 1;
            for (solid, point, downward) in [
                (chain.points[0], chain.points[1], true),
                (chain.points[last], chain.points[last - 1], false),
            ] {
                let near = if downward { &self.down } else { &self.up };
                let others = near[solid]
                    .iter()
                    .filter(|other| **other != point)
                    .map(|other| self.place[*other]);
                let Some((first, end)) = others.clone().min().zip(others.max()) else {
                    continue;
                };
                for to in [first, end] {
                    let from = self.place[point];
                    self.shift(plan.points[point].layer, from, to);
                    let crossings = self.crossings() + self.turned(plan);
                    if crossings < fewest {
                        fewest = crossings;
                    } else {
                        self.shift(plan.points[point].layer, to, from);
                    }
                }
            }
        }
    }

    /// Moves a point to another place in its layer.
    fn shift(&mut self, layer: usize, from: usize, to: usize) {
        let point = self.layers[layer].remove(from);
        self.layers[layer].insert(to, point);
        for (place, point) in self.layers[layer].iter().enumerate() {
            self.place[*point] = place;
        }
    }

    /// Counts what the lines that run upward cross where they turn.
    fn turned(&self, plan: &Plan) -> usize {
        let loops = plan.chains.iter().filter(|chain| chain.upward);
        let ends = loops.flat_map(|chain| {
            let last = chain.points.len() - 1;
            let upper = sides(chain.points[0], chain.points[1], &self.place, &self.down);
            let lower = sides(chain.points[last], chain.points[last - 1], &self.place, &self.up);
            [upper, lower]
        });
        ends.map(|(left, right)| left.min(right)).sum()
    }

    /// Counts how many lines of two points cross when `one` stands left of `other`.
    fn inversions(&self, near: &[Vec<usize>], one: usize, other: usize) -> usize {
        let places = |point: usize| {
            let mut places: Vec<usize> = near[point].iter().map(|near| self.place[*near]).collect();
            places.sort_unstable();
            places
        };
        let (ones, others) = (places(one), places(other));
        let mut smaller = 0;
        let mut count = 0;
        for place in ones {
            while others.get(smaller).is_some_and(|other| *other < place) {
                smaller += 1;
            }
            count += smaller;
        }
        count
    }

    /// Counts the crossings between all layers: Barth, Mutzel and Jünger, "Simple and Efficient
    /// Bilayer Cross Counting" (2002).
    fn crossings(&self) -> usize {
        let mut count = 0;
        for layer in &self.layers {
            let mut ends: Vec<(usize, usize)> = Vec::new();
            for (place, point) in layer.iter().enumerate() {
                ends.extend(self.down[*point].iter().map(|lower| (place, self.place[*lower])));
            }
            ends.sort_unstable();
            let widest = ends.iter().map(|end| end.1 + 1).max().unwrap_or(0);
            let mut tree = vec![0_usize; widest + 1];
            for (met, (_, lower)) in ends.iter().enumerate() {
                // Those met before that end at or left of this one do not cross it.
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
