//! The keys of definitions, and the objects to which they belong.

pub(super) const TOP: [&str; 9] = [
    "$schema",
    "name",
    "description",
    "start",
    "nodes",
    "edges",
    "state",
    "output",
    "limits",
];

/// The place of each key, for a message about a key in the wrong object.
pub(super) const PLACES: [(&str, &str); 21] = [
    ("start", "at the top of the graph"),
    ("nodes", "at the top of the graph"),
    ("edges", "at the top of the graph"),
    ("state", "at the top of the graph"),
    ("limits", "at the top of the graph, or in a node"),
    ("grants", "in a node"),
    ("uses", "in a node"),
    ("config", "in a node"),
    ("input", "in a node"),
    ("output", "in a node, or at the top of the graph"),
    ("retry", "in a node"),
    ("on_error", "in a node"),
    ("compensate", "in a node"),
    ("when", "in a case of `edges`"),
    ("to", "in a case of `edges`"),
    ("merge", "in `state`, under the name of a key"),
    ("key", "in `state`, beside `\"merge\": \"by_key\"`"),
    ("at_once", "in `map`, or in `group` of `limits`"),
    ("group", "in `limits`"),
    ("journal", "in `limits` at the top of the graph"),
    ("by", "in `group` of `limits`"),
];
