//! All plugins at one moment, and which function a name refers to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use heddle_kernel::Digest;
use heddle_runtime::ports::{FunctionInfo, PluginInfo, RegisterError, ResolveError};

use super::{
    description,
    plugin::Plugin,
    uses::{Uses, VersionRequirement},
};
use crate::policy::{CallLimits, Rules};

/// All plugins at one moment.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(super) by_digest: HashMap<Digest, Arc<Plugin>>,
    /// The visible versions of each name, newest first.
    pub(super) by_name: BTreeMap<Arc<str>, Vec<Arc<Plugin>>>,
    /// For each function, the plugins whose newest version has it, by name.
    by_function: HashMap<Arc<str>, Vec<Arc<Plugin>>>,
    /// How many registrations there were before this moment.
    pub(super) registered: u64,
    /// The rules of names that the policy mentions.
    pub(super) rules: Arc<BTreeMap<Arc<str>, Arc<Rules>>>,
    /// The limits of the others.
    own: Arc<CallLimits>,
    /// The largest size of the descriptions of all plugins.
    max_description_bytes: usize,
}

impl Snapshot {
    /// Without plugins.
    pub(super) fn new(rules: Vec<Arc<Rules>>, own: CallLimits, max_description_bytes: usize) -> Self {
        let rules = rules.into_iter().map(|rules| (rules.plugin.clone(), rules));
        Self {
            by_digest: HashMap::new(),
            by_name: BTreeMap::new(),
            by_function: HashMap::new(),
            registered: 0,
            rules: Arc::new(rules.collect()),
            own: Arc::new(own),
            max_description_bytes,
        }
    }

    pub(super) fn admit(
        &self,
        name: &Arc<str>,
        digest: &Digest,
        replace_granted: bool,
    ) -> Result<(), RegisterError> {
        match self.by_digest.get(digest) {
            Some(known) if !known.hidden && known.info.name == *name => Ok(()),
            _ => self.rules_for(name).admit(digest, replace_granted),
        }
    }

    pub(super) fn rules_for(&self, name: &Arc<str>) -> Arc<Rules> {
        let rules = self.rules.get(name).cloned();
        rules.unwrap_or_else(|| Rules::none(name.clone(), self.own.clone()))
    }

    /// A plugin that is registered now, with the rules of its name at this moment.
    pub(super) fn newest(&self, mut plugin: Plugin) -> Plugin {
        plugin.order = self.registered;
        let rules = self
            .rules_for(&plugin.info.name)
            .for_component(&plugin.info.digest);
        plugin.with_rules(rules)
    }

    pub(super) fn with(&self, plugin: Arc<Plugin>) -> Result<Self, RegisterError> {
        let mut next = self.clone();
        next.registered += 1;
        let info = &plugin.info;
        next.by_digest.insert(info.digest.clone(), plugin.clone());
        if !self.by_digest.contains_key(&info.digest) {
            let bytes = next.by_digest.values().map(|plugin| plugin.bytes).sum();
            // Hidden plugins, which runs are pinned to, have as much room again: visible plugins must not prevent a
            // run from resuming.
            let room = if plugin.hidden { 2 } else { 1 };
            description::check(bytes, self.max_description_bytes.saturating_mul(room))?;
        }
        if plugin.hidden {
            return Ok(next);
        }
        let versions = next.by_name.entry(info.name.clone()).or_default();
        versions.retain(|other| other.info.digest != info.digest);
        if let Some(other) = versions.iter().find(|other| other.info.version == info.version) {
            return Err(RegisterError::VersionTaken {
                name: info.name.to_string(),
                version: info.version.to_string(),
                registered: other.info.digest.clone(),
            });
        }
        versions.push(plugin.clone());
        versions.sort_by_key(|plugin| plugin.rank());
        next.index_functions();
        Ok(next)
    }

    pub(super) fn index_functions(&mut self) {
        self.by_function = HashMap::new();
        for newest in self.by_name.values().filter_map(|versions| versions.first()) {
            for function in &newest.info.functions {
                let plugins = self.by_function.entry(function.name.clone()).or_default();
                plugins.push(newest.clone());
            }
        }
    }

    pub(super) fn has_version(&self, of: &PluginInfo) -> bool {
        let versions = self.by_name.get(&of.name).into_iter().flatten();
        versions.into_iter().any(|known| known.info.version == of.version)
    }

    /// The plugin with this digest, hidden or not.
    pub(crate) fn by_digest(&self, digest: &Digest) -> Option<&Arc<Plugin>> {
        self.by_digest.get(digest)
    }

    /// All visible plugins, by name and then newest first.
    pub(crate) fn visible(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.by_name.values().flatten()
    }

    /// The function that `plugin/function` or `function` refers to, with an optional version.
    pub(crate) fn find(&self, uses: &str) -> Result<(&Arc<Plugin>, &FunctionInfo), ResolveError> {
        let read = Uses::parse(uses)?;
        let name = read.function;
        let plugins: Vec<&Arc<Plugin>> = match (read.plugin, &read.requirement) {
            (Some(plugin), VersionRequirement::Newest) => {
                let versions = self.by_name.get(plugin);
                versions
                    .and_then(|versions| versions.first())
                    .into_iter()
                    .collect()
            }
            (None, VersionRequirement::Newest) => self.by_function.get(name).into_iter().flatten().collect(),
            (Some(plugin), requirement) => {
                let Some(versions) = self.by_name.get(plugin) else {
                    return Err(self.unknown(uses, name));
                };
                let found = newest_with(versions, name, requirement);
                vec![found.ok_or_else(|| no_version(uses, plugin, versions))?]
            }
            (None, requirement) => {
                let of_each = self.by_name.values();
                of_each
                    .filter_map(|versions| newest_with(versions, name, requirement))
                    .collect()
            }
        };
        match plugins[..] {
            [plugin] => {
                let function = plugin.function(name).ok_or_else(|| self.unknown(uses, name))?;
                Ok((plugin, function))
            }
            [] => Err(self.unknown(uses, name)),
            ref several => Err(ResolveError::Ambiguous {
                uses: uses.to_owned(),
                candidates: several
                    .iter()
                    .map(|plugin| format!("{}/{name}", plugin.info.name))
                    .collect(),
            }),
        }
    }

    fn unknown(&self, uses: &str, function: &str) -> ResolveError {
        // If the only plugin with the function has another version, the error is about the version.
        let bare = uses.split('@').next().unwrap_or(uses);
        let having = self.by_function.get(function).into_iter().flatten();
        if let ([plugin], true) = (&having.collect::<Vec<_>>()[..], bare == function && bare != uses) {
            let name = &plugin.info.name;
            return no_version(uses, name, self.by_name.get(name).map_or(&[], Vec::as_slice));
        }
        let newest = self.by_name.values().filter_map(|versions| versions.first());
        let names = newest.flat_map(|plugin| {
            let function = |function: &FunctionInfo| (plugin.info.name.clone(), function.name.clone());
            plugin.info.functions.iter().map(function).collect::<Vec<_>>()
        });
        ResolveError::Unknown {
            uses: uses.to_owned(),
            similar: similar(bare, names),
        }
    }
}

/// The newest version that matches and has the function.
fn newest_with<'a>(
    versions: &'a [Arc<Plugin>],
    function: &str,
    requirement: &VersionRequirement,
) -> Option<&'a Arc<Plugin>> {
    let has = |plugin: &&Arc<Plugin>| requirement.fits(plugin) && plugin.function(function).is_some();
    let newest = |a: &&Arc<Plugin>, b: &&Arc<Plugin>| {
        let by_version = a.version.cmp_precedence(&b.version);
        by_version.then(a.order.cmp(&b.order))
    };
    versions.iter().filter(has).max_by(newest)
}

fn no_version(uses: &str, plugin: &str, versions: &[Arc<Plugin>]) -> ResolveError {
    ResolveError::NoVersion {
        uses: uses.to_owned(),
        plugin: plugin.to_owned(),
        versions: versions
            .iter()
            .map(|plugin| plugin.info.version.to_string())
            .collect(),
    }
}

/// How many similar names an error offers.
const MAX_SIMILAR: usize = 3;
/// The longest name that is compared with others, in bytes.
const MAX_COMPARED_LEN: usize = 130;
/// How many names of similar length are compared.
const MAX_COMPARED: usize = 500;

/// The names most similar to one that was not found: the same function in another plugin, or a name that differs in a
/// few letters.
fn similar(uses: &str, names: impl Iterator<Item = (Arc<str>, Arc<str>)>) -> Vec<String> {
    if uses.len() > MAX_COMPARED_LEN {
        return Vec::new();
    }
    let requirement = uses.rsplit_once('/').map_or(uses, |(_, function)| function);
    let most = 1 + requirement.len() / 3;
    let mut near: Vec<_> = names
        .filter(|(_, function)| function.len().abs_diff(requirement.len()) <= most)
        .take(MAX_COMPARED)
        .filter_map(|(plugin, function)| {
            let full = format!("{plugin}/{function}");
            let by_function = strsim::levenshtein(requirement, &function);
            let far = strsim::levenshtein(uses, &full).min(by_function + usize::from(uses.contains('/')));
            let close = far <= 1 + uses.len() / 4 && by_function <= most;
            close.then_some((far, full))
        })
        .collect();
    near.sort();
    near.truncate(MAX_SIMILAR);
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests;
