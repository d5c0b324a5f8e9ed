//! What can be seen of a run: what it waits for, how it stands, and its state.

use std::sync::Arc;

use heddle_json::{
    Json, Object,
    object::kind_of,
    tokens::{Tree, compact},
};

use super::{ActiveStep, ROOT, Run, Status, StepState, View};
use crate::{
    event::{Failure, FailureKind},
    graph::{NodeAction, Text},
    ids::Timestamp,
};

/// The runs of which so many may be under way together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name or id of the graph, and the key where there is one: `review/customer-7`.
    pub name: Arc<str>,
    /// How many of its runs may be under way: begun, and not over.
    pub at_once: u32,
}

/// What a run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingWork {
    /// A call of a function: [`Run::prepare`] says which.
    Call {
        /// The step.
        step: u64,
        /// The attempt.
        attempt: u32,
    },
    /// A signal or a time.
    Wait {
        /// The step.
        step: u64,
        /// When it wants to be woken, at the latest.
        until: Option<Timestamp>,
    },
}

/// A step that waits for a signal or for time to pass, as it is shown.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The step. A signal can name the wait by it.
    pub step: u64,
    /// The node.
    pub node: Arc<str>,
    /// The items of maps that it is within, the outermost first.
    pub items: Vec<ItemPlace>,
    /// Since when.
    pub since: Timestamp,
    /// The signal that it waits for; nothing where only time has to pass.
    pub signal: Option<Arc<str>>,
    /// What a person is asked.
    pub prompt: Option<Arc<str>>,
    /// The JSON Schema of the signal's payload.
    pub schema: Option<Json>,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// One item of a map, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemPlace {
    /// The node of the map.
    pub node: Arc<str>,
    /// The step of the map.
    pub of: u64,
    /// The item's place among the items, from 0.
    pub index: u32,
    /// Its key, where the map goes over an object.
    pub key: Option<Arc<str>>,
}

/// The longest name of a group, in bytes.
const MAX_GROUP_LEN: usize = 200;

impl Run {
    /// The group that the run counts in, by its graph's `limits.group` and the state that it began with. It
    /// is asked for at the run's start: once the run is over, what it began with is not kept.
    ///
    /// # Errors
    /// Why the expression has no value, or that its value is too long for a name.
    pub fn group(&self) -> Result<Option<Group>, Failure> {
        let Some(limit) = &self.graph.group else {
            return Ok(None);
        };
        let mut name = self.graph.title().to_owned();
        if let Some(by) = &limit.by {
            let input = self.executions.get(&ROOT).map_or(&self.last, |own| &own.input);
            let key = self
                .look(input.clone(), input, 0)
                .evaluate(by, "`limits.group.by`")?;
            name.push('/');
            name.push_str(&group_key(&key));
        }
        if name.len() > MAX_GROUP_LEN {
            let message = format!(
                "the name of the run's group takes {} bytes, more than {MAX_GROUP_LEN}: have `limits.group.by` give \
                 something shorter, such as an id",
                name.len()
            );
            return Err(Failure::new(FailureKind::Limit, message));
        }
        Ok(Some(Group {
            name: name.into(),
            at_once: limit.at_once,
        }))
    }

    /// What the run waits for, derived from its state alone, in the order of the steps. While the run
    /// [is held](Self::is_held), a call that is owed may be under way, and is not to be made.
    pub fn pending_work(&self) -> impl Iterator<Item = PendingWork> + '_ {
        self.active_steps
            .iter()
            .filter_map(|(step, task)| task.pending_work(*step))
    }

    /// What the run waits for at one step.
    pub fn pending_work_at(&self, step: u64) -> Option<PendingWork> {
        self.active_steps.get(&step)?.pending_work(step)
    }

    /// When the run wants [`Input::Due`](super::Input::Due), at the latest. One that is paused does not, and one
    /// that is being cancelled does once calls under way have had their time.
    pub fn due(&self) -> Option<Timestamp> {
        if self.is_paused() {
            return None;
        }
        match &self.cancelling {
            Some(cancelling) => Some(cancelling.until),
            None => self.due.first().map(|(at, _)| *at),
        }
    }

    /// Whether it has not begun: it does with [`Input::TakenUp`](super::Input::TakenUp).
    pub fn is_queued(&self) -> bool {
        self.steps == 0 && !self.status.is_over() && !self.is_paused()
    }

    /// Whether it stands still until it is resumed.
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Why it stands still, in the words of who paused it.
    pub fn pause_reason(&self) -> Option<&Arc<str>> {
        self.paused.as_ref().map(|paused| &paused.reason)
    }

    /// Whether no call may begin: it is paused, or being cancelled.
    ///
    /// Who drives the run makes no call then, lets those that are under way answer, and goes on taking what
    /// comes. A paused run can be given up once no call of it is under way. With
    /// [`Input::Resume`](super::Input::Resume) it names the calls that are, and those that it has yet to make:
    /// all others that the run owes are made again. It cancels a run with a grace only while a call is under
    /// way, which a run that was taken up while it was paused may owe without. A run that is being cancelled ends by itself when the
    /// last call has answered, or with [`Input::Due`](super::Input::Due) at [`due`](Self::due).
    pub fn is_held(&self) -> bool {
        self.is_paused() || self.cancelling.is_some()
    }

    /// Whether only time or a signal can take the run further.
    pub fn is_waiting(&self) -> bool {
        !self.status.is_over() && !self.is_held() && !self.is_queued() && !self.calls()
    }

    /// The status as it is shown.
    pub fn shown_status(&self) -> Status {
        match self.status {
            over if over.is_over() => over,
            _ if self.is_paused() => Status::Paused,
            _ if self.is_queued() => Status::Queued,
            _ if self.is_waiting() => Status::Waiting,
            status => status,
        }
    }

    /// The steps under way that wait for a signal or for time to pass.
    pub fn waits(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.active_steps
            .iter()
            .filter_map(|(step, task)| self.waiting(*step, task))
    }

    /// A step under way.
    pub fn active_step(&self, step: u64) -> Option<&ActiveStep> {
        self.active_steps.get(&step)
    }

    /// The numbers of the steps that were begun and are neither over nor given up, in order.
    pub fn under_way(&self) -> impl Iterator<Item = u64> + '_ {
        self.active_steps.keys().copied()
    }

    /// The name of the node of a step under way.
    pub fn node_of(&self, step: u64) -> Option<Arc<str>> {
        let task = self.active_steps.get(&step)?;
        Some(self.graph_of(task).node(task.node).name.clone())
    }

    /// The nodes at which the run is, each once, in the order of the steps.
    pub fn nodes(&self) -> Vec<Arc<str>> {
        let mut nodes: Vec<Arc<str>> = Vec::new();
        for task in self.active_steps.values().filter(|task| task.item.is_none()) {
            let name = &self.graph_of(task).node(task.node).name;
            if !nodes.contains(name) {
                nodes.push(name.clone());
            }
        }
        nodes
    }

    /// What the graph declares as its output, once the run has finished. `None` where it declares none.
    pub fn output(&self) -> Option<Object> {
        let declared = self.graph.output.is_some() && self.status == Status::Finished;
        declared.then(|| self.graph.output_of(self.state()))
    }

    /// The state. While there are several branches, it is what all of them agree on: the state when they parted,
    /// with what they changed since and what merges. A key whose changes do not merge has the value that it had
    /// when they parted; [`branches`](Self::branches) has what each branch made of it.
    pub fn state(&self) -> Object {
        let Some(own) = self.executions.get(&ROOT) else {
            return self.last.clone();
        };
        let views: Vec<&View> = own.lines.iter().map(|line| &line.view).collect();
        View::agreed(&views, &own.graph.policies, own.parted.as_ref())
    }

    fn waiting(&self, step: u64, task: &ActiveStep) -> Option<Waiting> {
        let node = self.graph_of(task).node(task.node);
        let mut waiting = Waiting {
            step,
            node: node.name.clone(),
            items: Vec::new(),
            since: task.started_at,
            signal: None,
            prompt: None,
            schema: None,
            until: task.until(),
        };
        match (&task.doing, &node.action) {
            (StepState::Signal(_, texts), NodeAction::Wait(wait)) => {
                let prompt = texts.as_ref().and_then(|texts| texts.prompt.as_ref());
                waiting.signal = self.awaited(task).map(|(_, signal)| signal.clone());
                waiting.prompt = prompt.or(wait.prompt.as_ref().and_then(Text::plain)).cloned();
                waiting.schema = wait.schema.as_ref().map(|schema| schema.text.clone());
            }
            (StepState::Sleep(_) | StepState::Pause(_), _) => {}
            _ => return None,
        }
        waiting.items = self.items_around(task);
        Some(waiting)
    }

    /// The items of maps that a step is within, the outermost first.
    fn items_around(&self, task: &ActiveStep) -> Vec<ItemPlace> {
        let mut places = Vec::new();
        let mut at = task;
        loop {
            let above = match at.item {
                Some(item) => item.of,
                None => at.within,
            };
            let Some(outer) = self.active_steps.get(&above) else {
                break;
            };
            if let Some(item) = at.item {
                places.push(ItemPlace {
                    node: self.graph_of(outer).node(outer.node).name.clone(),
                    of: item.of,
                    index: item.index,
                    key: self.item_key(item).map(Arc::from),
                });
            }
            at = outer;
        }
        places.reverse();
        places
    }
}

/// A value as the part of a group's name: a string as it is, and anything else as JSON in the one form that all
/// ways to write the same value share.
fn group_key(value: &Json) -> String {
    let text = value.get();
    let string = match kind_of(text) {
        Some("a string") => serde_json::from_str(text).ok(),
        _ => None,
    };
    string.unwrap_or_else(|| match Tree::of(value) {
        Ok(tree) => tree.identity(),
        Err(_) => compact(text).into_owned(),
    })
}

impl ActiveStep {
    pub(super) fn pending_work(&self, step: u64) -> Option<PendingWork> {
        let (attempt, until) = (self.attempt, self.until());
        match &self.doing {
            StepState::Call => Some(PendingWork::Call { step, attempt }),
            StepState::Signal(..) => Some(PendingWork::Wait { step, until }),
            _ => until.map(|_| PendingWork::Wait { step, until }),
        }
    }

    /// When time alone takes it further.
    pub(super) fn until(&self) -> Option<Timestamp> {
        match &self.doing {
            StepState::Pause(until) | StepState::Sleep(until) => Some(*until),
            StepState::Signal(until, _) | StepState::Graph(until) => *until,
            // Without items, nothing else does.
            StepState::Map(items) if items.all.is_empty() => Some(self.started_at),
            StepState::Map(_) | StepState::Call => None,
        }
    }
}
