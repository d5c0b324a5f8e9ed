//! What follows from what happened: the only place where anything is decided about a run.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{Branch, Input, Outcome, Refusal, Route, Run, Status};
use crate::{
    event::{Event, Failure, FailureKind, FunctionRef, Next, Recorded, RunError},
    graph::{END, Edges, Graph, NodeIx},
    ids::{RunId, Timestamp},
    object::{Json, Object, kind_of},
};

/// The first branch of every run.
const ROOT: u32 = 0;

impl Run {
    /// Begins a run: gives it with the events that began it, already applied.
    pub fn start(
        id: RunId,
        graph: Arc<Graph>,
        state: Object,
        functions: BTreeMap<Arc<str>, FunctionRef>,
        now: Timestamp,
    ) -> (Self, Vec<Arc<Recorded>>) {
        let mut run = Self::empty(id, graph, now);
        let start = run.graph.start;
        let mut events = Events {
            run: &mut run,
            now,
            made: Vec::with_capacity(2),
        };
        let graph = events.run.graph.id.clone();
        events.push(Event::RunStarted {
            graph,
            state,
            functions,
        });
        events.visit(ROOT, start, None);
        let made = events.made;
        (run, made)
    }

    /// Decides what follows from `input`, applies it, and gives the events in order.
    ///
    /// # Errors
    /// A refusal where the input speaks for something that the run is not at; the run is as it was.
    pub fn take(&mut self, input: Input, now: Timestamp) -> Result<Vec<Arc<Recorded>>, Refusal> {
        decide(self, input, now)
    }
}

/// Decides what follows from `input`, applies it to `run`, and gives the events in order.
///
/// # Errors
/// A refusal where the input speaks for something that the run is not at; the run is as it was.
pub fn decide(run: &mut Run, input: Input, now: Timestamp) -> Result<Vec<Arc<Recorded>>, Refusal> {
    if run.status.is_over() {
        return Err(Refusal::Over);
    }
    let mut events = Events {
        run,
        now,
        made: Vec::with_capacity(2),
    };
    match input {
        Input::Answered {
            step,
            attempt,
            result,
        } => {
            let (id, branch) = events.latest(step, attempt)?;
            match result.and_then(|outcome| Ok((events.next(&branch, &outcome.route)?, outcome.update))) {
                Ok((next, update)) => events.finish(id, &branch, update, next),
                Err(failure) => events.fail(&branch, failure),
            }
        }
        Input::Logged { step, attempt, lines } => {
            let (_, branch) = events.latest(step, attempt)?;
            let node = events.run.graph.node(branch.node).name.clone();
            for (level, message) in lines {
                events.push(Event::Log {
                    step,
                    node: node.clone(),
                    attempt,
                    level,
                    message,
                });
            }
        }
        Input::Resumed => {
            let branches: Vec<(u32, Branch)> = events.run.branches.clone().into_iter().collect();
            for (id, branch) in branches {
                events.visit(id, branch.node, Some(&branch));
            }
        }
    }
    Ok(events.made)
}

/// Events in the making: each is applied as it is made, so that the next one follows from it.
struct Events<'r> {
    run: &'r mut Run,
    now: Timestamp,
    made: Vec<Arc<Recorded>>,
}

impl Events<'_> {
    fn push(&mut self, event: Event) {
        let recorded = Arc::new(Recorded {
            seq: self.run.seq + 1,
            at: self.now,
            event,
        });
        self.run.apply(&recorded);
        self.made.push(recorded);
    }

    /// The branch at a step, if `attempt` is its latest.
    fn latest(&self, step: u64, attempt: u32) -> Result<(u32, Branch), Refusal> {
        match self.run.branch_at(step) {
            Some((id, branch)) if branch.attempt == attempt => Ok((id, branch.clone())),
            _ => Err(Refusal::Stale),
        }
    }

    /// Where a route leads from the branch's node.
    fn next(&self, branch: &Branch, route: &Route) -> Result<Option<NodeIx>, Failure> {
        let graph = &self.run.graph;
        let node = graph.node(branch.node);
        match route {
            Route::Edges => Ok(match node.edges {
                Edges::End => None,
                Edges::To(next) => Some(next),
            }),
            Route::Again => Ok(Some(branch.node)),
            Route::End => Ok(None),
            Route::Goto(names) => match names.as_slice() {
                [name] if name == END => Ok(None),
                [name] => graph
                    .find(name)
                    .map(Some)
                    .ok_or_else(|| no_such_node(graph, &node.name, name)),
                [] => Err(invalid(format!(
                    "node `{}` answered an empty `next`: name a node, or \"end\"",
                    node.name
                ))),
                _ => Err(invalid(format!(
                    "node `{}` answered several nodes in `next` ({}): a branch goes to one node",
                    node.name,
                    names.join(", ")
                ))),
            },
        }
    }

    fn finish(&mut self, id: u32, branch: &Branch, update: Object, next: Option<NodeIx>) {
        let graph = self.run.graph.clone();
        self.push(Event::StepFinished {
            step: branch.step,
            node: graph.node(branch.node).name.clone(),
            attempt: branch.attempt,
            update,
            next: next.map_or(Next::End, |next| Next::Node(graph.node(next).name.clone())),
        });
        match next {
            Some(next) if self.run.steps >= graph.max_steps => {
                let (node, limit) = (graph.node(next).name.clone(), graph.max_steps);
                self.push(Event::RunFailed {
                    error: RunError {
                        code: "step_limit".into(),
                        message: format!(
                            "the run took {limit} steps, its limit, and was about to visit `{node}`: \
                             it may be in an endless loop; if not, raise `limits.steps` in the graph"
                        )
                        .into(),
                        node,
                        step: branch.step,
                        attempt: branch.attempt,
                        data: None,
                    },
                });
            }
            Some(next) => self.visit(id, next, None),
            None => self.push(Event::RunFinished),
        }
    }

    /// Begins a step, or the next attempt of one.
    fn visit(&mut self, id: u32, node: NodeIx, again: Option<&Branch>) {
        let (step, attempt) = match again {
            Some(branch) => (branch.step, branch.attempt + 1),
            None => (self.run.steps + 1, 1),
        };
        let node = self.run.graph.node(node).name.clone();
        self.push(Event::StepStarted {
            step,
            branch: id,
            node,
            attempt,
        });
    }

    fn fail(&mut self, branch: &Branch, failure: Failure) {
        let node = self.run.graph.node(branch.node).name.clone();
        let (step, attempt) = (branch.step, branch.attempt);
        self.push(Event::StepFailed {
            step,
            node: node.clone(),
            attempt,
            failure: failure.clone(),
        });
        let error = RunError {
            code: failure.kind.as_str().into(),
            message: failure.message,
            node,
            step,
            attempt,
            data: failure.data,
        };
        self.push(Event::RunFailed { error });
    }
}

impl Run {
    /// A run before its first event.
    pub(super) fn empty(id: RunId, graph: Arc<Graph>, now: Timestamp) -> Self {
        Self {
            id,
            graph,
            functions: Arc::default(),
            status: Status::Running,
            state: Object::default(),
            branches: BTreeMap::new(),
            steps: 0,
            seq: 0,
            started_at: now,
            updated_at: now,
            error: None,
        }
    }
}

fn no_such_node(graph: &Graph, from: &str, name: &str) -> Failure {
    let names = graph.nodes.iter().map(|node| &*node.name);
    let hint = crate::graph::nearest(name, names)
        .map(|near| format!("; did it mean `{near}`?"))
        .unwrap_or_default();
    invalid(format!(
        "node `{from}` answered `next`: `{name}`, which is no node of the graph{hint}"
    ))
}

fn invalid(message: String) -> Failure {
    Failure::new(FailureKind::InvalidOutcome, message)
}

pub(super) fn outcome_of_tool(result: &Json) -> Result<Outcome, Failure> {
    let mut update = Object::parse(result.get()).map_err(|_| {
        let kind = kind_of(result.get()).unwrap_or("nothing");
        invalid(format!(
            "a tool that is used as a node must answer a JSON object, whose keys enter the state; it answered {kind}"
        ))
    })?;
    let again = match update.remove("loop").as_deref().map(|value| value.get()) {
        None | Some("false" | "null") => false,
        Some("true") => true,
        Some(other) => {
            return Err(invalid(format!(
                "`loop` must be true or false, got {}",
                clip(other)
            )));
        }
    };
    let next = match update.remove("next") {
        None => None,
        Some(value) => match serde_json::from_str(value.get()) {
            Ok(Value::Null) => None,
            Ok(Value::String(name)) => Some(vec![name]),
            Ok(Value::Array(names)) if names.iter().all(Value::is_string) => Some(
                names
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            ),
            _ => {
                return Err(invalid(format!(
                    "`next` must be a node's name or a list of names, got {}",
                    clip(value.get())
                )));
            }
        },
    };
    let route = match (again, next) {
        (true, _) => Route::Again,
        (false, Some(names)) => Route::Goto(names),
        (false, None) => Route::Edges,
    };
    Ok(Outcome { update, route })
}

/// The beginning of a text that may be long.
fn clip(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
