//! Maps: the items of a list or an object are started a limited number at a time, and their results become
//! the map's result.

use heddle_json::{Json, Object, object::kind_of};

use super::{ActiveStep, Items, StepState, decide::Events, outcome::check_depth};
use crate::{
    event::{Event, Failure, FailureKind, Item},
    graph::{Map, NodeAction},
};

impl Events<'_> {
    pub(super) fn start_map(
        &mut self,
        step: u64,
        active_step: &ActiveStep,
        map: &Map,
    ) -> Result<(), Failure> {
        let items = self.run.step_env(active_step).evaluate(&map.over, "`map.over`")?;
        let wrong = |message: String| Failure::new(FailureKind::Expression, message);
        Items::read(&items).map_err(|problem| match kind_of(items.get()) {
            Some("an array" | "an object") => wrong(format!("{problem}: split the list")),
            kind => wrong(format!(
                "a map goes over a list or an object; `{}` gave {}",
                map.over.source(),
                kind.unwrap_or("nothing")
            )),
        })?;
        self.push(Event::MapStarted { step, items });
        self.start_items(step);
        Ok(())
    }

    /// Starts items of a map up to its limit of active items.
    fn start_items(&mut self, step: u64) {
        let Some(active_step) = self.run.active_steps.get(&step).map(ActiveStep::without_data) else {
            return;
        };
        let at_once = match &self.run.graph_of(&active_step).node(active_step.node).action {
            NodeAction::Map(map) => map.at_once,
            _ => return,
        };
        // An item that fails at its start may have ended the map.
        while let Some(StepState::Map(items)) = self
            .run
            .active_steps
            .get(&step)
            .map(|active_step| &active_step.state)
        {
            // If the journal is full, the caller fails the run.
            let is_full = self.run.is_journal_full();
            if is_full || items.open >= at_once || items.begun as usize >= items.all.len() {
                return;
            }
            let index = items.begun;
            self.start_item(step, &active_step, index);
        }
    }

    /// Finishes an item, if the results of all items are within the limit of the state's size.
    pub(super) fn check_and_finish_item(
        &mut self,
        step: u64,
        item: Item,
        result: Json,
    ) -> Result<(), Failure> {
        let before = match self
            .run
            .active_steps
            .get(&item.of)
            .map(|active_step| &active_step.state)
        {
            Some(StepState::Map(items)) => items.bytes,
            _ => 0,
        };
        let (size, limit) = (before + result.get().len(), self.run.max_state_bytes);
        if size > limit {
            let message = format!(
                "with this item's result those of the map would take {size} bytes, more than the limit of the state, {limit} (max_state_bytes)"
            );
            return Err(Failure::new(FailureKind::Limit, message));
        }
        self.finish_item(step, item, Some(result));
        Ok(())
    }

    pub(super) fn finish_item(&mut self, step: u64, item: Item, result: Option<Json>) {
        let active_step = self.active_step(step);
        self.push(Event::ItemFinished {
            step,
            node: self.node_name(&active_step),
            item,
            attempt: active_step.attempt,
            result,
        });
        // `advance` continues the map later. Ten thousand items that fail at their start must not nest ten
        // thousand calls.
        self.ready_maps.push(item.of);
    }

    /// Continues a map: starts further items, or finishes the map with the results.
    pub(super) fn advance_map(&mut self, step: u64) {
        let Some(StepState::Map(items)) = self
            .run
            .active_steps
            .get(&step)
            .map(|active_step| &active_step.state)
        else {
            return;
        };
        if (items.begun as usize) < items.all.len() {
            return self.start_items(step);
        }
        if items.open > 0 {
            return;
        }
        let active_step = self.active_step(step);
        let graph = self.run.graph_of(&active_step).clone();
        let (StepState::Map(items), NodeAction::Map(map)) =
            (&active_step.state, &graph.node(active_step.node).action)
        else {
            return;
        };
        let result = items.result(map.on_item_error);
        if let Err(failure) = check_depth("the list of the results", &result) {
            return self.fail_step(step, failure);
        }
        let mut update = Object::default();
        update.insert(map.into.clone(), result.clone());
        self.finish_along_edges(step, &active_step, update, Some(result), None);
    }
}
