//! Writes a diagram in DOT, the language of Graphviz: <https://graphviz.org/doc/info/lang.html>.
//!
//! Nodes are named `n0`, `n1` and so on. Names and labels are quoted: a backslash escapes backslashes and quotes, and `&`
//! starts an HTML entity.

use std::fmt::Write as _;

use super::{Diagram, EdgeKind, NodeKind, text::sanitize};

pub(super) fn write(diagram: &Diagram) -> String {
    let mut out = String::from("digraph {\n");
    if let Some(title) = &diagram.title {
        let _ = writeln!(
            out,
            "  label=\"{}\" labelloc=t fontname=\"Helvetica\"",
            quote(title)
        );
    }
    out.push_str("  rankdir=TB\n");
    out.push_str("  node [fontname=\"Helvetica\" fontsize=12 shape=box style=\"rounded,filled\" margin=\"0.18,0.09\"]\n");
    out.push_str("  edge [fontname=\"Courier\" fontsize=10 color=\"#6b6a66\"]\n");
    let started = diagram.start < diagram.nodes.len();
    if started {
        out.push_str("  start [label=\"\" shape=circle style=filled fillcolor=\"#24262a\" width=0.16]\n");
    }
    for (index, node) in diagram.nodes.iter().enumerate() {
        let mut label = quote(&node.name);
        if let Some(detail) = &node.detail {
            let _ = write!(label, "\\n{}", quote(detail));
        }
        let _ = writeln!(out, "  n{index} [label=\"{label}\" {}]", node_style(node.kind));
    }
    if diagram.has_end() {
        out.push_str(
            "  finish [label=\"\" shape=doublecircle style=filled fillcolor=\"#24262a\" width=0.12]\n",
        );
    }
    if started {
        let _ = writeln!(out, "  start -> n{}", diagram.start);
    }
    for edge in diagram.valid_edges() {
        let _ = match edge.to {
            Some(to) => write!(out, "  n{} -> n{to}", edge.from),
            None => write!(out, "  n{} -> finish", edge.from),
        };
        let mut given: Vec<String> = Vec::new();
        given.extend(
            edge.label_text()
                .map(|label| format!("label=\" {} \"", quote(&label))),
        );
        given.extend(edge_style(edge.kind).map(str::to_owned));
        let _ = match given.is_empty() {
            true => writeln!(out),
            false => writeln!(out, " [{}]", given.join(" ")),
        };
    }
    out.push_str("}\n");
    out
}

fn node_style(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Function => "color=\"#3f8189\" fillcolor=\"#eef4f3\"",
        NodeKind::Map => "shape=box3d style=filled color=\"#2c5f9e\" fillcolor=\"#e8f0fa\"",
        NodeKind::Graph => "shape=box style=filled peripheries=2 color=\"#6a4a9c\" fillcolor=\"#f0eafa\"",
        NodeKind::Sleep => "shape=oval style=filled color=\"#8a5a0b\" fillcolor=\"#fbf1dc\"",
        NodeKind::Wait => "shape=hexagon style=filled color=\"#2d6a3e\" fillcolor=\"#e6f3e8\"",
    }
}

fn edge_style(kind: EdgeKind) -> Option<&'static str> {
    match kind {
        EdgeKind::Edge => None,
        EdgeKind::Next => Some("style=dashed"),
        EdgeKind::Error => Some("color=\"#a8332b\" fontcolor=\"#a8332b\""),
        EdgeKind::Timeout => Some("color=\"#8a5a0b\" fontcolor=\"#8a5a0b\""),
        EdgeKind::Undo => Some("style=dotted arrowhead=empty color=\"#a8332b\" fontcolor=\"#a8332b\""),
    }
}

/// Escapes a text so that Graphviz shows it unchanged.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in sanitize(text).chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '&' => out.push_str("&amp;"),
            letter => out.push(letter),
        }
    }
    out
}
