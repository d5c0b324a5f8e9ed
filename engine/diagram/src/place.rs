//! The horizontal place of every point.
//!
//! Brandes and Köpf, "Fast and Simple Horizontal Coordinate Assignment" (2001): points are aligned
//! to the median of their neighbours in four ways (from above and from below, to the left and to
//! the right), each way is packed, and each point takes the mean of the middle two of its four
//! places. A long line comes out straight. Packing goes over the graph of aligned blocks, which
//! also avoids the paper's known error in moving classes of blocks.

use std::collections::BTreeSet;

use super::layout::{Plan, places};

/// Places the points: the x of each one's anchor.
pub(super) fn place(plan: &Plan) -> Vec<f64> {
    let kept_apart = conflicts(plan, &plan.neighbours().0);
    let (up, down) = plan.main_neighbours();
    let mut ways: Vec<Vec<f64>> = Vec::with_capacity(4);
    for (upside_down, mirrored) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut layers = plan.layers.clone();
        if upside_down {
            layers.reverse();
        }
        if mirrored {
            layers.iter_mut().for_each(|layer| layer.reverse());
        }
        let near = if upside_down { &down } else { &up };
        let root = align(&layers, near, plan.points.len(), &kept_apart);
        let mut xs = pack(plan, &layers, &root, mirrored);
        if mirrored {
            xs.iter_mut().for_each(|x| *x = -*x);
        }
        ways.push(xs);
    }
    level(&mut ways);
    (0..plan.points.len())
        .map(|point| {
            let mut four = [ways[0][point], ways[1][point], ways[2][point], ways[3][point]];
            four.sort_by(f64::total_cmp);
            f64::midpoint(four[1], four[2])
        })
        .collect()
}

/// Moves the four ways to the narrowest one: those packed left by their left side, the others by
/// their right.
fn level(ways: &mut [Vec<f64>]) {
    let ends = |xs: &[f64]| {
        let least = xs.iter().copied().fold(f64::INFINITY, f64::min);
        let most = xs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (least, most)
    };
    let all: Vec<(f64, f64)> = ways.iter().map(|xs| ends(xs)).collect();
    let narrowest = all
        .iter()
        .copied()
        .min_by(|one, other| (one.1 - one.0).total_cmp(&(other.1 - other.0)));
    let Some((least, most)) = narrowest.filter(|ends| ends.0.is_finite()) else {
        return;
    };
    for (index, xs) in ways.iter_mut().enumerate() {
        let by = if index % 2 == 0 {
            least - all[index].0
        } else {
            most - all[index].1
        };
        xs.iter_mut().for_each(|x| *x += by);
    }
}

/// Finds the segments that cross the inside of a long line, which has precedence.
fn conflicts(plan: &Plan, up: &[Vec<usize>]) -> BTreeSet<(usize, usize)> {
    let mut found = BTreeSet::new();
    let place = plan.places();
    for pair in plan.layers.windows(2) {
        let (upper, lower) = (&pair[0], &pair[1]);
        let mut left = 0;
        let mut scanned = 0;
        for (index, &point) in lower.iter().enumerate() {
            let inside = plan.points[point]
                .is_bend()
                .then(|| up[point].first().copied())
                .flatten();
            let inside = inside.filter(|above| plan.points[*above].is_bend());
            if inside.is_none() && index + 1 < lower.len() {
                continue;
            }
            let right = inside.map_or(upper.len(), |above| place[above]);
            for &other in &lower[scanned..=index] {
                for &above in &up[other] {
                    let both = plan.points[other].is_bend() && plan.points[above].is_bend();
                    if !both && (place[above] < left || place[above] > right) {
                        found.insert((above.min(other), above.max(other)));
                    }
                }
            }
            scanned = index + 1;
            left = right;
        }
    }
    found
}

/// Aligns each point to the median of its neighbours, where no alignment crosses another: the root
/// of each point's block.
fn align(
    layers: &[Vec<usize>],
    near: &[Vec<usize>],
    points: usize,
    kept_apart: &BTreeSet<(usize, usize)>,
) -> Vec<usize> {
    let place = places(layers, points);
    let mut root: Vec<usize> = (0..points).collect();
    for layer in layers {
        let mut taken = 0;
        for &point in layer {
            let mut above = near[point].clone();
            above.sort_by_key(|other| place[*other]);
            if above.is_empty() {
                continue;
            }
            let middle = above.len() - 1;
            for median in [middle / 2, middle.div_ceil(2)] {
                let other = above[median];
                let free = root[point] == point && place[other] >= taken;
                if free && !kept_apart.contains(&(point.min(other), point.max(other))) {
                    root[point] = root[other];
                    taken = place[other] + 1;
                }
            }
        }
    }
    root
}

/// Packs the blocks to the left, then moves each one right as far as what stands right of it lets it.
fn pack(plan: &Plan, layers: &[Vec<usize>], root: &[usize], mirrored: bool) -> Vec<f64> {
    let mut right_of: Vec<Vec<(usize, f64)>> = vec![Vec::new(); root.len()];
    let mut waiting = vec![0_usize; root.len()];
    for layer in layers {
        for pair in layer.windows(2) {
            let apart = match mirrored {
                false => plan.apart(pair[0], pair[1]),
                true => plan.apart(pair[1], pair[0]),
            };
            right_of[root[pair[0]]].push((root[pair[1]], apart));
            waiting[root[pair[1]]] += 1;
        }
    }
    let blocks = || (0..root.len()).filter(|point| root[*point] == *point);
    let mut x = vec![0.0_f64; root.len()];
    let mut sorted: Vec<usize> = blocks().filter(|block| waiting[*block] == 0).collect();
    let mut next = 0;
    while let Some(&block) = sorted.get(next) {
        next += 1;
        for &(other, apart) in &right_of[block] {
            x[other] = x[other].max(x[block] + apart);
            waiting[other] -= 1;
            if waiting[other] == 0 {
                sorted.push(other);
            }
        }
    }
    for &block in sorted.iter().rev() {
        let room = right_of[block]
            .iter()
            .map(|(other, apart)| x[*other] - apart)
            .fold(f64::INFINITY, f64::min);
        if room.is_finite() {
            x[block] = x[block].max(room);
        }
    }
    root.iter().map(|root| x[*root]).collect()
}
