//! The registered plugins, and the functions that names refer to.
//!
//! Readers take an immutable snapshot, so a lookup takes a few steps however many plugins there are, and a
//! registration becomes visible atomically.

mod description;
mod plugin;
mod registration;
mod snapshot;
mod uses;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use heddle_kernel::{Digest, event::FunctionRef};
use heddle_runtime::ports::{PluginInfo, RegisterError};

pub(crate) use self::{plugin::Plugin, registration::Registration, snapshot::Snapshot};
use crate::{
    lock::lock,
    policy::{CallLimits, Rules},
};

/// The current snapshot of all plugins.
pub(crate) struct Registry {
    current: RwLock<Arc<Snapshot>>,
    /// Held while a new snapshot is derived from the current one. No code awaits while it is held.
    writing: Mutex<()>,
}

impl Registry {
    /// Without plugins. `rules` are those of the policy, and `own` the limits of plugins without rules.
    pub(crate) fn new(rules: Vec<Arc<Rules>>, own: CallLimits, max_description_bytes: usize) -> Self {
        let first = Snapshot::new(rules, own, max_description_bytes);
        Self {
            current: RwLock::new(Arc::new(first)),
            writing: Mutex::default(),
        }
    }

    /// The rules of a name.
    pub(crate) fn rules(&self, name: &Arc<str>) -> Arc<Rules> {
        self.snapshot().rules_for(name)
    }

    /// Checks whether the component may be registered under this name: see [`Rules::admit`]. A component that is
    /// registered under the name already may be.
    pub(crate) fn admit(
        &self,
        name: &Arc<str>,
        digest: &Digest,
        replace_granted: bool,
    ) -> Result<(), RegisterError> {
        self.snapshot().admit(name, digest, replace_granted)
    }

    /// Replaces the rules of a name, for all calls that start from here on.
    pub(crate) fn set_rules(&self, name: &Arc<str>, rules: Option<Arc<Rules>>) {
        let _writing = lock(&self.writing);
        let mut next = (*self.snapshot()).clone();
        let all = Arc::make_mut(&mut next.rules);
        match rules {
            Some(rules) => all.insert(name.clone(), rules),
            None => all.remove(name),
        };
        let rules = next.rules_for(name);
        let of_name = next
            .by_digest
            .values_mut()
            .filter(|plugin| plugin.info.name == *name);
        for plugin in of_name {
            let rules = rules.for_component(&plugin.info.digest);
            *plugin = Arc::new((**plugin).clone().with_rules(rules));
        }
        for plugin in next.by_name.get_mut(name).into_iter().flatten() {
            if let Some(with_rules) = next.by_digest.get(&plugin.info.digest) {
                *plugin = with_rules.clone();
            }
        }
        next.index_functions();
        self.replace(next);
    }

    /// Whether the function's plugin is granted anything under its registered name.
    pub(crate) fn is_granted(&self, function: &FunctionRef) -> bool {
        let current = self.snapshot();
        if current.rules.is_empty() {
            return false;
        }
        match current.by_digest(&function.digest) {
            Some(plugin) => plugin.rules.is_granted(),
            None => {
                let rules = current.rules_for(&function.plugin);
                rules.for_component(&function.digest).is_granted()
            }
        }
    }

    /// The registered plugins at this moment. Later registrations do not change the snapshot.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Publishes a component. If its digest is published already, publishes only what the registration changes.
    pub(crate) fn publish(&self, registration: &Registration) -> Result<Arc<PluginInfo>, RegisterError> {
        let _writing = lock(&self.writing);
        let (next, info) = registration.apply(&self.snapshot())?;
        if let Some(next) = next {
            self.replace(next);
        }
        Ok(info)
    }

    /// The plugin that [`Self::publish`] would publish.
    ///
    /// # Errors
    /// Why it would refuse the plugin.
    pub(crate) fn preview(&self, registration: &Registration) -> Result<Arc<PluginInfo>, RegisterError> {
        Ok(registration.apply(&self.snapshot())?.1)
    }

    /// Removes a plugin. Returns false if it was not registered.
    pub(crate) fn remove(&self, digest: &Digest) -> bool {
        let _writing = lock(&self.writing);
        let current = self.snapshot();
        let Some(plugin) = current.by_digest.get(digest) else {
            return false;
        };
        let mut next = (*current).clone();
        next.by_digest.remove(digest);
        if let Some(versions) = next.by_name.get_mut(&plugin.info.name) {
            versions.retain(|version| version.info.digest != *digest);
        }
        next.by_name.retain(|_, versions| !versions.is_empty());
        next.index_functions();
        self.replace(next);
        true
    }

    fn replace(&self, next: Snapshot) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}
