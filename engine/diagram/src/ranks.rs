//! The row of each vertex, and which lines run against the rows.
//!
//! A line that a walk from the start finds leading back to where it came from closes a loop and
//! runs upward. All others lead downward, at least one row. Nothing here recurses.

/// A line from a vertex to another one, and how late the walk takes it among its vertex's lines.
pub(super) struct Way {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) late: bool,
}

/// Rows, counted from 0 without a gap, and for each way whether it runs upward.
pub(super) struct Ranks {
    pub(super) row: Vec<usize>,
    pub(super) upward: Vec<bool>,
}

/// Ranks the vertices, of which `root` is walked first and the only one that may be in the first
/// row. A way from a vertex to itself is of no account.
pub(super) fn rank(vertices: usize, root: Option<usize>, ways: &[Way]) -> Ranks {
    let mut leaving = vec![Vec::new(); vertices];
    for late in [false, true] {
        for (index, way) in ways.iter().enumerate() {
            if way.from != way.to && way.late == late {
                leaving[way.from].push(index);
            }
        }
    }
    let upward = loops(vertices, root, ways, &leaving);
    // The downward view: each vertex's ways down, whichever direction their arrows have.
    let mut down = vec![Vec::new(); vertices];
    let mut coming = vec![0_usize; vertices];
    for (way, upward) in ways.iter().zip(&upward) {
        if way.from != way.to {
            let (upper, lower) = if *upward {
                (way.to, way.from)
            } else {
                (way.from, way.to)
            };
            down[upper].push(lower);
            coming[lower] += 1;
        }
    }
    let mut row: Vec<usize> = (0..vertices)
        .map(|vertex| usize::from(root.is_some_and(|root| root != vertex)))
        .collect();
    let mut waiting = coming.clone();
    let mut walked: Vec<usize> = (0..vertices).filter(|vertex| coming[*vertex] == 0).collect();
    let mut next = 0;
    while let Some(&vertex) = walked.get(next) {
        next += 1;
        for &lower in &down[vertex] {
            row[lower] = row[lower].max(row[vertex] + 1);
            waiting[lower] -= 1;
            if waiting[lower] == 0 {
                walked.push(lower);
            }
        }
    }
    // What nothing leads to stands just above what it leads to.
    for &vertex in walked.iter().rev() {
        let nearest = down[vertex].iter().map(|lower| row[*lower] - 1).min();
        if let (Some(nearest), true) = (nearest, coming[vertex] == 0 && Some(vertex) != root) {
            row[vertex] = nearest;
        }
    }
    close_gaps(&mut row);
    Ranks { row, upward }
}

/// Finds the ways that lead to a vertex on the walk's own path.
fn loops(vertices: usize, root: Option<usize>, ways: &[Way], leaving: &[Vec<usize>]) -> Vec<bool> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        OnPath,
        Done,
    }
    let mut upward = vec![false; ways.len()];
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
            let to = ways[index].to;
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

fn close_gaps(row: &mut [usize]) {
    let rows = row.iter().max().map_or(0, |last| last + 1);
    let mut used = vec![false; rows];
    for at in row.iter() {
        used[*at] = true;
    }
    let mut new = Vec::with_capacity(rows);
    let mut count = 0;
    for used in used {
        new.push(count);
        count += usize::from(used);
    }
    for at in row {
        *at = new[*at];
    }
}

/// Parts a row that is wider than this into up to four, where every fourth stands lower than the
/// one before it, so that a wide fork stays within a page.
const ROW_WIDTH: f64 = 1_500.0;
const PARTS: usize = 4;

/// Staggers the rows that are too wide, given how much room each vertex takes in its row.
pub(super) fn stagger(row: &mut [usize], widths: &[f64]) {
    let rows = row.iter().max().map_or(0, |last| last + 1);
    let mut room = vec![0.0; rows];
    for (row, width) in row.iter().zip(widths) {
        room[*row] += width;
    }
    let mut first = Vec::with_capacity(rows);
    let mut parts = Vec::with_capacity(rows);
    let mut count = 0;
    for room in room {
        let needed = (room / ROW_WIDTH).ceil().max(1.0);
        first.push(count);
        parts.push((needed as usize).min(PARTS));
        count += parts[parts.len() - 1];
    }
    let mut met = vec![0; rows];
    for at in row {
        let old = *at;
        *at = first[old] + met[old] % parts[old];
        met[old] += 1;
    }
}
