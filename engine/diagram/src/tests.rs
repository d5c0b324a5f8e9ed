//! Properties of the layout over random diagrams: nothing on the page overlaps.
#![allow(clippy::unwrap_used)] // a test may panic

use proptest::prelude::*;

use super::{
    Diagram, Edge, EdgeKind, Node, NodeKind,
    layout::{LABEL_HEIGHT, Layout, PointKind, layout},
    route::{Route, route_edges},
};

const KINDS: [NodeKind; 5] = [
    NodeKind::Function,
    NodeKind::Map,
    NodeKind::Graph,
    NodeKind::Sleep,
    NodeKind::Wait,
];
const ARROWS: [EdgeKind; 5] = [
    EdgeKind::Edge,
    EdgeKind::Next,
    EdgeKind::Error,
    EdgeKind::Timeout,
    EdgeKind::Undo,
];

/// A diagram of up to 30 nodes; an edge past the last node leads to the end.
fn diagrams() -> impl Strategy<Value = Diagram> {
    let node = ("[a-zß日]{0,24}", 0..5_usize, prop::option::of("[a-z/ ]{0,30}"));
    let edge = (
        0..30_usize,
        0..32_usize,
        prop::option::of("[a-z .<]{0,40}"),
        0..9_usize,
    );
    let nodes = prop::collection::vec(node, 1..30);
    (nodes, prop::collection::vec(edge, 0..60), 0..3_usize).prop_map(|(nodes, valid_edges, start)| {
        let count = nodes.len();
        let node = |(name, kind, detail)| Node {
            name,
            kind: KINDS[kind],
            detail,
        };
        let edge = |(from, to, label, kind): (usize, usize, _, usize)| Edge {
            from: from % count,
            to: Some(to % (count + 1)).filter(|to| *to < count),
            label,
            kind: ARROWS[kind.saturating_sub(4)],
        };
        Diagram {
            title: None,
            start,
            nodes: nodes.into_iter().map(node).collect(),
            edges: valid_edges.into_iter().map(edge).collect(),
        }
    })
}

/// The left, top, right and bottom of each node and label.
fn boxes(layout: &Layout, routes: &[Route]) -> Vec<[f64; 4]> {
    let vertices = (0..layout.vertices.len()).map(|vertex| {
        let bounds = layout.bounds(vertex);
        [
            bounds.left(),
            bounds.top(),
            bounds.left() + bounds.width,
            bounds.bottom(),
        ]
    });
    let labels = routes.iter().filter_map(|route| {
        let (x, y) = route.label?;
        let half = layout.edges[route.edge].label.as_ref()?.width / 2.0;
        Some([x - half, y - LABEL_HEIGHT / 2.0, x + half, y + LABEL_HEIGHT / 2.0])
    });
    vertices.chain(labels).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_node_or_label_overlaps_another(diagram in diagrams()) {
        let mut layout = layout(&diagram).unwrap();
        let routes = route_edges(&mut layout);
        prop_assert_eq!(routes.len(), layout.edges.len());
        let boxes = boxes(&layout, &routes);
        for (index, one) in boxes.iter().enumerate() {
            prop_assert!(one[0] >= -0.01 && one[1] >= -0.01, "{one:?} is off the page");
            prop_assert!(one[2] <= layout.width + 0.01 && one[3] <= layout.height + 0.01, "{one:?} is off the page");
            for other in &boxes[..index] {
                let min_distance = one[2] <= other[0] || other[2] <= one[0] || one[3] <= other[1] || other[3] <= one[1];
                prop_assert!(min_distance, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn no_edge_crosses_a_node_or_a_label(diagram in diagrams()) {
        let mut layout = layout(&diagram).unwrap();
        route_edges(&mut layout);
        let layered = &layout.layered;
        let position = layered.positions();
        // Within a layer: every point has its space.
        for pair in layered.layers.iter().flat_map(|layer| layer.windows(2)) {
            let room = layout.at[pair[1]].0 - layout.at[pair[0]].0 - layered.min_distance(pair[0], pair[1]);
            prop_assert!(room >= -0.01, "{room} between {} and {}", pair[0], pair[1]);
        }
        // Beside a node: only edges are between the node and its turns.
        for chain in layered.chains.iter().filter(|chain| chain.upward) {
            let edge = &layout.edges[chain.edge];
            for (vertex, turn) in [(edge.to, chain.points[0]), (edge.from, chain.points[chain.points.len() - 1])] {
                let (one, other) = (position[vertex].min(position[turn]), position[vertex].max(position[turn]));
                let between = &layered.layers[layered.points[turn].layer][one + 1..other];
                prop_assert!(between.iter().all(|point| matches!(layered.points[*point].kind, PointKind::Bend | PointKind::Side)));
            }
        }
    }

    #[test]
    fn every_edge_leads_down_except_loops(diagram in diagrams()) {
        let layout = layout(&diagram).unwrap();
        for chain in &layout.layered.chains {
            for pair in chain.points.windows(2) {
                prop_assert_eq!(layout.layered.points[pair[0]].layer + 1, layout.layered.points[pair[1]].layer);
            }
        }
    }
}

fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        kind: NodeKind::Function,
        detail: None,
    }
}

fn edge(from: usize, to: Option<usize>, kind: EdgeKind) -> Edge {
    Edge {
        from,
        to,
        label: None,
        kind,
    }
}

#[test]
fn a_sequence_of_nodes_is_straight() {
    let diagram = Diagram {
        nodes: ["a", "a much longer name", "c"].map(node).into(),
        edges: vec![
            edge(0, Some(1), EdgeKind::Edge),
            edge(1, Some(2), EdgeKind::Edge),
            edge(2, None, EdgeKind::Edge),
        ],
        ..Diagram::default()
    };
    let mut layout = layout(&diagram).unwrap();
    assert!(
        route_edges(&mut layout)
            .iter()
            .all(|route| !route.path.contains('C'))
    );
}

#[test]
fn errors_do_not_bend_the_main_path() {
    let diagram = Diagram {
        nodes: ["a", "b", "mend", "report"].map(node).into(),
        edges: vec![
            edge(0, Some(1), EdgeKind::Edge),
            edge(0, Some(2), EdgeKind::Undo),
            edge(0, Some(3), EdgeKind::Error),
            edge(1, None, EdgeKind::Edge),
            edge(3, None, EdgeKind::Edge),
        ],
        ..Diagram::default()
    };
    let layout = layout(&diagram).unwrap();
    let x = |vertex: usize| layout.at[vertex].0;
    // The start, a, b and the end.
    assert!([4, 0, 1, 5].iter().all(|vertex| (x(*vertex) - x(0)).abs() < 0.01));
}
