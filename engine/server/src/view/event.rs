//! Events as watchers see them.
//!
//! An event is projected from itself alone, so it is the same object over the WebSocket, the
//! event stream, the JSON page and in `logs`, wherever the reading began.

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

use super::{ErrorView, FailureView, Moment, names::LevelDoc};

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

/// One event of a run: the same object over the WebSocket, the event stream, as JSON and in `logs`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event, example = json!({
    "seq": 3, "at": "2026-11-22T19:33:00.123Z", "run_id": "019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10",
    "type": "step_finished", "level": "info", "message": "extract finished, next analyze",
    "node": "extract", "step": 1, "attempt": 1, "next": "analyze", "update": {"words": ["some", "data"]}
}))]
pub(crate) struct EventView {
    /// The number in the run, from 1, without gaps.
    pub(crate) seq: u64,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// The run.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// What happened.
    #[serde(rename = "type")]
    kind: EventType,
    /// How much it matters.
    #[schema(value_type = LevelDoc)]
    level: Level,
    /// What happened, for people.
    #[schema(value_type = String)]
    message: Arc<str>,
    /// The node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    node: Option<Arc<str>>,
    /// The number of the step in the run, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    /// The number of the attempt, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// `step_started`: the branch that takes the step; left out for the first branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<u32>,
    /// `step_started`: the step of the node that runs the graph to which the step belongs; left out
    /// for steps of the run's own graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<u64>,
    /// `step_started`: the branches that became one with this one here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    joined: Vec<u32>,
    /// `step_started`, `item_finished`: the item of a map that the step is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<ItemView>,
    /// `step_started`: until when a sleep or a wait lasts, at the longest. `step_failed`: when the step is
    /// tried again. `cancel_requested`: until when calls under way may still answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Moment>,
    /// `step_started`: the step that this one undoes.
    #[serde(skip_serializing_if = "Option::is_none")]
    undoes: Option<u64>,
    /// `run_started`, `run_forked`, `run_upgraded`: the graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^[0-9a-f]{32}$")]
    graph_id: Option<Arc<str>>,
    /// `run_forked`: the run and the step that it was forked from.
    #[serde(skip_serializing_if = "Option::is_none")]
    forked_from: Option<ForkedFrom>,
    /// `run_forked`: the keys of the state that are other than they were there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    edits: Option<Object>,
    /// `graph_started`: the graph, as the node names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    graph: Option<Arc<str>>,
    /// `run_started`, `graph_started`: the state that it began with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    state: Option<Object>,
    /// `run_started`, `run_forked`, `run_upgraded`: for each function that the graph names, the one that the
    /// run keeps to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, FunctionRefView>>)]
    functions: Option<BTreeMap<Arc<str>, FunctionRefView>>,
    /// `run_started`, `run_forked`, `run_upgraded`: for each graph that the graph names, the id of the one that
    /// the run keeps to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    graphs: BTreeMap<Arc<str>, Arc<str>>,
    /// `map_started`: the list or the object of the items.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    items: Option<Json>,
    /// `step_finished`: where the branch went. `step_failed`: the node that it goes to with the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<NextView>,
    /// `step_finished`: the keys of the state that changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    update: Option<Object>,
    /// `step_finished`: the number of the event by which the signal came that the node waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<u64>,
    /// `item_finished`: the item's result; left out where a failed item has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    result: Option<Json>,
    /// `step_started`: where a wait has expressions, what they gave for the signal's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    wait_signal: Option<Arc<str>>,
    /// `step_started`: where a wait has expressions, what they gave for its prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    wait_prompt: Option<Arc<str>>,
    /// `signal_received`: the step of the wait that it is for, where the sender named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<u64>,
    /// `signal_received`: the signal's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    name: Option<Arc<str>>,
    /// `signal_received`: what came with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    payload: Option<Json>,
    /// `step_failed`: how the attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
    /// `step_failed`: what follows. `raise`: the graph that the step belongs to fails; `retry`: the step is
    /// tried again at `until`; `goto`: the branch goes to `next`; `item`: the map goes on without the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    then: Option<ThenView>,
    /// `run_failed`, `undo_started`: why the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorView>,
    /// `run_paused`: why. `cancel_requested`, `run_cancelled`, `undo_started`: why the run is cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<Arc<str>>,
    /// `run_cancelled`: what could not be undone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    problems: Vec<Arc<str>>,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = FailureAction)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ThenView {
    /// The graph that the step belongs to fails.
    Raise,
    /// The step is tried again.
    Retry,
    /// The branch goes to another node.
    Goto,
    /// The map goes on without the item.
    Item,
}

/// Where a run was forked from.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct ForkedFrom {
    /// The run.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The step after which it goes on; 0 for the run's beginning.
    step: u64,
}

/// One item of a map.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Item)]
pub(crate) struct ItemView {
    /// The step of the map.
    of: u64,
    /// Its place among the items, from 0.
    index: u32,
}

/// Where a branch went: the name of a node, or `end`; for a fork, the list of the new branches.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Next)]
#[serde(untagged)]
pub(crate) enum NextView {
    /// A node, or `end`.
    One(String),
    /// A fork.
    Fork(Vec<ArmView>),
}

/// One of the branches of a fork.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Arm)]
pub(crate) struct ArmView {
    /// The number of the new branch.
    branch: u32,
    /// The node that it goes to, or `end`.
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
    /// How an event of a run looks.
    pub(crate) fn of(run: RunId, recorded: &EventRecord) -> Self {
        let event = &recorded.event;
        Self {
            seq: recorded.seq,
            at: Moment(recorded.at),
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
        .tell(event)
    }

    /// With what is particular to the event.
    fn tell(self, event: &Event) -> Self {
        match event {
            Event::RunStarted { state, .. } => Self {
                state: Some(state.clone()),
                ..self.tell_pins(event)
            },
            Event::StepStarted { .. } => self.tell_start(event),
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
                self.tell_end(event)
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
                ..self.tell_pins(event)
            },
            Event::RunUpgraded { .. } => self.tell_pins(event),
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
                ..self.at_step(&error.node, error.step, error.attempt)
            },
            Event::RunCancelled { reason, problems } => Self {
                reason: Some(reason.clone()),
                problems: problems.clone(),
                ..self
            },
        }
    }

    fn tell_pins(self, event: &Event) -> Self {
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

    fn tell_start(self, event: &Event) -> Self {
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

    fn tell_end(self, event: &Event) -> Self {
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
                    FailureAction::Raise => (ThenView::Raise, None, None),
                    FailureAction::Retry(at) => (ThenView::Retry, Some(Moment(*at)), None),
                    FailureAction::Goto(node) => {
                        (ThenView::Goto, None, Some(NextView::One(node.to_string())))
                    }
                    FailureAction::Item => (ThenView::Item, None, None),
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

    /// The event as JSON text in one line.
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

/// How much an event matters. A failure that the graph deals with is no error.
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
    /// The plugin.
    #[schema(value_type = String)]
    plugin: Arc<str>,
    /// Its version.
    #[schema(value_type = String)]
    version: Arc<str>,
    /// The function in it.
    #[schema(value_type = String)]
    function: Arc<str>,
    /// The SHA-256 of the plugin's component.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    digest: Arc<str>,
    /// Whether the plugin was granted anything: then a call may have an effect outside. Left out where not.
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
