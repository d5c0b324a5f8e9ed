//! What plugins are granted while the host runs, besides what the policy says, which stands.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use heddle_json::Json;
use heddle_runtime::ports::{PluginPolicyInfo, PolicyRefused, PolicySource};

use super::{
    document::{PluginPolicy, Policy},
    limits::CallLimits,
    protected::Protected,
    rules::Rules,
};
use crate::{component::check_plugin_name, lock::lock};

/// For how many plugins something may be set.
const MAX_SET: usize = 10_000;

/// What was set, by the plugin's name.
#[derive(Debug, Default)]
pub(crate) struct ApiPolicies(Mutex<BTreeMap<Arc<str>, Json>>);

impl ApiPolicies {
    /// What stands for a plugin.
    pub(crate) fn of(&self, name: &str, fixed: &Policy, rules: &Rules) -> PluginPolicyInfo {
        let (source, body) = match (fixed.written(name), lock(&self.0).get(name)) {
            (Some(body), _) => (PolicySource::File, Some(body.clone())),
            (None, Some(body)) => (PolicySource::Set, Some(body.clone())),
            (None, None) => (PolicySource::Nobody, None),
        };
        PluginPolicyInfo {
            source,
            body,
            grants: rules.grant_lines(),
        }
    }

    /// Whether something may be set for one more plugin.
    pub(crate) fn has_room_for(&self, name: &str) -> Result<(), PolicyRefused> {
        let set = lock(&self.0);
        match set.len() < MAX_SET || set.contains_key(name) {
            true => Ok(()),
            false => Err(PolicyRefused::Invalid(format!(
                "something is set for {MAX_SET} plugins, which is the most: take some of it back first"
            ))),
        }
    }

    /// The policy with all that is set.
    fn added_to(&self, fixed: &Policy) -> Policy {
        let set = lock(&self.0);
        set.iter().fold(fixed.clone(), |all, (name, body)| {
            match PluginPolicy::parse(body.get()) {
                Ok(policy) if fixed.written(name).is_none() => all.with(name, policy),
                _ => all,
            }
        })
    }

    /// Remembers what was set, or that nothing is set any more.
    pub(crate) fn remember(&self, name: &Arc<str>, body: Option<Json>) {
        match body {
            Some(body) => lock(&self.0).insert(name.clone(), body),
            None => lock(&self.0).remove(name),
        };
    }
}

/// The rules that a plugin would have by this, beside what else is set. Values that are elsewhere are read: it blocks.
pub(crate) fn rules(
    name: &Arc<str>,
    body: &Json,
    set: &ApiPolicies,
    fixed: &Policy,
    protected: &[Protected],
    own: &CallLimits,
) -> Result<Arc<Rules>, PolicyRefused> {
    check_settable(name, fixed)?;
    let policy =
        PluginPolicy::parse(body.get()).map_err(|error| PolicyRefused::Invalid(error.to_string()))?;
    // Its folders may not have another plugin's secrets in them, nor its secrets be in another plugin's folders.
    let all = set.added_to(fixed).with(name, policy.clone());
    all.check_dirs(protected).map_err(PolicyRefused::Invalid)?;
    policy.rules(name.clone(), own).map_err(PolicyRefused::Invalid)
}

/// Whether what a plugin is granted may be set.
pub(crate) fn check_settable(name: &str, fixed: &Policy) -> Result<(), PolicyRefused> {
    check_plugin_name(name).map_err(PolicyRefused::Invalid)?;
    match fixed.written(name) {
        Some(_) => Err(PolicyRefused::Fixed(name.to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_may_be_set_for_10_000_plugins_and_changed_for_each_of_them() {
        let set = ApiPolicies::default();
        let name = |n: usize| Arc::from(format!("plugin-{n}"));
        let body = || heddle_json::object::json("{}").ok();
        for n in 0..9_999 {
            set.remember(&name(n), body());
        }
        set.has_room_for("one-more").unwrap();
        set.remember(&name(9_999), body());
        let refusal = set.has_room_for("one-more").unwrap_err();
        assert!(refusal.to_string().contains("10000 plugins"), "{refusal}");
        set.has_room_for("plugin-7").unwrap();
        set.remember(&name(7), None);
        set.has_room_for("one-more").unwrap();
    }
}
