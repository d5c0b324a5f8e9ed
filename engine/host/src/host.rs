//! The host: registers plugins and calls their functions.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use heddle_json::Json;
use heddle_kernel::{Answer, Digest, Failure, FailureKind, FunctionKind, Timestamp, event::FunctionRef};
use heddle_runtime::ports::{
    Call, FollowsFromNothing, FunctionInfo, Functions, NewPlugin, PluginInfo, PluginPolicyInfo,
    PolicyRefused, RegisterError, ResolveError, Resolved, Sink, ToolCall,
};
use heddle_schema::Schema;

use crate::{
    asks, available,
    cache::{Cache, InUse, Source},
    compile::{Full, Queue},
    component::{self, Inspected},
    contract::{self, Contract, Described},
    describe, failure,
    machine::{Machine, Unfit},
    memory::TotalMemory,
    metered::Metered,
    outgoing::{LOOKUPS, Tls},
    output::{Nobody, Output, held},
    policy::{self, By, CallLimits, Limits, Narrowing, NodeGrants, Rules, SetPolicies},
    registry::{Plugin, Registry, Snapshot},
    sandbox::{Frame, Ground, Link, Sandbox},
    settings::HostSettings,
    shares::Supply,
    slots::Slots,
    threads::Threads,
};

/// Runs plugins: the functions that graphs and tools are made of.
///
/// Clones share everything. What it does needs a tokio runtime with time enabled.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A setting has a value that cannot be.
    #[error("{0}")]
    Setting(String),
    /// The policy grants what is not there.
    #[error("{0}")]
    Policy(String),
    /// The folder for compiled components cannot be used.
    #[error("the folder for compiled components cannot be used: {0}")]
    Cache(#[source] std::io::Error),
    /// The machine cannot run WebAssembly as it is needed.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
}

/// How long the folders that a policy names may take to answer, where it is set while the host runs.
const POLICY_PATIENCE: Duration = Duration::from_secs(10);

/// What all clones of a host, and all calls under way, share.
pub(crate) struct Inner {
    /// For most calls.
    pub(crate) machine: Machine,
    /// For calls whose fuel is limited, once there is one.
    pub(crate) metered: OnceLock<Machine>,
    pub(crate) cache: Cache,
    pub(crate) settings: HostSettings,
    pub(crate) registry: Registry,
    set_policies: SetPolicies,
    pub(crate) narrowing: Narrowing,
    /// Places for calls that no other call makes.
    pub(crate) places: Arc<Supply>,
    pub(crate) slots: Slots,
    /// The memory of all calls together.
    pub(crate) memory: Arc<TotalMemory>,
    /// How many files may still be opened for guests.
    pub(crate) open_files: Arc<Supply>,
    /// The components that are compiled, and those that wait for it.
    pub(crate) compiling: Queue,
    pub(crate) tls: Tls,
    /// Places for looking up the names of hosts.
    pub(crate) lookups: Arc<Supply>,
    /// The threads that work with the files of guests.
    pub(crate) files: Threads,
    /// The threads that read and check large inputs.
    pub(crate) inputs: Threads,
}

impl Host {
    /// Starts a host without any plugin.
    pub fn new(mut settings: HostSettings) -> Result<Self, HostError> {
        settings
            .total_memory_bytes
            .get_or_insert_with(HostSettings::of_the_memory);
        settings.check().map_err(HostError::Setting)?;
        let own = CallLimits::of(&settings);
        let rules = settings.policy.rules(&own, &settings.protected);
        let rules = rules.map_err(HostError::Policy)?;
        let cache = Cache::open(settings.cache.as_ref()).map_err(HostError::Cache)?;
        let inner = Inner {
            machine: Machine::start(&settings, &cache, false)?,
            cache,
            metered: OnceLock::new(),
            registry: Registry::new(rules, own, settings.max_description_bytes),
            set_policies: SetPolicies::default(),
            narrowing: Narrowing::default(),
            places: Supply::of(settings.calls_of_all()),
            slots: Slots::of(&settings),
            memory: TotalMemory::of(settings.total_memory(), settings.calls_of_all()),
            open_files: Supply::of(HostSettings::open_files_of_all(available::open_files())),
            compiling: Queue::new(&settings),
            lookups: Supply::of(LOOKUPS),
            tls: Tls::new(settings.http_authorities.clone()),
            files: threads(
                "files",
                "file_threads",
                (settings.file_threads, settings.file_threads_per_plugin),
            )?,
            inputs: threads(
                "inputs",
                "input_threads",
                (settings.input_threads, settings.input_threads_per_plugin),
            )?,
            settings,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What its clones share, for tests of its parts.
    #[cfg(test)]
    pub(crate) fn inner(&self) -> Arc<Inner> {
        self.inner.clone()
    }

    /// The settings that it was started with.
    pub fn settings(&self) -> &HostSettings {
        &self.inner.settings
    }
}

fn threads(work: &'static str, limit: &'static str, most: (usize, usize)) -> Result<Threads, HostError> {
    Threads::new(work, limit, most).map_err(|error| HostError::Engine(error.to_string()))
}

impl Functions for Host {
    fn register(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<PluginInfo, RegisterError>> {
        Box::pin(async move { Ok((*self.inner.clone().register(plugin).await?).clone()) })
    }

    fn inspect(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<PluginInfo, RegisterError>> {
        Box::pin(async move { Ok((*self.inner.clone().inspect(plugin).await?).clone()) })
    }

    fn has(&self, digest: &Digest) -> bool {
        self.inner.registry.now().by_digest(digest).is_some()
    }

    fn remove(&self, digest: &Digest) -> bool {
        self.inner.registry.remove(digest)
    }

    fn plugins(&self) -> Vec<Arc<PluginInfo>> {
        self.inner
            .registry
            .now()
            .shown()
            .map(|plugin| plugin.info.clone())
            .collect()
    }

    fn resolve(&self, uses: &str) -> Result<Resolved, ResolveError> {
        let now = self.inner.registry.now();
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
        let limits = limits.map_or(Ok(()), |limits| Limits::of_node(limits).map(drop));
        let grants = grants.map_or(Ok(()), |grants| NodeGrants::of_node(grants).map(drop));
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
            set_policies,
            ..
        } = &*self.inner;
        set_policies.of(name, &settings.policy, &registry.rules(&name.into()))
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
                None => policy::may_be_set(&name, &host.settings.policy).map(|()| None)?,
            };
            host.set_policies.remember(&name, body);
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
    /// The rules that a plugin would have by what somebody sets.
    async fn rules(self: Arc<Self>, name: Arc<str>, body: Json) -> Result<Arc<Rules>, PolicyRefused> {
        self.set_policies.has_room_for(&name)?;
        // It looks at the folders that are granted, whose file systems may not answer.
        let (host, plugin) = (self.clone(), name.clone());
        let read = self.files.run(&name, move || {
            policy::rules_of(&plugin, &body, &host.set_policies, &host.settings)
        });
        match tokio::time::timeout(POLICY_PATIENCE, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => Err(PolicyRefused::Invalid(error.to_string())),
            Err(_) => Err(PolicyRefused::Invalid(format!(
                "the folders and files that it names were not found within {} s: their file system does not answer",
                POLICY_PATIENCE.as_secs()
            ))),
        }
    }

    async fn register(self: Arc<Self>, new: NewPlugin) -> Result<Arc<PluginInfo>, RegisterError> {
        let (renumbered, replace_granted) = (new.renumbered, new.replace_granted);
        match self.made(new, Purpose::Register).await? {
            Made::Known(info) => Ok(info),
            Made::New(plugin) => {
                let info = self.registry.add(*plugin, renumbered, replace_granted)?;
                for left_out in &info.left_out {
                    tracing::warn!("plugin {}: no tool was made of {left_out}", info.name);
                }
                Ok(info)
            }
        }
    }

    async fn inspect(self: Arc<Self>, new: NewPlugin) -> Result<Arc<PluginInfo>, RegisterError> {
        let renumbered = new.renumbered;
        match self.made(new, Purpose::Look).await? {
            Made::Known(info) => Ok(info),
            Made::New(plugin) => self.registry.would_add(*plugin, renumbered),
        }
    }

    /// Everything of a registration but making the plugin visible. Dropping the future ends it.
    async fn made(self: &Arc<Self>, new: NewPlugin, purpose: Purpose) -> Result<Made, RegisterError> {
        let _place = match new.waits {
            true => None,
            false => Some(self.compiling.place(new.component.len()).map_err(busy)?),
        };
        let New {
            component,
            digest,
            name,
            version,
            found,
            hidden,
        } = match self.prepared(new, purpose).await? {
            Prepared::Known(info) => return Ok(Made::Known(info)),
            Prepared::New(new) => *new,
        };
        // From here on neither the component nor its code is evicted from the cache.
        let in_use = self.cache.mark(&digest);
        let (imports, size) = (found.imports.clone(), component.len() as u64);
        let contract = self.compile(false, &digest, &component, found).await;
        let contract = contract.map_err(|unfit| match unfit {
            Unfit::Engine(reason) => refused(reason),
            Unfit::Plugin(reason) => no_plugin(&reason),
            Unfit::Unknown(reason) => RegisterError::Failed(reason),
        })?;
        let metered = Metered::of(self.kept_source(in_use, &digest, component).await?);
        let rules = self.registry.rules(&name).of_component(&digest);
        let (functions, inputs) = self.describe(&rules, &digest, &contract).await?;
        if rules.limits.fuel.is_some() {
            let compiled = self.compile_metered(&metered, &digest).await;
            compiled.map_err(refused)?;
        }
        let info = PluginInfo {
            name,
            version,
            digest,
            size,
            asks: asks::of(&imports),
            imports,
            functions,
            left_out: contract.left_out().to_vec(),
            grants: rules.lines(),
            limits: rules.limited(),
        };
        let plugin = Plugin::new(info, inputs, contract, metered, rules, hidden);
        Ok(Made::New(Box::new(plugin)))
    }

    /// Reads a component, and finds out what is to be done with it.
    async fn prepared(self: &Arc<Self>, new: NewPlugin, purpose: Purpose) -> Result<Prepared, RegisterError> {
        let reading = self.compiling.read().await;
        let host = self.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let _reading = reading;
            host.prepare(new, purpose)
        });
        let failed = |error| RegisterError::Failed(format!("the component could not be read: {error}"));
        prepared.await.map_err(failed)?
    }

    /// Keeps the component's bytes for when it is to be compiled for the machine that counts.
    async fn kept_source(
        self: &Arc<Self>,
        in_use: Option<InUse>,
        digest: &Digest,
        component: Arc<[u8]>,
    ) -> Result<Source, RegisterError> {
        let (host, digest) = (self.clone(), digest.clone());
        let kept = tokio::task::spawn_blocking(move || host.cache.keep(in_use, &digest, &component));
        let failed = |error| RegisterError::Failed(format!("the component could not be kept: {error}"));
        kept.await.map_err(failed)
    }

    /// Everything of a registration that comes before compiling: it blocks.
    fn prepare(&self, new: NewPlugin, purpose: Purpose) -> Result<Prepared, RegisterError> {
        let (found, digest) = self.read(&new.component)?;
        let identity = || {
            component::identity(
                &found,
                new.name.as_deref(),
                new.version.as_deref(),
                new.fallback_name.as_deref(),
            )
            .map_err(refused)
        };
        if matches!(purpose, Purpose::Register) && !new.hidden {
            let (name, _) = identity()?;
            self.registry.admit(&name, &digest, new.replace_granted)?;
        }
        let known = match purpose {
            Purpose::Register => self.registry.again(&digest, new.hidden, new.renumbered, identity),
            Purpose::Look => self.registry.shown(&digest, identity),
        };
        if let Some(known) = known {
            return known.map(Prepared::Known);
        }
        if found.exports.is_empty() {
            return Err(no_plugin("it exports nothing"));
        }
        let (name, version) = identity()?;
        Ok(Prepared::New(Box::new(New {
            component: new.component,
            digest,
            name,
            version,
            found,
            hidden: new.hidden,
        })))
    }

    /// What a component says of itself, and its digest: side by side, as either takes a while for a large one.
    fn read(&self, component: &[u8]) -> Result<(Inspected, Digest), RegisterError> {
        let (found, digest) = std::thread::scope(|scope| {
            let digest = scope.spawn(|| Digest::of(component));
            let found = component::inspect(component, self.settings.max_component_bytes);
            (found, digest.join().expect("a sum does not panic"))
        });
        Ok((found.map_err(refused)?, digest))
    }

    /// Has the component describe itself, within the limits of any call.
    async fn describe(
        self: &Arc<Self>,
        rules: &Rules,
        digest: &Digest,
        contract: &Contract,
    ) -> Result<(Vec<FunctionInfo>, Vec<Schema>), RegisterError> {
        let mut described: Vec<(FunctionKind, Described)> = Vec::new();
        let name = &rules.plugin;
        // It is not called for anybody, so what it computes is not counted.
        let limits = Arc::new(CallLimits {
            fuel: None,
            ..*rules.limits
        });
        // What a component says of itself depends on nothing outside.
        let _place = self.places.take(&rules.shares.calls, 1).await;
        let _slots = self.slots.take(&rules.shares, 1, contract.extra_slots()).await;
        let rules = Rules::none(name.clone(), limits.clone());
        for kind in contract.kinds() {
            let function = format!("{name}/describe");
            let link = Link {
                plugin: name.clone(),
                function: "describe".into(),
                caller: None,
            };
            let frame = self.frame(
                Timestamp(0),
                digest.0.clone(),
                (limits.clone(), None),
                link,
                Arc::new(Nobody),
                &rules,
            );
            let of_kind = self.within(&function, &rules, frame, async |store| {
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

    /// The place of a call that nobody's guest makes; its time begins with this. It follows from
    /// nothing, and its seed is no key. With the limits comes the node's `timeout`, where it has one.
    pub(crate) fn frame(
        &self,
        started_at: Timestamp,
        seed: Arc<str>,
        (limits, timeout): (Arc<CallLimits>, Option<Duration>),
        link: Link,
        sink: Arc<dyn Sink>,
        rules: &Rules,
    ) -> Frame {
        let time = limits.time.narrow(timeout, By::Timeout);
        Frame {
            deadline: Instant::now() + time.value,
            time,
            chain: Arc::new(link),
            depth: 1,
            started_at,
            seed,
            is_keyed: false,
            called: 0,
            output: Output::new(sink, limits.clone(), self.settings.log_line_bytes),
            limits,
            memory: self.memory.begin(&rules.shares.memory),
            ground: Ground::firm(Arc::new(FollowsFromNothing)),
        }
    }

    /// The function that was resolved earlier, perhaps by another start of the engine.
    pub(crate) fn find<'a>(
        &self,
        now: &'a Snapshot,
        function: &FunctionRef,
    ) -> Result<(&'a Arc<Plugin>, FunctionKind), Failure> {
        let missing = |what: String| Failure::new(FailureKind::Unavailable, what);
        let plugin = now.by_digest(&function.digest).ok_or_else(|| {
            let FunctionRef {
                digest,
                plugin,
                version,
                ..
            } = function;
            missing(format!(
                "plugin {plugin}@{version} (sha256 {digest}) is not registered"
            ))
        })?;
        match plugin.function(&function.function) {
            Some(info) => Ok((plugin, info.kind)),
            None => Err(missing(format!(
                "plugin {} has no function `{}`",
                function.plugin, function.function
            ))),
        }
    }

    /// Runs a call in a fresh sandbox and makes a failure of whatever ends it early.
    pub(crate) async fn within<T>(
        self: &Arc<Self>,
        function: &str,
        rules: &Arc<Rules>,
        frame: Frame,
        call: impl AsyncFnOnce(&mut wasmtime::Store<Sandbox>) -> wasmtime::Result<Result<T, contract::Said>>,
    ) -> Result<T, Failure> {
        let Frame { deadline, time, .. } = frame;
        let (limits, output, memory) = (frame.limits.clone(), frame.output.clone(), frame.memory.clone());
        let guarded = async {
            let mut store = Sandbox::store(self, rules, frame);
            let answered = call(&mut store).await;
            if let Some(what) = output.exceeded() {
                // Whatever the guest made of it.
                return Err(failure::exceeded(function, what));
            }
            let result = match answered {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(said)) => Err(failure::of_said(said, &limits)),
                Err(error) => {
                    let mut lines = held(&store.data().lines);
                    // What has no end yet may be its last words; whether they are too many is no matter.
                    let _ = lines.flush();
                    let words = lines.last_words();
                    let refused = store.data().memory.refused;
                    Err(failure::of_error(
                        function,
                        &error,
                        words.as_deref(),
                        refused,
                        &time,
                        &limits,
                    ))
                }
            };
            result.map_err(|failure| store.data().explain(failure))
        };
        let _ticking = self.machine(&limits).ticker.tick();
        match tokio::time::timeout_at(deadline.into(), guarded).await {
            Ok(result) => result,
            Err(_) if memory.waits() => Err(failure::no_memory_in_time(function, &time)),
            Err(_) => Err(failure::timeout(function, &time)),
        }
    }
}

/// A component on its way into the registry.
struct New {
    component: Arc<[u8]>,
    digest: Digest,
    name: Arc<str>,
    version: Arc<str>,
    found: Inspected,
    hidden: bool,
}

enum Prepared {
    Known(Arc<PluginInfo>),
    New(Box<New>),
}

/// What a component was made into.
enum Made {
    /// It is registered.
    Known(Arc<PluginInfo>),
    /// It could be.
    New(Box<Plugin>),
}

/// What a component is made into a plugin for.
#[derive(Clone, Copy)]
enum Purpose {
    Register,
    Look,
}

/// How long a request with a component may be told to wait before it is sent again.
const BUSY_RETRY_S: u32 = 5;

fn busy(full: Full) -> RegisterError {
    RegisterError::Busy {
        most: full.most,
        retry_after_s: BUSY_RETRY_S,
    }
}

fn refused(reason: impl Into<String>) -> RegisterError {
    RegisterError::Refused(reason.into())
}

/// The reason, and what makes a plugin of a component.
fn no_plugin(reason: &str) -> RegisterError {
    refused(format!(
        "the component cannot be a plugin: {reason}. A plugin is built with a Heddle SDK or against wit/0.1.0, \
         or it exports functions of its own whose values can be JSON"
    ))
}
