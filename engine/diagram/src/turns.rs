//! Adds the points where upward edges turn, beside the nodes that they leave and enter.

use super::layout::{LayeredGraph, Neighbours, Point, PointKind};

/// A turn on one side of a vertex.
struct Turn {
    point: usize,
    /// The position of the next point of the edge, in the next layer.
    goes_to: usize,
    /// Whether the next layer is the layer above.
    leaves: bool,
}

/// Adds two turns for each upward edge, each on the side from which the edge comes.
pub(super) fn add_turns(layered: &mut LayeredGraph) {
    let position = layered.positions();
    let near = layered.neighbours();
    // The turns left of each vertex, and those right of it.
    let mut left: Vec<Vec<Turn>> = layered.points.iter().map(|_| Vec::new()).collect();
    let mut right: Vec<Vec<Turn>> = layered.points.iter().map(|_| Vec::new()).collect();
    for index in 0..layered.chains.len() {
        if !layered.chains[index].upward {
            continue;
        }
        let chain = layered.chains[index].points.clone();
        let last = chain.len() - 1;
        for (end, next) in [(0, 1), (last, last - 1)] {
            let leaves = end == last;
            let vertex = chain[end];
            let to_left = match last {
                1 => is_left(chain[0], chain[1], &position, &near.1),
                _ if leaves => is_left(vertex, chain[next], &position, &near.0),
                _ => is_left(vertex, chain[next], &position, &near.1),
            };
            let point = layered.points.len();
            let layer = layered.points[vertex].layer;
            layered.points.push(Point {
                kind: PointKind::Side,
                layer,
                left: 0.0,
                right: 0.0,
                height: 0.0,
            });
            layered.chains[index].points[end] = point;
            let side = if to_left { &mut left } else { &mut right };
            side[vertex].push(Turn {
                point,
                goes_to: position[chain[next]],
                leaves,
            });
        }
    }
    for side in left.iter_mut().chain(right.iter_mut()) {
        side.sort_by_key(|turn| turn.goes_to);
    }
    for layer in &mut layered.layers {
        let old = std::mem::take(layer);
        for point in old {
            layer.extend(left[point].iter().map(|turn| turn.point));
            layer.push(point);
            layer.extend(right[point].iter().map(|turn| turn.point));
        }
    }
    let loop_crossings = left.iter().flatten().map(|turn| (turn, -1_isize));
    // The outermost turn first; the turns nearer to the vertex follow it.
    let loop_crossings = loop_crossings.chain(
        right
            .iter()
            .flat_map(|turns| turns.iter().rev())
            .map(|turn| (turn, 1)),
    );
    for (turn, step) in loop_crossings {
        pass_edges(layered, turn, step, &position, &near);
    }
}

/// Whether fewer neighbours of `vertex` in that layer are left of `next` than right of it.
fn is_left(vertex: usize, next: usize, position: &[usize], near: &[Vec<usize>]) -> bool {
    let (left, right) = sides(vertex, next, position, near);
    left < right
}

/// Counts the neighbours of `vertex` in a layer left and right of `next`. A turn on a side crosses that number of edges.
pub(super) fn sides(vertex: usize, next: usize, position: &[usize], near: &[Vec<usize>]) -> (usize, usize) {
    let others = near[vertex].iter().filter(|other| **other != next);
    others.fold((0, 0), |(left, right), other| {
        match position[*other] < position[next] {
            true => (left + 1, right),
            false => (left, right + 1),
        }
    })
}

/// Moves a turn outward past the edges that its own edge would cross in the gap to the next layer: it crosses them
/// horizontally instead, which is easier to follow.
fn pass_edges(layered: &mut LayeredGraph, turn: &Turn, step: isize, position: &[usize], near: &Neighbours) {
    let layer = &mut layered.layers[layered.points[turn.point].layer];
    let Some(mut at) = layer.iter().position(|point| *point == turn.point) else {
        return;
    };
    let near = if turn.leaves { &near.0 } else { &near.1 };
    while let Some(beyond) = at.checked_add_signed(step).filter(|beyond| *beyond < layer.len()) {
        let other = layer[beyond];
        let edge = layered.points[other].kind == PointKind::Bend;
        let crossed = near
            .get(other)
            .and_then(|near| near.first())
            .is_some_and(|near| match step {
                1 => position[*near] < turn.goes_to,
                _ => position[*near] > turn.goes_to,
            });
        if !edge || !crossed {
            return;
        }
        layer.swap(at, beyond);
        at = beyond;
    }
}
