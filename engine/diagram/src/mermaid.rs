//! Writes a diagram as a Mermaid flowchart.
//!
//! Nodes are named `n0`, `n1` and so on. Names and labels are quoted, and every character with a meaning in Mermaid or in
//! the Markdown of its labels is written as an entity code:
//! <https://mermaid.js.org/syntax/flowchart.html#entity-codes-to-escape-characters>.

use std::fmt::Write as _;

use super::{Diagram, EdgeKind, NodeKind, text::sanitize};

/// The classes: fill, border and text colour of each kind of node, of the start and of the end.
const CLASSES: [(&str, &str); 7] = [
    ("function", "fill:#eef4f3,stroke:#3f8189,color:#24262a"),
    ("map", "fill:#e8f0fa,stroke:#2c5f9e,color:#24262a"),
    ("graph", "fill:#f0eafa,stroke:#6a4a9c,color:#24262a"),
    ("sleep", "fill:#fbf1dc,stroke:#8a5a0b,color:#24262a"),
    ("wait", "fill:#e6f3e8,stroke:#2d6a3e,color:#24262a"),
    ("start", "fill:#6b6a66,stroke:#6b6a66,color:#6b6a66"),
    ("end", "fill:#c9c6be,stroke:#6b6a66,color:#6b6a66"),
];

pub(super) fn write(diagram: &Diagram) -> String {
    let mut out = String::new();
    if let Some(title) = &diagram.title {
        let title = serde_json::Value::String(heading(title));
        let _ = writeln!(out, "---\ntitle: {title}\n---");
    }
    out.push_str("flowchart TD\n");
    let started = diagram.start < diagram.nodes.len();
    if started {
        out.push_str("  start((\" \"))\n");
    }
    for (index, node) in diagram.nodes.iter().enumerate() {
        let (open, close) = outline(node.kind);
        let mut label = quote(&node.name);
        if let Some(detail) = &node.detail {
            let _ = write!(label, "<br/><small>{}</small>", quote(detail));
        }
        let _ = writeln!(out, "  n{index}{open}\"{label}\"{close}");
    }
    if diagram.has_end() {
        out.push_str("  finish(((\" \")))\n");
    }
    if started {
        let _ = writeln!(out, "  start --> n{}", diagram.start);
    }
    write_edges(diagram, started, &mut out);
    write_classes(diagram, started, &mut out);
    out
}

fn write_edges(diagram: &Diagram, started: bool, out: &mut String) {
    let mut styles = [("#a8332b", Vec::new()), ("#8a5a0b", Vec::new())];
    for (index, edge) in diagram.valid_edges().enumerate() {
        let line = match edge.kind {
            EdgeKind::Edge | EdgeKind::Error | EdgeKind::Timeout => "-->",
            EdgeKind::Next | EdgeKind::Undo => "-.->",
        };
        let position = (index + usize::from(started)).to_string();
        match edge.kind {
            EdgeKind::Error | EdgeKind::Undo => styles[0].1.push(position),
            EdgeKind::Timeout => styles[1].1.push(position),
            EdgeKind::Edge | EdgeKind::Next => {}
        }
        let _ = write!(out, "  n{} {line}", edge.from);
        if let Some(label) = edge.label_text() {
            let _ = write!(out, "|\"{}\"|", quote(&label));
        }
        let _ = match edge.to {
            Some(to) => writeln!(out, " n{to}"),
            None => writeln!(out, " finish"),
        };
    }
    for (colour, positions) in styles.iter().filter(|(_, positions)| !positions.is_empty()) {
        let _ = writeln!(out, "  linkStyle {} stroke:{colour}", positions.join(","));
    }
}

fn write_classes(diagram: &Diagram, started: bool, out: &mut String) {
    for (class, style) in CLASSES {
        let members = diagram.nodes.iter().enumerate();
        let members = members.filter(|(_, node)| node.kind.name() == class);
        let mut members: Vec<String> = members.map(|(index, _)| format!("n{index}")).collect();
        match class {
            "start" if started => members.push("start".to_owned()),
            "end" if diagram.has_end() => members.push("finish".to_owned()),
            _ => {}
        }
        if !members.is_empty() {
            let _ = writeln!(out, "  classDef {class}Kind {style}");
            let _ = writeln!(out, "  class {} {class}Kind", members.join(","));
        }
    }
}

fn outline(kind: NodeKind) -> (&'static str, &'static str) {
    match kind {
        NodeKind::Function => ("(", ")"),
        NodeKind::Map => ("[/", "/]"),
        NodeKind::Graph => ("[[", "]]"),
        NodeKind::Sleep => ("([", "])"),
        NodeKind::Wait => ("{{", "}}"),
    }
}

/// Replaces `<`, `>` and `&` by similar characters: Mermaid reads a title as HTML and has no escapes for it.
fn heading(title: &str) -> String {
    sanitize(title)
        .replace('<', "‹")
        .replace('>', "›")
        .replace('&', "＆")
}

/// Escapes a text so that Mermaid shows it unchanged.
fn quote(text: &str) -> String {
    let letters: Vec<char> = sanitize(text).chars().collect();
    let mut out = String::with_capacity(letters.len());
    for (index, letter) in letters.iter().enumerate() {
        let word = |at: Option<usize>| {
            at.and_then(|at| letters.get(at))
                .is_some_and(|near| near.is_alphanumeric())
        };
        let inside = word(index.checked_sub(1)) && word(Some(index + 1));
        match letter {
            ' ' | '/' | ',' | '=' | '(' | ')' | '?' => out.push(*letter),
            // Within a word this has no meaning; before a word it could start Markdown or a link.
            '_' if inside => out.push(*letter),
            '.' | '-' if inside && !out.ends_with(char::is_numeric) && !out.ends_with(['w', 'W']) => {
                out.push(*letter);
            }
            letter if letter.is_ascii_alphanumeric() || !letter.is_ascii() => out.push(*letter),
            letter => {
                let _ = write!(out, "#{};", u32::from(*letter));
            }
        }
    }
    if out.trim().is_empty() {
        // Mermaid does not accept an empty label.
        return " ".to_owned();
    }
    out
}
