//! Policies that are set over the API while the host runs. The policy file has precedence.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use heddle_json::{Json, deserialize::FieldError};
use heddle_runtime::ports::{PluginPolicyInfo, PolicyRefused, PolicySource};

use super::{
    document::{PluginPolicy, Policy},
    limits::CallLimits,
    protected::Protected,
    rules::Rules,
};
use crate::{component::check_plugin_name, lock::lock};

/// For how many plugins a policy may be set.
const MAX_SET: usize = 10_000;

/// The policies, by the plugin's name.
#[derive(Debug, Default)]
pub(crate) struct ApiPolicies(Mutex<BTreeMap<Arc<str>, Json>>);

impl ApiPolicies {
    /// The policy that applies to a plugin.
    pub(crate) fn of(&self, name: &str, fixed: &Policy, rules: &Rules) -> PluginPolicyInfo {
        let (source, body) = match (fixed.written(name), lock(&self.0).get(name)) {
            (Some(body), _) => (PolicySource::File, Some(body.clone())),
            (None, Some(body)) => (PolicySource::Set, Some(body.clone())),
            (None, None) => (PolicySource::Unset, None),
        };
        PluginPolicyInfo {
            source,
            body,
            grants: rules.grant_lines(),
        }
    }

    /// Checks whether a policy for one more plugin may be set.
    pub(crate) fn has_room_for(&self, name: &str) -> Result<(), PolicyRefused> {
        let set = lock(&self.0);
        match set.len() < MAX_SET || set.contains_key(name) {
            true => Ok(()),
            false => Err(PolicyRefused::Invalid(format!(
                "policies are set for {MAX_SET} plugins, which is the limit: remove one first"
            ))),
        }
    }

    /// The policy file with all policies that are set over the API.
    fn added_to(&self, fixed: &Policy) -> Policy {
        let set = lock(&self.0);
        set.iter()
            .fold(fixed.clone(), |all, (name, body)| match PluginPolicy::of(body) {
                Ok(policy) if fixed.written(name).is_none() => all.with(name, policy),
                _ => all,
            })
    }

    /// Stores a policy, or removes it.
    pub(crate) fn remember(&self, name: &Arc<str>, body: Option<Json>) {
        match body {
            Some(body) => lock(&self.0).insert(name.clone(), body),
            None => lock(&self.0).remove(name),
        };
    }
}

/// The rules of a plugin with this policy, checked together with all other policies. Reads files and variables that
/// the policy refers to. Blocks.
pub(crate) fn rules(
    name: &Arc<str>,
    body: &Json,
    set: &ApiPolicies,
    fixed: &Policy,
    protected: &[Protected],
    own: &CallLimits,
) -> Result<Arc<Rules>, PolicyRefused> {
    check_settable(name, fixed)?;
    let policy = PluginPolicy::of(body)
        .map_err(|FieldError { pointer, message }| PolicyRefused::InvalidAt { pointer, message })?;
    // A plugin's folders may not contain another plugin's secrets, and its secrets may not be in another plugin's
    // folders.
    let all = set.added_to(fixed).with(name, policy.clone());
    all.check_dirs(protected).map_err(PolicyRefused::Invalid)?;
    policy.rules(name.clone(), own).map_err(PolicyRefused::Invalid)
}

/// Checks whether the policy of a plugin may be set over the API.
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
