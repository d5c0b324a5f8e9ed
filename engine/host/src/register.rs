//! Registers and inspects plugins.
//!
//! A registration reads the component's metadata, compiles it (or finds it in the cache), runs its `describe`
//! functions in a sandbox without grants, checks the descriptions, and publishes the plugin in the registry.

use std::sync::Arc;

use heddle_kernel::{Digest, FunctionKind, Timestamp};
use heddle_runtime::ports::{BuiltPlugin, FunctionInfo, NewPlugin, PluginInfo, RegisterError};
use heddle_schema::Schema;

use crate::{
    cache::{InUse, Source},
    compile::QueueFull,
    component::{self, ComponentMetadata},
    contract::{Contract, types::FunctionDescription},
    describe,
    error::ComponentError,
    host::Inner,
    metered_contract::MeteredContract,
    output::DiscardSink,
    policy::{CallLimits, Rules},
    registry::{Plugin, Registration},
    requested_permissions,
    sandbox::ChainLink,
};

impl Inner {
    /// All steps of a registration but the last one, publishing. Dropping the future cancels the registration.
    pub(crate) async fn build(self: Arc<Self>, new: NewPlugin) -> Result<BuiltComponent, RegisterError> {
        let registration = Registration {
            renumbered: new.renumbered,
            replace_granted: Some(new.replace_granted),
            plugin: self.build_plugin(new, Purpose::Register).await?,
        };
        for left_out in &registration.plugin.info.left_out {
            tracing::warn!("plugin {}: left out {left_out}", registration.plugin.info.name);
        }
        Ok(BuiltComponent {
            host: self,
            registration,
        })
    }

    pub(crate) async fn inspect(self: Arc<Self>, new: NewPlugin) -> Result<Arc<PluginInfo>, RegisterError> {
        let registration = Registration {
            renumbered: new.renumbered,
            replace_granted: None,
            plugin: self.build_plugin(new, Purpose::Inspect).await?,
        };
        self.registry.preview(&registration)
    }

    async fn build_plugin(
        self: &Arc<Self>,
        new: NewPlugin,
        purpose: Purpose,
    ) -> Result<Plugin, RegisterError> {
        let _queue_slot = match new.waits {
            true => None,
            false => Some(
                self.engines
                    .queue
                    .acquire_slot(new.component.len())
                    .map_err(busy)?,
            ),
        };
        let NewComponent {
            component,
            digest,
            name,
            version,
            metadata,
            hidden,
        } = match self.prepare_on_thread(new, purpose).await? {
            Prepared::Known(plugin) => return Ok(*plugin),
            Prepared::New(new) => *new,
        };
        // While the mark lives, neither the component nor its code is evicted from the cache.
        let in_use = self.engines.cache.mark(&digest);
        let (imports, size) = (metadata.imports.clone(), component.len() as u64);
        let contract = self.engines.compile(false, &digest, &component, metadata).await;
        let contract = contract.map_err(|error| match error {
            ComponentError::Engine(reason) => refused(reason),
            ComponentError::Plugin(reason) => no_plugin(&reason),
            ComponentError::Unknown(reason) => RegisterError::Failed(reason),
        })?;
        let metered = MeteredContract::new(self.store_component(in_use, &digest, component).await?);
        let rules = self.registry.rules(&name).for_component(&digest);
        let (functions, inputs) = self.describe(&rules, &digest, &contract).await?;
        if rules.limits.fuel.is_some() {
            let compiled = metered.get(&self.engines, &digest).await;
            compiled.map_err(refused)?;
        }
        let info = PluginInfo {
            name,
            version,
            digest,
            size,
            requested_permissions: requested_permissions::from_imports(&imports),
            imports,
            functions,
            left_out: contract.left_out().to_vec(),
            grants: rules.grant_lines(),
            limits: rules.limit_lines(),
        };
        Ok(Plugin::new(info, inputs, contract, metered, rules, hidden))
    }

    /// Runs [`Self::prepare`] on a thread that may block, for a few components at a time.
    async fn prepare_on_thread(
        self: &Arc<Self>,
        new: NewPlugin,
        purpose: Purpose,
    ) -> Result<Prepared, RegisterError> {
        let reading = self.engines.queue.read().await;
        let host = self.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let _reading = reading;
            host.prepare(new, purpose)
        });
        let failed = |error| RegisterError::Failed(format!("the component could not be read: {error}"));
        prepared.await.map_err(failed)?
    }

    /// Stores the component's bytes for compiling it for metered calls later.
    async fn store_component(
        self: &Arc<Self>,
        in_use: Option<InUse>,
        digest: &Digest,
        component: Arc<[u8]>,
    ) -> Result<Source, RegisterError> {
        let (host, digest) = (self.clone(), digest.clone());
        let stored = tokio::task::spawn_blocking(move || {
            host.engines.cache.store_component(in_use, &digest, &component)
        });
        let failed = |error| RegisterError::Failed(format!("the component could not be stored: {error}"));
        stored.await.map_err(failed)
    }

    /// The steps of a registration before compiling. Blocks.
    fn prepare(&self, new: NewPlugin, purpose: Purpose) -> Result<Prepared, RegisterError> {
        let (metadata, digest) = self.read(&new.component)?;
        let requested = || {
            component::identity(
                &metadata,
                new.name.as_deref(),
                new.version.as_deref(),
                new.fallback_name.as_deref(),
            )
            .map_err(refused)
        };
        let identity = match new.hidden {
            true => None,
            false => Some(requested()?),
        };
        if let (Purpose::Register, Some((name, _))) = (purpose, &identity) {
            self.registry.admit(name, &digest, new.replace_granted)?;
        }
        if let Some(known) = self.registry.snapshot().by_digest(&digest) {
            return Ok(Prepared::Known(Box::new(known.again(identity))));
        }
        if metadata.exports.is_empty() {
            return Err(no_plugin("it exports nothing"));
        }
        let (name, version) = identity.map_or_else(requested, Ok)?;
        Ok(Prepared::New(Box::new(NewComponent {
            component: new.component,
            digest,
            name,
            version,
            metadata,
            hidden: new.hidden,
        })))
    }

    /// Reads the component's metadata and computes its digest in parallel, since both take a while for a large
    /// component.
    fn read(&self, component: &[u8]) -> Result<(ComponentMetadata, Digest), RegisterError> {
        let (metadata, digest) = std::thread::scope(|scope| {
            let digest = scope.spawn(|| Digest::of(component));
            let metadata = component::inspect(component, self.settings.max_component_bytes);
            (metadata, digest.join().expect("hashing does not panic"))
        });
        Ok((metadata.map_err(refused)?, digest))
    }

    /// Calls the component's `describe` functions, within the limits of a call.
    async fn describe(
        self: &Arc<Self>,
        rules: &Rules,
        digest: &Digest,
        contract: &Contract,
    ) -> Result<(Vec<FunctionInfo>, Vec<Schema>), RegisterError> {
        let mut described: Vec<(FunctionKind, FunctionDescription)> = Vec::new();
        let name = &rules.plugin;
        // The call belongs to no run, so it has no fuel limit.
        let limits = Arc::new(CallLimits {
            fuel: None,
            ..*rules.limits
        });
        // The functions run without grants.
        let _call_permit = self.calls.acquire(&rules.usage.calls, 1).await;
        let _slot_permit = self.slots.acquire(&rules.usage, 1, contract.extra_slots()).await;
        let rules = Rules::none(name.clone(), limits.clone());
        for kind in contract.kinds() {
            let function = format!("{name}/describe");
            let link = ChainLink {
                plugin: name.clone(),
                function: "describe".into(),
                caller: None,
            };
            let context = self.new_context(
                Timestamp(0),
                digest.0.clone(),
                (limits.clone(), None),
                link,
                Arc::new(DiscardSink),
                &rules,
            );
            let of_kind = self.run_instance(&function, &rules, context, async |store| {
                Ok(Ok(contract.describe(store, kind).await?))
            });
            let of_kind = of_kind.await.map_err(|failure| {
                refused(format!(
                    "the component does not describe its functions: {failure}"
                ))
            })?;
            described.extend(of_kind.into_iter().map(|function| (kind, function)));
        }
        // Compiling the schemas of a large plugin takes a while.
        let checked = tokio::task::spawn_blocking(move || describe::check(described)).await;
        let problem = match checked {
            Ok(Ok(functions)) => return Ok(functions.into_iter().unzip()),
            Ok(Err(problem)) => problem,
            Err(error) => error.to_string(),
        };
        Err(refused(format!(
            "the component's description cannot be used: {problem}"
        )))
    }
}

/// A component to be registered.
struct NewComponent {
    component: Arc<[u8]>,
    digest: Digest,
    name: Arc<str>,
    version: Arc<str>,
    metadata: ComponentMetadata,
    hidden: bool,
}

enum Prepared {
    /// The component is registered already.
    Known(Box<Plugin>),
    New(Box<NewComponent>),
}

/// A component that can be published.
pub(crate) struct BuiltComponent {
    host: Arc<Inner>,
    registration: Registration,
}

impl BuiltPlugin for BuiltComponent {
    fn preview(&self) -> Result<PluginInfo, RegisterError> {
        Ok((*self.host.registry.preview(&self.registration)?).clone())
    }

    fn publish(self: Box<Self>) -> Result<PluginInfo, RegisterError> {
        Ok((*self.host.registry.publish(&self.registration)?).clone())
    }
}

/// Why a plugin is built.
#[derive(Clone, Copy)]
enum Purpose {
    Register,
    Inspect,
}

/// The `Retry-After` of a refused request, in seconds.
const BUSY_RETRY_S: u32 = 5;

fn busy(full: QueueFull) -> RegisterError {
    RegisterError::Busy {
        most: full.most,
        retry_after_s: BUSY_RETRY_S,
    }
}

fn refused(reason: impl Into<String>) -> RegisterError {
    RegisterError::Refused(reason.into())
}

/// A refusal with the reason and a hint about how plugins are built.
fn no_plugin(reason: &str) -> RegisterError {
    refused(format!(
        "the component cannot be a plugin: {reason}. A plugin is built with a Heddle SDK or against wit/0.1.0, \
         or it exports functions whose values can be JSON"
    ))
}
