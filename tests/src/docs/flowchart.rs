//! Parses the Mermaid flowcharts of the pages: `a -->|text| b & c`, one line for each chain of edges.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

/// An edge: source and target.
pub(super) type Edge = (String, String);

/// A node: its id and its shape.
const NODE: &str = r#"(?<id>\w+)\s*(?:\(\("[^"]*"\)\)|\["[^"]*"\]|\("[^"]*"\))?"#;
/// An arrow, with or without a label.
const ARROW: &str = r#"-->|-\.->|-- "[^"]*" -->|-- [\w ]+ -->|-\. "[^"]*" \.->|-\. [\w ]+ \.->"#;

/// The edges of a flowchart. The node `e` is the end.
pub(super) fn edges(text: &str) -> Result<BTreeSet<Edge>, String> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    if !["flowchart LR", "flowchart TD"].contains(&first) {
        return Err(format!("`{first}` begins no flowchart"));
    }
    let arrow = Regex::new(ARROW).expect("a regular expression");
    let node = Regex::new(&format!("^{NODE}$")).expect("a regular expression");
    let mut edges = BTreeSet::new();
    for line in lines {
        let mut before: Vec<String> = Vec::new();
        for group in arrow.split(line) {
            let mut nodes = Vec::new();
            for written in group.split('&').map(str::trim) {
                let found = node
                    .captures(written)
                    .ok_or_else(|| format!("`{written}` is not a node, in `{line}`"))?;
                nodes.push(match &found["id"] {
                    "e" if written.contains("the end") => "end".to_owned(),
                    "e" => "e".to_owned(),
                    id => id.to_owned(),
                });
            }
            for from in &before {
                edges.extend(nodes.iter().map(|to| (from.clone(), to.clone())));
            }
            before = nodes;
        }
    }
    // A later line may use the end's id alone.
    if edges.iter().any(|(_, to)| to == "end") {
        edges = edges
            .into_iter()
            .map(|(from, to)| (from, if to == "e" { "end".to_owned() } else { to }))
            .collect();
    }
    Ok(edges)
}

/// The edges of a definition, without the implicit edges to the end.
pub(super) fn edges_of(definition: &Value) -> BTreeSet<Edge> {
    let mut edges = BTreeSet::new();
    for (from, to) in definition["edges"].as_object().into_iter().flatten() {
        let mut named = Vec::new();
        targets(to, &mut named);
        edges.extend(named.into_iter().map(|to| (from.clone(), to)));
    }
    for (from, node) in definition["nodes"].as_object().into_iter().flatten() {
        let mut named = Vec::new();
        targets(&node["next"], &mut named);
        edges.extend(named.into_iter().map(|to| (from.clone(), to)));
    }
    edges
}

/// The targets of an edge: a name, a list, or cases.
fn targets(edge: &Value, found: &mut Vec<String>) {
    match edge {
        Value::String(name) => found.push(name.clone()),
        Value::Array(all) => all.iter().for_each(|one| targets(one, found)),
        Value::Object(case) => targets(&case["to"], found),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flowchart_has_the_edges_of_its_graph() {
        let text = "flowchart LR\n  a --> b & c\n  b -- \"state.x\" --> e((\"the end\"))\n  c -. again .-> a\n  c --> e\n";
        let definition = json!({"nodes": {"a": {}, "b": {}, "c": {"next": ["a"]}}, "edges": {
            "a": ["b", "c"], "b": [{"when": "state.x", "to": "end"}], "c": "end",
        }});
        assert_eq!(edges(text).unwrap(), edges_of(&definition));
    }

    #[test]
    fn text_that_is_not_a_flowchart_is_an_error() {
        assert!(edges("graph\n a --> b").is_err());
        assert!(edges("flowchart LR\n  a --> b, c").is_err());
    }
}
