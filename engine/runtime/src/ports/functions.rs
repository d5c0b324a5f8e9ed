//! The functions port: registers components, and finds and calls their functions.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use heddle_json::{Json, Object};
use heddle_kernel::{
    Answer, Digest, Failure, FunctionKind, Level, Prepared, RunId, Timestamp, event::FunctionRef,
    graph::Bounds,
};

/// The functions that graphs and clients call.
pub trait Functions: Send + Sync + 'static {
    /// Compiles a component, calls its `describe` and checks the description. The component is not visible until
    /// [`BuiltPlugin::publish`] is called.
    fn build(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<Box<dyn BuiltPlugin>, RegisterError>>;
    /// Builds and publishes a component. A reference without a version finds the newest version. A `hidden` component can
    /// be called by its digest; it is not listed, and no name finds it.
    fn register(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<PluginInfo, RegisterError>> {
        Box::pin(async move { self.build(plugin).await?.publish() })
    }
    /// Does everything that a registration does except making the component visible, and returns the description, with
    /// the grants of its name.
    fn inspect(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<PluginInfo, RegisterError>>;
    /// Whether a component with this digest is registered, hidden or not.
    fn has(&self, digest: &Digest) -> bool;
    /// Unregisters the component with this digest, so that calls of it fail. Returns whether it was registered.
    fn remove(&self, digest: &Digest) -> bool;
    /// All plugins that are not hidden: by name, then the newest version first, pre-releases last.
    fn plugins(&self) -> Vec<Arc<PluginInfo>>;
    /// Finds a function by its reference: `plugin/function`, or `function` if exactly one plugin has it. The newest
    /// version is used; after an `@`, the newest that matches a version, a range of versions or a digest.
    fn resolve(&self, uses: &str) -> Result<Resolved, ResolveError>;
    /// Whether the function's plugin has grants, so that a call may have side effects. The runtime makes such a call only
    /// when everything that the call depends on is durable. If a plugin without grants calls a tool of a plugin with
    /// grants, the implementation waits for [`Call::durable`].
    fn is_granted(&self, function: &FunctionRef) -> bool;
    /// The policy of the plugins with this name, and its source.
    fn policy(&self, name: &str) -> PluginPolicyInfo;
    /// Checks a policy without setting it.
    ///
    /// # Errors
    /// Why [`Functions::set_policy`] would refuse the policy.
    fn check_policy(&self, name: &str, body: Json) -> BoxFuture<'_, Result<(), PolicyRefused>>;
    /// Sets the policy of the plugins with this name for every call that starts afterwards. `None` removes the policy.
    ///
    /// # Errors
    /// Why the policy was refused.
    fn set_policy(&self, name: &str, body: Option<Json>) -> BoxFuture<'_, Result<(), PolicyRefused>>;
    /// Checks how a node narrows the limits and grants of its function, before its graph is created. If the function is
    /// not registered, checks only what does not depend on the function.
    ///
    /// # Errors
    /// Each problem with its JSON pointer relative to the node, such as `/limits/memory`.
    fn check_bounds(
        &self,
        uses: &str,
        limits: Option<&Json>,
        grants: Option<&Json>,
    ) -> Result<(), Vec<(String, String)>>;
    /// Calls a node function, or a tool as a node, in a fresh instance and within its limits. A mapped input is checked
    /// against the function's schema first; an input that does not match is a failure of the kind `InvalidInput`, and the
    /// function is not called.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, Failure>>;
    /// Calls a tool with an input, which is checked against the tool's schema first.
    fn call_tool(&self, call: ToolCall) -> BoxFuture<'_, Result<Json, Failure>>;
}

/// A component that was built and can be published. Dropping it cancels the registration.
pub trait BuiltPlugin: Send + Sync {
    /// The plugin that [`BuiltPlugin::publish`] would make visible.
    ///
    /// # Errors
    /// Why the registration would be refused.
    fn preview(&self) -> Result<PluginInfo, RegisterError>;
    /// Makes the component visible. If no other registration, removal or change of a policy has happened since a
    /// successful preview, the registration is the previewed one.
    ///
    /// # Errors
    /// Why the registration was refused.
    fn publish(self: Box<Self>) -> Result<PluginInfo, RegisterError>;
}

/// The policy of the plugins with one name.
#[derive(Clone, Debug)]
pub struct PluginPolicyInfo {
    /// Where the policy comes from.
    pub source: PolicySource,
    /// The policy as the implementation reads it.
    pub body: Option<Json>,
    /// The policy's grants, a line for each.
    pub grants: Vec<String>,
}

/// The source of a plugin's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// The policy file that the implementation was started with.
    File,
    /// An operator's request while the engine runs.
    Set,
    /// There is no policy, so nothing is granted.
    Unset,
}

/// Why a policy was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefused {
    /// The policy file has an entry for the plugin.
    #[error("the policy file says what plugin `{0}` is granted: change it there, and start the server again")]
    Fixed(String),
    /// A value of the policy is invalid.
    #[error("{}{message}", prefix(.pointer))]
    InvalidAt {
        /// A JSON pointer to the value.
        pointer: String,
        /// What is wrong with the value.
        message: String,
    },
    /// The policy grants something that does not exist, or that plugins may not have.
    #[error("{0}")]
    Invalid(String),
}

fn prefix(pointer: &str) -> String {
    match pointer {
        "" => String::new(),
        pointer => format!("{pointer}: "),
    }
}

/// A component to register.
pub struct NewPlugin {
    /// The component's bytes.
    pub component: Arc<[u8]>,
    /// A name that overrides the component's own.
    pub name: Option<String>,
    /// A version that overrides the component's own.
    pub version: Option<String>,
    /// The name of a component without one: the stem of its file's name.
    pub fallback_name: Option<String>,
    /// Whether a component whose version is taken by another component gets a newer version: `1.2.0+` and the
    /// start of its digest.
    pub renumbered: bool,
    /// Whether the component can be called by its digest only.
    pub hidden: bool,
    /// Whether a component that is new under a name with grants gets these grants. The operator's own registrations, and
    /// requests that confirm this explicitly, set it. Otherwise such a component is refused.
    pub replace_granted: bool,
    /// Whether to wait until the component can be compiled, however long the compile queue is. Otherwise a full queue is
    /// the error [`RegisterError::Busy`].
    pub waits: bool,
}

impl NewPlugin {
    /// A component to register under its own name and version, with the grants of its name.
    pub fn of(component: Arc<[u8]>) -> Self {
        Self {
            component,
            name: None,
            version: None,
            fallback_name: None,
            renumbered: false,
            hidden: false,
            replace_granted: true,
            waits: true,
        }
    }
}

/// The name, version and functions of a registered plugin.
#[derive(Clone, Debug)]
pub struct PluginInfo {
    /// The plugin's name.
    pub name: Arc<str>,
    /// The plugin's semantic version.
    pub version: Arc<str>,
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// The size of the component in bytes.
    pub size: u64,
    /// The component's imports, as it names them.
    pub imports: Vec<String>,
    /// The permissions that these imports need: `clock`, `environment`, `files`, `http`, `random`, `sockets`, `tools`.
    /// Most toolchains import more than their guests use.
    pub requested_permissions: Vec<String>,
    /// The plugin's functions.
    pub functions: Vec<FunctionInfo>,
    /// The exports that cannot be called as functions, each with the reason.
    pub left_out: Vec<String>,
    /// The plugin's grants, a line for each.
    pub grants: Vec<String>,
    /// The limits that the operator set for the plugin instead of the defaults, a line for each.
    pub limits: Vec<String>,
}

/// The description of a function.
#[derive(Clone, Debug)]
pub struct FunctionInfo {
    /// The function's name in its plugin.
    pub name: Arc<str>,
    /// Node function or tool.
    pub kind: FunctionKind,
    /// A description of one line.
    pub summary: String,
    /// The JSON Schema of the input.
    pub input: Json,
    /// The JSON Schema of the output.
    pub output: Json,
    /// The JSON Schema of the node's `config`.
    pub config: Option<Json>,
    /// Whether the function has no side effects.
    pub read_only: bool,
    /// Whether repeating a call with the same input has no further effect.
    pub idempotent: bool,
    /// The nodes that the function may route to.
    pub routes: Vec<String>,
}

/// The result of resolving a reference.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The function with the exact version of its plugin.
    pub function: FunctionRef,
    /// The function's description.
    pub info: FunctionInfo,
}

/// Why a reference could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No registered plugin has such a function.
    #[error("no registered plugin has a function `{uses}`{}", hint(.similar))]
    Unknown {
        /// The reference as given in `uses`.
        uses: String,
        /// Similar references that exist.
        similar: Vec<String>,
    },
    /// The text after the `@` is not a version.
    #[error("`{uses}`: {problem}")]
    Version {
        /// The reference as given in `uses`.
        uses: String,
        /// The problem with the version, and what to write instead.
        problem: String,
    },
    /// A plugin has the function, but no version of the plugin matches.
    #[error("no version of `{plugin}` with that function fits `{uses}`: there is {}", .versions.join(", "))]
    NoVersion {
        /// The reference as given in `uses`.
        uses: String,
        /// The name of the plugin.
        plugin: String,
        /// The plugin's versions, newest first.
        versions: Vec<String>,
    },
    /// Several plugins have the function.
    #[error("several plugins have a function `{uses}`: say which with `uses`: {}", .candidates.join(", "))]
    Ambiguous {
        /// The reference as given in `uses`.
        uses: String,
        /// The matching functions, as `plugin/function`.
        candidates: Vec<String>,
    },
}

fn hint(similar: &[String]) -> String {
    match similar {
        [] => "; `GET /v1/plugins` lists all plugins".to_owned(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}

/// One call of a function as a node.
pub struct Call {
    /// The function with the exact version of its plugin.
    pub function: FunctionRef,
    /// The input: the state as the branch sees it, or the result of the node's `input`.
    pub input: Object,
    /// Whether the input is the result of the node's `input`.
    pub mapped: bool,
    /// The node's `config`.
    pub config: Json,
    /// The id of the run that makes the call.
    pub run: RunId,
    /// The node's name.
    pub node: Arc<str>,
    /// The step's number.
    pub step: u64,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// The node's `timeout`, measured from the start of the call. If the operator's limit is shorter, that limit applies.
    pub timeout: Option<Duration>,
    /// How the graph narrows the function's limits and grants. They were checked when the graph was created, and all
    /// calls of the node share one `Arc` while the graph is in memory.
    pub bounds: Option<Arc<Bounds>>,
    /// When the step's first attempt started. A clock without a grant shows this time.
    pub started_at: Timestamp,
    /// Waits until everything that the call depends on is durable. Required before any side effect of the call.
    pub durable: Arc<dyn Durable>,
    /// Receives the log lines and chunks that the function writes.
    pub sink: Arc<dyn Sink>,
}

impl Call {
    /// The call of one attempt of a step, with the input that the kernel prepared for it.
    pub fn new(
        prepared: Prepared,
        run: RunId,
        (step, attempt): (u64, u32),
        durable: Arc<dyn Durable>,
        sink: Arc<dyn Sink>,
    ) -> Self {
        Self {
            function: prepared.function,
            input: prepared.input,
            mapped: prepared.mapped,
            config: prepared.config,
            run,
            node: prepared.node,
            step,
            attempt,
            timeout: prepared.timeout_ms.map(Duration::from_millis),
            bounds: prepared.bounds,
            started_at: prepared.started_at,
            durable,
            sink,
        }
    }
}

/// Waits until everything that a call depends on is durable.
pub trait Durable: Send + Sync {
    /// Returns true when everything is durable, and false if it never will be: then the call must have no side effects.
    fn wait(&self) -> BoxFuture<'_, bool>;
}

/// For a call that depends on no events.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlreadyDurable;

impl Durable for AlreadyDurable {
    fn wait(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }
}

/// One call of a tool, outside of a run.
pub struct ToolCall {
    /// The exact function: a tool.
    pub function: FunctionRef,
    /// The tool's input.
    pub input: Json,
    /// The time that a clock without a grant shows.
    pub started_at: Timestamp,
    /// Receives the log lines and chunks that the tool writes.
    pub sink: Arc<dyn Sink>,
}

/// Receives what a function writes during a call. Called from the guest's thread, so it must not block.
pub trait Sink: Send + Sync {
    /// Receives a log line, a line of stdout (level info) or a line of stderr (level warn).
    fn log(&self, level: Level, message: &str);
    /// Receives a chunk for the current watchers.
    fn emit(&self, chunk: Json);
}

/// Why a component was not registered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegisterError {
    /// The bytes are not a component, or the component cannot be a plugin.
    #[error("{0}")]
    Refused(String),
    /// Another component with this name and version is registered.
    #[error(
        "plugin {name}@{version} is registered with other content (sha256 {registered}), which runs may need. Increase \
         the version in the plugin's source and build it again, or remove the registered version if nothing needs it \
         (`heddle plugin remove {name}@{version}`). During development, `heddle serve --watch --plugins DIR` accepts each \
         new build in DIR without either"
    )]
    VersionTaken {
        /// The plugin's name.
        name: String,
        /// The plugin's version.
        version: String,
        /// The digest of the registered component.
        registered: Digest,
    },
    /// The name has grants, which the component would get.
    #[error(
        "the name `{name}` has grants, which this component would get: {}. To allow this, register it with \
         `heddle plugin add --replace-granted` (over HTTP `?replace_granted=true`), or list its digest in the policy; \
         otherwise register it under another name",
        .grants.join("; ")
    )]
    Granted {
        /// The plugin's name.
        name: String,
        /// The grants of the name, a line for each.
        grants: Vec<String>,
    },
    /// The policy allows only other components under this name.
    #[error(
        "the policy lists the components that may be registered as `{name}`, and sha256:{digest} is not among \
         them. To allow it, add \"sha256:{digest}\" to `digest` of plugin `{name}` in the policy; otherwise register it \
         under another name"
    )]
    NotPinned {
        /// The plugin's name.
        name: String,
        /// The digest of the component.
        digest: Digest,
    },
    /// The compile queue is full.
    #[error(
        "{most} components wait to be compiled, the limit (compile_queue): try again in {retry_after_s} s"
    )]
    Busy {
        /// The length of the queue.
        most: usize,
        /// When to try again, in seconds.
        retry_after_s: u32,
    },
    /// The host failed to compile the component for a reason other than its content.
    #[error("{0}")]
    Failed(String),
}
