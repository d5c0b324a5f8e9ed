//! The rules of the plugins of one name while the host runs: grants, limits and their share of common pools.

use std::sync::Arc;

use heddle_kernel::Digest;
use heddle_runtime::ports::RegisterError;

use super::{
    concurrency::Concurrency,
    grants::Grants,
    limits::{CallLimits, Limits},
    node_grants::NodeGrants,
    pins::Pins,
};
use crate::fair_pool::PluginUsage;

/// The rules of the plugins of one name.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The name of the plugins.
    pub(crate) plugin: Arc<str>,
    /// What they may do outside of their sandboxes.
    pub(crate) grants: Grants,
    /// The limits of one call.
    pub(crate) limits: Arc<CallLimits>,
    /// The limits that the policy sets.
    pub(super) policy_limits: Limits,
    /// Limits how many of their calls are active at once, if the policy does.
    pub(crate) concurrency: Concurrency,
    /// Their share of the pools that all plugins use.
    pub(crate) usage: Arc<PluginUsage>,
    /// The components that the grants are for.
    pub(super) pins: Pins,
    /// The rules of other components of this name, if the policy lists digests: the same limits without grants.
    pub(super) others: Option<Arc<Self>>,
}

impl Rules {
    /// No grants, and these limits.
    pub(crate) fn none(plugin: Arc<str>, limits: Arc<CallLimits>) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            grants: Grants::default(),
            limits,
            policy_limits: Limits::default(),
            concurrency: Concurrency::default(),
            usage: Arc::default(),
            pins: Pins::default(),
            others: None,
        })
    }

    /// The rules of one component of this name.
    pub(crate) fn for_component(self: &Arc<Self>, digest: &Digest) -> Arc<Self> {
        match &self.others {
            Some(others) if !self.pins.allow(digest) => others.clone(),
            _ => self.clone(),
        }
    }

    /// Checks whether a client other than the operator may register a component under this name. With
    /// `replace_granted` the client confirms that the component gets the grants of the name. Components that the
    /// policy lists need no confirmation; if it lists some, all others are refused.
    ///
    /// # Errors
    /// Why the component may not be registered.
    pub(crate) fn admit(&self, digest: &Digest, replace_granted: bool) -> Result<(), RegisterError> {
        let name = self.plugin.to_string();
        match self.pins.are_set() {
            true if !self.pins.allow(digest) => Err(RegisterError::NotPinned {
                name,
                digest: digest.clone(),
            }),
            false if self.is_granted() && !replace_granted => Err(RegisterError::Granted {
                name,
                grants: self.grant_lines(),
            }),
            _ => Ok(()),
        }
    }

    /// The rules of the calls of a node with these `grants`.
    pub(crate) fn narrowed_to(&self, to: &NodeGrants) -> Arc<Self> {
        Arc::new(Self {
            plugin: self.plugin.clone(),
            grants: self.grants.narrowed_to(to),
            limits: self.limits.clone(),
            policy_limits: self.policy_limits.clone(),
            concurrency: Concurrency::default(),
            usage: self.usage.clone(),
            pins: Pins::default(),
            others: None,
        })
    }

    /// Whether anything is granted, so that a call may have side effects.
    pub(crate) fn is_granted(&self) -> bool {
        !self.grants.is_empty()
    }

    /// A line for each grant.
    pub(crate) fn grant_lines(&self) -> Vec<String> {
        self.grants.lines()
    }

    /// A line for each limit of the policy.
    pub(crate) fn limit_lines(&self) -> Vec<String> {
        self.policy_limits.lines()
    }
}
