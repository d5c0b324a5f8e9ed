//! Where the lines that run upward turn: points beside the solids that they leave and enter.

use super::layout::{Neighbours, Plan, Point, Spot};

/// A point beside a solid, by the side that it is on.
struct Turn {
    point: usize,
    /// The place in the next layer that its line goes to.
    goes_to: usize,
    /// Whether that is the layer above.
    leaves: bool,
}

/// Gives each upward line its points beside the solids that it leaves and enters, on the side that
/// it comes by.
pub(super) fn stand_beside(plan: &mut Plan) {
    let place = plan.places();
    let near = plan.neighbours();
    // For each solid: the turns to its left, and those to its right.
    let mut left: Vec<Vec<Turn>> = plan.points.iter().map(|_| Vec::new()).collect();
    let mut right: Vec<Vec<Turn>> = plan.points.iter().map(|_| Vec::new()).collect();
    for index in 0..plan.chains.len() {
        if !plan.chains[index].upward {
            continue;
        }
        let chain = plan.chains[index].points.clone();
        let last = chain.len() - 1;
        for (end, next) in [(0, 1), (last, last - 1)] {
            let leaves = end == last;
            let solid = chain[end];
            let to_left = match last {
                1 => is_left(chain[0], chain[1], &place, &near.1),
                _ if leaves => is_left(solid, chain[next], &place, &near.0),
                _ => is_left(solid, chain[next], &place, &near.1),
            };
            let point = plan.points.len();
            let layer = plan.points[solid].layer;
            plan.points.push(Point {
                spot: Spot::Beside,
                layer,
                left: 0.0,
                right: 0.0,
                height: 0.0,
            });
            plan.chains[index].points[end] = point;
            let side = if to_left { &mut left } else { &mut right };
            side[solid].push(Turn {
                point,
                goes_to: place[chain[next]],
                leaves,
            });
        }
    }
    for side in left.iter_mut().chain(right.iter_mut()) {
        side.sort_by_key(|turn| turn.goes_to);
    }
    for layer in &mut plan.layers {
        let old = std::mem::take(layer);
        for point in old {
            layer.extend(left[point].iter().map(|turn| turn.point));
            layer.push(point);
            layer.extend(right[point].iter().map(|turn| turn.point));
        }
    }
    let turned = left.iter().flatten().map(|turn| (turn, -1_isize));
    // The outermost first: those nearer to the solid follow it.
    let turned = turned.chain(
        right
            .iter()
            .flat_map(|turns| turns.iter().rev())
            .map(|turn| (turn, 1)),
    );
    for (turn, step) in turned {
        pass_lines(plan, turn, step, &place, &near);
    }
}

/// Whether less of what else `solid` leads to in that layer is left of `next` than right of it.
fn is_left(solid: usize, next: usize, place: &[usize], near: &[Vec<usize>]) -> bool {
    let (left, right) = sides(solid, next, place, near);
    left < right
}

/// How much of what else `solid` leads to in a layer is left of `next`, and how much right of it: a
/// turn on that side crosses that many lines.
pub(super) fn sides(solid: usize, next: usize, place: &[usize], near: &[Vec<usize>]) -> (usize, usize) {
    let others = near[solid].iter().filter(|other| **other != next);
    others.fold((0, 0), |(left, right), other| match place[*other] < place[next] {
        true => (left + 1, right),
        false => (left, right + 1),
    })
}

/// Moves a turn outward past the lines that its own would cross in the gap to the next layer: it
/// crosses them level instead, which is easier to follow.
fn pass_lines(plan: &mut Plan, turn: &Turn, step: isize, place: &[usize], near: &Neighbours) {
    let layer = &mut plan.layers[plan.points[turn.point].layer];
    let Some(mut at) = layer.iter().position(|point| *point == turn.point) else {
        return;
    };
    let near = if turn.leaves { &near.0 } else { &near.1 };
    while let Some(beyond) = at.checked_add_signed(step).filter(|beyond| *beyond < layer.len()) {
        let other = layer[beyond];
        let line = plan.points[other].spot == Spot::Bend;
        let crossed = near
            .get(other)
            .and_then(|near| near.first())
            .is_some_and(|near| match step {
                1 => place[*near] < turn.goes_to,
                _ => place[*near] > turn.goes_to,
            });
        if !line || !crossed {
            return;
        }
        layer.swap(at, beyond);
        at = beyond;
    }
}
