//! The path of each step through maps and subgraphs, built from the run's events.
//!
//! The event of a step's start names only the step that directly encloses it. The outer steps are found in their own
//! events, which are read from the journal if the page does not have them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use heddle_json::{
    Json,
    tokens::{Tree, unquote},
};
use heddle_kernel::{Event, EventRecord, RunId, event::Item};
use heddle_runtime::{Engine, ports::StoreError};

use super::step_search::{PAGE_LEN, find_start};
use crate::view::wait::WaitItem;

/// The number of events that are read to find a step's start. Steps from before a fork have no event in the run.
const MAX_SCANNED: usize = 2 * PAGE_LEN;

/// The enclosing steps of a run's steps, as far as their events were read.
pub(crate) struct ItemPaths<'e> {
    engine: &'e Engine,
    run: RunId,
    last_seq: u64,
    /// By step; none for a step without an event in the run.
    steps: HashMap<u64, Option<Enclosing>>,
    /// The keys of the items of each map over an object, by the step of the map.
    keys: HashMap<u64, Vec<Arc<str>>>,
}

/// A step's node, and the map item or subgraph that directly encloses the step.
struct Enclosing {
    node: Arc<str>,
    item: Option<Item>,
    within: u64,
}

impl Enclosing {
    /// Returns the step that directly encloses the step; 0 for none.
    fn outer(&self) -> u64 {
        self.item.as_ref().map_or(self.within, |item| item.of)
    }
}

impl<'e> ItemPaths<'e> {
    pub(crate) fn new(engine: &'e Engine, run: RunId, last_seq: u64) -> Self {
        Self {
            engine,
            run,
            last_seq,
            steps: HashMap::new(),
            keys: HashMap::new(),
        }
    }

    /// Adds the content of an event.
    pub(crate) fn apply(&mut self, record: &EventRecord) {
        match &record.event {
            Event::StepStarted {
                step,
                node,
                within,
                item,
                ..
            } => {
                self.steps.insert(
                    *step,
                    Some(Enclosing {
                        node: node.clone(),
                        item: *item,
                        within: *within,
                    }),
                );
            }
            Event::MapStarted { step, items } => {
                if let Ok(Tree::Object(members)) = object_of(items) {
                    let keys = members
                        .into_iter()
                        .map(|(key, _)| unquote(key).unwrap_or_default().into());
                    self.keys.insert(*step, keys.collect());
                }
            }
            _ => {}
        }
    }

    /// Returns the map items that contain each of the steps, outermost first.
    pub(crate) async fn of(&mut self, steps: &[u64]) -> Result<Vec<Vec<WaitItem>>, StoreError> {
        let mut wanted: BTreeSet<u64> = steps.iter().copied().collect();
        loop {
            let missing: BTreeSet<u64> = wanted
                .iter()
                .copied()
                .filter(|step| !self.steps.contains_key(step))
                .collect();
            for step in missing {
                // The read for another step may have included this one.
                if !self.steps.contains_key(&step) {
                    self.read(step).await?;
                }
            }
            let known = wanted.iter().filter_map(|step| self.steps.get(step)?.as_ref());
            let outer: BTreeSet<u64> = known.map(Enclosing::outer).filter(|outer| *outer != 0).collect();
            let before = wanted.len();
            wanted.extend(outer);
            if wanted.len() == before {
                break;
            }
        }
        Ok(steps.iter().map(|step| self.path(*step)).collect())
    }

    /// Reads the events around the start of a step.
    async fn read(&mut self, step: u64) -> Result<(), StoreError> {
        let mut at = find_start(self.engine, self.run, step.saturating_sub(1), self.last_seq).await?;
        let mut scanned = 0;
        while scanned < MAX_SCANNED {
            let events = self.engine.events(self.run, at, PAGE_LEN).await?;
            let Some(last) = events.last() else { break };
            (at, scanned) = (last.seq, scanned + events.len());
            events.iter().for_each(|event| self.apply(event));
            // A map's items are in the event right after its step's start, so read one more page if that is the last.
            if self.steps.contains_key(&step) && last.seq > 0 {
                let is_last = matches!(&last.event, Event::StepStarted { step: begun, .. } if *begun == step);
                if !is_last {
                    break;
                }
            }
        }
        self.steps.entry(step).or_insert(None);
        Ok(())
    }

    fn path(&self, step: u64) -> Vec<WaitItem> {
        let mut items = Vec::new();
        let mut at = step;
        while let Some(Some(enclosing)) = self.steps.get(&at) {
            let outer = enclosing.outer();
            if let Some(item) = enclosing.item {
                let node = enclosing.node.clone();
                let key = self.key(item);
                items.push(WaitItem::new(node, item.of, item.index, key));
            }
            if outer == 0 || outer >= at {
                break;
            }
            at = outer;
        }
        items.reverse();
        items
    }

    /// Returns the key of an item if its map iterates over an object.
    fn key(&self, item: Item) -> Option<Arc<str>> {
        self.keys.get(&item.of)?.get(item.index as usize).cloned()
    }
}

/// Parses an object. A list is not parsed, because it may be long.
fn object_of(items: &Json) -> Result<Tree<'_>, String> {
    match items.get().starts_with('{') {
        true => Tree::of(items),
        false => Err("not an object".to_owned()),
    }
}
