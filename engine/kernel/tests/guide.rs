//! The examples of docs/graphs.md: they fit the schema, pass the check, and end as the page says. The
//! functions of the sample plugin `basics` are simulated here.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use heddle_json::{Json, Object, object::to_json};
use heddle_kernel::{
    Answer, Definition, Digest, Failure, FailureKind, Function, FunctionKind, Graph, Input, Outcome,
    PendingWork, Route, Run, RunId, Severity, Timestamp, decide,
    event::FunctionRef,
    graph::{self, SCHEMA},
    run::Graphs,
};
use serde_json::{Map, Value, json};

const PAGE: &str = include_str!("../../../docs/graphs.md");

/// A fenced block of the page: its purpose (`graph`, `state`, …), its example, and its text.
struct Block {
    what: &'static str,
    example: &'static str,
    text: String,
}

/// The blocks that are fenced as ```` ```json WHAT=EXAMPLE ````, in order.
fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        let Some((what, example)) = line
            .strip_prefix("```json ")
            .and_then(|info| info.split_once('='))
        else {
            continue;
        };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(Block {
            what,
            example,
            text: text.join("\n"),
        });
    }
    blocks
}

/// The functions of `basics`, as the check needs them.
fn find(uses: &str) -> Result<Function, String> {
    let kind = match uses.strip_prefix("basics/") {
        Some("set" | "count" | "again" | "goto" | "fail" | "log") => FunctionKind::Node,
        Some("echo" | "upper" | "words" | "join" | "sum") => FunctionKind::Tool,
        _ => return Err(format!("no registered plugin has a function `{uses}`")),
    };
    let input = match uses {
        "basics/upper" | "basics/words" => {
            json!({"properties": {"text": {"type": "string"}}, "required": ["text"]})
        }
        "basics/join" => json!({"properties": {"parts": {}, "with": {}}, "required": ["parts"]}),
        "basics/sum" => json!({"properties": {"numbers": {}}, "required": ["numbers"]}),
        _ => Value::Null,
    };
    Ok(Function {
        kind,
        routes: Vec::new(),
        input,
        output: Value::Null,
    })
}

fn wrong(message: impl Into<Arc<str>>) -> Failure {
    Failure::new(FailureKind::InvalidInput, message)
}

fn text<'v>(value: &'v Value, key: &str) -> Result<&'v str, Failure> {
    value[key]
        .as_str()
        .ok_or_else(|| wrong(format!("`{key}` must be a string")))
}

fn object(value: Value) -> Object {
    serde_json::from_value(value).unwrap()
}

fn names(value: &Value) -> Vec<String> {
    let all = value
        .as_array()
        .map_or(std::slice::from_ref(value), Vec::as_slice);
    all.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn sum(numbers: &[Value]) -> Result<Value, Failure> {
    let wrong = || wrong("`numbers` must be numbers");
    if let Some(all) = numbers.iter().map(Value::as_i64).collect::<Option<Vec<i64>>>() {
        return Ok(json!(all.iter().sum::<i64>()));
    }
    let all: Option<Vec<f64>> = numbers.iter().map(Value::as_f64).collect();
    Ok(json!(all.ok_or_else(wrong)?.iter().sum::<f64>()))
}

/// The answer of a function of `basics`.
fn answer(function: &str, input: &Value, config: &Value, attempt: u32) -> Result<Answer, Failure> {
    let outcome = |update: Value, route: Route| {
        let update = object(update);
        Ok(Answer::Outcome(Outcome { update, route }))
    };
    let add = |key: &str, by: &Value| {
        let before = input.get(key).cloned().unwrap_or(json!(0));
        sum(&[before, by.clone()]).map(|sum| json!({key: sum}))
    };
    let result = match function.trim_start_matches("basics/") {
        "set" if config.is_null() => return outcome(json!({}), Route::Edges),
        "set" => return outcome(config.clone(), Route::Edges),
        "log" => return outcome(json!({}), Route::Edges),
        "count" => {
            let by = config.get("by").cloned().unwrap_or(json!(1));
            return outcome(add(config["key"].as_str().unwrap_or("count"), &by)?, Route::Edges);
        }
        "again" => {
            let key = config["key"].as_str().unwrap_or("n");
            let update = add(key, &json!(1))?;
            let again = update[key].as_u64() < config["times"].as_u64();
            return outcome(update, if again { Route::Again } else { Route::Edges });
        }
        "goto" => {
            let set = config.get("set").cloned().unwrap_or(json!({}));
            return outcome(set, Route::Goto(names(&config["to"])));
        }
        "fail"
            if config["times"]
                .as_u64()
                .is_some_and(|times| u64::from(attempt) > times) =>
        {
            return outcome(json!({}), Route::Edges);
        }
        "fail" => {
            let kind = config["kind"].as_str().unwrap_or("permanent");
            let message = config["message"]
                .as_str()
                .unwrap_or("the node failed because its config says so");
            return Err(Failure::new(
                serde_json::from_value(kind.into()).unwrap(),
                message,
            ));
        }
        "echo" => input.clone(),
        "upper" => json!({"text": text(input, "text")?.to_uppercase()}),
        "words" => json!({"words": text(input, "text")?.split_whitespace().collect::<Vec<_>>()}),
        "join" => json!({"text": names(&input["parts"]).join(input["with"].as_str().unwrap_or(" "))}),
        "sum" => {
            json!({"sum": sum(input["numbers"].as_array().ok_or_else(|| wrong("`numbers` must be a list"))?)?})
        }
        other => panic!("no function {other}"),
    };
    Ok(Answer::Result(to_json(&result)))
}

/// The graphs of the page so far, by the names of their examples and by their own.
#[derive(Default)]
struct Page {
    examples: BTreeMap<&'static str, Arc<Graph>>,
    named: Graphs,
    definitions: BTreeMap<String, Definition>,
}

impl Page {
    fn create(&mut self, example: &'static str, definition: &str) {
        let named = |name: &str| {
            let found = self.definitions.get(name).map(Some);
            found.ok_or(format!("there is no graph `{name}`"))
        };
        let parsed = Definition::parse(definition).unwrap_or_else(|found| panic!("{example}: {found:?}"));
        let (graph, warnings) =
            graph::check(&parsed, find, named).unwrap_or_else(|found| panic!("{example}: {found:?}"));
        // A function of a graph of one node may go anywhere; no example of the page is warned of otherwise.
        assert!(warnings.is_empty(), "{example}: {warnings:?}");
        let graph = Arc::new(graph);
        if let Some(name) = &graph.name {
            self.named.insert(name.clone(), graph.clone());
            self.definitions.insert(name.to_string(), parsed.clone());
        }
        assert!(
            self.examples.insert(example, graph).is_none(),
            "{example} is there twice"
        );
    }

    /// The graphs that a graph names, and those that they name.
    fn under(&self, graph: &Graph, found: &mut Graphs) {
        for name in graph.graphs() {
            let inner = self.named[name].clone();
            if found.insert(name.clone(), inner.clone()).is_none() {
                self.under(&inner, found);
            }
        }
    }

    fn start(&self, example: &str, state: Object, now: Timestamp) -> Run {
        let graph = self.examples[example].clone();
        let mut graphs = Graphs::new();
        self.under(&graph, &mut graphs);
        let function = |uses: &Arc<str>| FunctionRef {
            digest: Digest::of(b""),
            plugin: "basics".into(),
            version: "0.1.0".into(),
            function: uses.clone(),
            routes: Vec::new(),
            granted: false,
        };
        let all = graphs
            .values()
            .chain([&graph])
            .flat_map(|graph| graph.functions());
        let functions = all.map(|uses| (uses.clone(), function(uses))).collect();
        let id = RunId(uuid::Uuid::nil());
        Run::create(id, graph, Arc::new(graphs), state, functions, now)
            .start()
            .0
    }

    /// Runs an example to its end. Timers fire at once, and signals are sent when the run waits for them.
    fn run(&self, example: &str, state: Object, signals: &mut Vec<Value>) -> Value {
        // A day like any other: sleeps until the past are over at once.
        let mut now = Timestamp(1_790_000_000_000);
        let mut run = self.start(example, state, now);
        while !run.status.is_over() {
            let call = run.pending_work().find_map(|pending_work| match pending_work {
                PendingWork::Call { step, attempt } => Some((step, attempt)),
                PendingWork::Wait { .. } => None,
            });
            let input = if let Some((step, attempt)) = call {
                Input::Answered {
                    step,
                    attempt,
                    result: attempt_result(&run, step, attempt),
                }
            } else if let Some(signal) = (!signals.is_empty()).then(|| signals.remove(0)) {
                Input::Signal {
                    name: signal["name"].as_str().unwrap().into(),
                    payload: to_json(&signal["payload"]),
                    wait: signal["wait"].as_u64(),
                }
            } else {
                now = now.max(run.due().unwrap_or_else(|| panic!("{example} waits for ever")));
                Input::Due
            };
            decide(&mut run, input, now).unwrap_or_else(|refusal| panic!("{example}: {refusal}"));
        }
        let error = run.error.as_ref();
        json!({
            "status": run.status,
            "state": run.state(),
            "output": run.output(),
            "error": error.map(|error| json!({"code": error.kind, "message": error.message, "node": error.node})),
        })
    }
}

fn attempt_result(run: &Run, step: u64, attempt: u32) -> Result<Answer, Failure> {
    let call = run.prepare(step).unwrap()?;
    let value = |json: &Json| serde_json::from_str::<Value>(json.get()).unwrap();
    let input: Map<String, Value> = call
        .input
        .iter()
        .map(|(key, json)| (key.to_string(), value(json)))
        .collect();
    answer(
        &call.function.function,
        &input.into(),
        &value(&call.config),
        attempt,
    )
}

/// Compares the values that the page mentions: a state as a whole, an error by its listed keys.
fn assert_ends(example: &str, expected: &Value, ended: &Value) {
    for (key, expected) in expected.as_object().unwrap() {
        match expected.as_object().filter(|_| key == "error") {
            None => assert_eq!(
                &ended[key], expected,
                "{example} ends with another {key}: {ended}"
            ),
            Some(error) => error
                .iter()
                .for_each(|(part, expected)| assert_eq!(&ended[key][part], expected, "{example}: {ended}")),
        }
    }
}

#[test]
fn every_example_of_the_guide_ends_as_it_says() {
    let schema = jsonschema::validator_for(&serde_json::from_str(SCHEMA).unwrap()).unwrap();
    let mut page = Page::default();
    let mut state = Object::default();
    let mut signals: Vec<Value> = Vec::new();
    let mut ran: BTreeSet<&str> = BTreeSet::new();
    for Block { what, example, text } in blocks() {
        let value: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what} of {example}: {error}"));
        match what {
            "graph" => {
                let found: Vec<String> = schema
                    .iter_errors(&value)
                    .map(|error| error.to_string())
                    .collect();
                assert!(found.is_empty(), "{example}: {found:?}");
                page.create(example, &text);
            }
            "state" => state = object(value),
            "signal" => signals.push(value),
            "group" => {
                let group = page.start(example, state.clone(), Timestamp(0)).group();
                let group = group.unwrap().unwrap_or_else(|| panic!("{example} has no group"));
                assert_eq!(json!({"name": &*group.name, "at_once": group.at_once}), value);
            }
            "ends" => {
                let ended = page.run(example, std::mem::take(&mut state), &mut signals);
                assert!(signals.is_empty(), "{example} does not take {signals:?}");
                assert_ends(example, &value, &ended);
                ran.insert(example);
            }
            "wrong" | "found" | "file" => {}
            other => panic!("{example} has a block `{other}`"),
        }
    }
    let inner = |graph: &Arc<Graph>| {
        page.examples
            .values()
            .any(|outer| outer.graphs().any(|name| Some(name) == graph.name.as_ref()))
    };
    for (example, graph) in &page.examples {
        assert!(ran.contains(example) || inner(graph), "{example} is not run");
    }
    assert!(ran.len() >= 30, "{} examples ran", ran.len());
}

#[test]
fn mistakes_in_the_guide_are_found_as_it_says() {
    let blocks = blocks();
    let mut count = 0;
    for pair in blocks.windows(2).filter(|pair| pair[0].what == "wrong") {
        assert_eq!((pair[1].what, pair[1].example), ("found", pair[0].example));
        let (definition, form) = Definition::read(&pair[0].text);
        let checked = graph::check(&definition.expect("a JSON object with nodes"), find, |_| Ok(None));
        let found = graph::with_form(form, checked).expect_err("it is wrong");
        let expected: Vec<Value> = serde_json::from_str(&pair[1].text).unwrap();
        let found: Vec<Value> = found
            .into_shown()
            .into_iter()
            .filter(|found| found.severity == Severity::Error)
            .map(|found| json!(found))
            .collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(&expected) {
            expected
                .as_object()
                .unwrap()
                .iter()
                .for_each(|(key, value)| assert_eq!(&found[key], value));
        }
        count += expected.len();
    }
    assert!(count > 3);
}
