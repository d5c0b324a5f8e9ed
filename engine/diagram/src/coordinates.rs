//! Assigns the horizontal coordinate of every point.
//!
//! Brandes and Köpf, "Fast and Simple Horizontal Coordinate Assignment" (2001): points are aligned with the median of
//! their neighbours in four ways (from above and from below, to the left and to the right), each alignment is compacted,
//! and each point gets the mean of the two middle coordinates of the four. Long edges become straight. The compaction
//! works on the graph of aligned blocks, which also avoids a known error of the paper in moving classes of blocks.

use std::collections::BTreeSet;

use super::layout::{LayeredGraph, positions};

/// Returns the x coordinate of the anchor of each point.
pub(super) fn assign_coordinates(layered: &LayeredGraph) -> Vec<f64> {
    let kept_apart = conflicts(layered, &layered.neighbours().0);
    let (up, down) = layered.main_neighbours();
    let mut alignments: Vec<Vec<f64>> = Vec::with_capacity(4);
    for (upside_down, mirrored) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut layers = layered.layers.clone();
        if upside_down {
            layers.reverse();
        }
        if mirrored {
            layers.iter_mut().for_each(|layer| layer.reverse());
        }
        let near = if upside_down { &down } else { &up };
        let root = align(&layers, near, layered.points.len(), &kept_apart);
        let mut xs = pack(layered, &layers, &root, mirrored);
        if mirrored {
            xs.iter_mut().for_each(|x| *x = -*x);
        }
        alignments.push(xs);
    }
    align_extents(&mut alignments);
    (0..layered.points.len())
        .map(|point| {
            let mut four = [
                alignments[0][point],
                alignments[1][point],
                alignments[2][point],
                alignments[3][point],
            ];
            four.sort_by(f64::total_cmp);
            f64::midpoint(four[1], four[2])
        })
        .collect()
}

/// Shifts the four alignments to the narrowest one: left alignments by their left side, right alignments by their right
/// side.
fn align_extents(alignments: &mut [Vec<f64>]) {
    let ends = |xs: &[f64]| {
        let least = xs.iter().copied().fold(f64::INFINITY, f64::min);
        let most = xs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (least, most)
    };
    let all: Vec<(f64, f64)> = alignments.iter().map(|xs| ends(xs)).collect();
    let narrowest = all
        .iter()
        .copied()
        .min_by(|one, other| (one.1 - one.0).total_cmp(&(other.1 - other.0)));
    let Some((least, most)) = narrowest.filter(|ends| ends.0.is_finite()) else {
        return;
    };
    for (index, xs) in alignments.iter_mut().enumerate() {
        let by = if index % 2 == 0 {
            least - all[index].0
        } else {
            most - all[index].1
        };
        xs.iter_mut().for_each(|x| *x += by);
    }
}

/// Finds the segments that cross an inner segment of a long edge; the long edge has precedence.
fn conflicts(layered: &LayeredGraph, up: &[Vec<usize>]) -> BTreeSet<(usize, usize)> {
    let mut found = BTreeSet::new();
    let position = layered.positions();
    for pair in layered.layers.windows(2) {
        let (upper, lower) = (&pair[0], &pair[1]);
        let mut left = 0;
        let mut scanned = 0;
        for (index, &point) in lower.iter().enumerate() {
            let inside = layered.points[point]
                .is_bend()
                .then(|| up[point].first().copied())
                .flatten();
            let inside = inside.filter(|above| layered.points[*above].is_bend());
            if inside.is_none() && index + 1 < lower.len() {
                continue;
            }
            let right = inside.map_or(upper.len(), |above| position[above]);
            for &other in &lower[scanned..=index] {
                for &above in &up[other] {
                    let both = layered.points[other].is_bend() && layered.points[above].is_bend();
                    if !both && (position[above] < left || position[above] > right) {
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

/// Aligns each point with the median of its neighbours unless alignments would cross. Returns the root of the block of
/// each point.
fn align(
    layers: &[Vec<usize>],
    near: &[Vec<usize>],
    points: usize,
    kept_apart: &BTreeSet<(usize, usize)>,
) -> Vec<usize> {
    let position = positions(layers, points);
    let mut root: Vec<usize> = (0..points).collect();
    for layer in layers {
        let mut taken = 0;
        for &point in layer {
            let mut above = near[point].clone();
            above.sort_by_key(|other| position[*other]);
            if above.is_empty() {
                continue;
            }
            let middle = above.len() - 1;
            for median in [middle / 2, middle.div_ceil(2)] {
                let other = above[median];
                let free = root[point] == point && position[other] >= taken;
                if free && !kept_apart.contains(&(point.min(other), point.max(other))) {
                    root[point] = root[other];
                    taken = position[other] + 1;
                }
            }
        }
    }
    root
}

/// Compacts the blocks to the left, then moves each block right as far as its right neighbours allow.
fn pack(layered: &LayeredGraph, layers: &[Vec<usize>], root: &[usize], mirrored: bool) -> Vec<f64> {
    let mut right_of: Vec<Vec<(usize, f64)>> = vec![Vec::new(); root.len()];
    let mut waiting = vec![0_usize; root.len()];
    for layer in layers {
        for pair in layer.windows(2) {
            let min_distance = match mirrored {
                false => layered.min_distance(pair[0], pair[1]),
                true => layered.min_distance(pair[1], pair[0]),
            };
            right_of[root[pair[0]]].push((root[pair[1]], min_distance));
            waiting[root[pair[1]]] += 1;
        }
    }
    let blocks = || (0..root.len()).filter(|point| root[*point] == *point);
    let mut x = vec![0.0_f64; root.len()];
    let mut sorted: Vec<usize> = blocks().filter(|block| waiting[*block] == 0).collect();
    let mut next = 0;
    while let Some(&block) = sorted.get(next) {
        next += 1;
        for &(other, min_distance) in &right_of[block] {
            x[other] = x[other].max(x[block] + min_distance);
            waiting[other] -= 1;
            if waiting[other] == 0 {
                sorted.push(other);
            }
        }
    }
    for &block in sorted.iter().rev() {
        let room = right_of[block]
            .iter()
            .map(|(other, min_distance)| x[*other] - min_distance)
            .fold(f64::INFINITY, f64::min);
        if room.is_finite() {
            x[block] = x[block].max(room);
        }
    }
    root.iter().map(|root| x[*root]).collect()
}
