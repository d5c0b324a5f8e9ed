//! Where everything stands: a layered layout from top to bottom.
//!
//! Shapes stand in rows, and the labels of lines in layers of their own between the rows. A line
//! that passes a layer has a point in it, so nothing is ever drawn across a shape. A line that runs
//! upward leaves and enters its shapes at their sides, with a point beside each.

use super::{
    Diagram, EdgeKind, Node, NodeKind,
    beside::stand_beside,
    order::order,
    place::place,
    ranks::{Ranks, Way, rank, stagger},
    text::{Face, clean, clip, width},
};

/// More than these are not drawn: nobody could read it, and it would take seconds.
pub(super) const SHAPES_DRAWN: usize = 400;
pub(super) const ARROWS_DRAWN: usize = 1_200;
const POINTS_DRAWN: usize = 40_000;

/// The widest name, detail and label; what is longer is clipped.
const NAME_ROOM: f64 = 250.0;
const LABEL_ROOM: f64 = 230.0;
pub(super) const PILL_HEIGHT: f64 = 20.0;
/// The start's and the end's width and height.
pub(super) const MARK: f64 = 20.0;
/// How far a shape's line to itself reaches out, and from there to its label.
pub(super) const SELF_REACH: f64 = 24.0;
pub(super) const SELF_GAP: f64 = 5.0;
/// Between two shapes of a row.
const SOLID_GAP: f64 = 34.0;
/// What the cards behind a map's card show of themselves.
pub(super) const STACK: f64 = 4.0;

/// A shape's texts as they are drawn, and its size.
pub(super) struct Card {
    pub(super) name: String,
    pub(super) detail: Option<String>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A label as it is drawn, the whole of it, and the width of its pill.
pub(super) struct Label {
    pub(super) text: String,
    pub(super) whole: String,
    pub(super) width: f64,
}

/// What stands in a row: a shape, the start or the end.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Solid {
    Node(usize, NodeKind),
    Start,
    End,
}

/// A line to be drawn between two solids, by their index.
pub(super) struct Line {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) kind: EdgeKind,
    pub(super) label: Option<Label>,
}

/// What a point of the layered graph is.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Spot {
    Solid(usize),
    /// Where a line passes a layer.
    Bend,
    /// Where it carries its label.
    Label,
    /// Where it turns beside a solid, in that solid's layer.
    Beside,
}

/// A point, and the room that it needs around its anchor.
pub(super) struct Point {
    pub(super) spot: Spot,
    pub(super) layer: usize,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) height: f64,
}

impl Point {
    pub(super) fn is_bend(&self) -> bool {
        !matches!(self.spot, Spot::Solid(_))
    }
}

/// A line's points from the upper to the lower one; they begin and end with its solids, or beside
/// them where the line runs upward.
pub(super) struct Chain {
    pub(super) line: usize,
    pub(super) points: Vec<usize>,
    pub(super) upward: bool,
    /// Whether it is of the graph's main course, which errors, timeouts and undoing are not.
    pub(super) main: bool,
}

/// For each point those above it, and those below it.
pub(super) type Neighbours = (Vec<Vec<usize>>, Vec<Vec<usize>>);

/// The layered graph.
pub(super) struct Plan {
    pub(super) points: Vec<Point>,
    pub(super) chains: Vec<Chain>,
    pub(super) layers: Vec<Vec<usize>>,
    pub(super) layer_count: usize,
}

impl Plan {
    /// Each point's neighbours in the layer above it and in the one below.
    pub(super) fn neighbours(&self) -> Neighbours {
        // Loops last: where the order is free, they go to the right.
        let loops = self.chains.iter().filter(|chain| chain.upward);
        self.neighbours_by(self.chains.iter().filter(|chain| !chain.upward).chain(loops))
    }

    /// Those neighbours that a point may be aligned to: of the main course, where either of the two
    /// has any of that.
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

    /// Each point's place in its layer.
    pub(super) fn places(&self) -> Vec<usize> {
        places(&self.layers, self.points.len())
    }

    /// How far the anchors of two neighbours in a layer are apart at least.
    pub(super) fn apart(&self, left: usize, right: usize) -> f64 {
        let (one, other) = (&self.points[left], &self.points[right]);
        let gap = match (one.spot, other.spot) {
            (Spot::Solid(_), Spot::Solid(_)) => SOLID_GAP,
            (Spot::Label, Spot::Label) => 12.0,
            (Spot::Solid(_), _) | (_, Spot::Solid(_)) => 22.0,
            _ => 16.0,
        };
        one.right + other.left + gap
    }
}

/// Each point's place in its layer.
pub(super) fn places(layers: &[Vec<usize>], points: usize) -> Vec<usize> {
    let mut place = vec![0; points];
    for layer in layers {
        for (index, point) in layer.iter().enumerate() {
            place[*point] = index;
        }
    }
    place
}

/// The plan with every place decided.
pub(super) struct Layout {
    pub(super) solids: Vec<Solid>,
    pub(super) cards: Vec<Card>,
    pub(super) lines: Vec<Line>,
    pub(super) plan: Plan,
    /// The anchor of each point; the points of the solids come first, in their order.
    pub(super) at: Vec<(f64, f64)>,
    /// The top and the bottom of each layer.
    pub(super) bands: Vec<(f64, f64)>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Lays the picture out, unless it is too large.
pub(super) fn layout(picture: &Diagram) -> Option<Layout> {
    if picture.nodes.len() > SHAPES_DRAWN || picture.arrows().count() > ARROWS_DRAWN {
        return None;
    }
    let cards: Vec<Card> = picture.nodes.iter().map(card).collect();
    let (solids, lines) = solids_and_lines(picture);
    let mut plan = plan(&solids, &cards, &lines)?;
    let start = solids.iter().position(|solid| *solid == Solid::Start);
    order(&mut plan, start);
    stand_beside(&mut plan);
    let xs = place(&plan);
    let bands = bands(&plan, &xs);
    let edge = |side: fn(&Point) -> f64| plan.points.iter().map(side);
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
        .zip(&plan.points)
        .map(|(x, point)| (x - left, middle(point)))
        .collect();
    Some(Layout {
        at,
        width: (right - left).max(0.0),
        height: bands.last().map_or(0.0, |last| last.1),
        solids,
        cards,
        lines,
        plan,
        bands,
    })
}

fn card(shape: &Node) -> Card {
    let shown = |text: &str, face: Face| {
        let text = clean(text);
        let text = clip(&text, face, NAME_ROOM).unwrap_or(text);
        (width(&text, face), text)
    };
    let (name_width, name) = shown(&shape.name, Face::Name);
    let detail = shape.detail.as_deref().map(|detail| shown(detail, Face::Plain));
    let detail_width = detail.as_ref().map_or(0.0, |(width, _)| *width);
    let (more_width, more_height) = match shape.kind {
        NodeKind::Function => (0.0, 0.0),
        NodeKind::Map => (2.0 * STACK, 2.0 * STACK),
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

fn solids_and_lines(picture: &Diagram) -> (Vec<Solid>, Vec<Line>) {
    let shapes = picture.nodes.iter().enumerate();
    let mut solids: Vec<Solid> = shapes
        .map(|(index, shape)| Solid::Node(index, shape.kind))
        .collect();
    let mut lines = Vec::new();
    if picture.start < picture.nodes.len() {
        let from = solids.len();
        lines.push(Line {
            from,
            to: picture.start,
            kind: EdgeKind::Edge,
            label: None,
        });
        solids.push(Solid::Start);
    }
    let end = solids.len();
    if picture.has_end() {
        solids.push(Solid::End);
    }
    lines.extend(picture.arrows().map(|arrow| {
        let label = arrow.caption().map(|whole| {
            let text = clip(&whole, Face::Code, LABEL_ROOM).unwrap_or_else(|| whole.clone());
            let width = width(&text, Face::Code).ceil() + 14.0;
            Label { text, whole, width }
        });
        Line {
            from: arrow.from,
            to: arrow.to.unwrap_or(end),
            kind: arrow.kind,
            label,
        }
    }));
    (solids, lines)
}

/// Makes the layered graph, without an order, unless it has too many points.
fn plan(solids: &[Solid], cards: &[Card], lines: &[Line]) -> Option<Plan> {
    let late = |line: &Line| !matches!(line.kind, EdgeKind::Edge | EdgeKind::Next);
    let way = |line: &Line| Way {
        from: line.from,
        to: line.to,
        late: late(line),
    };
    let ways: Vec<Way> = lines.iter().map(way).collect();
    let start = solids.iter().position(|solid| *solid == Solid::Start);
    let mut ranks = rank(solids.len(), start, &ways);
    let widths = solids.iter().map(|solid| size(*solid, cards).0 + SOLID_GAP);
    stagger(&mut ranks.row, &widths.collect::<Vec<f64>>());
    let main = main_course(start, &ways, solids.len());
    let levels = Levels::new(lines, &ranks);

    let solid_layers = ranks.row.iter().map(|row| levels.of_row[*row]);
    let mut points: Vec<Point> = solids
        .iter()
        .zip(solid_layers)
        .enumerate()
        .map(|(index, (solid, layer))| solid_point(index, *solid, cards, layer))
        .collect();
    let mut chains = Vec::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.from != line.to) {
        let upward = ranks.upward[index];
        let (upper, lower) = if upward {
            (line.to, line.from)
        } else {
            (line.from, line.to)
        };
        let mut chain = vec![upper];
        for layer in points[upper].layer + 1..points[lower].layer {
            let label = line
                .label
                .as_ref()
                .filter(|_| levels.of_label[index] == Some(layer));
            chain.push(points.len());
            points.push(line_point(label, layer));
        }
        chain.push(lower);
        chains.push(Chain {
            line: index,
            points: chain,
            upward,
            main: main[line.from] && !late(line),
        });
        if points.len() > POINTS_DRAWN {
            return None;
        }
    }
    widen_for_loops(&mut points, lines);
    Some(Plan {
        points,
        chains,
        layers: Vec::new(),
        layer_count: levels.count,
    })
}

/// The layers: one for each row, and one for the labels between two rows where there are any.
struct Levels {
    of_row: Vec<usize>,
    /// For each line the layer of its label: next to where the line comes from.
    of_label: Vec<Option<usize>>,
    count: usize,
}

impl Levels {
    fn new(lines: &[Line], ranks: &Ranks) -> Self {
        let rows = ranks.row.iter().max().map_or(0, |last| last + 1);
        // The row that a line's label stands below.
        let above = |(line, upward): (&Line, &bool)| {
            let labelled = line.label.is_some() && line.from != line.to;
            labelled.then(|| ranks.row[line.from] - usize::from(*upward))
        };
        let above: Vec<Option<usize>> = lines.iter().zip(&ranks.upward).map(above).collect();
        let mut labelled = vec![false; rows];
        for row in above.iter().flatten() {
            labelled[*row] = true;
        }
        let mut of_row = Vec::with_capacity(rows);
        let mut count = 0;
        for labelled in labelled {
            of_row.push(count);
            count += 1 + usize::from(labelled);
        }
        let of_label = above.iter().map(|row| row.map(|row| of_row[row] + 1)).collect();
        Self {
            of_row,
            of_label,
            count,
        }
    }
}

/// The point of a line in a layer that it passes, with its label if that stands there.
fn line_point(label: Option<&Label>, layer: usize) -> Point {
    let half = label.map_or(0.0, |label| label.width / 2.0);
    Point {
        spot: if label.is_some() { Spot::Label } else { Spot::Bend },
        layer,
        left: half,
        right: half,
        height: if label.is_some() { PILL_HEIGHT } else { 0.0 },
    }
}

/// The vertices that the start reaches by edges and routes alone.
fn main_course(start: Option<usize>, ways: &[Way], vertices: usize) -> Vec<bool> {
    let mut leaving = vec![Vec::new(); vertices];
    for way in ways.iter().filter(|way| !way.late) {
        leaving[way.from].push(way.to);
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

fn size(solid: Solid, cards: &[Card]) -> (f64, f64) {
    match solid {
        Solid::Node(shape, _) => (cards[shape].width, cards[shape].height),
        Solid::Start | Solid::End => (MARK, MARK),
    }
}

fn solid_point(index: usize, solid: Solid, cards: &[Card], layer: usize) -> Point {
    let (width, height) = size(solid, cards);
    Point {
        spot: Spot::Solid(index),
        layer,
        left: width / 2.0,
        right: width / 2.0,
        height,
    }
}

/// Gives a shape room for its lines to itself: by turns right and left of it.
fn widen_for_loops(points: &mut [Point], lines: &[Line]) {
    let mut met = vec![0_usize; points.len()];
    for line in lines.iter().filter(|line| line.from == line.to) {
        let label = line.label.as_ref().map_or(0.0, |label| SELF_GAP + label.width);
        let point = &mut points[line.from];
        let side = if met[line.from].is_multiple_of(2) {
            &mut point.right
        } else {
            &mut point.left
        };
        *side += SELF_REACH + label;
        met[line.from] += 1;
    }
}

/// Stacks the layers: the top and the bottom of each. Lines that go far to the side get more room.
fn bands(plan: &Plan, xs: &[f64]) -> Vec<(f64, f64)> {
    let mut widest = vec![0.0_f64; plan.layer_count];
    for chain in &plan.chains {
        for pair in chain.points.windows(2) {
            let layer = plan.points[pair[0]].layer;
            widest[layer] = widest[layer].max((xs[pair[0]] - xs[pair[1]]).abs());
        }
    }
    let has_label = |layer: usize| {
        plan.layers[layer]
            .iter()
            .any(|point| plan.points[*point].spot == Spot::Label)
    };
    let mut bands = Vec::with_capacity(plan.layer_count);
    let mut y = 0.0;
    for (layer, points) in plan.layers.iter().enumerate() {
        let height = points
            .iter()
            .map(|point| plan.points[*point].height)
            .fold(0.0, f64::max);
        bands.push((y, y + height));
        let small = height <= MARK;
        let between = match (
            has_label(layer),
            layer + 1 < plan.layer_count && has_label(layer + 1),
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
