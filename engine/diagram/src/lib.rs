//! A graph as a picture: Mermaid text, DOT text, or a finished SVG.
//!
//! The input is a plain model of what is to be seen, not a graph's definition, so that whatever
//! can be described as shapes and arrows can be drawn. The same picture gives the same bytes, any
//! input gives a picture, and none takes longer than a moment: what is too large to draw is said
//! to be so. An arrow from or to a node that is not there is left out.

mod beside;
mod definition;
mod dot;
mod layout;
mod mermaid;

mod order;
mod place;
mod ports;
mod ranks;
mod route;
mod svg;
#[cfg(test)]
mod tests;
mod text;

/// Names what is drawn: the shapes, the arrows between them, and where it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagram {
    /// Stands above the drawing.
    pub title: Option<String>,
    /// The index of the shape that the start leads to.
    pub start: usize,
    /// The shapes, in the graph's order; where nothing else decides, it is their order on the page.
    pub nodes: Vec<Node>,
    /// The arrows, each node's in the order in which they are tried.
    pub edges: Vec<Edge>,
}

/// Describes one node as it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name: any text.
    pub name: String,
    /// What it does, which decides its outline, its icon and its colour.
    pub kind: NodeKind,
    /// A second, smaller line: the function, the list of a map, the time of a sleep.
    pub detail: Option<String>,
}

/// Says what a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Calls a function: a card.
    Function,
    /// Runs something for every item: a stack of cards.
    Map,
    /// Runs another graph: a framed card.
    Graph,
    /// Waits for a time: round ends, a clock.
    Sleep,
    /// Waits for a signal: pointed ends, a bell.
    Wait,
}

/// Describes one way from a node to another, or to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The index of the shape it leaves.
    pub from: usize,
    /// The index of the shape it leads to; none is the end.
    pub to: Option<usize>,
    /// What stands on it: a condition, "else". A kind other than an edge or a next that has none
    /// is labelled with what it is, so that its colour is never all that tells it.
    pub label: Option<String>,
    /// Why it is taken.
    pub kind: EdgeKind,
}

/// Says why an arrow is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeKind {
    /// The graph's edge: a line.
    Edge,
    /// A route that the function may take by itself: dashed.
    Next,
    /// Taken when the node fails.
    Error,
    /// Taken when nothing came in time.
    Timeout,
    /// Leads to what undoes the node: dotted.
    Undo,
}

impl Diagram {
    /// Writes the picture as a Mermaid flowchart, as GitHub and many editors render it.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        mermaid::write(self)
    }

    /// Writes the picture in DOT, the language of Graphviz.
    #[must_use]
    pub fn to_dot(&self) -> String {
        dot::write(self)
    }

    /// Draws the picture as one SVG that needs nothing else, for light and for dark pages.
    ///
    /// It follows the reader's colour scheme, or `data-theme` of the page that it is put into. Each
    /// shape is a group with its node's name in `data-node`. Past 400 shapes or 1,200 arrows,
    /// or fewer that pass many rows, it says how large the graph is instead.
    #[must_use]
    pub fn to_svg(&self) -> String {
        svg::write(self)
    }

    /// The arrows whose ends are there.
    fn arrows(&self) -> impl Iterator<Item = &Edge> {
        let there = |node: usize| node < self.nodes.len();
        self.edges
            .iter()
            .filter(move |arrow| there(arrow.from) && arrow.to.is_none_or(there))
    }

    fn has_end(&self) -> bool {
        self.arrows().any(|arrow| arrow.to.is_none())
    }
}

impl Edge {
    /// What is written on it.
    fn caption(&self) -> Option<String> {
        let given = self
            .label
            .as_deref()
            .map(text::clean)
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
