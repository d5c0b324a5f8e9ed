//! Which plugins there are, and what a name finds.
//!
//! Readers take a snapshot that never changes, so a name is looked up in a few steps however
//! many plugins there are, and a registration is seen as a whole or not at all.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use heddle_kernel::{Digest, event::FunctionRef, schema::Schema};
use heddle_runtime::ports::{FunctionInfo, PluginInfo, RegisterError, ResolveError};

use crate::{
    component::version_of,
    contract::Contract,
    metered::Metered,
    output::held,
    policy::{CallLimits, Policy, Rules},
};

/// A registered plugin, ready to be called.
pub(crate) struct Plugin {
    pub(crate) info: Arc<PluginInfo>,
    pub(crate) contract: Arc<Contract>,
    /// The same, compiled so that what it computes is counted.
    pub(crate) metered: Arc<Metered>,
    /// What each function's input is checked against, in the order of `info.functions`.
    inputs: Arc<[Schema]>,
    /// Where each function is in `info.functions`.
    functions: Arc<HashMap<Arc<str>, usize>>,
    /// What holds for all that have its name.
    pub(crate) rules: Arc<Rules>,
    hidden: bool,
}

impl Plugin {
    /// `inputs` has a schema for each of the functions, in their order.
    pub(crate) fn new(
        info: PluginInfo,
        inputs: Vec<Schema>,
        contract: Contract,
        metered: Metered,
        rules: Arc<Rules>,
        hidden: bool,
    ) -> Self {
        let functions = info
            .functions
            .iter()
            .enumerate()
            .map(|(at, function)| (function.name.clone(), at));
        Self {
            functions: Arc::new(functions.collect()),
            info: Arc::new(info),
            contract: Arc::new(contract),
            metered: Arc::new(metered),
            inputs: inputs.into(),
            rules,
            hidden,
        }
    }

    /// The same component in sight of everyone, under the name that it has from now on, with the rules
    /// of that name.
    fn shown_as(&self, name: Arc<str>, version: Arc<str>, rules: Arc<Rules>) -> Self {
        Self {
            info: Arc::new(PluginInfo {
                name,
                version,
                grants: rules.lines(),
                limits: rules.limited(),
                ..(*self.info).clone()
            }),
            rules,
            contract: self.contract.clone(),
            metered: self.metered.clone(),
            inputs: self.inputs.clone(),
            functions: self.functions.clone(),
            hidden: false,
        }
    }

    /// A component has one name: a run is pinned to its digest, and its errors must name it.
    fn is_named(&self, name: &str, version: &str) -> Result<Arc<PluginInfo>, RegisterError> {
        if *self.info.name == *name && *self.info.version == *version {
            return Ok(self.info.clone());
        }
        Err(RegisterError::Refused(format!(
            "this component is registered as {}@{}, and a component has one name: leave the other name out",
            self.info.name, self.info.version
        )))
    }

    /// The function with this name.
    pub(crate) fn function(&self, name: &str) -> Option<&FunctionInfo> {
        self.functions.get(name).map(|&at| &self.info.functions[at])
    }

    /// What the input of the function with this name is checked against.
    pub(crate) fn input(&self, name: &str) -> Option<&Schema> {
        self.functions.get(name).map(|&at| &self.inputs[at])
    }

    /// How a function of this plugin is recorded.
    pub(crate) fn reference(&self, function: &FunctionInfo) -> FunctionRef {
        FunctionRef {
            digest: self.info.digest.clone(),
            plugin: self.info.name.clone(),
            version: self.info.version.clone(),
            function: function.name.clone(),
            routes: function
                .routes
                .iter()
                .map(|route| route.as_str().into())
                .collect(),
            granted: self.rules.is_granted(),
        }
    }
}

/// Every plugin, at one moment.
#[derive(Clone, Default)]
pub(crate) struct Snapshot {
    by_digest: HashMap<Digest, Arc<Plugin>>,
    /// The versions of each name that are not hidden, newest first.
    by_name: BTreeMap<Arc<str>, Vec<Arc<Plugin>>>,
    /// For each function, the plugins whose newest version has it, by name.
    by_function: HashMap<Arc<str>, Vec<Arc<Plugin>>>,
}

/// The plugins.
pub(crate) struct Registry {
    /// By the name of the plugins that they are for.
    rules: HashMap<Arc<str>, Arc<Rules>>,
    /// What limits plugins of which the policy says nothing.
    limits: Arc<CallLimits>,
    current: RwLock<Arc<Snapshot>>,
    /// Held while a snapshot is made from the one before. Nothing awaits while it is held.
    writing: Mutex<()>,
}

impl Registry {
    /// Without any plugin.
    pub(crate) fn new(policy: &Policy, own: CallLimits) -> Self {
        let rules = policy.rules(&own).map(|rules| (rules.plugin.clone(), rules));
        Self {
            rules: rules.collect(),
            limits: Arc::new(own),
            current: RwLock::default(),
            writing: Mutex::default(),
        }
    }

    /// What holds for the plugins of this name.
    pub(crate) fn rules(&self, name: &Arc<str>) -> Arc<Rules> {
        let rules = self.rules.get(name).cloned();
        rules.unwrap_or_else(|| Rules::none(name.clone(), self.limits.clone()))
    }

    /// Whether the function's plugin is granted anything, by the name that it is registered under.
    pub(crate) fn is_granted(&self, function: &FunctionRef) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        match self.now().by_digest(&function.digest) {
            Some(plugin) => plugin.rules.is_granted(),
            None => self.rules(&function.plugin).is_granted(),
        }
    }

    /// The plugins as they are at this moment.
    pub(crate) fn now(&self) -> Arc<Snapshot> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes a plugin known, as a whole. If its digest is known, what is known stands.
    pub(crate) fn add(&self, plugin: Plugin) -> Result<Arc<PluginInfo>, RegisterError> {
        let _writing = held(&self.writing);
        let now = self.now();
        match now.by_digest.get(&plugin.info.digest) {
            Some(known) if plugin.hidden || !known.hidden => Ok(known.info.clone()),
            _ => self.put(&now, plugin),
        }
    }

    /// Takes up that the digest is registered again: it is shown, if it was hidden and is to be
    /// hidden no more. None where the digest is not known.
    pub(crate) fn again(
        &self,
        digest: &Digest,
        hidden: bool,
        identity: impl FnOnce() -> Result<(Arc<str>, Arc<str>), RegisterError>,
    ) -> Option<Result<Arc<PluginInfo>, RegisterError>> {
        let _writing = held(&self.writing);
        let now = self.now();
        let known = now.by_digest.get(digest)?;
        if hidden {
            return Some(Ok(known.info.clone()));
        }
        Some(identity().and_then(|(name, version)| match known.hidden {
            true => {
                let rules = self.rules(&name);
                self.put(&now, known.shown_as(name, version, rules))
            }
            false => known.is_named(&name, &version),
        }))
    }

    fn put(&self, now: &Snapshot, plugin: Plugin) -> Result<Arc<PluginInfo>, RegisterError> {
        let info = plugin.info.clone();
        let next = Arc::new(now.with(Arc::new(plugin))?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(info)
    }
}

impl Snapshot {
    fn with(&self, plugin: Arc<Plugin>) -> Result<Self, RegisterError> {
        let mut next = self.clone();
        let info = &plugin.info;
        next.by_digest.insert(info.digest.clone(), plugin.clone());
        if plugin.hidden {
            return Ok(next);
        }
        let versions = next.by_name.entry(info.name.clone()).or_default();
        if let Some(other) = versions.iter().find(|other| other.info.version == info.version) {
            return Err(RegisterError::VersionTaken {
                name: info.name.to_string(),
                version: info.version.to_string(),
                registered: other.info.digest.clone(),
            });
        }
        versions.push(plugin.clone());
        // Every version was checked when it was registered.
        versions.sort_by_key(|plugin| std::cmp::Reverse(version_of(&plugin.info.version).ok()));
        next.by_function = HashMap::new();
        for newest in next.by_name.values().filter_map(|versions| versions.first()) {
            for function in &newest.info.functions {
                next.by_function
                    .entry(function.name.clone())
                    .or_default()
                    .push(newest.clone());
            }
        }
        Ok(next)
    }

    /// The plugin with this digest, hidden or not.
    pub(crate) fn by_digest(&self, digest: &Digest) -> Option<&Arc<Plugin>> {
        self.by_digest.get(digest)
    }

    /// Every plugin that is not hidden, by name and then newest first.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.by_name.values().flatten()
    }

    /// What `plugin/function` or `function` finds.
    pub(crate) fn find(&self, uses: &str) -> Result<(&Arc<Plugin>, &FunctionInfo), ResolveError> {
        let plugins: &[Arc<Plugin>] = match uses.split_once('/') {
            Some((plugin, _)) => self.by_name.get(plugin).map_or(&[], |versions| &versions[..1]),
            None => self.by_function.get(uses).map_or(&[], Vec::as_slice),
        };
        let name = uses.split_once('/').map_or(uses, |(_, function)| function);
        match plugins {
            [plugin] => {
                let function = plugin.function(name).ok_or_else(|| self.unknown(uses))?;
                Ok((plugin, function))
            }
            [] => Err(self.unknown(uses)),
            several => Err(ResolveError::Ambiguous {
                uses: uses.to_owned(),
                candidates: several
                    .iter()
                    .map(|plugin| format!("{}/{name}", plugin.info.name))
                    .collect(),
            }),
        }
    }

    fn unknown(&self, uses: &str) -> ResolveError {
        let newest = self.by_name.values().filter_map(|versions| versions.first());
        let names = newest.flat_map(|plugin| {
            let function = |function: &FunctionInfo| (plugin.info.name.clone(), function.name.clone());
            plugin.info.functions.iter().map(function).collect::<Vec<_>>()
        });
        ResolveError::Unknown {
            uses: uses.to_owned(),
            similar: similar(uses, names),
        }
    }
}

/// How many names are offered in place of one that was not found.
const MOST_SIMILAR: usize = 3;

/// The names that are near one that was not found, nearest first: the same function in another
/// plugin, or a name a few letters away.
fn similar(uses: &str, names: impl Iterator<Item = (Arc<str>, Arc<str>)>) -> Vec<String> {
    let uses = heddle_kernel::object::clip(uses, 200);
    let wanted = uses.rsplit_once('/').map_or(uses, |(_, function)| function);
    let mut near: Vec<_> = names
        .filter_map(|(plugin, function)| {
            let full = format!("{plugin}/{function}");
            let by_function = distance(wanted, &function);
            let far = distance(uses, &full).min(by_function + usize::from(uses.contains('/')));
            let close = far <= 1 + uses.len() / 4 && by_function <= 1 + wanted.len() / 3;
            close.then_some((far, full))
        })
        .collect();
    near.sort();
    near.truncate(MOST_SIMILAR);
    near.into_iter().map(|(_, name)| name).collect()
}

/// The Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_changes() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn names_are_offered_that_are_near() {
        let names = [
            "code-review/extract",
            "starter/extract",
            "starter/analyze",
            "bench/touch",
        ];
        let near = |uses: &str| {
            let names = names.iter().map(|name| name.split_once('/').unwrap());
            similar(
                uses,
                names.map(|(plugin, function)| (plugin.into(), function.into())),
            )
        };
        assert_eq!(near("extrct"), ["code-review/extract", "starter/extract"]);
        assert_eq!(near("starter/analyse"), ["starter/analyze"]);
        assert_eq!(near("bnech/touch"), ["bench/touch"]);
        assert_eq!(near("nothing-like-it"), [""; 0]);
    }
}
