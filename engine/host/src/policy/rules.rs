//! The rules of the plugins of one name while the host runs: grants, limits and what they hold of shared pools.

use std::sync::Arc;

use heddle_kernel::Digest;
use heddle_runtime::ports::RegisterError;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    grants::Grants,
    limits::{CallLimits, Limits},
    node_grants::NodeGrants,
    pins::Pins,
};
use crate::fair_pool::PluginUsage;

/// What holds for the plugins of one name, while the host runs.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The name.
    pub(crate) plugin: Arc<str>,
    /// What they may do outside of their sandboxes.
    pub(crate) grants: Grants,
    /// What one of their calls may use up.
    pub(crate) limits: Arc<CallLimits>,
    /// What the policy says of that.
    pub(super) policy_limits: Limits,
    /// How many of their calls may still begin, where that is limited.
    pub(super) concurrency: Option<Semaphore>,
    /// What they hold of everything that plugins share.
    pub(crate) usage: Arc<PluginUsage>,
    /// The components that the policy grants this to.
    pub(super) pins: Pins,
    /// What holds for the other components of this name, where the policy lists some: the limits alone.
    pub(super) others: Option<Arc<Self>>,
}

impl Rules {
    /// Nothing is granted, and these limits hold.
    pub(crate) fn none(plugin: Arc<str>, limits: Arc<CallLimits>) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            grants: Grants::default(),
            limits,
            policy_limits: Limits::default(),
            concurrency: None,
            usage: Arc::default(),
            pins: Pins::default(),
            others: None,
        })
    }

    /// What holds for one component of this name.
    pub(crate) fn for_component(self: &Arc<Self>, digest: &Digest) -> Arc<Self> {
        match &self.others {
            Some(others) if !self.pins.allow(digest) => others.clone(),
            _ => self.clone(),
        }
    }

    /// Whether a component may be registered under this name by somebody who is not the operator: with `replace_granted`,
    /// they say that it shall have what the name is granted. The components that the policy lists need no such word, and
    /// others are refused whoever registers them.
    ///
    /// # Errors
    /// Why it may not.
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

    /// What holds for the calls of a node that leaves only some of the grants.
    pub(crate) fn narrowed_to(&self, to: &NodeGrants) -> Arc<Self> {
        Arc::new(Self {
            plugin: self.plugin.clone(),
            grants: self.grants.narrowed_to(to),
            limits: self.limits.clone(),
            policy_limits: self.policy_limits.clone(),
            concurrency: None,
            usage: self.usage.clone(),
            pins: Pins::default(),
            others: None,
        })
    }

    /// Whether anything is granted, so that a call may have an effect outside.
    pub(crate) fn is_granted(&self) -> bool {
        !self.grants.is_empty()
    }

    /// What is granted, a line for each grant.
    pub(crate) fn grant_lines(&self) -> Vec<String> {
        self.grants.lines()
    }

    /// What the policy limits, a line for each limit.
    pub(crate) fn limit_lines(&self) -> Vec<String> {
        self.policy_limits.lines()
    }

    /// Waits until one more call may begin, in the order of arrival. The call's place is free again
    /// when what is returned is dropped.
    pub(crate) async fn acquire_permit(&self) -> Option<SemaphorePermit<'_>> {
        let concurrency = self.concurrency.as_ref()?;
        Some(
            concurrency
                .acquire()
                .await
                .expect("these places are never closed"),
        )
    }
}
