//! What plugins are granted while the host runs, besides what the policy says, which stands.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use heddle_kernel::Json;
use heddle_runtime::ports::{PluginPolicyInfo, PolicyRefused, PolicySource};

use super::{CallLimits, PluginPolicy, Policy, Rules};
use crate::{component::check_plugin_name, output::held};

/// For how many plugins something may be set.
const MOST_SET: usize = 10_000;

/// What was set, by the plugin's name.
#[derive(Debug, Default)]
pub(crate) struct SetPolicies(Mutex<BTreeMap<Arc<str>, Json>>);

impl SetPolicies {
    /// What stands for a plugin.
    pub(crate) fn of(&self, name: &str, fixed: &Policy, rules: &Rules) -> PluginPolicyInfo {
        let (source, body) = match (fixed.written(name), held(&self.0).get(name)) {
            (Some(body), _) => (PolicySource::File, Some(body.clone())),
            (None, Some(body)) => (PolicySource::Set, Some(body.clone())),
            (None, None) => (PolicySource::Nobody, None),
        };
        PluginPolicyInfo {
            source,
            body,
            grants: rules.lines(),
        }
    }

    /// Whether something may be set for one more plugin.
    pub(crate) fn has_room_for(&self, name: &str) -> Result<(), PolicyRefused> {
        let set = held(&self.0);
        match set.len() < MOST_SET || set.contains_key(name) {
            true => Ok(()),
            false => Err(PolicyRefused::Invalid(format!(
                "something is set for {MOST_SET} plugins, which is the most: take some of it back first"
            ))),
        }
    }

    /// Remembers what was set, or that nothing is set any more.
    pub(crate) fn remember(&self, name: &Arc<str>, body: Option<Json>) {
        match body {
            Some(body) => held(&self.0).insert(name.clone(), body),
            None => held(&self.0).remove(name),
        };
    }
}

/// The rules that a plugin would have by this. Values that are elsewhere are read: it blocks.
pub(crate) fn rules(
    name: &Arc<str>,
    body: &Json,
    fixed: &Policy,
    own: &CallLimits,
) -> Result<Arc<Rules>, PolicyRefused> {
    may_be_set(name, fixed)?;
    let policy =
        PluginPolicy::parse(body.get()).map_err(|error| PolicyRefused::Invalid(error.to_string()))?;
    policy.rules(name.clone(), own).map_err(PolicyRefused::Invalid)
}

/// Whether what a plugin is granted may be set.
pub(crate) fn may_be_set(name: &str, fixed: &Policy) -> Result<(), PolicyRefused> {
    check_plugin_name(name).map_err(PolicyRefused::Invalid)?;
    match fixed.written(name) {
        Some(_) => Err(PolicyRefused::Fixed(name.to_owned())),
        None => Ok(()),
    }
}
