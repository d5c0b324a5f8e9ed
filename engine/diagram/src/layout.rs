//! A layered layout from top to bottom: the position of every node, label and bend.
//!
//! The steps, each in a separate module: `ranks` assigns each node to a rank and finds the edges that close loops.
//! `order` orders the points of each layer so that few edges cross. `turns` adds the points where upward edges turn.
//! `coordinates` assigns the horizontal positions. `ports` and `route` then draw the edges.
//!
//! A layer is a rank of nodes, or the labels between two ranks. An edge has a point in each layer that it passes, so no
//! edge is drawn across a node or a label. An upward edge leaves and enters its nodes at their sides.

use super::{
    Diagram, EdgeKind, Node, NodeKind,
    coordinates::assign_coordinates,
    order::order,
    ranks::{RankEdge, Ranks, assign_ranks, split_wide_ranks},
    text::{Font, clip, sanitize, width},
    turns::add_turns,
};

/// Larger diagrams are not drawn: they would be unreadable, and their layout would take seconds.
pub(super) const MAX_NODES: usize = 400;
pub(super) const MAX_EDGES: usize = 1_200;
const MAX_POINTS: usize = 40_000;

/// The maximum width of names, details and labels in pixels; longer text is clipped.
const MAX_NAME_WIDTH: f64 = 250.0;
const MAX_LABEL_WIDTH: f64 = 230.0;
pub(super) const LABEL_HEIGHT: f64 = 20.0;
/// The width and height of the start and the end mark.
pub(super) const MARK_SIZE: f64 = 20.0;
/// The width of a self loop, and the distance from the loop to its label.
pub(super) const LOOP_WIDTH: f64 = 24.0;
pub(super) const LOOP_LABEL_GAP: f64 = 5.0;
/// The minimum distance between two nodes of a rank.
const VERTEX_GAP: f64 = 34.0;
/// The offset between the stacked cards of a map.
pub(super) const STACK_OFFSET: f64 = 4.0;

/// The texts of a node as drawn, and its size.
pub(super) struct Card {
    pub(super) name: String,
    pub(super) detail: Option<String>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A label: the text as drawn, the complete text, and the width of its box.
pub(super) struct Label {
    pub(super) text: String,
    pub(super) full_text: String,
    pub(super) width: f64,
}

/// A vertex of the layout: a node of the diagram, the start or the end.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Vertex {
    Node(usize, NodeKind),
    Start,
    End,
}

/// An edge between two vertices, by their indexes. The edge from the start is one of them.
pub(super) struct LayoutEdge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) kind: EdgeKind,
    pub(super) label: Option<Label>,
}

/// The kind of a point of the layered graph.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum PointKind {
    Vertex(usize),
    /// An edge passes through a layer.
    Bend,
    /// An edge passes through a layer and carries its label there.
    Label,
    /// An upward edge turns beside its node, in the layer of the node.
    Side,
}

/// A point with the space that it needs around its anchor.
pub(super) struct Point {
    pub(super) kind: PointKind,
    pub(super) layer: usize,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) height: f64,
}

impl Point {
    pub(super) fn is_bend(&self) -> bool {
        !matches!(self.kind, PointKind::Vertex(_))
    }
}

/// The points of an edge from top to bottom. The first and the last are its vertices, or the turns beside them if the
/// edge runs upward.
pub(super) struct Chain {
    pub(super) edge: usize,
    pub(super) points: Vec<usize>,
    pub(super) upward: bool,
    /// Whether the edge is on the main path. Error, timeout and compensation edges are not.
    pub(super) main: bool,
}

/// For each point its neighbours in the layer above, and those in the layer below.
pub(super) type Neighbours = (Vec<Vec<usize>>, Vec<Vec<usize>>);

/// A graph of points in layers: each edge segment connects two neighbouring layers.
pub(super) struct LayeredGraph {
    pub(super) points: Vec<Point>,
    pub(super) chains: Vec<Chain>,
    pub(super) layers: Vec<Vec<usize>>,
    pub(super) layer_count: usize,
}

impl LayeredGraph {
    /// The neighbours of each point in the layer above and in the layer below.
    pub(super) fn neighbours(&self) -> Neighbours {
        // Loops come last: if the order is free, they go to the right.
        let loops = self.chains.iter().filter(|chain| chain.upward);
        self.neighbours_by(self.chains.iter().filter(|chain| !chain.upward).chain(loops))
    }

    /// The neighbours that a point may be aligned with: those on the main path if there are any, else all.
    pub(super) fn main_neighbours(&self) -> Neighbours {
        let mut main = self.neighbours_by(self.chains.iter().filter(|chain| chain.main));
        let all = self.neighbours();
        for (main, all) in [(&mut main.0, all.0), (&mut main.1, all.1)] {
            for (main, all) in main.iter_mut().zip(all) {
                if main.is_empty() {
                    *main = all;
                }
            }
        }
        let (up, down) = main;
        let mutual = |ones: &[Vec<usize>], others: &[Vec<usize>]| {
            let kept = |(point, near): (usize, &Vec<usize>)| {
                near.iter()
                    .copied()
                    .filter(|other| others[*other].contains(&point))
                    .collect()
            };
            ones.iter().enumerate().map(kept).collect()
        };
        (mutual(&up, &down), mutual(&down, &up))
    }

    fn neighbours_by<'a>(&self, chains: impl Iterator<Item = &'a Chain>) -> Neighbours {
        let mut up = vec![Vec::new(); self.points.len()];
        let mut down = vec![Vec::new(); self.points.len()];
        for chain in chains {
            for pair in chain.points.windows(2) {
                down[pair[0]].push(pair[1]);
                up[pair[1]].push(pair[0]);
            }
        }
        (up, down)
    }

    /// The index of each point in its layer.
    pub(super) fn positions(&self) -> Vec<usize> {
        positions(&self.layers, self.points.len())
    }

    /// The minimum distance between the anchors of two neighbours in a layer.
    pub(super) fn min_distance(&self, left: usize, right: usize) -> f64 {
        let (one, other) = (&self.points[left], &self.points[right]);
        let gap = match (one.kind, other.kind) {
            (PointKind::Vertex(_), PointKind::Vertex(_)) => VERTEX_GAP,
            (PointKind::Label, PointKind::Label) => 12.0,
            (PointKind::Vertex(_), _) | (_, PointKind::Vertex(_)) => 22.0,
            _ => 16.0,
        };
        one.right + other.left + gap
    }
}

/// The index of each point in its layer.
pub(super) fn positions(layers: &[Vec<usize>], points: usize) -> Vec<usize> {
    let mut position = vec![0; points];
    for layer in layers {
        for (index, point) in layer.iter().enumerate() {
            position[*point] = index;
        }
    }
    position
}

/// A layout: the position of every vertex, card and edge.
pub(super) struct Layout {
    pub(super) vertices: Vec<Vertex>,
    pub(super) cards: Vec<Card>,
    pub(super) edges: Vec<LayoutEdge>,
    pub(super) layered: LayeredGraph,
    /// The anchor of each point. The first points are the vertices, in their order.
    pub(super) at: Vec<(f64, f64)>,
    /// The top and the bottom of each layer.
    pub(super) bands: Vec<(f64, f64)>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Computes the layout. None if the diagram is too large.
pub(super) fn layout(diagram: &Diagram) -> Option<Layout> {
    if diagram.nodes.len() > MAX_NODES || diagram.valid_edges().count() > MAX_EDGES {
        return None;
    }
    let cards: Vec<Card> = diagram.nodes.iter().map(card).collect();
    let (vertices, edges) = vertices_and_edges(diagram);
    let mut layered = layered(&vertices, &cards, &edges)?;
    let start = vertices.iter().position(|vertex| *vertex == Vertex::Start);
    order(&mut layered, start);
    add_turns(&mut layered);
    let xs = assign_coordinates(&layered);
    let bands = bands(&layered, &xs);
    let edge = |side: fn(&Point) -> f64| layered.points.iter().map(side);
    let left = xs.iter().zip(edge(|point| point.left)).map(|(x, left)| x - left);
    let left = left.fold(f64::INFINITY, f64::min);
    let right = xs
        .iter()
        .zip(edge(|point| point.right))
        .map(|(x, right)| x + right);
    let right = right.fold(f64::NEG_INFINITY, f64::max);
    let middle = |point: &Point| f64::midpoint(bands[point.layer].0, bands[point.layer].1);
    let at = xs
        .iter()
        .zip(&layered.points)
        .map(|(x, point)| (x - left, middle(point)))
        .collect();
    Some(Layout {
        at,
        width: (right - left).max(0.0),
        height: bands.last().map_or(0.0, |last| last.1),
        vertices,
        cards,
        edges,
        layered,
        bands,
    })
}

fn card(node: &Node) -> Card {
    let shown = |text: &str, font: Font| {
        let text = sanitize(text);
        let text = clip(&text, font, MAX_NAME_WIDTH).unwrap_or(text);
        (width(&text, font), text)
    };
    let (name_width, name) = shown(&node.name, Font::Name);
    let detail = node.detail.as_deref().map(|detail| shown(detail, Font::Regular));
    let detail_width = detail.as_ref().map_or(0.0, |(width, _)| *width);
    let (more_width, more_height) = match node.kind {
        NodeKind::Function => (0.0, 0.0),
        NodeKind::Map => (2.0 * STACK_OFFSET, 2.0 * STACK_OFFSET),
        NodeKind::Graph => (8.0, 4.0),
        NodeKind::Sleep => (12.0, 0.0),
        NodeKind::Wait => (24.0, 0.0),
    };
    let height = if detail.is_some() { 50.0 } else { 42.0 };
    Card {
        name,
        width: (name_width.max(detail_width) + 60.0).max(104.0).ceil() + more_width,
        height: height + more_height,
        detail: detail.map(|(_, text)| text),
    }
}

fn vertices_and_edges(diagram: &Diagram) -> (Vec<Vertex>, Vec<LayoutEdge>) {
    let nodes = diagram.nodes.iter().enumerate();
    let mut vertices: Vec<Vertex> = nodes
        .map(|(index, node)| Vertex::Node(index, node.kind))
        .collect();
    let mut edges = Vec::new();
    if diagram.start < diagram.nodes.len() {
        let from = vertices.len();
        edges.push(LayoutEdge {
            from,
            to: diagram.start,
            kind: EdgeKind::Edge,
            label: None,
        });
        vertices.push(Vertex::Start);
    }
    let end = vertices.len();
    if diagram.has_end() {
        vertices.push(Vertex::End);
    }
    edges.extend(diagram.valid_edges().map(|edge| {
        let label = edge.label_text().map(|full_text| {
            let text = clip(&full_text, Font::Code, MAX_LABEL_WIDTH).unwrap_or_else(|| full_text.clone());
            let width = width(&text, Font::Code).ceil() + 14.0;
            Label {
                text,
                full_text,
                width,
            }
        });
        LayoutEdge {
            from: edge.from,
            to: edge.to.unwrap_or(end),
            kind: edge.kind,
            label,
        }
    }));
    (vertices, edges)
}

/// Builds the layered graph, still without an order. None if it has too many points.
fn layered(vertices: &[Vertex], cards: &[Card], edges: &[LayoutEdge]) -> Option<LayeredGraph> {
    let secondary = |edge: &LayoutEdge| !matches!(edge.kind, EdgeKind::Edge | EdgeKind::Next);
    let rank_edge = |edge: &LayoutEdge| RankEdge {
        from: edge.from,
        to: edge.to,
        secondary: secondary(edge),
    };
    let rank_edges: Vec<RankEdge> = edges.iter().map(rank_edge).collect();
    let start = vertices.iter().position(|vertex| *vertex == Vertex::Start);
    let mut ranks = assign_ranks(vertices.len(), start, &rank_edges);
    let widths = vertices.iter().map(|vertex| size(*vertex, cards).0 + VERTEX_GAP);
    split_wide_ranks(&mut ranks.rank, &widths.collect::<Vec<f64>>());
    let main = main_path(start, &rank_edges, vertices.len());
    let levels = Levels::new(edges, &ranks);

    let vertex_layers = ranks.rank.iter().map(|rank| levels.of_rank[*rank]);
    let mut points: Vec<Point> = vertices
        .iter()
        .zip(vertex_layers)
        .enumerate()
        .map(|(index, (vertex, layer))| vertex_point(index, *vertex, cards, layer))
        .collect();
    let mut chains = Vec::new();
    for (index, edge) in edges.iter().enumerate().filter(|(_, edge)| edge.from != edge.to) {
        let upward = ranks.upward[index];
        let (upper, lower) = if upward {
            (edge.to, edge.from)
        } else {
            (edge.from, edge.to)
        };
        let mut chain = vec![upper];
        for layer in points[upper].layer + 1..points[lower].layer {
            let label = edge
                .label
                .as_ref()
                .filter(|_| levels.of_label[index] == Some(layer));
            chain.push(points.len());
            points.push(line_point(label, layer));
        }
        chain.push(lower);
        chains.push(Chain {
            edge: index,
            points: chain,
            upward,
            main: main[edge.from] && !secondary(edge),
        });
        if points.len() > MAX_POINTS {
            return None;
        }
    }
    widen_for_loops(&mut points, edges);
    Some(LayeredGraph {
        points,
        chains,
        layers: Vec::new(),
        layer_count: levels.count,
    })
}

/// The layers: one for each rank, and one between two ranks for the labels there, if any.
struct Levels {
    of_rank: Vec<usize>,
    /// For each edge the layer of its label: next to the source of the edge.
    of_label: Vec<Option<usize>>,
    count: usize,
}

impl Levels {
    fn new(edges: &[LayoutEdge], ranks: &Ranks) -> Self {
        let rank_count = ranks.rank.iter().max().map_or(0, |last| last + 1);
        // The rank above the label of an edge.
        let above = |(edge, upward): (&LayoutEdge, &bool)| {
            let labelled = edge.label.is_some() && edge.from != edge.to;
            labelled.then(|| ranks.rank[edge.from] - usize::from(*upward))
        };
        let above: Vec<Option<usize>> = edges.iter().zip(&ranks.upward).map(above).collect();
        let mut labelled = vec![false; rank_count];
        for rank in above.iter().flatten() {
            labelled[*rank] = true;
        }
        let mut of_rank = Vec::with_capacity(rank_count);
        let mut count = 0;
        for labelled in labelled {
            of_rank.push(count);
            count += 1 + usize::from(labelled);
        }
        let of_label = above
            .iter()
            .map(|rank| rank.map(|rank| of_rank[rank] + 1))
            .collect();
        Self {
            of_rank,
            of_label,
            count,
        }
    }
}

/// The point of an edge in a layer that it passes, with its label if the label is in that layer.
fn line_point(label: Option<&Label>, layer: usize) -> Point {
    let half = label.map_or(0.0, |label| label.width / 2.0);
    Point {
        kind: if label.is_some() {
            PointKind::Label
        } else {
            PointKind::Bend
        },
        layer,
        left: half,
        right: half,
        height: if label.is_some() { LABEL_HEIGHT } else { 0.0 },
    }
}

/// The vertices that are reachable from the start by normal edges and declared routes.
fn main_path(start: Option<usize>, rank_edges: &[RankEdge], vertices: usize) -> Vec<bool> {
    let mut leaving = vec![Vec::new(); vertices];
    for rank_edge in rank_edges.iter().filter(|rank_edge| !rank_edge.secondary) {
        leaving[rank_edge.from].push(rank_edge.to);
    }
    let mut reached = vec![false; vertices];
    let mut path: Vec<usize> = start.into_iter().collect();
    while let Some(vertex) = path.pop() {
        if !std::mem::replace(&mut reached[vertex], true) {
            path.extend(&leaving[vertex]);
        }
    }
    reached
}

fn size(vertex: Vertex, cards: &[Card]) -> (f64, f64) {
    match vertex {
        Vertex::Node(node, _) => (cards[node].width, cards[node].height),
        Vertex::Start | Vertex::End => (MARK_SIZE, MARK_SIZE),
    }
}

fn vertex_point(index: usize, vertex: Vertex, cards: &[Card], layer: usize) -> Point {
    let (width, height) = size(vertex, cards);
    Point {
        kind: PointKind::Vertex(index),
        layer,
        left: width / 2.0,
        right: width / 2.0,
        height,
    }
}

/// Reserves space for self loops, alternating right and left of the node.
fn widen_for_loops(points: &mut [Point], edges: &[LayoutEdge]) {
    let mut met = vec![0_usize; points.len()];
    for edge in edges.iter().filter(|edge| edge.from == edge.to) {
        let label = edge
            .label
            .as_ref()
            .map_or(0.0, |label| LOOP_LABEL_GAP + label.width);
        let point = &mut points[edge.from];
        let side = if met[edge.from].is_multiple_of(2) {
            &mut point.right
        } else {
            &mut point.left
        };
        *side += LOOP_WIDTH + label;
        met[edge.from] += 1;
    }
}

/// Computes the top and the bottom of each layer. Long horizontal segments get more vertical space.
fn bands(layered: &LayeredGraph, xs: &[f64]) -> Vec<(f64, f64)> {
    let mut widest = vec![0.0_f64; layered.layer_count];
    for chain in &layered.chains {
        for pair in chain.points.windows(2) {
            let layer = layered.points[pair[0]].layer;
            widest[layer] = widest[layer].max((xs[pair[0]] - xs[pair[1]]).abs());
        }
    }
    let has_label = |layer: usize| {
        layered.layers[layer]
            .iter()
            .any(|point| layered.points[*point].kind == PointKind::Label)
    };
    let mut bands = Vec::with_capacity(layered.layer_count);
    let mut y = 0.0;
    for (layer, points) in layered.layers.iter().enumerate() {
        let height = points
            .iter()
            .map(|point| layered.points[*point].height)
            .fold(0.0, f64::max);
        bands.push((y, y + height));
        let small = height <= MARK_SIZE;
        let between = match (
            has_label(layer),
            layer + 1 < layered.layer_count && has_label(layer + 1),
        ) {
            (false, true) => 20.0,
            (true, _) => 28.0,
            (false, false) if small => 34.0,
            (false, false) => 44.0,
        };
        y += height + between + ((widest[layer] - 110.0) * 0.09).clamp(0.0, 56.0);
    }
    bands
}
