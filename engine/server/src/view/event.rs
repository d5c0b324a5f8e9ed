//! Events as clients see them.
//!
//! The view depends only on the event, so WebSockets, event streams, pages and `logs` show the same object.

mod message;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{Json, Object, tokens::in_one_line};
use heddle_kernel::{
    Event, EventRecord, Level, Next, RunId,
    event::{Arm, FailureAction, FunctionRef, Item},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    failure::{ErrorView, FailureView},
    moment::Moment,
    names::LevelDoc,
};

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventType {
    RunStarted,
    RunForked,
    RunPaused,
    RunResumed,
    RunRetried,
    RunUpgraded,
    CancelRequested,
    StepStarted,
    GraphStarted,
    MapStarted,
    Log,
    StepFinished,
    ItemFinished,
    StepFailed,
    SignalReceived,
    UndoStarted,
    RunFinished,
    RunFailed,
    RunCancelled,
}

/// An event of a run. WebSockets, event streams, pages and `logs` show the same object.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event, example = json!({
    "seq": 3, "at": "2026-11-22T19:33:00.123Z", "run_id": "019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10",
    "type": "step_finished", "level": "info", "message": "extract finished, next analyze",
    "node": "extract", "step": 1, "attempt": 1, "next": "analyze", "update": {"words": ["some", "data"]}
}))]
pub(crate) struct EventView {
    /// The number of the event in the run: from 1, without gaps.
    pub(crate) seq: u64,
    /// When the event was recorded.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// The run's id (UUID).
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The type of the event.
    #[serde(rename = "type")]
    kind: EventType,
    /// The level of the event.
    #[schema(value_type = LevelDoc)]
    level: Level,
    /// A description of the event in one line.
    #[schema(value_type = String)]
    message: Arc<str>,
    /// The name of the node that the event is about; absent if it is about the whole run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    node: Option<Arc<str>>,
    /// The number of the step in the run, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    /// The attempt, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// `step_started`: the branch of the step; absent for the first branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<u32>,
    /// `step_started`: the step that runs the subgraph to which this step belongs; absent in the run's own graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<u64>,
    /// `step_started`: the branches that joined this branch here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    joined: Vec<u32>,
    /// `step_started`, `item_finished`: the map item of the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<ItemView>,
    /// `step_started`: when a sleep or a wait ends at the latest. `step_failed`: when the next attempt starts.
    /// `cancel_requested`: when active calls are stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Moment>,
    /// `step_started`: the step that this step compensates.
    #[serde(skip_serializing_if = "Option::is_none")]
    undoes: Option<u64>,
    /// `run_started`, `run_forked`, `run_upgraded`: the id of the graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^[0-9a-f]{32}$")]
    graph_id: Option<Arc<str>>,
    /// `run_forked`: the run and the step from which the run was forked.
    #[serde(skip_serializing_if = "Option::is_none")]
    forked_from: Option<ForkedFrom>,
    /// `run_forked`: the state overrides.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    edits: Option<Object>,
    /// `graph_started`: the subgraph, as the node names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    graph: Option<Arc<str>>,
    /// `run_started`, `graph_started`: the initial state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    state: Option<Object>,
    /// `run_started`, `run_forked`, `run_upgraded`: the exact function that the run calls for each function name in the
    /// graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, FunctionRefView>>)]
    functions: Option<BTreeMap<Arc<str>, FunctionRefView>>,
    /// `run_started`, `run_forked`, `run_upgraded`: the id of the graph that the run uses for each subgraph name in the
    /// graph.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    graphs: BTreeMap<Arc<str>, Arc<str>>,
    /// `map_started`: the list or object of items.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    items: Option<Json>,
    /// `step_finished`: where the branch continues. `step_failed`: the node that handles the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<NextView>,
    /// `step_finished`: the state keys that changed, with their new values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    update: Option<Object>,
    /// `step_finished`: the number of the `signal_received` event that ended the wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<u64>,
    /// `item_finished`: the item's result; absent for a failed item that the map skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    result: Option<Json>,
    /// `step_started`: the signal name of a wait, if the graph computes it with an expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    wait_signal: Option<Arc<str>>,
    /// `step_started`: the prompt of a wait, if the graph computes it with an expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    wait_prompt: Option<Arc<str>>,
    /// `signal_received`: the wait that the sender named.
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<u64>,
    /// `signal_received`: the signal's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    name: Option<Arc<str>>,
    /// `signal_received`: the signal's payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    payload: Option<Json>,
    /// `step_failed`: why the attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
    /// `step_failed`: the failure action. `raise`: the step's graph fails; `retry`: the next attempt starts at `until`;
    /// `goto`: the branch continues at `next`; `item`: the map continues without the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    then: Option<FailureActionView>,
    /// `run_failed`, `undo_started`: why the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorView>,
    /// `run_paused`, `cancel_requested`, `run_cancelled`, `undo_started`: the reason that the client gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<Arc<str>>,
    /// `run_cancelled`: the compensations that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    problems: Vec<Arc<str>>,
}

/// What the engine does after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = FailureAction)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureActionView {
    /// The step's graph fails.
    Raise,
    /// The step is attempted again.
    Retry,
    /// The branch continues at another node.
    Goto,
    /// The map continues without the item.
    Item,
}

/// The origin of a forked run.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct ForkedFrom {
    /// The id of the original run (UUID).
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The step after which the fork starts; 0 for the initial state.
    step: u64,
}

/// An item of a map.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Item)]
pub(crate) struct ItemView {
    /// The step of the map.
    of: u64,
    /// The item's index, from 0. The list of steps also has the key of an item of an object.
    index: u32,
}

/// Where a branch continues: a node or `end`; after a fork, the list of the new branches.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Next)]
#[serde(untagged)]
pub(crate) enum NextView {
    /// A node, or `end`.
    One(String),
    /// The branches of a fork, in their order.
    Fork(Vec<ArmView>),
}

/// One of the branches of a fork.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Arm)]
pub(crate) struct ArmView {
    /// The number of the new branch.
    branch: u32,
    /// The node at which the branch starts, or `end`.
    #[schema(value_type = String)]
    to: Arc<str>,
}

impl From<&Item> for ItemView {
    fn from(item: &Item) -> Self {
        let Item { of, index } = *item;
        Self { of, index }
    }
}

impl From<&Next> for NextView {
    fn from(next: &Next) -> Self {
        match next {
            Next::Node(node) => Self::One(node.to_string()),
            Next::End => Self::One(heddle_kernel::graph::END.to_owned()),
            Next::Fork(arms) => Self::Fork(arms.iter().map(ArmView::from).collect()),
        }
    }
}

impl From<&Arm> for ArmView {
    fn from(arm: &Arm) -> Self {
        let Arm { branch, to } = arm;
        Self {
            branch: *branch,
            to: to.clone(),
        }
    }
}

impl EventView {
    /// Builds the view of an event of a run.
    pub(crate) fn of(run: RunId, record: &EventRecord) -> Self {
        let event = &record.event;
        Self {
            seq: record.seq,
            at: Moment(record.at),
            run_id: run,
            kind: EventType::of(event),
            level: level(event),
            message: message::of(event),
            node: None,
            step: None,
            attempt: None,
            branch: None,
            within: None,
            joined: Vec::new(),
            item: None,
            until: None,
            undoes: None,
            graph_id: None,
            forked_from: None,
            edits: None,
            graph: None,
            state: None,
            functions: None,
            graphs: BTreeMap::new(),
            items: None,
            next: None,
            update: None,
            signal: None,
            wait_signal: None,
            wait_prompt: None,
            wait: None,
            result: None,
            name: None,
            payload: None,
            failure: None,
            then: None,
            error: None,
            reason: None,
            problems: Vec::new(),
        }
        .with_details(event)
    }

    /// Sets the fields that depend on the type of the event.
    fn with_details(self, event: &Event) -> Self {
        match event {
            Event::RunStarted { state, .. } => Self {
                state: Some(state.clone()),
                ..self.with_pins(event)
            },
            Event::StepStarted { .. } => self.with_step_start(event),
            Event::GraphStarted { step, graph, state } => Self {
                step: Some(*step),
                graph: Some(graph.clone()),
                state: Some(state.clone()),
                ..self
            },
            Event::MapStarted { step, items } => Self {
                step: Some(*step),
                items: Some(items.clone()),
                ..self
            },
            Event::Log {
                step, node, attempt, ..
            } => self.at_step(node, *step, *attempt),
            Event::StepFinished { .. } | Event::ItemFinished { .. } | Event::StepFailed { .. } => {
                self.with_step_end(event)
            }
            Event::SignalReceived { name, payload, wait } => Self {
                wait: *wait,
                name: Some(name.clone()),
                payload: Some(payload.clone()),
                ..self
            },
            Event::UndoStarted { error, reason } => Self {
                error: error.as_ref().map(ErrorView::from),
                reason: reason.clone(),
                ..self
            },
            Event::RunForked {
                from, step, edits, ..
            } => Self {
                forked_from: Some(ForkedFrom {
                    run_id: *from,
                    step: *step,
                }),
                edits: Some(edits.clone()).filter(|edits| !edits.is_empty()),
                ..self.with_pins(event)
            },
            Event::RunUpgraded { .. } => self.with_pins(event),
            Event::RunPaused { reason } => Self {
                reason: Some(reason.clone()),
                ..self
            },
            Event::CancelRequested { reason, until } => Self {
                reason: Some(reason.clone()),
                until: Some(Moment(*until)),
                ..self
            },
            Event::RunFinished | Event::RunResumed | Event::RunRetried => self,
            Event::RunFailed { error } => Self {
                error: Some(error.into()),
                node: Some(error.node.clone()),
                step: error.step,
                attempt: error.attempt,
                ..self
            },
            Event::RunCancelled { reason, problems } => Self {
                reason: Some(reason.clone()),
                problems: problems.clone(),
                ..self
            },
        }
    }

    fn with_pins(self, event: &Event) -> Self {
        let (Event::RunStarted {
            graph,
            functions,
            graphs,
            ..
        }
        | Event::RunForked {
            graph,
            functions,
            graphs,
            ..
        }
        | Event::RunUpgraded {
            graph,
            functions,
            graphs,
        }) = event
        else {
            return self;
        };
        let functions = functions.iter().map(|(name, at)| (name.clone(), at.into()));
        let graphs = graphs.iter().map(|(name, id)| (name.clone(), id.0.clone()));
        Self {
            graph_id: Some(graph.0.clone()),
            functions: Some(functions.collect()),
            graphs: graphs.collect(),
            ..self
        }
    }

    fn with_step_start(self, event: &Event) -> Self {
        let Event::StepStarted {
            step,
            branch,
            node,
            attempt,
            within,
            joined,
            item,
            until,
            undoes,
            wait,
        } = event
        else {
            return self;
        };
        Self {
            branch: Some(*branch).filter(|branch| *branch != 0),
            within: Some(*within).filter(|within| *within != 0),
            joined: joined.clone(),
            item: item.as_ref().map(ItemView::from),
            until: until.map(Moment),
            undoes: *undoes,
            wait_signal: wait.as_ref().and_then(|wait| wait.signal.clone()),
            wait_prompt: wait.as_ref().and_then(|wait| wait.prompt.clone()),
            ..self.at_step(node, *step, *attempt)
        }
    }

    fn with_step_end(self, event: &Event) -> Self {
        match event {
            Event::StepFinished {
                step,
                node,
                attempt,
                update,
                next,
                signal,
            } => Self {
                next: Some(next.into()),
                update: Some(update.clone()),
                signal: *signal,
                ..self.at_step(node, *step, *attempt)
            },
            Event::ItemFinished {
                step,
                node,
                item,
                attempt,
                result,
            } => Self {
                item: Some(item.into()),
                result: result.clone(),
                ..self.at_step(node, *step, *attempt)
            },
            Event::StepFailed {
                step,
                node,
                attempt,
                failure,
                then,
            } => {
                let (then, until, next) = match then {
                    FailureAction::Raise => (FailureActionView::Raise, None, None),
                    FailureAction::Retry(at) => (FailureActionView::Retry, Some(Moment(*at)), None),
                    FailureAction::Goto(node) => (
                        FailureActionView::Goto,
                        None,
                        Some(NextView::One(node.to_string())),
                    ),
                    FailureAction::Item => (FailureActionView::Item, None, None),
                };
                Self {
                    failure: Some(failure.into()),
                    then: Some(then),
                    until,
                    next,
                    ..self.at_step(node, *step, *attempt)
                }
            }
            _ => self,
        }
    }

    fn at_step(self, node: &Arc<str>, step: u64, attempt: u32) -> Self {
        Self {
            node: Some(node.clone()),
            step: Some(step),
            attempt: Some(attempt),
            ..self
        }
    }

    /// Returns the event as JSON text in one line.
    pub(crate) fn text(&self) -> String {
        in_one_line(serde_json::to_string(self).expect("an event's keys are strings"))
    }
}

impl EventType {
    fn of(event: &Event) -> Self {
        match event {
            Event::RunStarted { .. } => Self::RunStarted,
            Event::RunForked { .. } => Self::RunForked,
            Event::RunPaused { .. } => Self::RunPaused,
            Event::RunResumed => Self::RunResumed,
            Event::RunRetried => Self::RunRetried,
            Event::RunUpgraded { .. } => Self::RunUpgraded,
            Event::CancelRequested { .. } => Self::CancelRequested,
            Event::StepStarted { .. } => Self::StepStarted,
            Event::GraphStarted { .. } => Self::GraphStarted,
            Event::MapStarted { .. } => Self::MapStarted,
            Event::Log { .. } => Self::Log,
            Event::StepFinished { .. } => Self::StepFinished,
            Event::ItemFinished { .. } => Self::ItemFinished,
            Event::StepFailed { .. } => Self::StepFailed,
            Event::SignalReceived { .. } => Self::SignalReceived,
            Event::UndoStarted { .. } => Self::UndoStarted,
            Event::RunFinished => Self::RunFinished,
            Event::RunFailed { .. } => Self::RunFailed,
            Event::RunCancelled { .. } => Self::RunCancelled,
        }
    }
}

/// Returns the level of an event. A failure that the graph handles is a warning.
fn level(event: &Event) -> Level {
    match event {
        Event::Log { level, .. } => *level,
        Event::StepFailed {
            then: FailureAction::Raise,
            ..
        }
        | Event::RunFailed { .. } => Level::Error,
        Event::StepFailed { .. }
        | Event::UndoStarted { .. }
        | Event::CancelRequested { .. }
        | Event::RunCancelled { .. } => Level::Warn,
        _ => Level::Info,
    }
}

/// A function of one exact plugin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FunctionRef)]
pub(crate) struct FunctionRefView {
    /// The plugin's name.
    #[schema(value_type = String)]
    plugin: Arc<str>,
    /// The plugin's version.
    #[schema(value_type = String)]
    version: Arc<str>,
    /// The function's name in the plugin.
    #[schema(value_type = String)]
    function: Arc<str>,
    /// The SHA-256 of the plugin's component.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    digest: Arc<str>,
    /// True if the plugin had grants, so that calls can have side effects; else absent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    granted: bool,
}

impl From<&FunctionRef> for FunctionRefView {
    fn from(at: &FunctionRef) -> Self {
        Self {
            plugin: at.plugin.clone(),
            version: at.version.clone(),
            function: at.function.clone(),
            digest: at.digest.0.clone(),
            granted: at.granted,
        }
    }
}
