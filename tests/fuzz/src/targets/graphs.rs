//! Definitions of graphs: parsed, checked, drawn and run.
//!
//! For any text, parsing, checking and drawing end soon, and every problem has a pointer and a message. An accepted
//! definition is stored as text that gives the same graph again. A run of it ends or waits within `limits.steps`; its
//! events, stored as text and folded, and its snapshot give the same run.

use std::sync::Arc;

use heddle_diagram::Diagram;
use heddle_kernel::{
    Definition, Function, FunctionKind, Graph,
    graph::{self, Findings, with_form},
};
use serde_json::Value;

use super::{Target, Verdict, play};
use crate::{
    mutate::json,
    pool::{MAX_INPUT_BYTES, Pool},
    random::Random,
};

/// The graph behind every graph name.
const CHILD: &str =
    r#"{"nodes": {"inner": {"uses": "f"}, "rest": {"sleep": "1s"}}, "edges": {"inner": "rest"}}"#;
/// Larger graphs are checked but not drawn as SVG, to save time.
const MAX_DRAWN: usize = 500;

pub(crate) struct Graphs;

impl Target for Graphs {
    fn mutate(&self, random: &mut Random, pool: &Pool) -> Vec<u8> {
        let (own, donor) = (pool.any(random).to_vec(), pool.any(random));
        let (own, donor) = (String::from_utf8_lossy(&own), String::from_utf8_lossy(donor));
        json::mutate(random, &own, &donor, MAX_INPUT_BYTES).into_bytes()
    }

    fn run(&mut self, input: &[u8]) -> Verdict {
        let Ok(text) = str::from_utf8(input) else {
            return Verdict::refused("not UTF-8");
        };
        let child = Definition::parse(CHILD).expect("the child is right");
        let (definition, found) = Definition::read(text);
        check_findings(&found);
        let Some(definition) = definition else {
            return refused(&found);
        };
        draw(&definition);
        let checked = with_form(found, check(&definition, &child));
        let (graph, warnings) = match checked {
            Ok(checked) => checked,
            Err(found) => {
                assert!(!found.is_empty());
                check_findings(&found);
                return refused(&found);
            }
        };
        check_findings(&warnings);
        round_trip(&graph, &child);
        let child = check(&child, &child).expect("the child is right").0;
        let ended = play::play_to_end(&Arc::new(graph), &Arc::new(child), input);
        Verdict::accepted(ended)
    }
}

fn refused(found: &Findings) -> Verdict {
    let shown = found.clone().into_shown();
    let messages: Vec<&str> = shown.iter().map(|found| &*found.message).take(2).collect();
    Verdict::refused(messages.join("; "))
}

fn check_findings(found: &Findings) {
    for found in found.clone().into_shown() {
        assert!(!found.message.is_empty(), "{found:?}");
        assert!(
            found.pointer.is_empty() || found.pointer.starts_with('/'),
            "{found:?}"
        );
    }
}

fn check(definition: &Definition, child: &Definition) -> Result<(Graph, Findings), Findings> {
    graph::check(definition, function, |name| match name {
        "missing" => Err("there is no graph `missing`".to_owned()),
        _ => Ok(Some(child)),
    })
}

/// The function of a name: node functions and tools, with and without routes and schemas.
fn function(name: &str) -> Result<Function, String> {
    let kind = match name.len() % 3 {
        0 => FunctionKind::Tool,
        _ => FunctionKind::Node,
    };
    let schema = |text: &str| serde_json::from_str::<Value>(text).expect("it is JSON");
    match name {
        "missing" => Err("there is no function `missing`".to_owned()),
        "routes" => Ok(Function {
            kind: FunctionKind::Node,
            routes: vec!["a".to_owned(), "end".to_owned()],
            input: Value::Null,
            output: Value::Null,
        }),
        _ if name.len() % 4 == 1 => Ok(Function {
            kind,
            routes: Vec::new(),
            input: schema(
                r#"{"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}"#,
            ),
            output: schema(r#"{"type": "object", "properties": {"score": {"type": "number"}}}"#),
        }),
        _ => Ok(Function {
            kind,
            routes: Vec::new(),
            input: Value::Null,
            output: Value::Null,
        }),
    }
}

fn draw(definition: &Definition) {
    let picture = Diagram::from_definition(definition);
    assert!(!picture.to_mermaid().is_empty());
    assert!(!picture.to_dot().is_empty());
    if definition.nodes.len() <= MAX_DRAWN {
        assert!(picture.to_svg().ends_with("</svg>\n"));
    }
}

/// The stored text gives the same graph.
fn round_trip(graph: &Graph, child: &Definition) {
    let (again, found) = Definition::read(&graph.definition);
    assert!(found.is_empty(), "{found:?}");
    let again = again.expect("nothing is wrong with it");
    let (again, _) = check(&again, child).expect("it was accepted before");
    assert_eq!(again.id, graph.id);
    assert_eq!(again.definition, graph.definition);
    Definition::parse(&graph.definition).expect("a kept definition is read");
}
