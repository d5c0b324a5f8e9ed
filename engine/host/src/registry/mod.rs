//! Which plugins there are, and what a name finds.
//!
//! Readers take a snapshot that never changes, so a name is looked up in a few steps however
//! many plugins there are, and a registration is seen as a whole or not at all.

mod description;
mod uses;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use heddle_kernel::{Digest, event::FunctionRef};
use heddle_runtime::ports::{FunctionInfo, PluginInfo, RegisterError, ResolveError};
use heddle_schema::Schema;

use semver::Version;

use self::uses::{Uses, Wanted};
use crate::{
    component::version_of,
    contract::Contract,
    metered::Metered,
    output::held,
    policy::{CallLimits, Rules},
};

/// How much of its digest a component gets as build metadata, where its version is taken.
const BUILD_LEN: usize = 12;

/// A registered plugin, ready to be called.
#[derive(Clone)]
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
    /// As in `info`.
    version: Version,
    /// Of two builds of one version, the one with the higher number was registered later, and is newer.
    order: u64,
    /// How many bytes its description takes.
    bytes: usize,
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
            // Every version was checked before its component was compiled.
            version: version_of(&info.version).unwrap_or(Version::new(0, 0, 0)),
            bytes: description::bytes(&info),
            info: Arc::new(info),
            contract: Arc::new(contract),
            metered: Arc::new(metered),
            inputs: inputs.into(),
            rules,
            hidden,
            order: 0,
        }
    }

    /// The same component in sight of everyone, under the name that it has from now on.
    fn shown_as(&self, name: Arc<str>, version: Arc<str>) -> Self {
        Self {
            version: version_of(&version).unwrap_or(Version::new(0, 0, 0)),
            info: Arc::new(PluginInfo {
                name,
                version,
                ..(*self.info).clone()
            }),
            hidden: false,
            ..self.clone()
        }
    }

    /// The same with these rules, which are of its name.
    fn ruled(mut self, rules: Arc<Rules>) -> Self {
        if Arc::ptr_eq(&self.rules, &rules) {
            return self;
        }
        self.info = Arc::new(PluginInfo {
            grants: rules.lines(),
            limits: rules.limited(),
            ..(*self.info).clone()
        });
        self.rules = rules;
        self
    }

    /// The same component as a version of its own, where the version that it carries is another's.
    fn renumbered(mut self) -> Self {
        let digest = &self.info.digest.0;
        let build = semver::BuildMetadata::new(&digest[..digest.len().min(BUILD_LEN)]);
        self.version.build = build.unwrap_or(semver::BuildMetadata::EMPTY);
        let version = self.version.to_string().into();
        self.info = Arc::new(PluginInfo {
            version,
            ..(*self.info).clone()
        });
        self
    }

    /// The newest version comes first, and of one version the build that was registered last.
    /// Pre-releases stand behind the rest, since nobody gets one who did not ask for it.
    fn rank(&self) -> impl Ord + use<> {
        let Version {
            major,
            minor,
            patch,
            pre,
            ..
        } = &self.version;
        Reverse((pre.is_empty(), (*major, *minor, *patch), pre.clone(), self.order))
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
#[derive(Clone)]
pub(crate) struct Snapshot {
    by_digest: HashMap<Digest, Arc<Plugin>>,
    /// The versions of each name that are not hidden, newest first.
    by_name: BTreeMap<Arc<str>, Vec<Arc<Plugin>>>,
    /// For each function, the plugins whose newest version has it, by name.
    by_function: HashMap<Arc<str>, Vec<Arc<Plugin>>>,
    /// How many were registered until this moment.
    registered: u64,
    /// What holds for plugins, by their name, where anything is said of that.
    rules: Arc<BTreeMap<Arc<str>, Arc<Rules>>>,
    /// What limits the others.
    own: Arc<CallLimits>,
    /// How many bytes the descriptions of all plugins may take together.
    max_description_bytes: usize,
}

/// The plugins.
pub(crate) struct Registry {
    current: RwLock<Arc<Snapshot>>,
    /// Held while a snapshot is made from the one before. Nothing awaits while it is held.
    writing: Mutex<()>,
}

impl Registry {
    /// Without any plugin, but with the rules for those to come, and the limits for the others.
    pub(crate) fn new(rules: Vec<Arc<Rules>>, own: CallLimits, max_description_bytes: usize) -> Self {
        let rules = rules.into_iter().map(|rules| (rules.plugin.clone(), rules));
        let first = Snapshot {
            by_digest: HashMap::new(),
            by_name: BTreeMap::new(),
            by_function: HashMap::new(),
            registered: 0,
            rules: Arc::new(rules.collect()),
            own: Arc::new(own),
            max_description_bytes,
        };
        Self {
            current: RwLock::new(Arc::new(first)),
            writing: Mutex::default(),
        }
    }

    /// What the policy says of this name.
    pub(crate) fn rules(&self, name: &Arc<str>) -> Arc<Rules> {
        self.now().rules_of(name)
    }

    /// Whether the component may be registered under this name: see [`Rules::admit`]. One that is registered under it
    /// needs no leave.
    pub(crate) fn admit(
        &self,
        name: &Arc<str>,
        digest: &Digest,
        replace_granted: bool,
    ) -> Result<(), RegisterError> {
        self.now().admit(name, digest, replace_granted)
    }

    /// Changes what holds for the plugins of one name: for every call that begins from here on.
    pub(crate) fn set_rules(&self, name: &Arc<str>, rules: Option<Arc<Rules>>) {
        let _writing = held(&self.writing);
        let mut next = (*self.now()).clone();
        let all = Arc::make_mut(&mut next.rules);
        match rules {
            Some(rules) => all.insert(name.clone(), rules),
            None => all.remove(name),
        };
        let rules = next.rules_of(name);
        let of_name = next
            .by_digest
            .values_mut()
            .filter(|plugin| plugin.info.name == *name);
        for plugin in of_name {
            let rules = rules.of_component(&plugin.info.digest);
            *plugin = Arc::new((**plugin).clone().ruled(rules));
        }
        for plugin in next.by_name.get_mut(name).into_iter().flatten() {
            if let Some(ruled) = next.by_digest.get(&plugin.info.digest) {
                *plugin = ruled.clone();
            }
        }
        next.list_functions();
        self.show(next);
    }

    /// Whether the function's plugin is granted anything, by the name that it is registered under.
    pub(crate) fn is_granted(&self, function: &FunctionRef) -> bool {
        let now = self.now();
        if now.rules.is_empty() {
            return false;
        }
        match now.by_digest(&function.digest) {
            Some(plugin) => plugin.rules.is_granted(),
            None => {
                let rules = now.rules_of(&function.plugin);
                rules.of_component(&function.digest).is_granted()
            }
        }
    }

    /// The plugins as they are at this moment.
    pub(crate) fn now(&self) -> Arc<Snapshot> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes a plugin known, as a whole. If its digest is known, what is known stands. With `renumbered` it
    /// gets a version of its own where its version is taken.
    pub(crate) fn add(
        &self,
        plugin: Plugin,
        renumbered: bool,
        replace_granted: bool,
    ) -> Result<Arc<PluginInfo>, RegisterError> {
        let _writing = held(&self.writing);
        let now = self.now();
        if !plugin.hidden {
            // The policy may have changed while the plugin was compiled.
            now.admit(&plugin.info.name, &plugin.info.digest, replace_granted)?;
        }
        match now.by_digest.get(&plugin.info.digest) {
            Some(known) if plugin.hidden || !known.hidden => Ok(known.info.clone()),
            _ if renumbered && now.has_version(&plugin.info) => self.put(&now, plugin.renumbered()),
            _ => self.put(&now, plugin),
        }
    }

    /// What a plugin would be made known as, or why it would not.
    pub(crate) fn would_add(
        &self,
        plugin: Plugin,
        renumbered: bool,
    ) -> Result<Arc<PluginInfo>, RegisterError> {
        let now = self.now();
        let plugin = match renumbered && now.has_version(&plugin.info) {
            true => plugin.renumbered(),
            false => plugin,
        };
        let info = plugin.info.clone();
        now.with(Arc::new(plugin))?;
        Ok(info)
    }

    /// What is shown with this digest, if it is shown under this name.
    pub(crate) fn shown(
        &self,
        digest: &Digest,
        identity: impl FnOnce() -> Result<(Arc<str>, Arc<str>), RegisterError>,
    ) -> Option<Result<Arc<PluginInfo>, RegisterError>> {
        let now = self.now();
        let known = now.by_digest.get(digest).filter(|known| !known.hidden)?;
        Some(identity().and_then(|(name, version)| known.is_named(&name, &version)))
    }

    /// Takes a plugin out. Answers whether it was there.
    pub(crate) fn remove(&self, digest: &Digest) -> bool {
        let _writing = held(&self.writing);
        let now = self.now();
        let Some(plugin) = now.by_digest.get(digest) else {
            return false;
        };
        let mut next = (*now).clone();
        next.by_digest.remove(digest);
        if let Some(versions) = next.by_name.get_mut(&plugin.info.name) {
            versions.retain(|version| version.info.digest != *digest);
        }
        next.by_name.retain(|_, versions| !versions.is_empty());
        next.list_functions();
        self.show(next);
        true
    }

    /// Takes up that the digest is registered again: it is shown, if it was hidden and is to be
    /// hidden no more; with `renumbered` it is the newest of its version from here on. None where the digest
    /// is not known.
    pub(crate) fn again(
        &self,
        digest: &Digest,
        hidden: bool,
        renumbered: bool,
        identity: impl FnOnce() -> Result<(Arc<str>, Arc<str>), RegisterError>,
    ) -> Option<Result<Arc<PluginInfo>, RegisterError>> {
        let _writing = held(&self.writing);
        let now = self.now();
        let known = now.by_digest.get(digest)?;
        if hidden {
            return Some(Ok(known.info.clone()));
        }
        Some(identity().and_then(|(name, version)| {
            let is_named_so = known.info.name == name;
            match known.hidden {
                true => {
                    let mut shown = known.shown_as(name, version);
                    if renumbered && now.has_version(&shown.info) {
                        shown = shown.renumbered();
                    }
                    self.put(&now, shown)
                }
                // Whoever brings back what there was before means to use that.
                false if renumbered && is_named_so => self.put(&now, (**known).clone()),
                false => known.is_named(&name, &version),
            }
        }))
    }

    fn put(&self, now: &Snapshot, mut plugin: Plugin) -> Result<Arc<PluginInfo>, RegisterError> {
        plugin.order = now.registered;
        // They may have changed while the plugin was compiled.
        let rules = now.rules_of(&plugin.info.name).of_component(&plugin.info.digest);
        let plugin = plugin.ruled(rules);
        let info = plugin.info.clone();
        self.show(now.with(Arc::new(plugin))?);
        Ok(info)
    }

    fn show(&self, next: Snapshot) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}

impl Snapshot {
    fn admit(&self, name: &Arc<str>, digest: &Digest, replace_granted: bool) -> Result<(), RegisterError> {
        match self.by_digest.get(digest) {
            Some(known) if !known.hidden && known.info.name == *name => Ok(()),
            _ => self.rules_of(name).admit(digest, replace_granted),
        }
    }

    fn rules_of(&self, name: &Arc<str>) -> Arc<Rules> {
        let rules = self.rules.get(name).cloned();
        rules.unwrap_or_else(|| Rules::none(name.clone(), self.own.clone()))
    }

    fn with(&self, plugin: Arc<Plugin>) -> Result<Self, RegisterError> {
        let mut next = self.clone();
        next.registered += 1;
        let info = &plugin.info;
        next.by_digest.insert(info.digest.clone(), plugin.clone());
        if !self.by_digest.contains_key(&info.digest) {
            let bytes = next.by_digest.values().map(|plugin| plugin.bytes).sum();
            // What runs keep to has as much room again, so that no new plugin keeps a run from going on.
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
        next.list_functions();
        Ok(next)
    }

    fn list_functions(&mut self) {
        self.by_function = HashMap::new();
        for newest in self.by_name.values().filter_map(|versions| versions.first()) {
            for function in &newest.info.functions {
                let plugins = self.by_function.entry(function.name.clone()).or_default();
                plugins.push(newest.clone());
            }
        }
    }

    fn has_version(&self, of: &PluginInfo) -> bool {
        let versions = self.by_name.get(&of.name).into_iter().flatten();
        versions.into_iter().any(|known| known.info.version == of.version)
    }

    /// The plugin with this digest, hidden or not.
    pub(crate) fn by_digest(&self, digest: &Digest) -> Option<&Arc<Plugin>> {
        self.by_digest.get(digest)
    }

    /// Every plugin that is not hidden, by name and then newest first.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.by_name.values().flatten()
    }

    /// What `plugin/function` or `function` finds, with or without a version behind it.
    pub(crate) fn find(&self, uses: &str) -> Result<(&Arc<Plugin>, &FunctionInfo), ResolveError> {
        let read = Uses::parse(uses)?;
        let name = read.function;
        let plugins: Vec<&Arc<Plugin>> = match (read.plugin, &read.wanted) {
            (Some(plugin), Wanted::Newest) => {
                let versions = self.by_name.get(plugin);
                versions
                    .and_then(|versions| versions.first())
                    .into_iter()
                    .collect()
            }
            (None, Wanted::Newest) => self.by_function.get(name).into_iter().flatten().collect(),
            (Some(plugin), wanted) => {
                let Some(versions) = self.by_name.get(plugin) else {
                    return Err(self.unknown(uses, name));
                };
                let found = newest_with(versions, name, wanted);
                vec![found.ok_or_else(|| no_version(uses, plugin, versions))?]
            }
            (None, wanted) => {
                let of_each = self.by_name.values();
                of_each
                    .filter_map(|versions| newest_with(versions, name, wanted))
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
        // Where a plugin is of another version than what is asked for, that is what is wrong.
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

/// The newest of these that has the function and fits.
fn newest_with<'a>(versions: &'a [Arc<Plugin>], function: &str, wanted: &Wanted) -> Option<&'a Arc<Plugin>> {
    let has = |plugin: &&Arc<Plugin>| wanted.fits(plugin) && plugin.function(function).is_some();
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

/// How many names are offered in place of one that was not found.
const MOST_SIMILAR: usize = 3;
/// The longest name that is compared with others, in bytes.
const MAX_COMPARED_LEN: usize = 130;
/// How many names of about the same length one name is compared with.
const MAX_COMPARED: usize = 500;

/// The names that are near one that was not found, nearest first: the same function in another
/// plugin, or a name a few letters away.
fn similar(uses: &str, names: impl Iterator<Item = (Arc<str>, Arc<str>)>) -> Vec<String> {
    if uses.len() > MAX_COMPARED_LEN {
        return Vec::new();
    }
    let wanted = uses.rsplit_once('/').map_or(uses, |(_, function)| function);
    let most = 1 + wanted.len() / 3;
    let mut near: Vec<_> = names
        .filter(|(_, function)| function.len().abs_diff(wanted.len()) <= most)
        .take(MAX_COMPARED)
        .filter_map(|(plugin, function)| {
            let full = format!("{plugin}/{function}");
            let by_function = strsim::levenshtein(wanted, &function);
            let far = strsim::levenshtein(uses, &full).min(by_function + usize::from(uses.contains('/')));
            let close = far <= 1 + uses.len() / 4 && by_function <= most;
            close.then_some((far, full))
        })
        .collect();
    near.sort();
    near.truncate(MOST_SIMILAR);
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests;
