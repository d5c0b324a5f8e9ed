//! The host: implements the runtime's port for functions.
//!
//! [`Inner`] is what all calls share. Its methods are spread over the files that the crate's introduction names:
//! `register.rs` for registrations, `call.rs`, `input.rs` and `instance.rs` for calls.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use heddle_json::{Json, deserialize::NullRule};
use heddle_kernel::{Answer, Digest, Failure, event::FunctionRef};
use heddle_runtime::ports::{
    BuiltPlugin, Call, Functions, NewPlugin, PluginInfo, PluginPolicyInfo, PolicyRefused, RegisterError,
    ResolveError, Resolved, ToolCall,
};

use crate::{
    engines::Engines,
    error::HostError,
    fair_pool::FairPool,
    memory::TotalMemory,
    policy::{self, ApiPolicies, Limits, NodeBoundsCache, NodeGrants, Rules},
    registry::Registry,
    resources::Resources,
    settings::HostSettings,
    slots::SlotReserves,
    threads::Threads,
};

/// Registers plugins and calls their functions.
///
/// Clones share everything. Needs a tokio runtime with time enabled.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

/// How long the file systems of a policy's folders may take to answer when the policy is set over the API.
const POLICY_PATIENCE: Duration = Duration::from_secs(10);

/// The state that all clones of a host and all active calls share.
pub(crate) struct Inner {
    pub(crate) engines: Arc<Engines>,
    pub(crate) settings: HostSettings,
    pub(crate) registry: Registry,
    api_policies: ApiPolicies,
    pub(crate) node_bounds: NodeBoundsCache,
    /// Units for outermost calls.
    pub(crate) calls: Arc<FairPool>,
    pub(crate) slots: SlotReserves,
    /// The memory of all calls together.
    pub(crate) memory: Arc<TotalMemory>,
    /// Threads that read and check large inputs.
    pub(crate) input_threads: Threads,
    pub(crate) resources: Arc<Resources>,
}

impl Host {
    /// Starts a host without plugins.
    pub fn new(mut settings: HostSettings) -> Result<Self, HostError> {
        settings
            .total_memory_bytes
            .get_or_insert_with(HostSettings::default_total_memory);
        settings.check().map_err(HostError::Setting)?;
        let own = settings.call_limits();
        let rules = settings.policy.rules(&own, &settings.protected);
        let rules = rules.map_err(HostError::Policy)?;
        let input_threads = Threads::new(
            "inputs",
            "input_threads",
            (settings.input_threads, settings.input_threads_per_plugin),
        );
        let inner = Inner {
            engines: Arc::new(Engines::start(&settings)?),
            registry: Registry::new(rules, own, settings.max_description_bytes),
            api_policies: ApiPolicies::default(),
            node_bounds: NodeBoundsCache::default(),
            calls: FairPool::new(settings.max_total_calls()),
            slots: SlotReserves::new(settings.call_depth),
            memory: TotalMemory::new(settings.total_memory(), settings.max_total_calls()),
            input_threads: input_threads.map_err(|error| HostError::Engine(error.to_string()))?,
            resources: Arc::new(Resources::new(&settings)?),
            settings,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The settings of this host, with the memory of all calls filled in.
    pub fn settings(&self) -> &HostSettings {
        &self.inner.settings
    }
}

impl Functions for Host {
    fn build(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<Box<dyn BuiltPlugin>, RegisterError>> {
        Box::pin(async move {
            let built = self.inner.clone().build(plugin).await?;
            Ok(Box::new(built) as Box<dyn BuiltPlugin>)
        })
    }

    fn inspect(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<PluginInfo, RegisterError>> {
        Box::pin(async move { Ok((*self.inner.clone().inspect(plugin).await?).clone()) })
    }

    fn has(&self, digest: &Digest) -> bool {
        self.inner.registry.snapshot().by_digest(digest).is_some()
    }

    fn remove(&self, digest: &Digest) -> bool {
        self.inner.registry.remove(digest)
    }

    fn plugins(&self) -> Vec<Arc<PluginInfo>> {
        self.inner
            .registry
            .snapshot()
            .visible()
            .map(|plugin| plugin.info.clone())
            .collect()
    }

    fn resolve(&self, uses: &str) -> Result<Resolved, ResolveError> {
        let now = self.inner.registry.snapshot();
        let (plugin, info) = now.find(uses)?;
        Ok(Resolved {
            function: plugin.reference(info),
            info: info.clone(),
        })
    }

    fn is_granted(&self, function: &FunctionRef) -> bool {
        self.inner.registry.is_granted(function)
    }

    fn check_bounds(
        &self,
        _: &str,
        limits: Option<&Json>,
        grants: Option<&Json>,
    ) -> Result<(), Vec<(String, String)>> {
        let limits = limits.map_or(Ok(()), |limits| {
            Limits::of_node(limits, NullRule::Refused).map(drop)
        });
        let grants = grants.map_or(Ok(()), |grants| {
            NodeGrants::of_node(grants, NullRule::Refused).map(drop)
        });
        match (limits, grants) {
            (Err(mut problems), Err(more)) => {
                problems.extend(more);
                Err(problems)
            }
            (limits, grants) => limits.and(grants),
        }
    }

    fn policy(&self, name: &str) -> PluginPolicyInfo {
        let Inner {
            settings,
            registry,
            api_policies,
            ..
        } = &*self.inner;
        api_policies.of(name, &settings.policy, &registry.rules(&name.into()))
    }

    fn check_policy(&self, name: &str, body: Json) -> BoxFuture<'_, Result<(), PolicyRefused>> {
        let (host, name) = (self.inner.clone(), Arc::from(name));
        Box::pin(async move { host.rules(name, body).await.map(drop) })
    }

    fn set_policy(&self, name: &str, body: Option<Json>) -> BoxFuture<'_, Result<(), PolicyRefused>> {
        let (host, name): (_, Arc<str>) = (self.inner.clone(), Arc::from(name));
        Box::pin(async move {
            let rules = match body.clone() {
                Some(body) => Some(host.clone().rules(name.clone(), body).await?),
                None => policy::check_settable(&name, &host.settings.policy).map(|()| None)?,
            };
            host.api_policies.remember(&name, body);
            host.registry.set_rules(&name, rules);
            Ok(())
        })
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(self.inner.call(call))
    }

    fn call_tool(&self, call: ToolCall) -> BoxFuture<'_, Result<Json, Failure>> {
        Box::pin(self.inner.call_tool(call))
    }
}

impl Inner {
    /// Reads a policy of a plugin and everything that it refers to.
    async fn rules(self: Arc<Self>, name: Arc<str>, body: Json) -> Result<Arc<Rules>, PolicyRefused> {
        self.api_policies.has_room_for(&name)?;
        // Reading checks the granted folders, whose file systems may not answer.
        let (host, plugin) = (self.clone(), name.clone());
        let read = self.resources.file_threads.run(&name, move || {
            let settings = &host.settings;
            policy::rules_for(
                &plugin,
                &body,
                &host.api_policies,
                &settings.policy,
                &settings.protected,
                &settings.call_limits(),
            )
        });
        match tokio::time::timeout(POLICY_PATIENCE, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => Err(PolicyRefused::Invalid(error.to_string())),
            Err(_) => Err(PolicyRefused::Invalid(format!(
                "its folders and files could not be checked within {} s: their file system does not answer",
                POLICY_PATIENCE.as_secs()
            ))),
        }
    }
}
