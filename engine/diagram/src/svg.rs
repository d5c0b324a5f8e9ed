//! Writes a diagram as a self-contained SVG: shapes, icons and colours.
//!
//! The SVG refers to no font file, script or URL. Its classes start with `hp-`, so it can be embedded in a page. It follows
//! `data-theme` of the page's root element, else the colour scheme of the reader.

use std::fmt::Write as _;

use super::{
    Diagram, EdgeKind, NodeKind,
    layout::{Card, LABEL_HEIGHT, Layout, LayoutEdge, MAX_EDGES, MAX_NODES, STACK_OFFSET, Vertex, layout},
    route::{Bounds, HEAD, HEAD_HALF, POINTED, Route, format_number, route_edges},
    text::{Font, clip, escape_xml, sanitize, width},
};

const MARGIN: f64 = 24.0;
const TITLE_ROOM: f64 = 26.0;

pub(super) fn write(diagram: &Diagram) -> String {
    match layout(diagram) {
        Some(mut layout) => {
            let routes = route_edges(&mut layout);
            drawing(diagram, &layout, &routes)
        }
        None => too_large(diagram),
    }
}

fn drawing(diagram: &Diagram, layout: &Layout, routes: &[Route]) -> String {
    let (shift_x, shift_y, page) = page(diagram, layout.width, layout.height);
    let mut out = page;
    let _ = writeln!(
        out,
        "<g transform=\"translate({} {})\">",
        format_number(shift_x),
        format_number(shift_y)
    );
    for route in routes {
        write_edge(layout, route, &mut out);
    }
    for (index, vertex) in layout.vertices.iter().enumerate() {
        let bounds = layout.bounds(index);
        match vertex {
            Vertex::Node(node, kind) => {
                write_node(
                    &diagram.nodes[*node],
                    &layout.cards[*node],
                    *kind,
                    &bounds,
                    &mut out,
                );
            }
            Vertex::Start => write_start(&bounds, &mut out),
            Vertex::End => write_end(&bounds, &mut out),
        }
    }
    // Labels come last, so that no edge covers one.
    for route in routes {
        write_label(&layout.edges[route.edge], route, &mut out);
    }
    out.push_str("</g>\n</svg>\n");
    out
}

/// Opens the SVG for a drawing of this size. Returns the offset of the drawing and the text so far.
fn page(diagram: &Diagram, drawing_width: f64, drawing_height: f64) -> (f64, f64, String) {
    let title = diagram
        .title
        .as_deref()
        .map(sanitize)
        .filter(|title| !title.trim().is_empty());
    let heading = title
        .as_deref()
        .map(|title| clip(title, Font::Title, drawing_width.max(360.0)).unwrap_or_else(|| title.to_owned()));
    let heading_width = heading
        .as_deref()
        .map_or(0.0, |heading| width(heading, Font::Title));
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
    let nodes = diagram.nodes.len();
    let edges = diagram.valid_edges().count();
    let _ = writeln!(
        out,
        "<title>{}</title>",
        escape_xml(title.as_deref().unwrap_or("A graph"))
    );
    let _ = writeln!(out, "<desc>{nodes} nodes, {edges} edges</desc>");
    let _ = writeln!(out, "<style>\n{}</style>", style());
    let _ = writeln!(
        out,
        "<rect class=\"hp-paper\" width=\"{whole_width}\" height=\"{whole_height}\" rx=\"12\"/>"
    );
    if let Some(heading) = heading {
        let _ = writeln!(
            out,
            "<text class=\"hp-title\" x=\"{MARGIN}\" y=\"34\">{}</text>",
            escape_xml(&heading)
        );
    }
    ((whole_width - drawing_width) / 2.0, top, out)
}

fn too_large(diagram: &Diagram) -> String {
    let (_, top, mut out) = page(diagram, 580.0, 46.0);
    let (nodes, edges) = (diagram.nodes.len(), diagram.valid_edges().count());
    let _ = writeln!(
        out,
        "<text class=\"hp-name\" x=\"{MARGIN}\" y=\"{}\">{nodes} nodes and {edges} edges are too many to draw.</text>",
        top + 16.0
    );
    let _ = writeln!(
        out,
        "<text class=\"hp-detail\" x=\"{MARGIN}\" y=\"{}\">Up to {MAX_NODES} nodes and {MAX_EDGES} edges are drawn, \
         fewer where they are long. The Mermaid and DOT formats have no limit.</text>",
        top + 38.0
    );
    out.push_str("</svg>\n");
    out
}

fn write_edge(layout: &Layout, route: &Route, out: &mut String) {
    let edge = &layout.edges[route.edge];
    let class = edge_class(edge.kind);
    let _ = writeln!(out, "<path class=\"hp-line hp-{class}\" d=\"{}\"/>", route.path);
    let ((x, y), (dx, dy)) = (route.tip, route.direction);
    let (back_x, back_y) = (x - dx * HEAD, y - dy * HEAD);
    let (across_x, across_y) = (dy * HEAD_HALF, dx * HEAD_HALF);
    let _ = writeln!(
        out,
        "<path class=\"hp-head hp-{class}\" d=\"M{} {}L{} {}L{} {}Z\"/>",
        format_number(x),
        format_number(y),
        format_number(back_x + across_x),
        format_number(back_y + across_y),
        format_number(back_x - across_x),
        format_number(back_y - across_y)
    );
}

fn write_label(edge: &LayoutEdge, route: &Route, out: &mut String) {
    let (Some(label), Some((x, y))) = (&edge.label, route.label) else {
        return;
    };
    let _ = writeln!(
        out,
        "<g class=\"hp-label hp-{}\"><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"6\"/>\
         <text x=\"{}\" y=\"{}\">{}</text></g>",
        edge_class(edge.kind),
        escape_xml(&label.full_text),
        format_number(x - label.width / 2.0),
        format_number(y - LABEL_HEIGHT / 2.0),
        format_number(label.width),
        format_number(LABEL_HEIGHT),
        format_number(x),
        format_number(y + 3.8),
        escape_xml(&label.text)
    );
}

fn write_node(node: &super::Node, card: &Card, kind: NodeKind, bounds: &Bounds, out: &mut String) {
    let name = escape_xml(&node.name);
    let class = kind.name();
    let whole = node
        .detail
        .as_deref()
        .map_or_else(String::new, |detail| format!(" ({})", escape_xml(detail)));
    let _ = writeln!(
        out,
        "<g class=\"hp-node hp-{class}\" data-node=\"{name}\"><title>{name}: {class}{whole}</title>"
    );
    let (front, inset) = outline(kind, bounds);
    out.push_str(&front);
    let height = if kind == NodeKind::Map {
        bounds.height - 2.0 * STACK_OFFSET
    } else {
        bounds.height
    };
    let middle = bounds.top() + height / 2.0;
    let left = bounds.left() + inset;
    let _ = write!(
        out,
        "<rect class=\"hp-chip\" x=\"{}\" y=\"{}\" width=\"26\" height=\"26\" rx=\"7\"/>\
         <path class=\"hp-icon\" transform=\"translate({} {})\" d=\"{}\"/>",
        format_number(left),
        format_number(middle - 13.0),
        format_number(left + 5.0),
        format_number(middle - 8.0),
        icon(kind)
    );
    let text = format_number(left + 35.0);
    let name_y = if card.detail.is_some() {
        middle - 3.0
    } else {
        middle + 4.8
    };
    let _ = write!(
        out,
        "<text class=\"hp-name\" x=\"{text}\" y=\"{}\">{}</text>",
        format_number(name_y),
        escape_xml(&card.name)
    );
    if let Some(detail) = &card.detail {
        let y = format_number(middle + 13.5);
        let _ = write!(
            out,
            "<text class=\"hp-detail\" x=\"{text}\" y=\"{y}\">{}</text>",
            escape_xml(detail)
        );
    }
    out.push_str("</g>\n");
}

/// The outline of a node, and the distance from its left side to the icon.
fn outline(kind: NodeKind, bounds: &Bounds) -> (String, f64) {
    let rect = |x: f64, y: f64, width: f64, height: f64, round: f64| {
        format!(
            "<rect class=\"hp-card\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\"/>",
            format_number(x),
            format_number(y),
            format_number(width),
            format_number(height),
            format_number(round)
        )
    };
    let (x, y, width, height) = (bounds.left(), bounds.top(), bounds.width, bounds.height);
    match kind {
        NodeKind::Function => (rect(x, y, width, height, 9.0), 9.0),
        NodeKind::Map => {
            let (width, height) = (width - 2.0 * STACK_OFFSET, height - 2.0 * STACK_OFFSET);
            let cards = [2.0, 1.0, 0.0].map(|back| {
                rect(
                    x + back * STACK_OFFSET,
                    y + back * STACK_OFFSET,
                    width,
                    height,
                    9.0,
                )
            });
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
                (right, bounds.y),
                (right - POINTED, bottom),
                (x + POINTED, bottom),
                (x, bounds.y),
            ];
            let corners = corners
                .map(|(x, y)| format!("{} {}", format_number(x), format_number(y)))
                .join("L");
            (format!("<path class=\"hp-card\" d=\"M{corners}Z\"/>"), 19.0)
        }
    }
}

/// The icon of a kind, in a square of 16 pixels.
fn icon(kind: NodeKind) -> &'static str {
    match kind {
        // A script f.
        NodeKind::Function => "M11.6 3.4C9.6 2.2 8.4 3 8.1 4.9L6.8 11.6C6.5 13.3 5.4 13.9 3.9 13M5 7.2H10.4",
        // A list.
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

fn write_start(bounds: &Bounds, out: &mut String) {
    let (x, y) = (format_number(bounds.x), format_number(bounds.y));
    let _ = writeln!(
        out,
        "<g><title>start</title><circle class=\"hp-mark\" cx=\"{x}\" cy=\"{y}\" r=\"7\"/></g>"
    );
}

fn write_end(bounds: &Bounds, out: &mut String) {
    let (x, y) = (format_number(bounds.x), format_number(bounds.y));
    let _ = writeln!(
        out,
        "<g><title>end</title><circle class=\"hp-ring\" cx=\"{x}\" cy=\"{y}\" r=\"9\"/>\
         <circle class=\"hp-mark\" cx=\"{x}\" cy=\"{y}\" r=\"5\"/></g>"
    );
}

fn edge_class(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Edge => "edge",
        EdgeKind::Next => "next",
        EdgeKind::Error => "error",
        EdgeKind::Timeout => "timeout",
        EdgeKind::Undo => "undo",
    }
}

/// The rules for both colour schemes.
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

/// The colours of a scheme: background, text, secondary text, edges, cards and label borders; then a colour and a tint for
/// each kind of node, and for the kinds of edges that have their own.
struct Palette {
    paper: &'static str,
    ink: &'static str,
    soft: &'static str,
    edge: &'static str,
    card: &'static str,
    pill: &'static str,
    kinds: [(&'static str, &'static str, &'static str); 5],
    edges: [(&'static str, &'static str, &'static str); 3],
}

const LIGHT: Palette = Palette {
    paper: "#fbfaf8",
    ink: "#24262a",
    soft: "#6b6a66",
    edge: "#85837d",
    card: "#ffffff",
    pill: "#e0dcd3",
    kinds: [
        ("function", "#3f8189", "#e4f0ef"),
        ("map", "#2c5f9e", "#e3edf9"),
        ("graph", "#6a4a9c", "#eee6fa"),
        ("sleep", "#96620c", "#fbefd5"),
        ("wait", "#2d6a3e", "#e0f2e3"),
    ],
    edges: [
        ("error", "#b5372e", "#f0cdc8"),
        ("timeout", "#96620c", "#eedcb4"),
        ("undo", "#b5372e", "#f0cdc8"),
    ],
};

const DARK: Palette = Palette {
    paper: "#15171a",
    ink: "#e6e5e1",
    soft: "#a2a3a5",
    edge: "#85888d",
    card: "#1e2125",
    pill: "#3a3f46",
    kinds: [
        ("function", "#7fb5b0", "#20302f"),
        ("map", "#90b8ea", "#1f2d40"),
        ("graph", "#c0a6ec", "#2d2540"),
        ("sleep", "#e3b866", "#352b17"),
        ("wait", "#8cc79a", "#1d3325"),
    ],
    edges: [
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

impl Palette {
    /// Writes the CSS rules. The selector `when` precedes each rule.
    fn rules(&self, when: &str) -> String {
        let Self {
            paper,
            ink,
            soft,
            edge,
            card,
            pill,
            ..
        } = self;
        let mut rules = vec![
            format!(".hp-paper{{fill:{paper}}}"),
            format!(".hp-title,{when}.hp-name{{fill:{ink}}}"),
            format!(".hp-detail{{fill:{soft}}}"),
            format!(".hp-line{{stroke:{edge}}}"),
            format!(".hp-head{{fill:{edge}}}"),
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
        for (kind, colour, tint) in self.edges {
            rules.push(format!(".hp-line.hp-{kind}{{stroke:{colour}}}"));
            rules.push(format!(
                ".hp-head.hp-{kind},{when}.hp-{kind} text{{fill:{colour}}}"
            ));
            rules.push(format!(".hp-{kind} rect{{stroke:{tint}}}"));
        }
        rules.iter().map(|rule| format!("{when}{rule}\n")).collect()
    }
}
