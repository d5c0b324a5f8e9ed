//! A run's steps as its events tell them.
//!
//! Nothing keeps a list of steps: a page of it is read out of the journal, from where its first step began
//! to where the last one is over. First attempts are numbered in the order of the journal, so the place where
//! a page begins is found by halving.

use std::collections::BTreeMap;

use heddle_kernel::{Event, EventRecord, RunId, Timestamp, event::FailureAction};
use heddle_runtime::{
    Engine, RunView,
    ports::{StoreError, shorten},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    item_places::ItemPlaces,
    view::{FailureView, ItemView, Moment, WaitItem},
};

/// How many events are read at once.
pub(crate) const PAGE_LEN: usize = 1_000;
/// How many are read at once to find where a step began.
const PROBE_LEN: usize = 64;

/// What a step does, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepStatus {
    /// It was begun and is not over; it may be between two attempts.
    Running,
    /// Its outcome entered the state, or its result the map's.
    Finished,
    /// Its last attempt failed.
    Failed,
    /// What it belongs to was over before it was.
    GivenUp,
}

/// A step in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Step)]
pub(crate) struct StepSummary {
    /// The number of the step in the run.
    step: u64,
    /// Its node.
    node: String,
    /// What it does, or how it ended.
    status: StepStatus,
    /// How many attempts there were.
    attempts: u32,
    /// When its first attempt began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Moment,
    /// When it was finished, or failed at last.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    finished_at: Option<Moment>,
    /// The step of the node that runs the graph to which this one belongs; left out for steps of the run's
    /// own graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<u64>,
    /// The item of a map that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<ItemView>,
    /// The items of maps that it is for or within, the outermost first; left out for a step that is within none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    items: Vec<WaitItem>,
    /// The step that this one undoes.
    #[serde(skip_serializing_if = "Option::is_none")]
    undoes: Option<u64>,
    /// How its last attempt failed, where it did. Here a message of more than 16 KiB is cut, and `data` of more is left
    /// out; the step itself has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
    /// The number of the event by which it began.
    #[serde(skip)]
    began: u64,
    /// Nothing that comes changes it.
    #[serde(skip)]
    settled: bool,
}

/// The steps of a run with a number above `after`, at most `limit` of them.
pub(crate) async fn read(
    engine: &Engine,
    run: &RunView,
    after: u64,
    limit: usize,
) -> Result<Vec<StepSummary>, StoreError> {
    let mut steps = Steps {
        after,
        limit,
        found: BTreeMap::new(),
    };
    let mut places = ItemPlaces::new(engine, run.id, run.last_seq);
    let mut at = begin(engine, run.id, after, run.last_seq).await?;
    while !steps.are_all_settled() {
        let events = engine.events(run.id, at, PAGE_LEN).await?;
        let Some(last) = events.last() else { break };
        at = last.seq;
        for event in &events {
            steps.take(event);
            places.take(event);
        }
    }
    let mut steps: Vec<StepSummary> = steps.found.into_values().collect();
    let numbers: Vec<u64> = steps.iter().map(|step| step.step).collect();
    let items = places.of(&numbers).await?;
    for (step, items) in steps.iter_mut().zip(items) {
        step.items = items;
        // The run was looked at before its events were: what began later may well be under way.
        let is_known = step.began <= run.last_seq;
        if step.status == StepStatus::Running && is_known && !run.under_way.contains(&step.step) {
            step.status = StepStatus::GivenUp;
        }
    }
    Ok(steps)
}

/// The number of an event after which every step above `after` began, and that is near the first of them.
pub(crate) async fn begin(engine: &Engine, run: RunId, after: u64, last_seq: u64) -> Result<u64, StoreError> {
    // The first attempt of a step up to `after` came after `low`, or `low` is 0; none such comes after `high`.
    let (mut low, mut high) = (0, last_seq);
    while high - low > PROBE_LEN as u64 {
        let middle = low + (high - low) / 2;
        match first_attempt(engine, run, middle, high).await? {
            Some((seq, step)) if step <= after => low = seq - 1,
            _ => high = middle,
        }
        if high <= low {
            break;
        }
    }
    Ok(low)
}

/// The first event after `at` and up to `until` by which a step was begun for the first time, and the step.
async fn first_attempt(
    engine: &Engine,
    run: RunId,
    mut at: u64,
    until: u64,
) -> Result<Option<(u64, u64)>, StoreError> {
    while at < until {
        let events = engine.events(run, at, PROBE_LEN).await?;
        let Some(last) = events.last() else { break };
        at = last.seq;
        for event in events.iter().take_while(|event| event.seq <= until) {
            if let Event::StepStarted { step, attempt: 1, .. } = event.event {
                return Ok(Some((event.seq, step)));
            }
        }
    }
    Ok(None)
}

struct Steps {
    after: u64,
    limit: usize,
    found: BTreeMap<u64, StepSummary>,
}

impl Steps {
    fn are_all_settled(&self) -> bool {
        self.found.len() >= self.limit && self.found.values().all(|step| step.settled)
    }

    fn take(&mut self, recorded: &EventRecord) {
        let at = recorded.at;
        match &recorded.event {
            Event::StepStarted { .. } => self.start(recorded),
            Event::StepFinished { step, .. } | Event::ItemFinished { step, .. } => {
                if let Some(step) = self.found.get_mut(step) {
                    // An item that failed is over by its failure, and left out by this.
                    if step.status == StepStatus::Running {
                        step.end(StepStatus::Finished, at);
                        step.failure = None;
                    }
                    step.settled = true;
                }
            }
            Event::StepFailed {
                step, failure, then, ..
            } => {
                if let Some(step) = self.found.get_mut(step) {
                    let mut failure = failure.clone();
                    shorten(&mut failure.message, &mut failure.data);
                    step.failure = Some((&failure).into());
                    if !matches!(then, FailureAction::Retry(_)) {
                        step.end(StepStatus::Failed, at);
                    }
                    // What fails its graph is made again where the run is retried.
                    step.settled = matches!(then, FailureAction::Goto(_) | FailureAction::Item);
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, recorded: &EventRecord) {
        let Event::StepStarted {
            step,
            node,
            attempt,
            within,
            item,
            undoes,
            ..
        } = &recorded.event
        else {
            return;
        };
        if let Some(step) = self.found.get_mut(step) {
            step.attempts = *attempt;
            step.status = StepStatus::Running;
            step.finished_at = None;
        } else if *step > self.after && self.found.len() < self.limit {
            let summary = StepSummary {
                step: *step,
                node: node.to_string(),
                status: StepStatus::Running,
                attempts: *attempt,
                started_at: Moment(recorded.at),
                finished_at: None,
                within: Some(*within).filter(|within| *within != 0),
                item: item.as_ref().map(ItemView::from),
                items: Vec::new(),
                undoes: *undoes,
                failure: None,
                began: recorded.seq,
                settled: false,
            };
            self.found.insert(*step, summary);
        }
    }
}

impl StepSummary {
    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.step
    }

    fn end(&mut self, status: StepStatus, at: Timestamp) {
        self.status = status;
        self.finished_at = Some(Moment(at));
    }
}
