//! Draws Heddle's graphs: as Mermaid text, as DOT text, or as a finished SVG.
//!
//! [`Diagram`] is a plain model of nodes and edges. [`Diagram::from_definition`] builds one from the definition of a
//! graph, and three methods write it:
//!
//! - [`Diagram::to_mermaid`] (module `mermaid`): a flowchart that GitHub and many editors render
//! - [`Diagram::to_dot`] (module `dot`): the language of Graphviz
//! - [`Diagram::to_svg`] (module `svg`): a drawing for web pages, with the layout of the module `layout`
//!
//! The server and the command use this crate; it depends only on the kernel and, like the kernel, does no I/O. The same
//! diagram always gives the same bytes. Every diagram gives some output in bounded time: an SVG that would be too large
//! contains only a message. Edges from or to unknown nodes are left out. docs/decisions/0011-diagram-layout.md says why
//! the layout is not that of a library.

mod coordinates;
mod definition;
mod dot;
mod layout;
mod mermaid;
mod order;
mod ports;
mod ranks;
mod route;
mod svg;
#[cfg(test)]
mod tests;
mod text;
mod turns;

/// A graph to draw: nodes, edges and the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagram {
    /// The heading of the drawing.
    pub title: Option<String>,
    /// The index of the first node of a run.
    pub start: usize,
    /// The nodes in the order of the definition, which is also their order from left to right where possible.
    pub nodes: Vec<Node>,
    /// The edges. Those of one node are in the order in which the engine evaluates them.
    pub edges: Vec<Edge>,
}

/// A node of a diagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Any text.
    pub name: String,
    /// Decides the shape, the icon and the colour.
    pub kind: NodeKind,
    /// A second, smaller line: the function, the list of a map, the duration of a sleep.
    pub detail: Option<String>,
}

/// The kind of a node, with its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Calls a function: a card.
    Function,
    /// Runs a function or a graph for every item of a list: a stack of cards.
    Map,
    /// Runs another graph: a card with a double border.
    Graph,
    /// Waits for a time: round ends and a clock.
    Sleep,
    /// Waits for a signal: pointed ends and a bell.
    Wait,
}

/// An edge from a node to another node or to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The index of the source node.
    pub from: usize,
    /// The index of the target node. None is the end.
    pub to: Option<usize>,
    /// A condition, or "else". Without a label, an error, timeout or compensation edge is labelled with its kind, so that
    /// its meaning does not depend on colour alone.
    pub label: Option<String>,
    /// When a run takes the edge.
    pub kind: EdgeKind,
}

/// The kind of an edge, with its line style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeKind {
    /// An edge of the definition: a solid line.
    Edge,
    /// A route that the function declares: a dashed line.
    Next,
    /// Taken if the node fails.
    Error,
    /// Taken if a wait ends without a signal.
    Timeout,
    /// Leads to the compensation of the node: a dotted line.
    Undo,
}

impl Diagram {
    /// Writes the diagram as a Mermaid flowchart.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        mermaid::write(self)
    }

    /// Writes the diagram in DOT, the language of Graphviz.
    #[must_use]
    pub fn to_dot(&self) -> String {
        dot::write(self)
    }

    /// Draws the diagram as a self-contained SVG for light and dark pages.
    ///
    /// The SVG follows the reader's colour scheme, or `data-theme` of the page in which it is embedded. Each node is a
    /// group with the node's name in `data-node`. A diagram of more than 400 nodes, 1,200 edges or 40,000 points where
    /// edges pass layers is not drawn; the SVG then contains a message with the size of the graph.
    #[must_use]
    pub fn to_svg(&self) -> String {
        svg::write(self)
    }

    /// The edges between known nodes.
    fn valid_edges(&self) -> impl Iterator<Item = &Edge> {
        let is_known = |node: usize| node < self.nodes.len();
        self.edges
            .iter()
            .filter(move |edge| is_known(edge.from) && edge.to.is_none_or(is_known))
    }

    fn has_end(&self) -> bool {
        self.valid_edges().any(|edge| edge.to.is_none())
    }
}

impl NodeKind {
    /// The name of the kind in class names and tooltips.
    fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Map => "map",
            Self::Graph => "graph",
            Self::Sleep => "sleep",
            Self::Wait => "wait",
        }
    }
}

impl Edge {
    /// The text of the label.
    fn label_text(&self) -> Option<String> {
        let given = self
            .label
            .as_deref()
            .map(text::sanitize)
            .filter(|label| !label.trim().is_empty());
        given.or_else(|| {
            let own = match self.kind {
                EdgeKind::Edge | EdgeKind::Next => return None,
                EdgeKind::Error => "on error",
                EdgeKind::Timeout => "timeout",
                EdgeKind::Undo => "undo",
            };
            Some(own.to_owned())
        })
    }
}
