//! The picture as an SVG that stands alone: its colours, its shapes and its icons.
//!
//! It names no font file, script or address. Its classes begin with `hp-`, so that it can be put
//! into a page; there it follows `data-theme` of the root, and else the reader's colour scheme.

use std::fmt::Write as _;

use super::{
    Diagram, EdgeKind, NodeKind,
    layout::{ARROWS_DRAWN, Card, Layout, Line, PILL_HEIGHT, SHAPES_DRAWN, STACK, Solid, layout},
    route::{Drawn, Frame, HEAD, HEAD_HALF, POINTED, route, short},
    text::{Face, clean, clip, width, xml},
};

const MARGIN: f64 = 24.0;
const TITLE_ROOM: f64 = 26.0;

pub(super) fn write(picture: &Diagram) -> String {
    match layout(picture) {
        Some(mut layout) => {
            let drawn = route(&mut layout);
            drawing(picture, &layout, &drawn)
        }
        None => too_large(picture),
    }
}

fn drawing(picture: &Diagram, layout: &Layout, drawn: &[Drawn]) -> String {
    let (shift_x, shift_y, page) = page(picture, layout.width, layout.height);
    let mut out = page;
    let _ = writeln!(
        out,
        "<g transform=\"translate({} {})\">",
        short(shift_x),
        short(shift_y)
    );
    for drawn in drawn {
        write_line(layout, drawn, &mut out);
    }
    for (index, solid) in layout.solids.iter().enumerate() {
        let frame = layout.frame(index);
        match solid {
            Solid::Node(shape, kind) => {
                write_shape(
                    &picture.nodes[*shape],
                    &layout.cards[*shape],
                    *kind,
                    &frame,
                    &mut out,
                );
            }
            Solid::Start => write_start(&frame, &mut out),
            Solid::End => write_end(&frame, &mut out),
        }
    }
    // Labels last: a line that is close by does not run over one.
    for drawn in drawn {
        write_label(&layout.lines[drawn.line], drawn, &mut out);
    }
    out.push_str("</g>\n</svg>\n");
    out
}

/// Opens the SVG with a sheet for a drawing of this size: how far the drawing is to be moved, and
/// the text.
fn page(picture: &Diagram, drawing_width: f64, drawing_height: f64) -> (f64, f64, String) {
    let title = picture
        .title
        .as_deref()
        .map(clean)
        .filter(|title| !title.trim().is_empty());
    let heading = title
        .as_deref()
        .map(|title| clip(title, Face::Title, drawing_width.max(360.0)).unwrap_or_else(|| title.to_owned()));
    let heading_width = heading
        .as_deref()
        .map_or(0.0, |heading| width(heading, Face::Title));
    let inner = drawing_width.max(heading_width);
    let top = MARGIN + if heading.is_some() { TITLE_ROOM } else { 0.0 };
    let (whole_width, whole_height) = (
        (inner + 2.0 * MARGIN).ceil(),
        (top + drawing_height + MARGIN).ceil(),
    );
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"heddle-picture\" role=\"img\" \
         viewBox=\"0 0 {whole_width} {whole_height}\" width=\"{whole_width}\" height=\"{whole_height}\">"
    );
    let nodes = picture.nodes.len();
    let arrows = picture.arrows().count();
    let _ = writeln!(
        out,
        "<title>{}</title>",
        xml(title.as_deref().unwrap_or("A graph"))
    );
    let _ = writeln!(out, "<desc>{nodes} nodes, {arrows} arrows</desc>");
    let _ = writeln!(out, "<style>\n{}</style>", style());
    let _ = writeln!(
        out,
        "<rect class=\"hp-paper\" width=\"{whole_width}\" height=\"{whole_height}\" rx=\"12\"/>"
    );
    if let Some(heading) = heading {
        let _ = writeln!(
            out,
            "<text class=\"hp-title\" x=\"{MARGIN}\" y=\"34\">{}</text>",
            xml(&heading)
        );
    }
    ((whole_width - drawing_width) / 2.0, top, out)
}

fn too_large(picture: &Diagram) -> String {
    let (_, top, mut out) = page(picture, 580.0, 46.0);
    let (nodes, arrows) = (picture.nodes.len(), picture.arrows().count());
    let _ = writeln!(
        out,
        "<text class=\"hp-name\" x=\"{MARGIN}\" y=\"{}\">{nodes} nodes and {arrows} arrows are too many to draw.</text>",
        top + 16.0
    );
    let _ = writeln!(
        out,
        "<text class=\"hp-detail\" x=\"{MARGIN}\" y=\"{}\">Up to {SHAPES_DRAWN} nodes and {ARROWS_DRAWN} arrows are drawn, \
         fewer where they are long. The Mermaid and DOT texts hold everything.</text>",
        top + 38.0
    );
    out.push_str("</svg>\n");
    out
}

fn write_line(layout: &Layout, drawn: &Drawn, out: &mut String) {
    let line = &layout.lines[drawn.line];
    let class = line_class(line.kind);
    let _ = writeln!(out, "<path class=\"hp-line hp-{class}\" d=\"{}\"/>", drawn.path);
    let ((x, y), (dx, dy)) = (drawn.tip, drawn.points);
    let (back_x, back_y) = (x - dx * HEAD, y - dy * HEAD);
    let (across_x, across_y) = (dy * HEAD_HALF, dx * HEAD_HALF);
    let _ = writeln!(
        out,
        "<path class=\"hp-head hp-{class}\" d=\"M{} {}L{} {}L{} {}Z\"/>",
        short(x),
        short(y),
        short(back_x + across_x),
        short(back_y + across_y),
        short(back_x - across_x),
        short(back_y - across_y)
    );
}

fn write_label(line: &Line, drawn: &Drawn, out: &mut String) {
    let (Some(label), Some((x, y))) = (&line.label, drawn.label) else {
        return;
    };
    let _ = writeln!(
        out,
        "<g class=\"hp-label hp-{}\"><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"6\"/>\
         <text x=\"{}\" y=\"{}\">{}</text></g>",
        line_class(line.kind),
        xml(&label.whole),
        short(x - label.width / 2.0),
        short(y - PILL_HEIGHT / 2.0),
        short(label.width),
        short(PILL_HEIGHT),
        short(x),
        short(y + 3.8),
        xml(&label.text)
    );
}

fn write_shape(shape: &super::Node, card: &Card, kind: NodeKind, frame: &Frame, out: &mut String) {
    let name = xml(&shape.name);
    let class = kind_class(kind);
    let whole = shape
        .detail
        .as_deref()
        .map_or_else(String::new, |detail| format!(" ({})", xml(detail)));
    let _ = writeln!(
        out,
        "<g class=\"hp-node hp-{class}\" data-node=\"{name}\"><title>{name}: {class}{whole}</title>"
    );
    let (front, inset) = outline(kind, frame);
    out.push_str(&front);
    let height = if kind == NodeKind::Map {
        frame.height - 2.0 * STACK
    } else {
        frame.height
    };
    let middle = frame.top() + height / 2.0;
    let left = frame.left() + inset;
    let _ = write!(
        out,
        "<rect class=\"hp-chip\" x=\"{}\" y=\"{}\" width=\"26\" height=\"26\" rx=\"7\"/>\
         <path class=\"hp-icon\" transform=\"translate({} {})\" d=\"{}\"/>",
        short(left),
        short(middle - 13.0),
        short(left + 5.0),
        short(middle - 8.0),
        icon(kind)
    );
    let text = short(left + 35.0);
    let name_y = if card.detail.is_some() {
        middle - 3.0
    } else {
        middle + 4.8
    };
    let _ = write!(
        out,
        "<text class=\"hp-name\" x=\"{text}\" y=\"{}\">{}</text>",
        short(name_y),
        xml(&card.name)
    );
    if let Some(detail) = &card.detail {
        let y = short(middle + 13.5);
        let _ = write!(
            out,
            "<text class=\"hp-detail\" x=\"{text}\" y=\"{y}\">{}</text>",
            xml(detail)
        );
    }
    out.push_str("</g>\n");
}

/// The outline of a kind, and how far from its left the icon is.
fn outline(kind: NodeKind, frame: &Frame) -> (String, f64) {
    let rect = |x: f64, y: f64, width: f64, height: f64, round: f64| {
        format!(
            "<rect class=\"hp-card\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\"/>",
            short(x),
            short(y),
            short(width),
            short(height),
            short(round)
        )
    };
    let (x, y, width, height) = (frame.left(), frame.top(), frame.width, frame.height);
    match kind {
        NodeKind::Function => (rect(x, y, width, height, 9.0), 9.0),
        NodeKind::Map => {
            let (width, height) = (width - 2.0 * STACK, height - 2.0 * STACK);
            let cards =
                [2.0, 1.0, 0.0].map(|back| rect(x + back * STACK, y + back * STACK, width, height, 9.0));
            (cards.concat(), 9.0)
        }
        NodeKind::Graph => {
            let inner = rect(x + 3.5, y + 3.5, width - 7.0, height - 7.0, 5.5);
            (format!("{}{inner}", rect(x, y, width, height, 9.0)), 13.0)
        }
        NodeKind::Sleep => (rect(x, y, width, height, height / 2.0), 13.0),
        NodeKind::Wait => {
            let (right, bottom) = (x + width, y + height);
            let corners = [
                (x + POINTED, y),
                (right - POINTED, y),
                (right, frame.y),
                (right - POINTED, bottom),
                (x + POINTED, bottom),
                (x, frame.y),
            ];
            let corners = corners
                .map(|(x, y)| format!("{} {}", short(x), short(y)))
                .join("L");
            (format!("<path class=\"hp-card\" d=\"M{corners}Z\"/>"), 19.0)
        }
    }
}

/// The icon of a kind, in a square of 16.
fn icon(kind: NodeKind) -> &'static str {
    match kind {
        // A script f.
        NodeKind::Function => "M11.6 3.4C9.6 2.2 8.4 3 8.1 4.9L6.8 11.6C6.5 13.3 5.4 13.9 3.9 13M5 7.2H10.4",
        // A list, an item after the other.
        NodeKind::Map => "M2.8 4H3.2M2.8 8H3.2M2.8 12H3.2M6.4 4H13.2M6.4 8H13.2M6.4 12H13.2",
        // Two nodes below one.
        NodeKind::Graph => {
            "M6 2H10V5.6H6ZM1.8 10.4H5.8V14H1.8ZM10.2 10.4H14.2V14H10.2ZM8 5.6V8M3.8 10.4V8H12.2V10.4"
        }
        // A clock.
        NodeKind::Sleep => "M8 2.2A5.8 5.8 0 1 1 8 13.8A5.8 5.8 0 1 1 8 2.2ZM8 4.9V8.2L10.3 9.6",
        // A bell.
        NodeKind::Wait => {
            "M3 11.4C4 10.4 4.2 9.4 4.2 7.2A3.8 3.8 0 0 1 11.8 7.2C11.8 9.4 12 10.4 13 11.4ZM6.7 13.6H9.3M8 3.4V2.2"
        }
    }
}

fn write_start(frame: &Frame, out: &mut String) {
    let (x, y) = (short(frame.x), short(frame.y));
    let _ = writeln!(
        out,
        "<g><title>start</title><circle class=\"hp-mark\" cx=\"{x}\" cy=\"{y}\" r=\"7\"/></g>"
    );
}

fn write_end(frame: &Frame, out: &mut String) {
    let (x, y) = (short(frame.x), short(frame.y));
    let _ = writeln!(
        out,
        "<g><title>end</title><circle class=\"hp-ring\" cx=\"{x}\" cy=\"{y}\" r=\"9\"/>\
         <circle class=\"hp-mark\" cx=\"{x}\" cy=\"{y}\" r=\"5\"/></g>"
    );
}

fn kind_class(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Function => "function",
        NodeKind::Map => "map",
        NodeKind::Graph => "graph",
        NodeKind::Sleep => "sleep",
        NodeKind::Wait => "wait",
    }
}

fn line_class(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Edge => "edge",
        EdgeKind::Next => "next",
        EdgeKind::Error => "error",
        EdgeKind::Timeout => "timeout",
        EdgeKind::Undo => "undo",
    }
}

/// What is the same in light and in dark.
const FORM: &str = "\
.heddle-picture{font-family:-apple-system,BlinkMacSystemFont,\"Segoe UI\",Roboto,\"Noto Sans\",\"Liberation Sans\",Arial,sans-serif}
.hp-title{font-size:15px;font-weight:600}
.hp-name{font-size:13.5px;font-weight:600}
.hp-detail{font-size:11.5px}
.hp-label text{font:11px ui-monospace,\"SF Mono\",\"Cascadia Mono\",Menlo,Consolas,\"DejaVu Sans Mono\",monospace;text-anchor:middle}
.hp-card{stroke-width:1.4}
.hp-chip{stroke:none}
.hp-icon{fill:none;stroke-width:1.6;stroke-linecap:round;stroke-linejoin:round}
.hp-line{fill:none;stroke-width:1.6}
.hp-line.hp-next{stroke-dasharray:6 4}
.hp-line.hp-undo{stroke-dasharray:1.6 4.4;stroke-width:2;stroke-linecap:round}
.hp-ring{fill:none;stroke-width:1.6}
";

/// The colours of a page: its paper, the text, its softer kin, the lines, a card; then a colour
/// and its tint for each kind of shape and each kind of line that has one.
struct Colours {
    paper: &'static str,
    ink: &'static str,
    soft: &'static str,
    line: &'static str,
    card: &'static str,
    pill: &'static str,
    kinds: [(&'static str, &'static str, &'static str); 5],
    lines: [(&'static str, &'static str, &'static str); 3],
}

const LIGHT: Colours = Colours {
    paper: "#fbfaf8",
    ink: "#24262a",
    soft: "#6b6a66",
    line: "#85837d",
    card: "#ffffff",
    pill: "#e0dcd3",
    kinds: [
        ("function", "#3f8189", "#e4f0ef"),
        ("map", "#2c5f9e", "#e3edf9"),
        ("graph", "#6a4a9c", "#eee6fa"),
        ("sleep", "#96620c", "#fbefd5"),
        ("wait", "#2d6a3e", "#e0f2e3"),
    ],
    lines: [
        ("error", "#b5372e", "#f0cdc8"),
        ("timeout", "#96620c", "#eedcb4"),
        ("undo", "#b5372e", "#f0cdc8"),
    ],
};

const DARK: Colours = Colours {
    paper: "#15171a",
    ink: "#e6e5e1",
    soft: "#a2a3a5",
    line: "#85888d",
    card: "#1e2125",
    pill: "#3a3f46",
    kinds: [
        ("function", "#7fb5b0", "#20302f"),
        ("map", "#90b8ea", "#1f2d40"),
        ("graph", "#c0a6ec", "#2d2540"),
        ("sleep", "#e3b866", "#352b17"),
        ("wait", "#8cc79a", "#1d3325"),
    ],
    lines: [
        ("error", "#ee8f84", "#5a2f2b"),
        ("timeout", "#e3b866", "#524321"),
        ("undo", "#ee8f84", "#5a2f2b"),
    ],
};

fn style() -> String {
    let mut out = String::from(FORM);
    out.push_str(&LIGHT.rules(""));
    let _ = writeln!(out, "@media (prefers-color-scheme:dark){{");
    out.push_str(&DARK.rules(":root:not([data-theme=light]) "));
    out.push_str("}\n");
    out.push_str(&DARK.rules(":root[data-theme=dark] "));
    out
}

impl Colours {
    /// Writes the rules, each behind a selector of when they hold.
    fn rules(&self, when: &str) -> String {
        let Self {
            paper,
            ink,
            soft,
            line,
            card,
            pill,
            ..
        } = self;
        let mut rules = vec![
            format!(".hp-paper{{fill:{paper}}}"),
            format!(".hp-title,{when}.hp-name{{fill:{ink}}}"),
            format!(".hp-detail{{fill:{soft}}}"),
            format!(".hp-line{{stroke:{line}}}"),
            format!(".hp-head{{fill:{line}}}"),
            format!(".hp-mark{{fill:{ink}}}"),
            format!(".hp-ring{{stroke:{ink}}}"),
            format!(".hp-card{{fill:{card}}}"),
            format!(".hp-label rect{{fill:{card};stroke:{pill}}}"),
            format!(".hp-label text{{fill:{ink}}}"),
        ];
        for (kind, colour, tint) in self.kinds {
            rules.push(format!(
                ".hp-{kind} .hp-card,{when}.hp-{kind} .hp-icon{{stroke:{colour}}}"
            ));
            rules.push(format!(".hp-{kind} .hp-chip{{fill:{tint}}}"));
        }
        for (kind, colour, tint) in self.lines {
            rules.push(format!(".hp-line.hp-{kind}{{stroke:{colour}}}"));
            rules.push(format!(
                ".hp-head.hp-{kind},{when}.hp-{kind} text{{fill:{colour}}}"
            ));
            rules.push(format!(".hp-{kind} rect{{stroke:{tint}}}"));
        }
        rules.iter().map(|rule| format!("{when}{rule}\n")).collect()
    }
}
