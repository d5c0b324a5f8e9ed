//! The picture as a Mermaid flowchart.
//!
//! Nodes are called `n0`, `n1` and so on, and a text stands only in quotes, with every character
//! that Mermaid or the Markdown inside its labels might take for something else as its number:
//! <https://mermaid.js.org/syntax/flowchart.html#entity-codes-to-escape-characters>.

use std::fmt::Write as _;

use super::{Diagram, EdgeKind, NodeKind, text::clean};

/// Fill, border and text of each kind, and of the start and the end.
const CLASSES: [(&str, &str); 7] = [
    ("function", "fill:#eef4f3,stroke:#3f8189,color:#24262a"),
    ("map", "fill:#e8f0fa,stroke:#2c5f9e,color:#24262a"),
    ("graph", "fill:#f0eafa,stroke:#6a4a9c,color:#24262a"),
    ("sleep", "fill:#fbf1dc,stroke:#8a5a0b,color:#24262a"),
    ("wait", "fill:#e6f3e8,stroke:#2d6a3e,color:#24262a"),
    ("start", "fill:#6b6a66,stroke:#6b6a66,color:#6b6a66"),
    ("end", "fill:#c9c6be,stroke:#6b6a66,color:#6b6a66"),
];

pub(super) fn write(picture: &Diagram) -> String {
    let mut out = String::new();
    if let Some(title) = &picture.title {
        let title = serde_json::Value::String(heading(title));
        let _ = writeln!(out, "---\ntitle: {title}\n---");
    }
    out.push_str("flowchart TD\n");
    let started = picture.start < picture.nodes.len();
    if started {
        out.push_str("  start((\" \"))\n");
    }
    for (index, node) in picture.nodes.iter().enumerate() {
        let (open, close) = outline(node.kind);
        let mut label = quote(&node.name);
        if let Some(detail) = &node.detail {
            let _ = write!(label, "<br/><small>{}</small>", quote(detail));
        }
        let _ = writeln!(out, "  n{index}{open}\"{label}\"{close}");
    }
    if picture.has_end() {
        out.push_str("  finish(((\" \")))\n");
    }
    if started {
        let _ = writeln!(out, "  start --> n{}", picture.start);
    }
    write_arrows(picture, started, &mut out);
    write_classes(picture, started, &mut out);
    out
}

fn write_arrows(picture: &Diagram, started: bool, out: &mut String) {
    let mut styles = [("#a8332b", Vec::new()), ("#8a5a0b", Vec::new())];
    for (index, arrow) in picture.arrows().enumerate() {
        let line = match arrow.kind {
            EdgeKind::Edge | EdgeKind::Error | EdgeKind::Timeout => "-->",
            EdgeKind::Next | EdgeKind::Undo => "-.->",
        };
        let place = (index + usize::from(started)).to_string();
        match arrow.kind {
            EdgeKind::Error | EdgeKind::Undo => styles[0].1.push(place),
            EdgeKind::Timeout => styles[1].1.push(place),
            EdgeKind::Edge | EdgeKind::Next => {}
        }
        let _ = write!(out, "  n{} {line}", arrow.from);
        if let Some(label) = arrow.caption() {
            let _ = write!(out, "|\"{}\"|", quote(&label));
        }
        let _ = match arrow.to {
            Some(to) => writeln!(out, " n{to}"),
            None => writeln!(out, " finish"),
        };
    }
    for (colour, places) in styles.iter().filter(|(_, places)| !places.is_empty()) {
        let _ = writeln!(out, "  linkStyle {} stroke:{colour}", places.join(","));
    }
}

fn write_classes(picture: &Diagram, started: bool, out: &mut String) {
    for (class, style) in CLASSES {
        let members = picture.nodes.iter().enumerate();
        let members = members.filter(|(_, node)| class_of(node.kind) == class);
        let mut members: Vec<String> = members.map(|(index, _)| format!("n{index}")).collect();
        match class {
            "start" if started => members.push("start".to_owned()),
            "end" if picture.has_end() => members.push("finish".to_owned()),
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

fn class_of(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Function => "function",
        NodeKind::Map => "map",
        NodeKind::Graph => "graph",
        NodeKind::Sleep => "sleep",
        NodeKind::Wait => "wait",
    }
}

/// Mermaid takes a title for HTML and knows no way to escape it: what would be lost there is
/// written as its look-alike.
fn heading(title: &str) -> String {
    clean(title)
        .replace('<', "‹")
        .replace('>', "›")
        .replace('&', "＆")
}

/// Writes a text so that Mermaid shows just that text.
fn quote(text: &str) -> String {
    let letters: Vec<char> = clean(text).chars().collect();
    let mut out = String::with_capacity(letters.len());
    for (index, letter) in letters.iter().enumerate() {
        let word = |at: Option<usize>| {
            at.and_then(|at| letters.get(at))
                .is_some_and(|near| near.is_alphanumeric())
        };
        let inside = word(index.checked_sub(1)) && word(Some(index + 1));
        match letter {
            ' ' | '/' | ',' | '=' | '(' | ')' | '?' => out.push(*letter),
            // Within a word they are only that; before it they may be Markdown, or a link.
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
        // A label may not be empty.
        return " ".to_owned();
    }
    out
}
