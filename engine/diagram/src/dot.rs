//! The picture in DOT: <https://graphviz.org/doc/info/lang.html>.
//!
//! Nodes are called `n0`, `n1` and so on, and a text stands only in quotes. Inside them a backslash
//! and a quote are escaped by a backslash, and `&` begins an entity of HTML.

use std::fmt::Write as _;

use super::{Diagram, EdgeKind, NodeKind, text::clean};

pub(super) fn write(picture: &Diagram) -> String {
    let mut out = String::from("digraph {\n");
    if let Some(title) = &picture.title {
        let _ = writeln!(
            out,
            "  label=\"{}\" labelloc=t fontname=\"Helvetica\"",
            quote(title)
        );
    }
    out.push_str("  rankdir=TB\n");
    out.push_str("  node [fontname=\"Helvetica\" fontsize=12 shape=box style=\"rounded,filled\" margin=\"0.18,0.09\"]\n");
    out.push_str("  edge [fontname=\"Courier\" fontsize=10 color=\"#6b6a66\"]\n");
    let started = picture.start < picture.nodes.len();
    if started {
        out.push_str("  start [label=\"\" shape=circle style=filled fillcolor=\"#24262a\" width=0.16]\n");
    }
    for (index, node) in picture.nodes.iter().enumerate() {
        let mut label = quote(&node.name);
        if let Some(detail) = &node.detail {
            let _ = write!(label, "\\n{}", quote(detail));
        }
        let _ = writeln!(out, "  n{index} [label=\"{label}\" {}]", look(node.kind));
    }
    if picture.has_end() {
        out.push_str(
            "  finish [label=\"\" shape=doublecircle style=filled fillcolor=\"#24262a\" width=0.12]\n",
        );
    }
    if started {
        let _ = writeln!(out, "  start -> n{}", picture.start);
    }
    for arrow in picture.arrows() {
        let _ = match arrow.to {
            Some(to) => write!(out, "  n{} -> n{to}", arrow.from),
            None => write!(out, "  n{} -> finish", arrow.from),
        };
        let mut given: Vec<String> = Vec::new();
        given.extend(
            arrow
                .caption()
                .map(|label| format!("label=\" {} \"", quote(&label))),
        );
        given.extend(line(arrow.kind).map(str::to_owned));
        let _ = match given.is_empty() {
            true => writeln!(out),
            false => writeln!(out, " [{}]", given.join(" ")),
        };
    }
    out.push_str("}\n");
    out
}

fn look(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Function => "color=\"#3f8189\" fillcolor=\"#eef4f3\"",
        NodeKind::Map => "shape=box3d style=filled color=\"#2c5f9e\" fillcolor=\"#e8f0fa\"",
        NodeKind::Graph => "shape=box style=filled peripheries=2 color=\"#6a4a9c\" fillcolor=\"#f0eafa\"",
        NodeKind::Sleep => "shape=oval style=filled color=\"#8a5a0b\" fillcolor=\"#fbf1dc\"",
        NodeKind::Wait => "shape=hexagon style=filled color=\"#2d6a3e\" fillcolor=\"#e6f3e8\"",
    }
}

fn line(kind: EdgeKind) -> Option<&'static str> {
    match kind {
        EdgeKind::Edge => None,
        EdgeKind::Next => Some("style=dashed"),
        EdgeKind::Error => Some("color=\"#a8332b\" fontcolor=\"#a8332b\""),
        EdgeKind::Timeout => Some("color=\"#8a5a0b\" fontcolor=\"#8a5a0b\""),
        EdgeKind::Undo => Some("style=dotted arrowhead=empty color=\"#a8332b\" fontcolor=\"#a8332b\""),
    }
}

/// Writes a text so that Graphviz shows just that text.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in clean(text).chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '&' => out.push_str("&amp;"),
            letter => out.push(letter),
        }
    }
    out
}
