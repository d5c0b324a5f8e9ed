//! The layout's laws over random pictures: what stands on the page never stands on something else.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

use proptest::prelude::*;

use super::{
    Diagram, Edge, EdgeKind, Node, NodeKind,
    layout::{Layout, PILL_HEIGHT, Spot, layout},
    route::{Drawn, route},
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

/// A picture of up to 30 shapes; an arrow past the last leads to the end.
fn pictures() -> impl Strategy<Value = Diagram> {
    let shape = ("[a-zß日]{0,24}", 0..5_usize, prop::option::of("[a-z/ ]{0,30}"));
    let arrow = (
        0..30_usize,
        0..32_usize,
        prop::option::of("[a-z .<]{0,40}"),
        0..9_usize,
    );
    let shapes = prop::collection::vec(shape, 1..30);
    (shapes, prop::collection::vec(arrow, 0..60), 0..3_usize).prop_map(|(shapes, arrows, start)| {
        let count = shapes.len();
        let shape = |(name, kind, detail)| Node {
            name,
            kind: KINDS[kind],
            detail,
        };
        let arrow = |(from, to, label, kind): (usize, usize, _, usize)| Edge {
            from: from % count,
            to: Some(to % (count + 1)).filter(|to| *to < count),
            label,
            kind: ARROWS[kind.saturating_sub(4)],
        };
        Diagram {
            title: None,
            start,
            nodes: shapes.into_iter().map(shape).collect(),
            edges: arrows.into_iter().map(arrow).collect(),
        }
    })
}

/// The left, the top, the right and the bottom of everything that is drawn with an area.
fn boxes(layout: &Layout, drawn: &[Drawn]) -> Vec<[f64; 4]> {
    let solids = (0..layout.solids.len()).map(|solid| {
        let frame = layout.frame(solid);
        [
            frame.left(),
            frame.top(),
            frame.left() + frame.width,
            frame.bottom(),
        ]
    });
    let labels = drawn.iter().filter_map(|drawn| {
        let (x, y) = drawn.label?;
        let half = layout.lines[drawn.line].label.as_ref()?.width / 2.0;
        Some([x - half, y - PILL_HEIGHT / 2.0, x + half, y + PILL_HEIGHT / 2.0])
    });
    solids.chain(labels).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_shape_or_label_stands_on_another(picture in pictures()) {
        let mut layout = layout(&picture).unwrap();
        let drawn = route(&mut layout);
        prop_assert_eq!(drawn.len(), layout.lines.len());
        let boxes = boxes(&layout, &drawn);
        for (index, one) in boxes.iter().enumerate() {
            prop_assert!(one[0] >= -0.01 && one[1] >= -0.01, "{one:?} is off the page");
            prop_assert!(one[2] <= layout.width + 0.01 && one[3] <= layout.height + 0.01, "{one:?} is off the page");
            for other in &boxes[..index] {
                let apart = one[2] <= other[0] || other[2] <= one[0] || one[3] <= other[1] || other[3] <= one[1];
                prop_assert!(apart, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn no_line_runs_across_a_shape_or_a_label(picture in pictures()) {
        let mut layout = layout(&picture).unwrap();
        route(&mut layout);
        let plan = &layout.plan;
        let place = plan.places();
        // Upright in its layer: every point has its room.
        for pair in plan.layers.iter().flat_map(|layer| layer.windows(2)) {
            let room = layout.at[pair[1]].0 - layout.at[pair[0]].0 - plan.apart(pair[0], pair[1]);
            prop_assert!(room >= -0.01, "{room} between {} and {}", pair[0], pair[1]);
        }
        // Level beside a shape: nothing but lines is between it and where the line turns.
        for chain in plan.chains.iter().filter(|chain| chain.upward) {
            let line = &layout.lines[chain.line];
            for (solid, turn) in [(line.to, chain.points[0]), (line.from, chain.points[chain.points.len() - 1])] {
                let (one, other) = (place[solid].min(place[turn]), place[solid].max(place[turn]));
                let between = &plan.layers[plan.points[turn].layer][one + 1..other];
                prop_assert!(between.iter().all(|point| matches!(plan.points[*point].spot, Spot::Bend | Spot::Beside)));
            }
        }
    }

    #[test]
    fn every_line_but_a_loop_leads_down(picture in pictures()) {
        let layout = layout(&picture).unwrap();
        for chain in &layout.plan.chains {
            for pair in chain.points.windows(2) {
                prop_assert_eq!(layout.plan.points[pair[0]].layer + 1, layout.plan.points[pair[1]].layer);
            }
        }
    }
}

#[test]
fn a_line_of_nodes_is_straight() {
    let shape = |name: &str| Node {
        name: name.into(),
        kind: NodeKind::Function,
        detail: None,
    };
    let arrow = |from, to| Edge {
        from,
        to,
        label: None,
        kind: EdgeKind::Edge,
    };
    let picture = Diagram {
        nodes: ["a", "a much longer name", "c"].map(shape).into(),
        edges: vec![arrow(0, Some(1)), arrow(1, Some(2)), arrow(2, None)],
        ..Diagram::default()
    };
    let mut layout = layout(&picture).unwrap();
    assert!(route(&mut layout).iter().all(|drawn| !drawn.path.contains('C')));
}

#[test]
fn errors_do_not_bend_the_main_course() {
    let shape = |name: &str| Node {
        name: name.into(),
        kind: NodeKind::Function,
        detail: None,
    };
    let arrow = |from, to, kind| Edge {
        from,
        to,
        label: None,
        kind,
    };
    let picture = Diagram {
        nodes: ["a", "b", "mend", "report"].map(shape).into(),
        edges: vec![
            arrow(0, Some(1), EdgeKind::Edge),
            arrow(0, Some(2), EdgeKind::Undo),
            arrow(0, Some(3), EdgeKind::Error),
            arrow(1, None, EdgeKind::Edge),
            arrow(3, None, EdgeKind::Edge),
        ],
        ..Diagram::default()
    };
    let layout = layout(&picture).unwrap();
    let x = |solid: usize| layout.at[solid].0;
    // The start, a, b and the end.
    assert!([4, 0, 1, 5].iter().all(|solid| (x(*solid) - x(0)).abs() < 0.01));
}
