//! The items of maps that steps are within, as the journal tells them.
//!
//! A step's event names what the step is directly within. The rest of the way out is in events of earlier steps, which
//! are read where the page that is listed does not have them.

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

use crate::{
    steps::{PAGE_LEN, begin},
    view::WaitItem,
};

/// How many events are looked at for one step before it is taken to have none, as the steps before a fork.
const LOOK_LEN: usize = 2 * PAGE_LEN;

/// What is known of the steps of a run.
pub(crate) struct ItemPlaces<'e> {
    engine: &'e Engine,
    run: RunId,
    last_seq: u64,
    steps: HashMap<u64, Option<Around>>,
    /// The keys of the items of each map that goes over an object.
    keys: HashMap<u64, Vec<Arc<str>>>,
}

/// What a step is directly within.
struct Around {
    node: Arc<str>,
    item: Option<Item>,
    within: u64,
}

impl Around {
    /// The step that it is directly within; 0 for none.
    fn outer(&self) -> u64 {
        self.item.as_ref().map_or(self.within, |item| item.of)
    }
}

impl<'e> ItemPlaces<'e> {
    pub(crate) fn new(engine: &'e Engine, run: RunId, last_seq: u64) -> Self {
        Self {
            engine,
            run,
            last_seq,
            steps: HashMap::new(),
            keys: HashMap::new(),
        }
    }

    /// Takes what an event tells.
    pub(crate) fn take(&mut self, recorded: &EventRecord) {
        match &recorded.event {
            Event::StepStarted {
                step,
                node,
                within,
                item,
                ..
            } => {
                self.steps.insert(
                    *step,
                    Some(Around {
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

    /// The items that each of these steps is within, the outermost first.
    pub(crate) async fn of(&mut self, steps: &[u64]) -> Result<Vec<Vec<WaitItem>>, StoreError> {
        let mut wanted: BTreeSet<u64> = steps.iter().copied().collect();
        loop {
            let missing: BTreeSet<u64> = wanted
                .iter()
                .copied()
                .filter(|step| !self.steps.contains_key(step))
                .collect();
            for step in missing {
                // What was read for another one may have had it.
                if !self.steps.contains_key(&step) {
                    self.read(step).await?;
                }
            }
            let known = wanted.iter().filter_map(|step| self.steps.get(step)?.as_ref());
            let outer: BTreeSet<u64> = known.map(Around::outer).filter(|outer| *outer != 0).collect();
            let before = wanted.len();
            wanted.extend(outer);
            if wanted.len() == before {
                break;
            }
        }
        Ok(steps.iter().map(|step| self.path(*step)).collect())
    }

    /// Reads the events from where a step began, with those of other steps that are near.
    async fn read(&mut self, step: u64) -> Result<(), StoreError> {
        let mut at = begin(self.engine, self.run, step.saturating_sub(1), self.last_seq).await?;
        let mut looked_at = 0;
        while looked_at < LOOK_LEN {
            let events = self.engine.events(self.run, at, PAGE_LEN).await?;
            let Some(last) = events.last() else { break };
            (at, looked_at) = (last.seq, looked_at + events.len());
            events.iter().for_each(|event| self.take(event));
            // A map's items come right after the step that they are of.
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
        let mut places = Vec::new();
        let mut at = step;
        while let Some(Some(around)) = self.steps.get(&at) {
            let outer = around.outer();
            if let Some(item) = around.item {
                let node = around.node.clone();
                let key = self.key(item);
                places.push(WaitItem::new(node, item.of, item.index, key));
            }
            if outer == 0 || outer >= at {
                break;
            }
            at = outer;
        }
        places.reverse();
        places
    }

    /// The key of an item, where its map goes over an object.
    fn key(&self, item: Item) -> Option<Arc<str>> {
        self.keys.get(&item.of)?.get(item.index as usize).cloned()
    }
}

/// The tree of an object. A list, which may be long, is not looked at.
fn object_of(items: &Json) -> Result<Tree<'_>, String> {
    match items.get().starts_with('{') {
        true => Tree::of(items),
        false => Err("it is a list".to_owned()),
    }
}
