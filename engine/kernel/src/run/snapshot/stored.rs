//! The parts of a snapshot. This is a stored format: names of fields must not change.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    super::{
        ActiveStep, Branch, BranchPosition, BranchView, Cancelling, Ending, Execution, Graphs, Items,
        MAX_DEPTH, Paused, ROOT, Run, Signal, Status, StepState, Undo, fold::Fold,
    },
    FORMAT,
    tables::{Reader, StoredView, Tables, Writer},
};
use crate::{
    event::{FunctionRef, Item, RunError, WaitTexts},
    graph::{Graph, NodeIx},
    ids::{GraphId, RunId, Timestamp},
};

/// A run as text. A number that stands for a value is its index in a table.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) format: u32,
    pub(super) seq: u64,
    pub(super) graph: GraphId,
    pub(super) graphs: BTreeMap<Arc<str>, GraphId>,
    pub(super) functions: BTreeMap<Arc<str>, FunctionRef>,
    started_at: Timestamp,
    updated_at: Timestamp,
    status: Status,
    error: Option<RunError>,
    steps: u64,
    branches: u32,
    /// The reason, and the start of the pause.
    paused: Option<(Arc<str>, Timestamp)>,
    /// The reason, and the end of the grace period.
    cancelling: Option<(Arc<str>, Timestamp)>,
    ending: Option<StoredEnding>,
    /// The end of the run's time limit.
    until: Option<Timestamp>,
    /// Whether the run failed and can be retried.
    kept: bool,
    last: u32,
    executions: BTreeMap<u64, StoredExecution>,
    #[serde(rename = "tasks")]
    active_steps: BTreeMap<u64, StoredStep>,
    /// The name and the payload of each kept signal, by the number of its event.
    signals: BTreeMap<u64, (u32, u32)>,
    /// The wait that each signal names, by the number of its event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    signal_waits: BTreeMap<u64, u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    last_branches: Vec<BranchView>,
    undo: Vec<StoredUndo>,
    /// Missing in snapshots of versions that did not count the journal's bytes; these are counted from the
    /// snapshot on.
    #[serde(default, skip_serializing_if = "is_zero")]
    journal_bytes: u64,
    tables: Tables,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredEnding {
    error: Option<RunError>,
    reason: Option<Arc<str>>,
    problems: Vec<Arc<str>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredExecution {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    graph: Option<u32>,
    depth: u32,
    input: u32,
    steps: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parted: Option<u32>,
    lines: Vec<(u32, StoredView, StoredPosition)>,
    /// For each branch, the number of steps on the longest path to its position. Missing in snapshots of
    /// versions that did not count them.
    #[serde(default)]
    taken: Vec<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredPosition {
    Before(u32, Option<u32>),
    Step(u32),
    End,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredStep {
    within: u64,
    branch: u32,
    node: u32,
    attempt: u32,
    failures: u32,
    failed: bool,
    started_at: Timestamp,
    doing: StoredStepState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    item: Option<Item>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undo: Option<StoredUndo>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredStepState {
    Call,
    Pause(Timestamp),
    Sleep(Timestamp),
    Signal(Option<Timestamp>),
    /// A wait with expressions: its timeout, and their values.
    Wait(Option<Timestamp>, WaitTexts),
    Graph(Option<Timestamp>),
    Map(StoredItems),
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredItems {
    keys: Option<Arc<[String]>>,
    all: Vec<u32>,
    begun: u32,
    open: u32,
    bytes: usize,
    results: Vec<Option<u32>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredUndo {
    step: u64,
    within: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    graph: Option<u32>,
    node: u32,
    view: StoredView,
    input: u32,
    #[serde(default)]
    taken: u64,
}

impl Stored {
    pub(super) fn of(run: &Run) -> Self {
        let kept = run.retry_point.is_some();
        let mut run = Cow::Borrowed(run);
        if kept {
            run.to_mut().restore_retry_point();
        }
        let run = &*run;
        let mut writer = Writer::default();
        let last = writer.object(&run.last);
        let executions = run.executions.iter();
        let executions = executions.map(|(number, of)| (*number, execution(&mut writer, of)));
        let executions = executions.collect();
        let active_steps = run.active_steps.iter();
        let active_steps =
            active_steps.map(|(step, of)| (*step, stored_step(&mut writer, of, run.graph_of(of))));
        let active_steps = active_steps.collect();
        let signals = run.signals.iter();
        let signals = signals.map(|(seq, of)| (*seq, (writer.name(&of.name), writer.value(&of.payload))));
        let signals = signals.collect();
        let signal_waits = run.signals.iter().filter_map(|(seq, of)| Some((*seq, of.wait?)));
        let signal_waits = signal_waits.collect();
        let undone = run.undo.iter().map(|of| undo(&mut writer, of)).collect();
        Self {
            format: FORMAT,
            seq: run.seq,
            graph: run.graph.id.clone(),
            graphs: run.graph_ids(),
            functions: (*run.functions).clone(),
            started_at: run.started_at,
            updated_at: run.updated_at,
            status: run.status,
            error: run.error.clone(),
            steps: run.steps,
            branches: run.next_branch,
            paused: run.paused.clone().map(|of| (of.reason, of.since)),
            cancelling: run.cancelling.clone().map(|of| (of.reason, of.until)),
            ending: run.ending.clone().map(|of| StoredEnding {
                error: of.error,
                reason: of.reason,
                problems: of.problems,
            }),
            until: run.due.iter().find(|(_, step)| *step == ROOT).map(|(at, _)| *at),
            kept,
            last,
            executions,
            active_steps,
            signals,
            signal_waits,
            last_branches: run.last_branches.clone(),
            undo: undone,
            journal_bytes: run.journal_bytes,
            tables: writer.done(),
        }
    }

    pub(super) fn restore(self, id: RunId, graph: Arc<Graph>, graphs: Arc<Graphs>) -> Fold<Run> {
        let read = Reader::new(self.tables)?;
        let mut run = Run::empty(id, graph, graphs, self.started_at);
        if run.graph.id != self.graph || run.graph_ids() != self.graphs {
            return Err("it is of a run of other graphs".to_owned());
        }
        for (number, stored) in self.executions {
            let graph = named(&run, &read, stored.graph)?;
            run.executions.insert(number, stored.read(&read, graph)?);
        }
        for (step, stored) in self.active_steps {
            let active_step = stored.read(&read, &run)?;
            run.due.extend(active_step.until().map(|until| (until, step)));
            run.active_steps.insert(step, active_step);
        }
        run.due.extend(self.until.map(|until| (until, ROOT)));
        for (seq, (name, payload)) in self.signals {
            let signal = Signal {
                name: read.name(name)?,
                payload: read.value(payload)?,
                wait: self.signal_waits.get(&seq).copied(),
            };
            run.signals.insert(seq, signal);
        }
        let undo = self.undo.into_iter().map(|undo| undo.read(&read, &run));
        run.undo = undo.collect::<Fold<_>>()?;
        run.functions = Arc::new(self.functions);
        run.updated_at = self.updated_at;
        run.last = read.object(self.last)?;
        run.last_branches = self.last_branches;
        run.next_branch = self.branches;
        run.steps = self.steps;
        run.journal_bytes = self.journal_bytes;
        run.seq = self.seq;
        consistent(&run)?;
        if self.kept {
            run.clear_active(true);
        }
        run.status = self.status;
        run.error = self.error;
        run.paused = self.paused.map(|(reason, since)| Paused { reason, since });
        run.cancelling = self
            .cancelling
            .map(|(reason, until)| Cancelling { reason, until });
        run.ending = self.ending.map(|of| Ending {
            error: of.error,
            reason: of.reason,
            problems: of.problems,
        });
        Ok(run)
    }
}

fn execution<'r>(writer: &mut Writer<'r>, of: &'r Execution) -> StoredExecution {
    let lines = of.branches.iter().map(|branch| {
        let at = match &branch.position {
            BranchPosition::Before(node, error) => {
                let error = error.as_ref().map(|error| writer.value(error));
                StoredPosition::Before(writer.name(&of.graph.node(*node).name), error)
            }
            BranchPosition::Step(node) => StoredPosition::Step(writer.name(&of.graph.node(*node).name)),
            BranchPosition::End => StoredPosition::End,
        };
        (branch.id, writer.view(&branch.view), at)
    });
    let lines = lines.collect();
    StoredExecution {
        graph: of.name.as_ref().map(|name| writer.name(name)),
        depth: of.depth,
        input: writer.object(&of.input),
        steps: of.steps,
        parted: of.state_at_fork.as_ref().map(|parted| writer.object(parted)),
        lines,
        taken: of.branches.iter().map(|branch| branch.steps).collect(),
    }
}

fn stored_step<'r>(writer: &mut Writer<'r>, of: &'r ActiveStep, graph: &'r Graph) -> StoredStep {
    let doing = match &of.state {
        StepState::Call => StoredStepState::Call,
        StepState::Pause(until) => StoredStepState::Pause(*until),
        StepState::Sleep(until) => StoredStepState::Sleep(*until),
        StepState::Signal(until, None) => StoredStepState::Signal(*until),
        StepState::Signal(until, Some(texts)) => StoredStepState::Wait(*until, (**texts).clone()),
        StepState::Graph(until) => StoredStepState::Graph(*until),
        StepState::Map(items) => StoredStepState::Map(StoredItems {
            keys: items.keys.clone(),
            all: items.all.iter().map(|item| writer.value(item)).collect(),
            begun: items.begun,
            open: items.open,
            bytes: items.bytes,
            results: items
                .results
                .iter()
                .map(|result| result.as_ref().map(|result| writer.value(result)))
                .collect(),
        }),
    };
    StoredStep {
        within: of.within,
        branch: of.branch,
        node: writer.name(&graph.node(of.node).name),
        attempt: of.attempt,
        failures: of.failures,
        failed: of.failed,
        started_at: of.started_at,
        doing,
        item: of.item,
        error: of.error.as_ref().map(|error| writer.value(error)),
        undo: of.undo.as_ref().map(|of| undo(writer, of)),
    }
}

fn undo<'r>(writer: &mut Writer<'r>, of: &'r Undo) -> StoredUndo {
    StoredUndo {
        step: of.step,
        within: of.within,
        graph: of.name.as_ref().map(|name| writer.name(name)),
        node: writer.name(&of.graph.node(of.node).name),
        view: writer.view(&of.view),
        input: writer.object(&of.input),
        taken: of.steps,
    }
}

/// A graph by its name; without a name, the run's own.
fn named(run: &Run, read: &Reader, name: Option<u32>) -> Fold<(Arc<Graph>, Option<Arc<str>>)> {
    let Some(name) = name else {
        return Ok((run.graph.clone(), None));
    };
    let name = read.name(name)?;
    let graph = run.graphs.get(&name).cloned();
    let graph = graph.ok_or_else(|| format!("graph `{name}` is not the run's"))?;
    Ok((graph, Some(name)))
}

fn node(graph: &Graph, read: &Reader, name: u32) -> Fold<NodeIx> {
    let name = read.name(name)?;
    let found = graph.find(&name);
    found.ok_or_else(|| format!("node `{name}` is not in graph `{}`", graph.title()))
}

impl StoredExecution {
    fn read(self, read: &Reader, (graph, name): (Arc<Graph>, Option<Arc<str>>)) -> Fold<Execution> {
        let mut branches = Vec::with_capacity(self.lines.len());
        for (index, (id, view, stored)) in self.lines.into_iter().enumerate() {
            let position = match stored {
                StoredPosition::Before(at, error) => {
                    let error = error.map(|error| read.value(error)).transpose()?;
                    BranchPosition::Before(node(&graph, read, at)?, error)
                }
                StoredPosition::Step(at) => BranchPosition::Step(node(&graph, read, at)?),
                StoredPosition::End => BranchPosition::End,
            };
            let view = read.view(view)?;
            // Without a count, use the number of all steps, which is right for a single branch.
            let steps = self.taken.get(index).copied().unwrap_or(self.steps);
            branches.push(Branch {
                id,
                view,
                position,
                steps,
            });
        }
        Ok(Execution {
            graph,
            name,
            depth: self.depth,
            input: read.object(self.input)?,
            state_at_fork: self.parted.map(|state| read.object(state)).transpose()?,
            branches,
            steps: self.steps,
        })
    }
}

impl StoredStep {
    fn read(self, read: &Reader, run: &Run) -> Fold<ActiveStep> {
        let undo = self.undo.map(|undo| undo.read(read, run)).transpose()?;
        let graph = match (&undo, run.executions.get(&self.within)) {
            (Some(undo), _) => &undo.graph,
            (None, Some(execution)) => &execution.graph,
            (None, None) => {
                return Err(format!("a step is within {}, which is not active", self.within));
            }
        };
        let doing = match self.doing {
            StoredStepState::Call => StepState::Call,
            StoredStepState::Pause(until) => StepState::Pause(until),
            StoredStepState::Sleep(until) => StepState::Sleep(until),
            StoredStepState::Signal(until) => StepState::Signal(until, None),
            StoredStepState::Wait(until, texts) => StepState::Signal(until, Some(Arc::new(texts))),
            StoredStepState::Graph(until) => StepState::Graph(until),
            StoredStepState::Map(items) => StepState::Map(items.read(read)?),
        };
        Ok(ActiveStep {
            within: self.within,
            branch: self.branch,
            node: node(graph, read, self.node)?,
            item: self.item,
            attempt: self.attempt,
            failures: self.failures,
            failed: self.failed,
            started_at: self.started_at,
            error: self.error.map(|error| read.value(error)).transpose()?,
            undo: undo.map(Arc::new),
            state: doing,
        })
    }
}

impl StoredItems {
    fn read(self, read: &Reader) -> Fold<Items> {
        let all = self.all.into_iter().map(|item| read.value(item));
        let results = self.results.into_iter();
        let results = results.map(|result| result.map(|result| read.value(result)).transpose());
        Ok(Items {
            keys: self.keys,
            all: all.collect::<Fold<Vec<_>>>()?.into(),
            begun: self.begun,
            open: self.open,
            bytes: self.bytes,
            results: results.collect::<Fold<_>>()?,
        })
    }
}

impl StoredUndo {
    fn read(self, read: &Reader, run: &Run) -> Fold<Undo> {
        let (graph, name) = named(run, read, self.graph)?;
        Ok(Undo {
            step: self.step,
            within: self.within,
            node: node(&graph, read, self.node)?,
            graph,
            name,
            view: read.view(self.view)?,
            input: read.object(self.input)?,
            steps: self.taken,
        })
    }
}

/// Checks that all references inside of the run are valid.
fn consistent(run: &Run) -> Fold {
    let check = |holds: bool, problem: &str| match holds {
        true => Ok(()),
        false => Err(problem.to_owned()),
    };
    for (number, execution) in &run.executions {
        let known = *number == ROOT || run.active_steps.contains_key(number);
        check(known, "an execution belongs to no active step")?;
        check(execution.depth <= MAX_DEPTH, "inner graphs are nested too deep")?;
        let ids: BTreeSet<u32> = execution.branches.iter().map(|branch| branch.id).collect();
        check(
            ids.len() == execution.branches.len() && !ids.is_empty(),
            "two branches of an execution have the same number",
        )?;
    }
    for (step, active_step) in &run.active_steps {
        check(
            *step != ROOT && *step <= run.steps,
            "a step's number is not among those begun",
        )?;
        if let Some(item) = active_step.item {
            let of = run.active_steps.get(&item.of).filter(|_| item.of < *step);
            let fits = of.is_some_and(|of| match &of.state {
                StepState::Map(items) => (item.index as usize) < items.all.len(),
                _ => false,
            });
            check(fits, "an item's map is not active")?;
        } else if active_step.undo.is_none() {
            let branch = run.branch(active_step.within, active_step.branch);
            check(
                branch.is_some_and(|branch| matches!(branch.position, BranchPosition::Step(node) if node == active_step.node)),
                "a step's branch is not at its node",
            )?;
        }
        if let StepState::Map(items) = &active_step.state {
            let keys = items.keys.as_ref().map_or(items.all.len(), |keys| keys.len());
            check(
                items.results.len() == items.all.len() && keys == items.all.len(),
                "a map has different numbers of items and results",
            )?;
        }
    }
    Ok(())
}
