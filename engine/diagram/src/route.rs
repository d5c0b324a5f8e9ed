//! The way each line takes between its points, as the path of an SVG.
//!
//! Within a layer a line is upright, and between two layers it is an S, so it stays in the room
//! that the layout gave it. Lines leave a shape at its lower side and enter at its upper one, side
//! by side; those that run upward use its left and right.

use std::fmt::Write as _;

use super::{
    NodeKind,
    layout::{Layout, SELF_GAP, SELF_REACH, STACK, Solid, Spot},
    ports::{Ports, straighten},
};

/// The length of an arrow's head, and half its width.
pub(super) const HEAD: f64 = 8.0;
pub(super) const HEAD_HALF: f64 = 4.0;
/// The radius of a turn.
const TURN: f64 = 10.0;

/// A line as it is drawn.
pub(super) struct Drawn {
    pub(super) line: usize,
    pub(super) path: String,
    /// The tip of its head, and the direction that it points in.
    pub(super) tip: (f64, f64),
    pub(super) points: (f64, f64),
    /// The middle of its label.
    pub(super) label: Option<(f64, f64)>,
}

/// Routes every line, in the order of the lines.
pub(super) fn route(layout: &mut Layout) -> Vec<Drawn> {
    let ports = Ports::new(layout);
    straighten(layout, &ports);
    let layout = &*layout;
    let mut drawn: Vec<Drawn> = Vec::with_capacity(layout.lines.len());
    for (index, chain) in layout.plan.chains.iter().enumerate() {
        drawn.push(match chain.upward {
            false => downward(layout, &ports, index),
            true => upward(layout, &ports, index),
        });
    }
    itself(layout, &mut drawn);
    drawn.sort_by_key(|drawn| drawn.line);
    drawn
}

fn downward(layout: &Layout, ports: &Ports, index: usize) -> Drawn {
    let chain = &layout.plan.chains[index];
    let line = &layout.lines[chain.line];
    let (from, to) = (layout.frame(line.from), layout.frame(line.to));
    let last = chain.points.len() - 1;
    let mut pen = Pen::at(from.x + ports.out[index], from.bottom());
    pen.upright(layout.bands[layout.plan.points[line.from].layer].1);
    for &point in &chain.points[1..last] {
        let (top, bottom) = layout.bands[layout.plan.points[point].layer];
        pen.bend(layout.at[point].0, top);
        pen.upright(bottom);
    }
    let tip = (to.x + ports.into[index], to.top());
    let top = layout.bands[layout.plan.points[line.to].layer].0;
    pen.bend(tip.0, top.min(tip.1 - HEAD));
    pen.upright(tip.1 - HEAD + 1.0);
    Drawn {
        line: chain.line,
        path: pen.path,
        tip,
        points: (0.0, 1.0),
        label: label_at(layout, index),
    }
}

fn upward(layout: &Layout, ports: &Ports, index: usize) -> Drawn {
    let chain = &layout.plan.chains[index];
    let line = &layout.lines[chain.line];
    let last = chain.points.len() - 1;
    let (first_x, last_x) = (layout.at[chain.points[last]].0, layout.at[chain.points[0]].0);
    let (from, to) = (layout.frame(line.from), layout.frame(line.to));
    let (leaves, enters) = (from.y + ports.out[index], to.y + ports.into[index]);

    let side = (first_x - from.x).signum();
    let mut pen = Pen::at(from.side(side, leaves), leaves);
    pen.turn_upright(first_x, leaves - TURN);
    pen.upright(layout.bands[layout.plan.points[line.from].layer].0);
    for &point in chain.points[1..last].iter().rev() {
        let (top, bottom) = layout.bands[layout.plan.points[point].layer];
        pen.bend(layout.at[point].0, bottom);
        pen.upright(top);
    }
    pen.bend(last_x, layout.bands[layout.plan.points[line.to].layer].1);
    pen.upright(enters + TURN);
    let side = (last_x - to.x).signum();
    let tip = (to.side(side, enters), enters);
    pen.turn_level(tip.0 + side * (HEAD - 1.0), enters);
    Drawn {
        line: chain.line,
        path: pen.path,
        tip,
        points: (-side, 0.0),
        label: label_at(layout, index),
    }
}

/// Draws the lines from a shape to itself, beside it.
fn itself(layout: &Layout, drawn: &mut Vec<Drawn>) {
    let mut met = vec![(0_usize, [0.0_f64; 2]); layout.solids.len()];
    for (index, line) in layout
        .lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.from == line.to)
    {
        let frame = layout.frame(line.from);
        let (count, used) = &mut met[line.from];
        let left = usize::from(*count % 2 == 1);
        let side = if left == 1 { -1.0 } else { 1.0 };
        let half = (7.0 + 4.0 * (*count / 2) as f64).min(frame.height / 2.0 - 6.0);
        let out = frame.side(side, frame.y) + side * (used[left] + SELF_REACH);
        let (top, bottom) = (frame.y - half, frame.y + half);
        let mut pen = Pen::at(frame.side(side, top), top);
        pen.level(out - side * half);
        let round = [
            out - side * half * 0.45,
            top,
            out,
            top + half * 0.45,
            out,
            frame.y,
        ];
        pen.curve(round);
        pen.curve([
            out,
            bottom - half * 0.45,
            out - side * half * 0.45,
            bottom,
            out - side * half,
            bottom,
        ]);
        let tip = (frame.side(side, bottom), bottom);
        pen.level(tip.0 + side * (HEAD - 1.0));
        let width = line.label.as_ref().map_or(0.0, |label| label.width);
        let label = line
            .label
            .as_ref()
            .map(|_| (out + side * (SELF_GAP + width / 2.0), frame.y));
        drawn.push(Drawn {
            line: index,
            path: pen.path,
            tip,
            points: (-side, 0.0),
            label,
        });
        used[left] += SELF_REACH + if width > 0.0 { SELF_GAP + width } else { 0.0 };
        *count += 1;
    }
}

fn label_at(layout: &Layout, chain: usize) -> Option<(f64, f64)> {
    let points = &layout.plan.chains[chain].points;
    points
        .iter()
        .find(|point| layout.plan.points[**point].spot == Spot::Label)
        .map(|point| layout.at[*point])
}

/// A solid's place: its middle and its size.
pub(super) struct Frame {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    solid: Solid,
}

impl Layout {
    pub(super) fn frame(&self, solid: usize) -> Frame {
        let (x, y) = self.at[solid];
        let (width, height) = match self.solids[solid] {
            Solid::Node(shape, _) => (self.cards[shape].width, self.cards[shape].height),
            Solid::Start => (14.0, 14.0),
            Solid::End => (20.0, 20.0),
        };
        Frame {
            x,
            y,
            width,
            height,
            solid: self.solids[solid],
        }
    }
}

impl Frame {
    pub(super) fn top(&self) -> f64 {
        self.y - self.height / 2.0
    }

    pub(super) fn bottom(&self) -> f64 {
        self.y + self.height / 2.0
    }

    pub(super) fn left(&self) -> f64 {
        self.x - self.width / 2.0
    }

    /// The x of the outline at a height, on the right for 1 and on the left for -1.
    fn side(&self, side: f64, y: f64) -> f64 {
        let half = self.height / 2.0;
        let off = (y - self.y).abs().min(half);
        let inward = match self.solid {
            Solid::Node(_, NodeKind::Sleep) => half - (half * half - off * off).sqrt(),
            Solid::Node(_, NodeKind::Wait) => POINTED * off / half,
            Solid::Node(_, NodeKind::Map) if side < 0.0 && y > self.bottom() - 2.0 * STACK => 2.0 * STACK,
            Solid::Node(_, NodeKind::Map) if side > 0.0 && y < self.top() + 2.0 * STACK => 2.0 * STACK,
            _ => 0.0,
        };
        self.x + side * (self.width / 2.0 - inward)
    }

    /// How far from the middle a line may meet the upper and the lower side.
    pub(super) fn reach(&self) -> f64 {
        match self.solid {
            Solid::Node(_, NodeKind::Sleep | NodeKind::Wait) => self.width / 2.0 - 28.0,
            Solid::Node(..) => self.width / 2.0 - 18.0,
            Solid::Start | Solid::End => 0.0,
        }
    }
}

/// How far the ends of a wait's outline are pointed.
pub(super) const POINTED: f64 = 14.0;

/// Writes a path.
struct Pen {
    path: String,
    x: f64,
    y: f64,
}

impl Pen {
    fn at(x: f64, y: f64) -> Self {
        Self {
            path: format!("M{} {}", short(x), short(y)),
            x,
            y,
        }
    }

    fn upright(&mut self, y: f64) {
        if short(y) != short(self.y) {
            let _ = write!(self.path, "V{}", short(y));
        }
        self.y = y;
    }

    fn level(&mut self, x: f64) {
        let _ = write!(self.path, "H{}", short(x));
        self.x = x;
    }

    fn curve(&mut self, [ax, ay, bx, by, x, y]: [f64; 6]) {
        let to = [ax, ay, bx, by, x, y].map(short).join(" ");
        let _ = write!(self.path, "C{to}");
        (self.x, self.y) = (x, y);
    }

    /// Draws an S that begins and ends upright.
    fn bend(&mut self, x: f64, y: f64) {
        if (x - self.x).abs() < 0.05 {
            return self.upright(y);
        }
        let middle = f64::midpoint(self.y, y);
        self.curve([self.x, middle, x, middle, x, y]);
    }

    /// Goes level to `x` and turns upright there, ending at `y`.
    fn turn_upright(&mut self, x: f64, y: f64) {
        let side = (x - self.x).signum();
        self.level(x - side * TURN);
        let _ = write!(
            self.path,
            "Q{} {} {} {}",
            short(x),
            short(self.y),
            short(x),
            short(y)
        );
        (self.x, self.y) = (x, y);
    }

    /// Turns level at `y`, and goes to `x`.
    fn turn_level(&mut self, x: f64, y: f64) {
        let side = (x - self.x).signum();
        let turned = self.x + side * TURN;
        let _ = write!(
            self.path,
            "Q{} {} {} {}",
            short(self.x),
            short(y),
            short(turned),
            short(y)
        );
        self.level(x);
        self.y = y;
    }
}

/// Writes a number with one decimal at most.
pub(super) fn short(number: f64) -> String {
    let tenths = (number * 10.0).round() / 10.0;
    // Zero has a sign that nobody wants to read.
    format!("{}", if tenths == 0.0 { 0.0 } else { tenths })
}
