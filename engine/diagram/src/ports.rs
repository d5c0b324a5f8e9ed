//! Where each line meets its shapes, and the straightening of what is between.

use super::layout::Layout;

/// How far lines stand apart on a shape's upper and lower side, and on its left and right.
const PORT: f64 = 15.0;
const LANE: f64 = 7.0;
/// A line that is off by less between two shapes is made straight.
const NUDGE: f64 = 44.0;
/// What counts as straight.
const STRAIGHT: f64 = 0.05;

/// Where each chain leaves and enters, from the middle of the shape: along the lower and the upper
/// side, or along its left or right for one that runs upward.
pub(super) struct Ports {
    pub(super) out: Vec<f64>,
    pub(super) into: Vec<f64>,
}

/// An end of a line at a side: how far aside it leads, where it would best be, and its chain.
struct End {
    aside: f64,
    wish: Option<f64>,
    chain: usize,
}

impl Ports {
    pub(super) fn new(layout: &Layout) -> Self {
        let chains = &layout.plan.chains;
        let mut ports = Self {
            out: vec![0.0; chains.len()],
            into: vec![0.0; chains.len()],
        };
        let mut below: Vec<Vec<End>> = layout.solids.iter().map(|_| Vec::new()).collect();
        let mut above: Vec<Vec<End>> = layout.solids.iter().map(|_| Vec::new()).collect();
        for (index, chain) in chains.iter().enumerate().filter(|(_, chain)| !chain.upward) {
            let line = &layout.lines[chain.line];
            let last = chain.points.len() - 1;
            let (from, to) = (layout.frame(line.from).reach(), layout.frame(line.to).reach());
            let end = |solid: usize, next: usize, reach: f64| {
                let aside = layout.at[chain.points[next]].0 - layout.at[chain.points[solid]].0;
                let wish = match last {
                    // Both ends give way by half.
                    1 => Some(aside / 2.0).filter(|half| half.abs() <= from.min(to).min(NUDGE / 2.0)),
                    _ => Some(aside).filter(|aside| aside.abs() <= reach),
                };
                End {
                    aside,
                    wish,
                    chain: index,
                }
            };
            below[line.from].push(end(0, 1, from));
            above[line.to].push(end(last, last - 1, to));
        }
        for solid in 0..layout.solids.len() {
            let reach = layout.frame(solid).reach();
            for (side, ports) in [(&mut below, &mut ports.out), (&mut above, &mut ports.into)] {
                spread(&mut side[solid], reach, ports);
            }
        }
        ports.sides(layout);
        ports
    }

    /// Places the ends of the upward lines: a single one in the middle, several so that none
    /// crosses another, and none where a line to the shape itself is.
    fn sides(&mut self, layout: &Layout) {
        let mut ends: Vec<Vec<(bool, f64, usize)>> = vec![Vec::new(); layout.solids.len()];
        for (index, chain) in layout
            .plan
            .chains
            .iter()
            .enumerate()
            .filter(|(_, chain)| chain.upward)
        {
            let line = &layout.lines[chain.line];
            let last = chain.points.len() - 1;
            let x = |end: usize, solid: usize| layout.at[chain.points[end]].0 - layout.at[solid].0;
            ends[line.from].push((true, x(last, line.from), index));
            ends[line.to].push((false, x(0, line.to), index));
        }
        let mut looped = vec![false; layout.solids.len()];
        for line in layout.lines.iter().filter(|line| line.from == line.to) {
            looped[line.from] = true;
        }
        for (solid, ends) in ends.iter().enumerate() {
            let half = layout.frame(solid).height / 2.0;
            for &(leaves, x, index) in ends {
                let same = ends.iter().filter(|end| (end.1 > 0.0) == (x > 0.0));
                let nearer = same
                    .clone()
                    .filter(|end| end.0 == leaves && end.1.abs() < x.abs())
                    .count();
                let alone = same.count() == 1 && !looped[solid];
                let off = if alone {
                    0.0
                } else {
                    (half - 9.0 - LANE * nearer as f64).max(2.0)
                };
                match leaves {
                    true => self.out[index] = -off,
                    false => self.into[index] = off,
                }
            }
        }
    }
}

/// Spreads the ends along a side, in the order of where they lead: as near to where they wish to be
/// as the room between them lets them, and the others evenly about the middle.
fn spread(ends: &mut [End], reach: f64, ports: &mut [f64]) {
    ends.sort_by(|one, other| one.aside.total_cmp(&other.aside));
    let count = ends.len();
    let apart = if count > 1 {
        PORT.min(2.0 * reach / (count - 1) as f64)
    } else {
        0.0
    };
    // Without the room between them, places only have to ascend: runs that do not are averaged
    // (Ayer and others, "An Empirical Distribution Function for Sampling with Incomplete
    // Information", 1955). A run is its weight, its weighted sum, and its length.
    let mut runs: Vec<(f64, f64, usize)> = Vec::with_capacity(count);
    for (index, end) in ends.iter().enumerate() {
        let even = (index as f64 - (count - 1) as f64 / 2.0) * apart;
        let weight = if end.wish.is_some() { 10_000.0 } else { 1.0 };
        let place = end.wish.unwrap_or(even) - index as f64 * apart;
        runs.push((weight, weight * place, 1));
        while let [.., (before, before_sum, before_len), (weight, sum, len)] = runs[..] {
            if before_sum / before <= sum / weight {
                break;
            }
            runs.truncate(runs.len() - 2);
            runs.push((before + weight, before_sum + sum, before_len + len));
        }
    }
    let places = runs
        .iter()
        .flat_map(|(weight, sum, len)| std::iter::repeat_n(sum / weight, *len));
    for (index, (end, place)) in ends.iter().zip(places).enumerate() {
        let least = -reach + index as f64 * apart;
        let most = reach - (count - 1 - index) as f64 * apart;
        ports[end.chain] = (place + index as f64 * apart).max(least).min(most.max(least));
    }
}

/// Rounds over all lines after which straightening ends.
const ROUNDS: usize = 4;

/// Moves the points of lines aside, as far as their neighbours leave room, where that makes a line
/// turn less.
pub(super) fn straighten(layout: &mut Layout, ports: &Ports) {
    let place = layout.plan.places();
    for _ in 0..ROUNDS {
        let mut moved = false;
        for index in 0..layout.plan.chains.len() {
            moved |= straighten_chain(layout, ports, &place, index);
        }
        if !moved {
            return;
        }
    }
}

fn straighten_chain(layout: &mut Layout, ports: &Ports, place: &[usize], index: usize) -> bool {
    let chain = &layout.plan.chains[index];
    let points = chain.points.clone();
    let mut xs: Vec<f64> = points.iter().map(|point| layout.at[*point].0).collect();
    // The ends of a downward line are solids, which stay.
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
        while end < last && (xs[end] - xs[begin]).abs() < STRAIGHT {
            end += 1;
        }
        let before = begin.checked_sub(1).map(|at| xs[at]);
        let after = xs.get(end).copied();
        let turns = |x: f64| {
            let near = [before, after]
                .into_iter()
                .flatten()
                .map(|other| (x - other).abs());
            near.map(|by| if by < STRAIGHT { 0.0 } else { 10_000.0 + by })
                .sum::<f64>()
        };
        for x in [before, after].into_iter().flatten() {
            let fits = points[begin..end]
                .iter()
                .all(|point| fits(layout, place, *point, x));
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

/// Whether a point may be at `x`, between its neighbours.
fn fits(layout: &Layout, place: &[usize], point: usize, x: f64) -> bool {
    let plan = &layout.plan;
    let layer = &plan.layers[plan.points[point].layer];
    let left = match place[point].checked_sub(1) {
        Some(at) => layout.at[layer[at]].0 + plan.apart(layer[at], point),
        None => plan.points[point].left,
    };
    let right = match layer.get(place[point] + 1) {
        Some(other) => layout.at[*other].0 - plan.apart(point, *other),
        None => layout.width - plan.points[point].right,
    };
    left <= x && x <= right
}
