//! Diagrams as Mermaid, DOT and SVG: the output, its escaping and its limits.
#![allow(clippy::unwrap_used)] // a test may panic
#![allow(clippy::disallowed_methods)] // what must end soon is timed

use std::time::Duration;

use expect_test::{Expect, expect};
use heddle_diagram::{Diagram, Edge, EdgeKind, Node, NodeKind};
use proptest::prelude::*;

/// Parses a diagram: a line `name: kind detail` is a node, `a -> b: label` an edge to a node or to the end,
/// `a next-> b` an edge of another kind.
fn diagram(title: &str, text: &str) -> Diagram {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let node = |line: &str| {
        let (name, rest) = line.split_once(": ")?;
        let (kind, detail) = rest
            .split_once(' ')
            .map_or((rest, None), |(kind, detail)| (kind, Some(detail)));
        let kind = match kind {
            "map" => NodeKind::Map,
            "graph" => NodeKind::Graph,
            "sleep" => NodeKind::Sleep,
            "wait" => NodeKind::Wait,
            _ => NodeKind::Function,
        };
        Some(Node {
            name: name.to_owned(),
            kind,
            detail: detail.map(str::to_owned),
        })
    };
    let nodes: Vec<Node> = lines()
        .filter(|line| !line.contains("->"))
        .filter_map(node)
        .collect();
    let index = |name: &str| nodes.iter().position(|node| node.name == name);
    let edge = |line: &str| {
        let (from, to) = line.split_once("-> ")?;
        let (to, label) = to
            .split_once(": ")
            .map_or((to, None), |(to, label)| (to, Some(label)));
        let (from, kind) = from.split_once(' ')?;
        let kind = match kind {
            "next" => EdgeKind::Next,
            "error" => EdgeKind::Error,
            "timeout" => EdgeKind::Timeout,
            "undo" => EdgeKind::Undo,
            _ => EdgeKind::Edge,
        };
        Some(Edge {
            from: index(from)?,
            to: index(to),
            label: label.map(str::to_owned),
            kind,
        })
    };
    let edges = lines()
        .filter(|line| line.contains("->"))
        .filter_map(edge)
        .collect();
    Diagram {
        title: Some(title.to_owned()),
        start: 0,
        nodes,
        edges,
    }
}

const REVIEW: &str = r#"
    extract: function
    lint: function lint/run
    gate: function
    improve: function
    each: map each of state.files
    approve: wait signal approval
    pause: sleep 10m
    child: graph graph "publish"
    report: function
    extract -> lint
    lint -> gate
    lint error-> report
    gate -> improve: state.score < 80 && state.kind == "rs"
    gate -> each: else
    improve -> extract
    improve next-> gate
    each -> approve
    approve -> pause
    approve timeout-> report
    pause -> child
    child undo-> report
    child -> end
    report -> end
"#;

fn check(text: &str, expected: &Expect) {
    expected.assert_eq(text);
}

#[test]
fn a_sequence_as_mermaid_and_dot() {
    let sequence = diagram(
        "a line",
        "fetch: function http/get\nstore: function\nfetch -> store\nstore -> end",
    );
    check(
        &sequence.to_mermaid(),
        &expect![[r#"
        ---
        title: "a line"
        ---
        flowchart TD
          start((" "))
          n0("fetch<br/><small>http/get</small>")
          n1("store")
          finish(((" ")))
          start --> n0
          n0 --> n1
          n1 --> finish
          classDef functionKind fill:#eef4f3,stroke:#3f8189,color:#24262a
          class n0,n1 functionKind
          classDef startKind fill:#6b6a66,stroke:#6b6a66,color:#6b6a66
          class start startKind
          classDef endKind fill:#c9c6be,stroke:#6b6a66,color:#6b6a66
          class finish endKind
    "#]],
    );
    check(
        &sequence.to_dot(),
        &expect![[r##"
        digraph {
          label="a line" labelloc=t fontname="Helvetica"
          rankdir=TB
          node [fontname="Helvetica" fontsize=12 shape=box style="rounded,filled" margin="0.18,0.09"]
          edge [fontname="Courier" fontsize=10 color="#6b6a66"]
          start [label="" shape=circle style=filled fillcolor="#24262a" width=0.16]
          n0 [label="fetch\nhttp/get" color="#3f8189" fillcolor="#eef4f3"]
          n1 [label="store" color="#3f8189" fillcolor="#eef4f3"]
          finish [label="" shape=doublecircle style=filled fillcolor="#24262a" width=0.12]
          start -> n0
          n0 -> n1
          n1 -> finish
        }
    "##]],
    );
}

#[test]
fn every_kind_as_mermaid() {
    check(
        &diagram("review", REVIEW).to_mermaid(),
        &expect![[r#"
        ---
        title: "review"
        ---
        flowchart TD
          start((" "))
          n0("extract")
          n1("lint<br/><small>lint/run</small>")
          n2("gate")
          n3("improve")
          n4[/"each<br/><small>each of state.files</small>"/]
          n5{{"approve<br/><small>signal approval</small>"}}
          n6(["pause<br/><small>10m</small>"])
          n7[["child<br/><small>graph #34;publish#34;</small>"]]
          n8("report")
          finish(((" ")))
          start --> n0
          n0 --> n1
          n1 --> n2
          n1 -->|"on error"| n8
          n2 -->|"state.score #60; 80 #38;#38; state.kind == #34;rs#34;"| n3
          n2 -->|"else"| n4
          n3 --> n0
          n3 -.-> n2
          n4 --> n5
          n5 --> n6
          n5 -->|"timeout"| n8
          n6 --> n7
          n7 -.->|"undo"| n8
          n7 --> finish
          n8 --> finish
          linkStyle 3,12 stroke:#a8332b
          linkStyle 10 stroke:#8a5a0b
          classDef functionKind fill:#eef4f3,stroke:#3f8189,color:#24262a
          class n0,n1,n2,n3,n8 functionKind
          classDef mapKind fill:#e8f0fa,stroke:#2c5f9e,color:#24262a
          class n4 mapKind
          classDef graphKind fill:#f0eafa,stroke:#6a4a9c,color:#24262a
          class n7 graphKind
          classDef sleepKind fill:#fbf1dc,stroke:#8a5a0b,color:#24262a
          class n6 sleepKind
          classDef waitKind fill:#e6f3e8,stroke:#2d6a3e,color:#24262a
          class n5 waitKind
          classDef startKind fill:#6b6a66,stroke:#6b6a66,color:#6b6a66
          class start startKind
          classDef endKind fill:#c9c6be,stroke:#6b6a66,color:#6b6a66
          class finish endKind
    "#]],
    );
}

#[test]
fn every_kind_as_dot() {
    check(
        &diagram("review", REVIEW).to_dot(),
        &expect![[r##"
        digraph {
          label="review" labelloc=t fontname="Helvetica"
          rankdir=TB
          node [fontname="Helvetica" fontsize=12 shape=box style="rounded,filled" margin="0.18,0.09"]
          edge [fontname="Courier" fontsize=10 color="#6b6a66"]
          start [label="" shape=circle style=filled fillcolor="#24262a" width=0.16]
          n0 [label="extract" color="#3f8189" fillcolor="#eef4f3"]
          n1 [label="lint\nlint/run" color="#3f8189" fillcolor="#eef4f3"]
          n2 [label="gate" color="#3f8189" fillcolor="#eef4f3"]
          n3 [label="improve" color="#3f8189" fillcolor="#eef4f3"]
          n4 [label="each\neach of state.files" shape=box3d style=filled color="#2c5f9e" fillcolor="#e8f0fa"]
          n5 [label="approve\nsignal approval" shape=hexagon style=filled color="#2d6a3e" fillcolor="#e6f3e8"]
          n6 [label="pause\n10m" shape=oval style=filled color="#8a5a0b" fillcolor="#fbf1dc"]
          n7 [label="child\ngraph \"publish\"" shape=box style=filled peripheries=2 color="#6a4a9c" fillcolor="#f0eafa"]
          n8 [label="report" color="#3f8189" fillcolor="#eef4f3"]
          finish [label="" shape=doublecircle style=filled fillcolor="#24262a" width=0.12]
          start -> n0
          n0 -> n1
          n1 -> n2
          n1 -> n8 [label=" on error " color="#a8332b" fontcolor="#a8332b"]
          n2 -> n3 [label=" state.score < 80 &amp;&amp; state.kind == \"rs\" "]
          n2 -> n4 [label=" else "]
          n3 -> n0
          n3 -> n2 [style=dashed]
          n4 -> n5
          n5 -> n6
          n5 -> n8 [label=" timeout " color="#8a5a0b" fontcolor="#8a5a0b"]
          n6 -> n7
          n7 -> n8 [label=" undo " style=dotted arrowhead=empty color="#a8332b" fontcolor="#a8332b"]
          n7 -> finish
          n8 -> finish
        }
    "##]],
    );
}

#[test]
fn every_kind_as_svg() {
    let svg = diagram("review", REVIEW).to_svg();
    let texts = texts(&svg).unwrap();
    for class in ["function", "map", "graph", "sleep", "wait"] {
        assert!(
            svg.contains(&format!("<g class=\"hp-node hp-{class}\"")),
            "{class}"
        );
    }
    for class in ["edge", "next", "error", "timeout", "undo"] {
        assert!(
            svg.contains(&format!("<path class=\"hp-line hp-{class}\"")),
            "{class}"
        );
    }
    for text in [
        "review",
        "on error",
        "timeout",
        "undo",
        "graph \"publish\"",
        "child: graph (graph \"publish\")",
    ] {
        assert!(
            texts.iter().any(|found| found == text),
            "{text} is not in {texts:?}"
        );
    }
    assert!(!svg.contains("href") && !svg.contains("url(") && !svg.contains("<script"));
}

#[test]
fn a_long_condition_is_clipped_and_complete_in_its_tooltip() {
    let long = "state.reviews.all(review, review.score >= 80 && review.author != \"nobody\")";
    let texts = texts(&diagram("", &format!("a: function\na -> end: {long}")).to_svg()).unwrap();
    assert!(texts.iter().any(|text| text == long));
    assert!(
        texts
            .iter()
            .any(|text| text.starts_with("state.reviews.all(") && text.ends_with('…'))
    );
}

#[test]
fn edges_of_unknown_nodes_are_left_out() {
    let node = Node {
        name: "a".into(),
        kind: NodeKind::Function,
        detail: None,
    };
    let edge = |from, to| Edge {
        from,
        to,
        label: None,
        kind: EdgeKind::Edge,
    };
    let lost = Diagram {
        title: None,
        start: 7,
        nodes: vec![node],
        edges: vec![edge(3, None), edge(0, Some(9))],
    };
    assert!(
        texts(&lost.to_svg())
            .unwrap()
            .contains(&"1 nodes, 0 edges".to_owned())
    );
    assert!(!lost.to_mermaid().contains("-->") && !lost.to_dot().contains("->"));
    texts(&Diagram::default().to_svg()).unwrap();
    assert_eq!(Diagram::default().to_mermaid(), "flowchart TD\n");
}

fn large(nodes: usize, to: impl Fn(usize) -> Vec<usize>) -> Diagram {
    let node = |index| Node {
        name: format!("node {index}"),
        kind: NodeKind::Function,
        detail: None,
    };
    let edge = |from, to| Edge {
        from,
        to: Some(to).filter(|to| *to < nodes),
        label: None,
        kind: EdgeKind::Edge,
    };
    let leaving = |from| to(from).into_iter().map(move |to| edge(from, to));
    Diagram {
        title: None,
        start: 0,
        nodes: (0..nodes).map(node).collect(),
        edges: (0..nodes).flat_map(leaving).collect(),
    }
}

#[test]
fn large_graphs_are_drawn_or_refused_quickly() {
    let cases = [
        ("a chain", large(400, |from| vec![from + 1]), true),
        (
            "a fork",
            large(400, |from| if from == 0 { (1..399).collect() } else { vec![399] }),
            true,
        ),
        (
            "loops",
            large(400, |from| {
                vec![from + 1, from.saturating_sub(3), from.saturating_sub(9)]
            }),
            true,
        ),
        ("dense", large(30, |_| (0..31).collect()), true),
        (
            "far",
            large(400, |from| vec![from + 1, from + 5, from + 80]),
            true,
        ),
        ("long edges", large(400, |from| vec![from + 1, 399, 0]), false),
        ("a long chain", large(10_000, |from| vec![from + 1]), false),
        (
            "a wide fork",
            large(1_002, |from| {
                if from == 0 {
                    (1..1_001).collect()
                } else {
                    vec![1_001]
                }
            }),
            false,
        ),
        ("many edges", large(50, |_| (0..50).collect()), false),
    ];
    for (name, diagram, drawn) in cases {
        let began = cpu_time();
        let svg = diagram.to_svg();
        let took = cpu_time() - began;
        assert_eq!(!svg.contains("too many to draw"), drawn, "{name}");
        // Far more than needed: the test asserts that the work is bounded.
        assert!(took < Duration::from_secs(5), "{name} took {took:?}");
        texts(&svg).unwrap();
    }
}

/// The processor time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a thread's time is not negative")
}

/// Parses XML with elements, attributes in double quotes and text, and returns all its texts, unescaped. Malformed XML is
/// an error.
fn texts(xml: &str) -> Result<Vec<String>, String> {
    let mut open: Vec<&str> = Vec::new();
    let mut texts = Vec::new();
    let mut rest = xml;
    while let Some(begin) = rest.find('<') {
        texts.push(unescape(&rest[..begin])?);
        let end = rest[begin..].find('>').ok_or("a tag does not end")? + begin;
        let tag = &rest[begin + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("{name} closes what is not open"));
            }
            continue;
        }
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if !name.trim_end_matches('/').chars().all(char::is_alphanumeric) {
            return Err(format!("{name} is not a name"));
        }
        while let Some((key, after)) = attributes.split_once("=\"") {
            let (value, after) = after.split_once('"').ok_or("a value does not end")?;
            if !key
                .trim()
                .chars()
                .all(|letter| letter.is_alphanumeric() || letter == '-')
            {
                return Err(format!("{key} is not an attribute"));
            }
            texts.push(unescape(value)?);
            attributes = after;
        }
        match attributes.trim() {
            "" if tag.ends_with('/') => {}
            "/" => {}
            "" => open.push(name),
            other => return Err(format!("{other} in a tag")),
        }
    }
    match open.is_empty() && rest.trim().is_empty() {
        true => Ok(texts),
        false => Err(format!("{open:?} stay open, and there is {rest:?}")),
    }
}

fn unescape(text: &str) -> Result<String, String> {
    let known = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (entity, letter) = known
            .iter()
            .find(|(entity, _)| rest[at..].starts_with(entity))
            .ok_or(format!("{rest} has a bare &"))?;
        out.push_str(&rest[..at]);
        out.push_str(letter);
        rest = &rest[at + entity.len()..];
    }
    out.push_str(rest);
    let allowed = |letter: char| !letter.is_control() || letter == '\n';
    out.chars()
        .all(allowed)
        .then_some(out)
        .ok_or_else(|| format!("{text:?} has a control character"))
}

/// Unescapes a quoted text as Mermaid does.
fn mermaid_text(quoted: &str) -> String {
    let mut parts = quoted.split('#');
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (number, after) = part.split_once(';').unwrap();
        out.push(char::from_u32(number.parse().unwrap()).unwrap());
        out.push_str(after);
    }
    out
}

/// Unescapes a quoted text as Graphviz does.
fn dot_text(quoted: &str) -> String {
    let mut out = String::new();
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.extend(letters.next().filter(|letter| "\\\"".contains(*letter))),
            '"' => panic!("a bare quote in {quoted}"),
            letter => out.push(letter),
        }
    }
    out.replace("&amp;", "&")
}

/// Any text, often with characters that have a meaning in one of the formats.
fn names() -> impl Strategy<Value = String> {
    let sharp = r##"["\\<>&#;:'`|%{}()*_~.\- \[\]a-b0-1]{0,12}"##;
    prop_oneof![
        sharp,
        "\\PC{0,12}",
        any::<String>(),
        Just("]]><!--%%{init}%%".to_owned())
    ]
}

/// The expected text of a name: one line without control characters.
fn shown(name: &str) -> String {
    let letters = name.chars().map(|letter| match letter {
        '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        letter if letter.is_control() || ['\u{feff}', '\u{fffe}', '\u{ffff}'].contains(&letter) => '\u{fffd}',
        letter => letter,
    });
    letters.collect()
}

proptest! {
    #[test]
    fn any_name_survives_every_format(name in names(), label in names()) {
        let node = Node { name: name.clone(), kind: NodeKind::Function, detail: Some(label.clone()) };
        let edge = Edge { from: 0, to: None, label: Some(format!("x{label}")), kind: EdgeKind::Edge };
        let diagram = Diagram { title: Some(name.clone()), start: 0, nodes: vec![node], edges: vec![edge] };
        let (name, label) = (shown(&name), shown(&label));

        let texts = texts(&diagram.to_svg()).map_err(TestCaseError::fail)?;
        prop_assert!(texts.contains(&name), "{name:?} is not in {texts:?}");
        let whole = format!("x{label}");
        prop_assert!(texts.contains(&whole), "{:?} is not in {:?}", whole, texts);

        let mermaid = diagram.to_mermaid();
        let node = mermaid.lines().find_map(|line| line.strip_prefix("  n0(\"")).unwrap();
        let (read, detail) = node.strip_suffix("\")").unwrap().split_once("<br/><small>").unwrap();
        let expected = |text: &str| if text.trim().is_empty() { " ".to_owned() } else { text.to_owned() };
        prop_assert_eq!(mermaid_text(read), expected(&name));
        prop_assert_eq!(mermaid_text(detail.strip_suffix("</small>").unwrap()), expected(&label));
        prop_assert!(!read.contains(['"', '<', '>', '&', '`', '\\', '%', ':', '*']));
        let title = mermaid.lines().find_map(|line| line.strip_prefix("title: ")).unwrap();
        prop_assert!(serde_json::from_str::<String>(title).is_ok());

        let dot = diagram.to_dot();
        let node = dot.lines().find_map(|line| line.strip_prefix("  n0 [label=\"")).unwrap();
        let node = node.split_once("\" color=").unwrap().0;
        let lines = dot_text(&node.replace("\\\\", "\u{1}").replace("\\n", "\n").replace('\u{1}', "\\\\"));
        prop_assert_eq!(lines, format!("{name}\n{label}"));
    }

    #[test]
    fn the_same_diagram_gives_the_same_bytes(seed in any::<u64>(), nodes in 1..40_usize) {
        let to = |from: usize| {
            let step = |by: u64| (seed.rotate_left(by as u32 + from as u32) % (nodes as u64 + 1)) as usize;
            vec![from + 1, step(3), step(11)]
        };
        let (one, other) = (large(nodes, to), large(nodes, to));
        prop_assert_eq!(one.to_svg(), other.to_svg());
        prop_assert_eq!(one.to_mermaid(), other.to_mermaid());
        prop_assert_eq!(one.to_dot(), other.to_dot());
    }
}
