//! Routes the edges: the SVG path of each edge through its points.
//!
//! An edge is vertical within a layer and S-shaped between two layers, so it stays in the space that the layout reserved.
//! Edges leave a node at its lower side and enter at its upper side, next to each other. Upward edges use the left and
//! right side.

use std::fmt::Write as _;

use super::{
    NodeKind,
    layout::{LOOP_LABEL_GAP, LOOP_WIDTH, Layout, PointKind, STACK_OFFSET, Vertex},
    ports::{Ports, straighten},
};

/// The length of an arrowhead, and half of its width.
pub(super) const HEAD: f64 = 8.0;
pub(super) const HEAD_HALF: f64 = 4.0;
/// The radius of a turn.
const TURN: f64 = 10.0;

/// The path of an edge as drawn.
pub(super) struct Route {
    pub(super) edge: usize,
    pub(super) path: String,
    /// The tip of the arrowhead and its direction.
    pub(super) tip: (f64, f64),
    pub(super) direction: (f64, f64),
    /// The middle of the label.
    pub(super) label: Option<(f64, f64)>,
}

/// Routes every edge, in the order of the edges.
pub(super) fn route_edges(layout: &mut Layout) -> Vec<Route> {
    let ports = Ports::new(layout);
    straighten(layout, &ports);
    let layout = &*layout;
    let mut routes: Vec<Route> = Vec::with_capacity(layout.edges.len());
    for (index, chain) in layout.layered.chains.iter().enumerate() {
        routes.push(match chain.upward {
            false => downward(layout, &ports, index),
            true => upward(layout, &ports, index),
        });
    }
    route_self_loops(layout, &mut routes);
    routes.sort_by_key(|route| route.edge);
    routes
}

fn downward(layout: &Layout, ports: &Ports, index: usize) -> Route {
    let chain = &layout.layered.chains[index];
    let edge = &layout.edges[chain.edge];
    let (from, to) = (layout.bounds(edge.from), layout.bounds(edge.to));
    let last = chain.points.len() - 1;
    let mut path = PathBuilder::at(from.x + ports.out[index], from.bottom());
    path.vertical_to(layout.bands[layout.layered.points[edge.from].layer].1);
    for &point in &chain.points[1..last] {
        let (top, bottom) = layout.bands[layout.layered.points[point].layer];
        path.bend(layout.at[point].0, top);
        path.vertical_to(bottom);
    }
    let tip = (to.x + ports.into[index], to.top());
    let top = layout.bands[layout.layered.points[edge.to].layer].0;
    path.bend(tip.0, top.min(tip.1 - HEAD));
    path.vertical_to(tip.1 - HEAD + 1.0);
    Route {
        edge: chain.edge,
        path: path.path,
        tip,
        direction: (0.0, 1.0),
        label: label_at(layout, index),
    }
}

fn upward(layout: &Layout, ports: &Ports, index: usize) -> Route {
    let chain = &layout.layered.chains[index];
    let edge = &layout.edges[chain.edge];
    let last = chain.points.len() - 1;
    let (first_x, last_x) = (layout.at[chain.points[last]].0, layout.at[chain.points[0]].0);
    let (from, to) = (layout.bounds(edge.from), layout.bounds(edge.to));
    let (leaves, enters) = (from.y + ports.out[index], to.y + ports.into[index]);

    let side = (first_x - from.x).signum();
    let mut path = PathBuilder::at(from.side(side, leaves), leaves);
    path.turn_vertical(first_x, leaves - TURN);
    path.vertical_to(layout.bands[layout.layered.points[edge.from].layer].0);
    for &point in chain.points[1..last].iter().rev() {
        let (top, bottom) = layout.bands[layout.layered.points[point].layer];
        path.bend(layout.at[point].0, bottom);
        path.vertical_to(top);
    }
    path.bend(last_x, layout.bands[layout.layered.points[edge.to].layer].1);
    path.vertical_to(enters + TURN);
    let side = (last_x - to.x).signum();
    let tip = (to.side(side, enters), enters);
    path.turn_horizontal(tip.0 + side * (HEAD - 1.0), enters);
    Route {
        edge: chain.edge,
        path: path.path,
        tip,
        direction: (-side, 0.0),
        label: label_at(layout, index),
    }
}

/// Routes the self loops beside their nodes.
fn route_self_loops(layout: &Layout, routes: &mut Vec<Route>) {
    let mut met = vec![(0_usize, [0.0_f64; 2]); layout.vertices.len()];
    for (index, edge) in layout
        .edges
        .iter()
        .enumerate()
        .filter(|(_, edge)| edge.from == edge.to)
    {
        let bounds = layout.bounds(edge.from);
        let (count, used) = &mut met[edge.from];
        let left = usize::from(*count % 2 == 1);
        let side = if left == 1 { -1.0 } else { 1.0 };
        let half = (7.0 + 4.0 * (*count / 2) as f64).min(bounds.height / 2.0 - 6.0);
        let out = bounds.side(side, bounds.y) + side * (used[left] + LOOP_WIDTH);
        let (top, bottom) = (bounds.y - half, bounds.y + half);
        let mut path = PathBuilder::at(bounds.side(side, top), top);
        path.horizontal_to(out - side * half);
        let round = [
            out - side * half * 0.45,
            top,
            out,
            top + half * 0.45,
            out,
            bounds.y,
        ];
        path.curve(round);
        path.curve([
            out,
            bottom - half * 0.45,
            out - side * half * 0.45,
            bottom,
            out - side * half,
            bottom,
        ]);
        let tip = (bounds.side(side, bottom), bottom);
        path.horizontal_to(tip.0 + side * (HEAD - 1.0));
        let width = edge.label.as_ref().map_or(0.0, |label| label.width);
        let label = edge
            .label
            .as_ref()
            .map(|_| (out + side * (LOOP_LABEL_GAP + width / 2.0), bounds.y));
        routes.push(Route {
            edge: index,
            path: path.path,
            tip,
            direction: (-side, 0.0),
            label,
        });
        used[left] += LOOP_WIDTH + if width > 0.0 { LOOP_LABEL_GAP + width } else { 0.0 };
        *count += 1;
    }
}

fn label_at(layout: &Layout, chain: usize) -> Option<(f64, f64)> {
    let points = &layout.layered.chains[chain].points;
    points
        .iter()
        .find(|point| layout.layered.points[**point].kind == PointKind::Label)
        .map(|point| layout.at[*point])
}

/// The middle and the size of a vertex.
pub(super) struct Bounds {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    vertex: Vertex,
}

impl Layout {
    pub(super) fn bounds(&self, vertex: usize) -> Bounds {
        let (x, y) = self.at[vertex];
        let (width, height) = match self.vertices[vertex] {
            Vertex::Node(node, _) => (self.cards[node].width, self.cards[node].height),
            Vertex::Start => (14.0, 14.0),
            Vertex::End => (20.0, 20.0),
        };
        Bounds {
            x,
            y,
            width,
            height,
            vertex: self.vertices[vertex],
        }
    }
}

impl Bounds {
    pub(super) fn top(&self) -> f64 {
        self.y - self.height / 2.0
    }

    pub(super) fn bottom(&self) -> f64 {
        self.y + self.height / 2.0
    }

    pub(super) fn left(&self) -> f64 {
        self.x - self.width / 2.0
    }

    /// The x of the outline at a height, on the right for side 1 and on the left for side -1.
    fn side(&self, side: f64, y: f64) -> f64 {
        let half = self.height / 2.0;
        let off = (y - self.y).abs().min(half);
        let inward = match self.vertex {
            Vertex::Node(_, NodeKind::Sleep) => half - (half * half - off * off).sqrt(),
            Vertex::Node(_, NodeKind::Wait) => POINTED * off / half,
            Vertex::Node(_, NodeKind::Map) if side < 0.0 && y > self.bottom() - 2.0 * STACK_OFFSET => {
                2.0 * STACK_OFFSET
            }
            Vertex::Node(_, NodeKind::Map) if side > 0.0 && y < self.top() + 2.0 * STACK_OFFSET => {
                2.0 * STACK_OFFSET
            }
            _ => 0.0,
        };
        self.x + side * (self.width / 2.0 - inward)
    }

    /// The maximum distance of a port from the middle of the upper and lower side.
    pub(super) fn reach(&self) -> f64 {
        match self.vertex {
            Vertex::Node(_, NodeKind::Sleep | NodeKind::Wait) => self.width / 2.0 - 28.0,
            Vertex::Node(..) => self.width / 2.0 - 18.0,
            Vertex::Start | Vertex::End => 0.0,
        }
    }
}

/// The length of the pointed ends of a wait node.
pub(super) const POINTED: f64 = 14.0;

/// Writes the path of an edge.
struct PathBuilder {
    path: String,
    x: f64,
    y: f64,
}

impl PathBuilder {
    fn at(x: f64, y: f64) -> Self {
        Self {
            path: format!("M{} {}", format_number(x), format_number(y)),
            x,
            y,
        }
    }

    fn vertical_to(&mut self, y: f64) {
        if format_number(y) != format_number(self.y) {
            let _ = write!(self.path, "V{}", format_number(y));
        }
        self.y = y;
    }

    fn horizontal_to(&mut self, x: f64) {
        let _ = write!(self.path, "H{}", format_number(x));
        self.x = x;
    }

    fn curve(&mut self, [ax, ay, bx, by, x, y]: [f64; 6]) {
        let to = [ax, ay, bx, by, x, y].map(format_number).join(" ");
        let _ = write!(self.path, "C{to}");
        (self.x, self.y) = (x, y);
    }

    /// Draws an S that starts and ends vertically.
    fn bend(&mut self, x: f64, y: f64) {
        if (x - self.x).abs() < 0.05 {
            return self.vertical_to(y);
        }
        let middle = f64::midpoint(self.y, y);
        self.curve([self.x, middle, x, middle, x, y]);
    }

    /// Goes horizontally to `x`, turns, and ends vertically at `y`.
    fn turn_vertical(&mut self, x: f64, y: f64) {
        let side = (x - self.x).signum();
        self.horizontal_to(x - side * TURN);
        let _ = write!(
            self.path,
            "Q{} {} {} {}",
            format_number(x),
            format_number(self.y),
            format_number(x),
            format_number(y)
        );
        (self.x, self.y) = (x, y);
    }

    /// Turns at `y` and goes horizontally to `x`.
    fn turn_horizontal(&mut self, x: f64, y: f64) {
        let side = (x - self.x).signum();
        let loop_crossings = self.x + side * TURN;
        let _ = write!(
            self.path,
            "Q{} {} {} {}",
            format_number(self.x),
            format_number(y),
            format_number(loop_crossings),
            format_number(y)
        );
        self.horizontal_to(x);
        self.y = y;
    }
}

/// Formats a number with at most one decimal.
pub(super) fn format_number(number: f64) -> String {
    let tenths = (number * 10.0).round() / 10.0;
    // Avoids "-0".
    format!("{}", if tenths == 0.0 { 0.0 } else { tenths })
}
