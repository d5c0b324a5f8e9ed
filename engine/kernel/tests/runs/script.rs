//! Plays a script. Its first line is the graph. The second line is the state at the start, after `queued` for a queued
//! run. Lines `with NAME GRAPH` before them define inner graphs. Each further line is an input:
//!
//!     answer UPDATE              the function answers, and the branch follows the edges
//!     again UPDATE               … the node is visited again
//!     goto NODE,NODE UPDATE      … the branch goes to these nodes
//!     end UPDATE                 … the branch ends
//!     tool RESULT                a tool answers: `next` and `loop` in the result route the branch
//!     fail KIND MESSAGE          the function fails
//!     log LEVEL MESSAGE          the function logs a line
//!     stale UPDATE               an earlier attempt answers
//!     resume                     an engine activates the run after a crash
//!     at MS                      timers are handled, this many milliseconds after the start
//!     signal NAME PAYLOAD        a signal is sent
//!     signal NAME@STEP PAYLOAD   … for the wait of a step
//!     cancel REASON              the run is cancelled
//!     cancel within MS REASON    … with a grace period for active calls
//!     pause REASON               the run is paused
//!     go on                      the run is resumed while all its calls are active
//!     go on without NODE,NODE    … except the calls at these nodes
//!     retry                      a failed run is retried
//!     upgrade GRAPH              the run is upgraded to another graph
//!     fork STEP EDITS            the script continues with a fork of the run after this step
//!
//! The lines `waits` and `branches` show the run's waits and branches.
//!
//! `b: answer …` is for the call at node `b`, `each#2: …` for item 2 of a map. Without a name, it is for the first
//! active call.

use std::{collections::BTreeMap, sync::Arc};

use expect_test::Expect;
use heddle_json::{Object, object::json};
use heddle_kernel::{
    Answer, Definition, Digest, Event, EventRecord, Failure, FailureKind, Function, FunctionKind, Graph,
    Input, Level, Next, Outcome, PendingWork, Route, Run, RunId, Timestamp,
    event::{FailureAction, FunctionRef},
    graph,
    run::{Graphs, Snapshot, Upgrade},
};

use crate::calls::decide;

/// Two nodes in a line.
pub(crate) const LINE: &str =
    r#"{"nodes": {"extract": {}, "analyze": {}}, "edges": {"extract": "analyze", "analyze": "end"}}"#;

pub(crate) fn make(definition: &str) -> Graph {
    let any = |_: &str| {
        Ok(Function {
            kind: FunctionKind::Node,
            routes: Vec::new(),
            input: serde_json::Value::Null,
            output: serde_json::Value::Null,
        })
    };
    let definition = Definition::parse(definition).expect("a definition of the right form");
    graph::check(&definition, any, |_| Ok(None))
        .expect("a graph without errors")
        .0
}

/// A started run of this graph with an empty state. `configure` sets its limits before the first step.
pub(crate) fn started(definition: &str, configure: impl FnOnce(&mut Run)) -> Run {
    let graph = Arc::new(make(definition));
    let functions = functions(std::iter::once(&graph));
    let id = RunId(uuid::Uuid::from_u128(7));
    let state = Object::default();
    let mut unstarted = Run::create(id, graph, Arc::default(), state, functions, Timestamp(0));
    configure(&mut unstarted.run);
    unstarted.start().0
}

pub(crate) fn functions<'g>(graphs: impl Iterator<Item = &'g Arc<Graph>>) -> BTreeMap<Arc<str>, FunctionRef> {
    let function = |uses: &Arc<str>| FunctionRef {
        digest: Digest::of(b"component"),
        plugin: "p".into(),
        version: "1.0.0".into(),
        function: uses.clone(),
        routes: Vec::new(),
        granted: false,
    };
    graphs
        .flat_map(|graph| graph.functions())
        .map(|uses| (uses.clone(), function(uses)))
        .collect()
}

fn show(recorded: &EventRecord) -> String {
    let seq = recorded.seq;
    match &recorded.event {
        Event::RunStarted { state, .. } => format!("{seq} run started {state:?}"),
        Event::StepStarted {
            step,
            node,
            attempt,
            within,
            joined,
            item,
            until,
            undoes,
            branch,
            wait,
        } => {
            let mut text = format!("{seq} step {step} at {node}, attempt {attempt}");
            if *within > 0 {
                text += &format!(", within {within}");
            }
            if let Some(item) = item {
                text += &format!(", item {} of {}", item.index, item.of);
            }
            if !joined.is_empty() {
                text += &format!(", branch {branch} joins {joined:?}");
            }
            if let Some(until) = until {
                text += &format!(", until {}", until.0);
            }
            if let Some(undone) = undoes {
                text += &format!(", undoes {undone}");
            }
            if let Some(signal) = wait.as_ref().and_then(|wait| wait.signal.as_ref()) {
                text += &format!(", for {signal}");
            }
            if let Some(prompt) = wait.as_ref().and_then(|wait| wait.prompt.as_ref()) {
                text += &format!(", asks {prompt:?}");
            }
            text
        }
        Event::GraphStarted { step, graph, state } => {
            format!("{seq} step {step} runs {graph} with {state:?}")
        }
        Event::MapStarted { step, items } => format!("{seq} step {step} maps {items}"),
        Event::Log {
            step, level, message, ..
        } => format!("{seq} step {step} logs {}: {message}", level.as_str()),
        Event::StepFinished {
            step,
            update,
            next,
            signal,
            ..
        } => {
            let next = match next {
                Next::Node(node) => format!("next {node}"),
                Next::End => "end".to_owned(),
                Next::Fork(arms) => {
                    let arms = arms.iter().map(|arm| format!("{} to {}", arm.branch, arm.to));
                    format!("fork {}", arms.collect::<Vec<_>>().join(", "))
                }
            };
            let by = signal.map(|seq| format!(" by signal {seq}")).unwrap_or_default();
            format!("{seq} step {step} gives {update:?}{by}, {next}")
        }
        Event::ItemFinished {
            step, item, result, ..
        } => {
            let result = result.as_ref().map_or("nothing", |result| result.get());
            format!(
                "{seq} step {step} gives item {} of {}: {result}",
                item.index, item.of
            )
        }
        Event::StepFailed {
            step, failure, then, ..
        } => {
            let then = match then {
                FailureAction::Raise => String::new(),
                FailureAction::Item => ", left out".to_owned(),
                FailureAction::Retry(at) => format!(", again at {}", at.0),
                FailureAction::Goto(node) => format!(", next {node}"),
            };
            format!(
                "{seq} step {step} fails ({}){then}: {failure}",
                failure.kind.as_str()
            )
        }
        Event::SignalReceived { name, payload, wait } => {
            let wait = wait.map(|wait| format!(" for wait {wait}")).unwrap_or_default();
            format!("{seq} signal {name} {payload}{wait}")
        }
        Event::RunForked {
            from, step, edits, ..
        } => format!("{seq} run forked from {from} after step {step} with {edits:?}"),
        Event::RunPaused { reason } => format!("{seq} run paused: {reason}"),
        Event::RunResumed => format!("{seq} run resumed"),
        Event::RunRetried => format!("{seq} run retried"),
        Event::RunUpgraded { .. } => format!("{seq} run upgraded"),
        Event::CancelRequested { reason, until } => {
            format!(
                "{seq} cancel requested, calls may answer until {}: {reason}",
                until.0
            )
        }
        Event::UndoStarted { error, reason } => match (error, reason) {
            (Some(error), _) => format!("{seq} undo, since {}", error.message),
            (None, reason) => format!("{seq} undo, since {}", reason.as_deref().unwrap_or_default()),
        },
        Event::RunFinished => format!("{seq} run finished"),
        Event::RunFailed { error } => format!(
            "{seq} run failed ({}) at {}: {}",
            error.kind.as_str(),
            error.node,
            error.message
        ),
        Event::RunCancelled { reason, problems } => {
            let problems = problems
                .iter()
                .map(|problem| format!("; {problem}"))
                .collect::<String>();
            format!("{seq} run cancelled: {reason}{problems}")
        }
    }
}

fn split(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap_or((line, ""))
}

/// The call that a line names.
fn call(run: &Run, place: Option<&str>) -> (u64, u32) {
    let calls = run.pending_work().filter_map(|pending_work| match pending_work {
        PendingWork::Call { step, attempt } => Some((step, attempt)),
        PendingWork::Wait { .. } => None,
    });
    let mut meant =
        calls.filter(
            |(step, _)| match place.map(|place| place.split_once('#').unwrap_or((place, ""))) {
                None => true,
                Some((node, index)) => {
                    run.node_of(*step).as_deref() == Some(node)
                        && run.active_step(*step).is_some_and(|task| match task.item {
                            Some(item) => item.index.to_string() == index,
                            None => index.is_empty(),
                        })
                }
            },
        );
    meant.next().unwrap_or((1, 1))
}

fn happens(run: &Run, line: &str) -> Input {
    let (place, line) = match line.split_once(": ") {
        Some((place, rest)) if !place.contains(' ') => (Some(place), rest),
        _ => (None, line),
    };
    let (verb, rest) = split(line);
    let (step, attempt) = call(run, place);
    let outcome = |route: Route, text: &str| {
        let update = Object::parse(if text.is_empty() { "{}" } else { text }).unwrap();
        Ok(Answer::Outcome(Outcome { update, route }))
    };
    let result = match verb {
        "answer" | "stale" => outcome(Route::Edges, rest),
        "again" => outcome(Route::Again, rest),
        "end" => outcome(Route::End, rest),
        "goto" => {
            let (names, rest) = split(rest);
            let names = names.split(',').filter(|name| !name.is_empty());
            outcome(Route::Goto(names.map(str::to_owned).collect()), rest)
        }
        "tool" => Ok(Answer::Result(json(rest).unwrap())),
        "fail" => {
            let (kind, message) = split(rest);
            let kind = serde_json::from_value(kind.into()).unwrap_or(FailureKind::Trap);
            Err(Failure::new(kind, message))
        }
        "log" => {
            let level = if rest.starts_with("warn") {
                Level::Warn
            } else {
                Level::Info
            };
            let lines = [(level, Arc::from(split(rest).1))].into();
            return Input::Logged { step, attempt, lines };
        }
        "resume" => return Input::Activate,
        "at" => return Input::Due,
        "signal" => {
            let (name, payload) = split(rest);
            // `name@5` is for the wait of step 5.
            let (name, wait) = match name.split_once('@') {
                Some((name, wait)) => (name, Some(wait.parse().expect("a step"))),
                None => (name, None),
            };
            return Input::Signal {
                name: name.into(),
                payload: json(if payload.is_empty() { "null" } else { payload }).unwrap(),
                wait,
            };
        }
        "cancel" => {
            let (grace_ms, reason) = match rest.strip_prefix("within ").map(split) {
                Some((ms, reason)) => (ms.parse().expect("milliseconds"), reason),
                None => (0, rest),
            };
            return Input::Cancel {
                reason: reason.into(),
                grace_ms,
            };
        }
        "pause" => return Input::Pause { reason: rest.into() },
        "go" => {
            let lost: Vec<&str> = rest
                .strip_prefix("on without ")
                .map_or(Vec::new(), |rest| rest.split(',').collect());
            let calls = run.pending_work().filter_map(|pending_work| match pending_work {
                PendingWork::Call { step, .. } => Some(step),
                PendingWork::Wait { .. } => None,
            });
            let there = calls.filter(|step| !lost.contains(&&*run.node_of(*step).expect("an active step")));
            return Input::Resume {
                active_calls: there.collect(),
            };
        }
        "retry" => return Input::Retry,
        "upgrade" => {
            let graph = Arc::new(make(rest));
            // The graphs that it runs stay those that they are, but for itself.
            let mut graphs = (*run.graphs).clone();
            if let Some(own) = graph.name.as_ref().and_then(|name| graphs.get_mut(name)) {
                *own = graph.clone();
            }
            return Input::Upgrade(Box::new(Upgrade {
                functions: functions(graphs.values().chain([&graph])),
                graph,
                graphs: Arc::new(graphs),
            }));
        }
        other => panic!("no such verb: {other}"),
    };
    let attempt = if verb == "stale" { attempt - 1 } else { attempt };
    Input::Answered {
        step,
        attempt,
        result,
    }
}

/// The time of the first timer.
fn earliest(run: &Run) -> Option<Timestamp> {
    let waits = run.pending_work().filter_map(|pending_work| match pending_work {
        PendingWork::Wait { until, .. } => until,
        PendingWork::Call { .. } => None,
    });
    waits.min()
}

/// Folds a run from its events; upgrades name the graphs in `later`.
fn fold(
    first: (Arc<Graph>, Arc<Graphs>),
    later: &[(Arc<Graph>, Arc<Graphs>)],
    journal: &[Arc<EventRecord>],
) -> Run {
    let mut later = later.iter();
    let mut run = Run::from_first(RunId(uuid::Uuid::nil()), first.0, first.1, &journal[0]).unwrap();
    for event in &journal[1..] {
        if matches!(event.event, Event::RunUpgraded { .. }) {
            let (graph, graphs) = later.next().expect("an upgrade's graphs").clone();
            run.stage(graph, graphs);
        }
        run.fold(event).unwrap();
    }
    run
}

/// The run, restored from its snapshot.
pub(crate) fn restored(run: &Run) -> Run {
    let snapshot = run.snapshot();
    let read = Snapshot::read(snapshot.get()).unwrap();
    assert_eq!((read.seq, &read.graph), (run.seq, &run.graph.id));
    let back = read
        .restore(run.id, run.graph.clone(), run.graphs.clone())
        .unwrap();
    assert_eq!(format!("{run:?}"), format!("{back:?}"));
    assert_eq!(snapshot.get(), back.snapshot().get());
    back
}

/// The run after a step.
fn after(
    step: u64,
    first: &(Arc<Graph>, Arc<Graphs>),
    later: &[(Arc<Graph>, Arc<Graphs>)],
    journal: &[Arc<EventRecord>],
) -> Run {
    let end = match step {
        0 => Some(0),
        step => journal
            .iter()
            .position(|event| event.event.ends_step() == Some(step)),
    };
    fold(
        first.clone(),
        later,
        &journal[..=end.expect("a step that is over")],
    )
}

/// The waits of a run, or its branches.
fn shown(run: &Run, what: &str) -> Vec<String> {
    if what == "branches" {
        let all = run.branches().into_iter().map(|of| {
            let node = of.node.as_deref().unwrap_or("the end");
            let step = of.step.map(|step| format!(", step {step}")).unwrap_or_default();
            let within = if of.within == 0 {
                String::new()
            } else {
                format!(" within {}", of.within)
            };
            format!(
                "- branch {}{within} is {:?} {node}{step}: {:?}",
                of.branch, of.place, of.changed
            )
        });
        return all.collect();
    }
    let all = run.waits().map(|wait| {
        let items = wait.items.iter().map(|item| match &item.key {
            Some(key) => format!("{}[{key}]", item.node),
            None => format!("{}[{}]", item.node, item.index),
        });
        let place: Vec<String> = items.chain([wait.node.to_string()]).collect();
        format!(
            "- wait {} at {} since {} for {}, asks {}",
            wait.step,
            place.join("/"),
            wait.since.0,
            wait.signal.as_deref().unwrap_or("time"),
            wait.prompt.as_deref().unwrap_or("nothing")
        )
    });
    all.collect()
}

/// Plays a script and compares the events.
pub(crate) fn check(script: &str, expected: Expect) {
    expected.assert_eq(&play(script));
}

/// Plays a script and shows the events, and finally the run's state.
pub(crate) fn play(script: &str) -> String {
    let mut lines = script.trim().lines().map(str::trim).peekable();
    let mut graphs = Graphs::new();
    while let Some(with) = lines.peek().and_then(|line| line.strip_prefix("with ")) {
        let (name, definition) = split(with);
        graphs.insert(name.into(), Arc::new(make(definition)));
        lines.next();
    }
    let graph = Arc::new(make(lines.next().expect("a graph")));
    if let Some(name) = &graph.name {
        graphs.entry(name.clone()).or_insert_with(|| graph.clone());
    }
    let named: Vec<Arc<str>> = graphs
        .values()
        .chain([&graph])
        .flat_map(|graph| graph.graphs().cloned())
        .collect();
    graphs.retain(|name, _| named.contains(name));
    let mut state = lines.next().expect("a state");
    let queued = state
        .strip_prefix("queued ")
        .inspect(|rest| state = rest)
        .is_some();
    let state = Object::parse(state).expect("an object");
    let id = RunId(uuid::Uuid::nil());
    let functions = functions(graphs.values().chain([&graph]));
    let mut first = (graph.clone(), Arc::new(graphs));
    let mut later = Vec::new();
    let unstarted = Run::create(id, graph, first.1.clone(), state, functions, Timestamp(0));
    let (mut run, mut journal) = if queued {
        unstarted.queue()
    } else {
        unstarted.start()
    };
    let mut report: Vec<String> = journal.iter().map(|event| show(event)).collect();
    let mut now = 0;
    for line in lines {
        if line == "waits" || line == "branches" {
            report.extend(shown(&run, line));
            continue;
        }
        now = match line.strip_prefix("at ") {
            Some(ms) => ms.parse().expect("milliseconds"),
            None => now + 1,
        };
        let decided = if let Some((step, edits)) = line.strip_prefix("fork ").map(split) {
            let of = after(step.parse().expect("a step"), &first, &later, &journal);
            let edits = Object::parse(if edits.is_empty() { "{}" } else { edits }).unwrap();
            Run::fork(id, &of, step.parse().unwrap(), edits, Timestamp(now)).map(|(fork, events)| {
                first = (fork.graph.clone(), fork.graphs.clone());
                later.clear();
                journal.clear();
                run = fork;
                events
            })
        } else {
            let input = happens(&run, line);
            decide(&mut run, input, Timestamp(now))
        };
        match decided {
            Ok(events) => {
                report.extend(events.iter().map(|event| show(event)));
                let upgraded = |event: &Arc<EventRecord>| matches!(event.event, Event::RunUpgraded { .. });
                later.extend(
                    events
                        .iter()
                        .any(upgraded)
                        .then(|| (run.graph.clone(), run.graphs.clone())),
                );
                journal.extend(events);
            }
            Err(refusal) => report.push(format!("- refused: {refusal}")),
        }
        if run.graph.max_time_ms.is_none() && !run.is_suspended() {
            assert_eq!(run.due(), earliest(&run), "after {line}");
        }
        // A run can continue from a snapshot at any time.
        run = restored(&run);
    }
    report.push(format!("{} {:?}", run.shown_status().as_str(), run.state()));

    // The run always equals the fold of its journal, also if the journal was stored as text.
    let stored: Vec<Arc<EventRecord>> = journal
        .iter()
        .map(|event| Arc::new(serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap()))
        .collect();
    let folded = fold(first, &later, &stored);
    assert_eq!(format!("{run:?}"), format!("{folded:?}"));
    assert_eq!(run.snapshot().get(), folded.snapshot().get());
    report.join("\n")
}
