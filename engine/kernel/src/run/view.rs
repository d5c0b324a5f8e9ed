//! A branch's view of the state, and the merge of several views.
//!
//! While an execution has several branches, each view keeps a chain of updates for every key that changed
//! since the fork. Views merge key by key, as version control merges. If one chain begins with the other, the
//! longer one is taken. If both chains continued separately, the key's policy folds all of their updates,
//! each once, in the order of the branches. Without a policy, that is a conflict.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::Arc,
};

use heddle_json::{Json, Object};

use crate::graph::Policy;

/// The merge policies of a graph, by key.
pub(super) type Policies = BTreeMap<Arc<str>, Policy>;

/// The state as one branch sees it.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The state.
    pub state: Object,
    /// For each key that changed since the fork, its last update.
    pub(super) changes: Option<Arc<Changes>>,
}

/// The last update of each key.
pub(super) type Changes = BTreeMap<Arc<str>, Arc<Update>>;

/// One step's update of one key; part of a chain.
pub(super) struct Update {
    pub(super) step: u64,
    pub(super) node: Arc<str>,
    /// The value that the step contributed, if a policy may have to fold it again.
    pub(super) value: Option<Json>,
    /// The length of the chain up to this update.
    len: u32,
    /// The update before it, since the fork.
    pub(super) before: Option<Arc<Update>>,
}

/// Two branches changed a key and the changes do not merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) key: Arc<str>,
    /// The nodes whose steps changed the key.
    pub(super) nodes: [Arc<str>; 2],
    /// The problem of the policy; `None` if the key has no policy.
    pub(super) problem: Option<String>,
}

impl View {
    pub(super) fn new(state: Object) -> Self {
        let changes = None;
        Self { state, changes }
    }

    /// Applies a step's update. With `parted`, the changes are kept for a merge.
    ///
    /// # Errors
    /// The key and the reason why its value does not fit the policy. The view may have changed.
    pub(super) fn write(
        &mut self,
        policies: &Policies,
        update: &Object,
        by: (u64, &Arc<str>),
        parted: bool,
    ) -> Result<(), (Arc<str>, String)> {
        if policies.is_empty() && !parted {
            self.state.merge(update);
            return Ok(());
        }
        for (key, value) in update.iter() {
            let policy = policies.get(key);
            let new = match policy {
                None => value.clone(),
                Some(policy) => policy
                    .fold(self.state.get(key), [value])
                    .map_err(|problem| (key.clone(), problem))?,
            };
            self.state.insert(key.clone(), new);
            if parted {
                let changed = Arc::make_mut(self.changes.get_or_insert_default());
                let before = changed.remove(key);
                let value = policy.map(|_| value.clone());
                let update = Update::new(by.0, by.1.clone(), value, before);
                changed.insert(key.clone(), Arc::new(update));
            }
        }
        Ok(())
    }

    /// Sets a key as if it had had this value at the fork.
    pub(super) fn set(&mut self, key: &Arc<str>, value: &Json) {
        self.state.insert(key.clone(), value.clone());
        if let Some(changes) = self.changes.as_mut().filter(|changes| changes.contains_key(key)) {
            Arc::make_mut(changes).remove(key);
        }
    }

    /// The keys that changed since the fork.
    pub(super) fn changed(&self) -> impl Iterator<Item = &Arc<str>> {
        self.changes.iter().flat_map(|changes| changes.keys())
    }

    /// Drops the changes: there is no other branch to merge with.
    pub(super) fn clear_changes(&mut self) {
        self.changes = None;
    }

    /// Merges the views of branches, in their order.
    ///
    /// # Errors
    /// The first key that does not merge.
    pub(super) fn merge(views: &[&Self], policies: &Policies) -> Result<Self, Conflict> {
        let Some((first, rest)) = views.split_first() else {
            return Ok(Self::default());
        };
        let mut merged = (*first).clone();
        if rest.is_empty() {
            return Ok(merged);
        }
        for (key, chains) in chains(views) {
            let (value, last) = merge_key(key, policies, &chains)?;
            if let Some(value) = value {
                merged.state.insert(key.clone(), value);
            }
            Arc::make_mut(merged.changes.get_or_insert_default()).insert(key.clone(), last);
        }
        Ok(merged)
    }

    /// The state that the branches agree on: the merged value of each key, and the value at the fork for a
    /// key that does not merge, as far as it is known.
    pub(super) fn agreed(views: &[&Self], policies: &Policies, parted: Option<&Object>) -> Object {
        let Some((first, rest)) = views.split_first() else {
            return Object::default();
        };
        let mut state = first.state.clone();
        if rest.is_empty() {
            return state;
        }
        for (key, chains) in chains(views) {
            let value = match merge_key(key, policies, &chains) {
                Ok((value, _)) => value,
                Err(_) => match parted {
                    Some(parted) => parted.get(key).cloned(),
                    // Earlier versions did not keep the state at the fork. A branch that did not change the
                    // key still has that value.
                    None => {
                        let mut others = views
                            .iter()
                            .filter(|view| !view.changed().any(|other| other == key));
                        others.next().and_then(|view| view.state.get(key).cloned())
                    }
                },
            };
            match value {
                Some(value) => state.insert(key.clone(), value),
                None => drop(state.remove(key)),
            }
        }
        state
    }
}

/// The views that changed a key, each with its last update of the key.
type Chains<'v> = Vec<(&'v View, &'v Arc<Update>)>;

fn chains<'v>(views: &[&'v View]) -> BTreeMap<&'v Arc<str>, Chains<'v>> {
    let mut keys: BTreeMap<&Arc<str>, Chains<'v>> = BTreeMap::new();
    for view in views {
        for (key, last) in view.changes.iter().flat_map(|changes| changes.iter()) {
            keys.entry(key).or_default().push((view, last));
        }
    }
    keys
}

fn merge_key(key: &Arc<str>, policies: &Policies, chains: &Chains<'_>) -> Result<Merged, Conflict> {
    match policies.get(key) {
        None => longest(key, chains),
        Some(policy) => folded(key, policy, chains),
    }
}

type Merged = (Option<Json>, Arc<Update>);

/// Without a policy, the longest chain must begin with all others.
fn longest(key: &Arc<str>, chains: &[(&View, &Arc<Update>)]) -> Result<Merged, Conflict> {
    let mut best = chains[0];
    for chain in &chains[1..] {
        let (long, short) = match chain.1.len > best.1.len {
            true => (*chain, best),
            false => (best, *chain),
        };
        if !long.1.follows(short.1) {
            return Err(Conflict {
                key: key.clone(),
                nodes: [best.1.node.clone(), chain.1.node.clone()],
                problem: None,
            });
        }
        best = long;
    }
    Ok((best.0.state.get(key).cloned(), best.1.clone()))
}

/// With a policy, every update counts once: those of the first chain, then those of the next chain that are
/// not among them, and so on.
fn folded(key: &Arc<str>, policy: &Policy, chains: &[(&View, &Arc<Update>)]) -> Result<Merged, Conflict> {
    let mut last = chains[0].1.clone();
    let mut value = chains[0].0.state.get(key).cloned();
    let mut seen: HashSet<u64> = last.chain().map(|update| update.step).collect();
    // If a chain reaches a shared update, everything before that update was counted, too.
    let mut shared: HashSet<*const Update> = last.chain().map(Arc::as_ptr).collect();
    let mut more = Vec::new();
    for (_, chain) in &chains[1..] {
        let own = chain
            .chain()
            .take_while(|update| shared.insert(Arc::as_ptr(update)));
        let new: Vec<_> = own.filter(|update| seen.insert(update.step)).collect();
        for update in new.into_iter().rev() {
            let (node, value) = (update.node.clone(), update.value.clone());
            last = Arc::new(Update::new(update.step, node, value, Some(last)));
            more.extend(update.value.as_ref());
        }
    }
    if !more.is_empty() {
        let folded = policy.fold(value.as_ref(), more).map_err(|problem| Conflict {
            key: key.clone(),
            nodes: [chains[0].1.node.clone(), last.node.clone()],
            problem: Some(problem),
        })?;
        value = Some(folded);
    }
    Ok((value, last))
}

impl Update {
    pub(super) fn new(step: u64, node: Arc<str>, value: Option<Json>, before: Option<Arc<Self>>) -> Self {
        let len = before.as_ref().map_or(0, |before| before.len) + 1;
        Self {
            step,
            node,
            value,
            len,
            before,
        }
    }

    /// Whether this chain begins with the other chain, or is the same.
    fn follows(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = self;
        while at.len > other.len {
            match &at.before {
                Some(before) => at = before,
                None => return false,
            }
        }
        // A step writes a key once, so the same step at the same position is the same chain.
        at.len == other.len && at.step == other.step
    }

    fn chain(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::successors(Some(self), |update| update.before.as_ref())
    }
}

impl Drop for Update {
    /// Drops a chain without recursion: it may be as long as the run has steps.
    fn drop(&mut self) {
        let mut before = self.before.take();
        while let Some(mut update) = before.and_then(Arc::into_inner) {
            before = update.before.take();
        }
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} ({} updates)", self.step, self.len)
    }
}
