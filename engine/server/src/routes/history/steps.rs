//! The list of a run's steps, built from its events.
//!
//! No list of steps is stored. A page is read from the journal: from the start of its first step to the end of its last.

use std::collections::BTreeMap;

use heddle_kernel::{Event, EventRecord, Timestamp, event::FailureAction};
use heddle_runtime::{
    Engine, RunView,
    ports::{StoreError, shorten},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    item_paths::ItemPaths,
    step_search::{PAGE_LEN, find_start},
};
use crate::view::{event::ItemView, failure::FailureView, moment::Moment, wait::WaitItem};

/// The status of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepStatus {
    /// The step is active, possibly between two attempts.
    Running,
    /// The step completed, and its result is in the state or in the result of its map.
    Finished,
    /// The last attempt failed.
    Failed,
    /// The run, subgraph or map ended before the step did.
    GivenUp,
}

/// A step in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Step)]
pub(crate) struct StepSummary {
    /// The number of the step in the run.
    step: u64,
    /// The node of the step.
    node: String,
    /// The step's status at the time of the request.
    status: StepStatus,
    /// The number of attempts.
    attempts: u32,
    /// When the first attempt started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Moment,
    /// When the step finished or finally failed; null while it is active.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    finished_at: Option<Moment>,
    /// The step that runs the subgraph to which this step belongs; absent in the run's own graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<u64>,
    /// The map item that the step processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<ItemView>,
    /// The map items that contain the step, outermost first; absent outside of maps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    items: Vec<WaitItem>,
    /// The step that this step compensates.
    #[serde(skip_serializing_if = "Option::is_none")]
    undoes: Option<u64>,
    /// Why the last attempt failed. A `message` over 16 KiB is cut here, and `data` over 16 KiB is left out; the single
    /// step has both.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
    /// The number of the event that started the step.
    #[serde(skip)]
    start_seq: u64,
    /// No later event can change the step.
    #[serde(skip)]
    is_final: bool,
}

/// Returns at most `limit` steps of a run with a number above `after`.
pub(crate) async fn read(
    engine: &Engine,
    run: &RunView,
    after: u64,
    limit: usize,
) -> Result<Vec<StepSummary>, StoreError> {
    let mut page = StepPage {
        after,
        limit,
        steps: BTreeMap::new(),
    };
    let mut paths = ItemPaths::new(engine, run.id, run.last_seq);
    let mut at = find_start(engine, run.id, after, run.last_seq).await?;
    while !page.is_final() {
        let events = engine.events(run.id, at, PAGE_LEN).await?;
        let Some(last) = events.last() else { break };
        at = last.seq;
        for event in &events {
            page.apply(event);
            paths.apply(event);
        }
    }
    let mut steps: Vec<StepSummary> = page.steps.into_values().collect();
    let numbers: Vec<u64> = steps.iter().map(|step| step.step).collect();
    let items = paths.of(&numbers).await?;
    for (step, items) in steps.iter_mut().zip(items) {
        step.items = items;
        // `run` was read before the events: a step that started later may be active without being listed in it.
        let is_known = step.start_seq <= run.last_seq;
        if step.status == StepStatus::Running && is_known && !run.under_way.contains(&step.step) {
            step.status = StepStatus::GivenUp;
        }
    }
    Ok(steps)
}

/// A page of steps while it is collected.
struct StepPage {
    after: u64,
    limit: usize,
    steps: BTreeMap<u64, StepSummary>,
}

impl StepPage {
    /// Returns whether no later event can change the page.
    fn is_final(&self) -> bool {
        self.steps.len() >= self.limit && self.steps.values().all(|step| step.is_final)
    }

    fn apply(&mut self, record: &EventRecord) {
        let at = record.at;
        match &record.event {
            Event::StepStarted { .. } => self.start(record),
            Event::StepFinished { step, .. } | Event::ItemFinished { step, .. } => {
                if let Some(step) = self.steps.get_mut(step) {
                    // A failed item ended with its failure; this event only records that the map skips it.
                    if step.status == StepStatus::Running {
                        step.end(StepStatus::Finished, at);
                        step.failure = None;
                    }
                    step.is_final = true;
                }
            }
            Event::StepFailed {
                step, failure, then, ..
            } => {
                if let Some(step) = self.steps.get_mut(step) {
                    let mut failure = failure.clone();
                    shorten(&mut failure.message, &mut failure.data);
                    step.failure = Some((&failure).into());
                    if !matches!(then, FailureAction::Retry(_)) {
                        step.end(StepStatus::Failed, at);
                    }
                    // A step that failed its graph runs again if the run is retried.
                    step.is_final = matches!(then, FailureAction::Goto(_) | FailureAction::Item);
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, record: &EventRecord) {
        let Event::StepStarted {
            step,
            node,
            attempt,
            within,
            item,
            undoes,
            ..
        } = &record.event
        else {
            return;
        };
        if let Some(step) = self.steps.get_mut(step) {
            step.attempts = *attempt;
            step.status = StepStatus::Running;
            step.finished_at = None;
        } else if *step > self.after && self.steps.len() < self.limit {
            let summary = StepSummary {
                step: *step,
                node: node.to_string(),
                status: StepStatus::Running,
                attempts: *attempt,
                started_at: Moment(record.at),
                finished_at: None,
                within: Some(*within).filter(|within| *within != 0),
                item: item.as_ref().map(ItemView::from),
                items: Vec::new(),
                undoes: *undoes,
                failure: None,
                start_seq: record.seq,
                is_final: false,
            };
            self.steps.insert(*step, summary);
        }
    }
}

impl StepSummary {
    /// Returns the number of the step in the run.
    pub(crate) fn number(&self) -> u64 {
        self.step
    }

    fn end(&mut self, status: StepStatus, at: Timestamp) {
        self.status = status;
        self.finished_at = Some(Moment(at));
    }
}
