//! The tables of a snapshot, in which each shared value is written once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use heddle_json::{Json, Object};
use serde::{Deserialize, Serialize};

use super::super::{
    View,
    fold::Fold,
    view::{Changes, Update},
};

/// The tables as they are stored.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Tables {
    names: Vec<Arc<str>>,
    values: Vec<Json>,
    /// Names with values.
    objects: Vec<Pairs>,
    /// Step, node, value, and the update before it.
    updates: Vec<(u64, u32, Option<u32>, Option<u32>)>,
    /// Names with updates.
    changes: Vec<Pairs>,
}

/// Names, each with an index into a table: the pairs of another entry, replaced or extended by these.
#[derive(Debug, Serialize, Deserialize)]
struct Pairs {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on: Option<u32>,
    set: Vec<(u32, u32)>,
}

/// A branch's view: its state, and the changes since the fork.
pub(super) type StoredView = (u32, Option<u32>);

/// Fills the tables.
#[derive(Default)]
pub(super) struct Writer<'r> {
    tables: Tables,
    names: HashMap<&'r str, u32>,
    /// By address, which is quick to compare, and by text.
    values: (HashMap<*const u8, u32>, HashMap<&'r str, u32>),
    updates: HashMap<*const Update, u32>,
    objects: Interned,
    changes: Interned,
}

/// The entries of a table that exist already.
#[derive(Default)]
struct Interned {
    known: HashMap<Vec<(u32, u32)>, u32>,
    last: HashMap<u32, u32>,
}

fn place<T>(table: &[T]) -> u32 {
    u32::try_from(table.len()).unwrap_or(u32::MAX)
}

impl<'r> Writer<'r> {
    pub(super) fn done(self) -> Tables {
        self.tables
    }

    pub(super) fn name(&mut self, name: &'r Arc<str>) -> u32 {
        let names = &mut self.tables.names;
        *self.names.entry(name).or_insert_with(|| {
            names.push(name.clone());
            place(names) - 1
        })
    }

    pub(super) fn value(&mut self, value: &'r Json) -> u32 {
        let (by_place, by_text) = &mut self.values;
        let values = &mut self.tables.values;
        *by_place.entry(Arc::as_ptr(value).cast()).or_insert_with(|| {
            *by_text.entry(value.get()).or_insert_with(|| {
                values.push(value.clone());
                place(values) - 1
            })
        })
    }

    pub(super) fn object(&mut self, object: &'r Object) -> u32 {
        let pairs = object
            .iter()
            .map(|(name, value)| (self.name(name), self.value(value)));
        let pairs = pairs.collect();
        self.objects.intern(pairs, &mut self.tables.objects)
    }

    pub(super) fn view(&mut self, view: &'r View) -> StoredView {
        let state = self.object(&view.state);
        let changes = view.changes.as_ref().map(|changes| {
            let pairs = changes
                .iter()
                .map(|(name, last)| (self.name(name), self.update(last)));
            let pairs = pairs.collect();
            self.changes.intern(pairs, &mut self.tables.changes)
        });
        (state, changes)
    }

    /// Writes a chain of updates, which may be as long as the run has steps.
    fn update(&mut self, last: &'r Arc<Update>) -> u32 {
        let mut new = Vec::new();
        let mut at = Some(last);
        let mut before = None;
        while let Some(update) = at {
            before = self.updates.get(&Arc::as_ptr(update)).copied();
            if before.is_some() {
                break;
            }
            new.push(update);
            at = update.before.as_ref();
        }
        for update in new.into_iter().rev() {
            let node = self.name(&update.node);
            let value = update.value.as_ref().map(|value| self.value(value));
            let this = place(&self.tables.updates);
            self.tables.updates.push((update.step, node, value, before));
            self.updates.insert(Arc::as_ptr(update), this);
            before = Some(this);
        }
        before.unwrap_or_default()
    }
}

impl Interned {
    fn intern(&mut self, pairs: Vec<(u32, u32)>, table: &mut Vec<Pairs>) -> u32 {
        if let Some(known) = self.known.get(&pairs) {
            return *known;
        }
        // Consecutive states have most pairs in common.
        let new = pairs
            .iter()
            .filter(|(name, what)| self.last.get(name) != Some(what));
        let new: Vec<(u32, u32)> = new.copied().collect();
        let kept = pairs
            .iter()
            .filter(|(name, _)| self.last.contains_key(name))
            .count();
        let stored = match kept == self.last.len() && 2 * new.len() < pairs.len() {
            true => Pairs {
                on: Some(place(table) - 1),
                set: new,
            },
            false => Pairs {
                on: None,
                set: pairs.clone(),
            },
        };
        let this = place(table);
        table.push(stored);
        self.last = pairs.iter().copied().collect();
        self.known.insert(pairs, this);
        this
    }
}

/// The values of the tables.
pub(super) struct Reader {
    names: Vec<Arc<str>>,
    values: Vec<Json>,
    objects: Vec<Object>,
    updates: Vec<Arc<Update>>,
    changes: Vec<Arc<Changes>>,
}

fn at<T: Clone>(table: &[T], place: u32, what: &str) -> Fold<T> {
    let found = table.get(place as usize).cloned();
    found.ok_or_else(|| format!("it names {what} {place}, and has {}", table.len()))
}

impl Reader {
    pub(super) fn new(tables: Tables) -> Fold<Self> {
        let mut read = Self {
            names: tables.names,
            values: tables.values,
            objects: Vec::with_capacity(tables.objects.len()),
            updates: Vec::with_capacity(tables.updates.len()),
            changes: Vec::with_capacity(tables.changes.len()),
        };
        for Pairs { on, set } in tables.objects {
            let mut object = match on {
                Some(on) => at(&read.objects, on, "object")?,
                None => Object::default(),
            };
            for (name, value) in set {
                object.insert(read.name(name)?, read.value(value)?);
            }
            read.objects.push(object);
        }
        for (step, node, value, before) in tables.updates {
            let value = value.map(|value| read.value(value)).transpose()?;
            let before = before
                .map(|before| at(&read.updates, before, "update"))
                .transpose()?;
            let update = Update::new(step, read.name(node)?, value, before);
            read.updates.push(Arc::new(update));
        }
        for Pairs { on, set } in tables.changes {
            let mut changes: Changes = match on {
                Some(on) => (*at(&read.changes, on, "changes")?).clone(),
                None => BTreeMap::new(),
            };
            for (name, update) in set {
                changes.insert(read.name(name)?, at(&read.updates, update, "update")?);
            }
            read.changes.push(Arc::new(changes));
        }
        Ok(read)
    }

    pub(super) fn name(&self, place: u32) -> Fold<Arc<str>> {
        at(&self.names, place, "name")
    }

    pub(super) fn value(&self, place: u32) -> Fold<Json> {
        at(&self.values, place, "value")
    }

    pub(super) fn object(&self, place: u32) -> Fold<Object> {
        at(&self.objects, place, "object")
    }

    pub(super) fn view(&self, (state, changes): StoredView) -> Fold<View> {
        let changes = changes.map(|place| at(&self.changes, place, "changes"));
        Ok(View {
            state: self.object(state)?,
            changes: changes.transpose()?,
        })
    }
}
