//! Diagrams of large definitions: the output is bounded even if many edges share a long condition.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_diagram::Diagram;
use heddle_kernel::Definition;

fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
}

#[test]
fn the_size_of_a_diagram_is_bounded_by_the_graph_and_the_limit_for_labels() {
    let when = format!("state.a == '{}'", "x".repeat(4_000));
    let nodes = list(1_000, |at| format!(r#""n{at}":{{"sleep":"1s"}}"#));
    let to = list(1_000, |at| format!(r#""n{at}""#));
    let edges = list(250, |at| format!(r#""n{at}":{{"when":"{when}","to":[{to}]}}"#));
    let definition = Definition::parse(&format!(r#"{{"nodes":{{{nodes}}},"edges":{{{edges}}}}}"#)).unwrap();
    let diagram = Diagram::from_definition(&definition);
    for text in [diagram.to_dot(), diagram.to_mermaid(), diagram.to_svg()] {
        assert!(text.len() < 32 << 20, "{} bytes", text.len());
    }
}
