//! What the runtime needs of plugins: functions that are registered, found and called.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use heddle_json::{Json, Object};
use heddle_kernel::{
    Answer, Digest, Failure, FunctionKind, Level, RunId, Timestamp, event::FunctionRef, graph::Bounds,
};

/// The functions that graphs and tools are made of.
pub trait Functions: Send + Sync + 'static {
    /// Registers a component: compiles it, has it describe itself, checks that, and only then
    /// makes it visible. The newest version of a name is the one that a bare reference finds.
    /// With `hidden` it can be called by digest and is neither listed nor found by name.
    fn register(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<PluginInfo, RegisterError>>;
    /// Does all of a registration but making the component visible, and says what it would be, with what
    /// is granted under its name.
    fn inspect(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<PluginInfo, RegisterError>>;
    /// Whether a component with this digest is registered, hidden or not.
    fn has(&self, digest: &Digest) -> bool;
    /// Takes the component with this digest out: it can be called no more. Answers whether it was there.
    fn remove(&self, digest: &Digest) -> bool;
    /// Every plugin that is not hidden, by name and then newest first, with pre-releases after the rest.
    fn plugins(&self) -> Vec<Arc<PluginInfo>>;
    /// Finds what a graph or a caller names: `plugin/function`, or `function` where exactly one plugin has it,
    /// of the newest version; with `@` and a version, a range of versions or a digest behind it, of the
    /// newest version that fits.
    fn resolve(&self, uses: &str) -> Result<Resolved, ResolveError>;
    /// Whether the function's plugin was granted anything, so that a call may have an effect outside. Then
    /// the call is made when all that it follows from is durable. Where a plugin without grants calls a
    /// tool of one with grants, the implementation itself waits, by [`Call::durable`].
    fn is_granted(&self, function: &FunctionRef) -> bool;
    /// What the plugins of a name are granted, and who says so.
    fn policy(&self, name: &str) -> PluginPolicyInfo;
    /// Looks at what the plugins of a name would be granted by [`Functions::set_policy`].
    ///
    /// # Errors
    /// Why it would not be set.
    fn check_policy(&self, name: &str, body: Json) -> BoxFuture<'_, Result<(), PolicyRefused>>;
    /// Sets what the plugins of a name are granted, for every call that begins from here on; with none,
    /// nothing that was set stands any more.
    ///
    /// # Errors
    /// Why it was not set.
    fn set_policy(&self, name: &str, body: Option<Json>) -> BoxFuture<'_, Result<(), PolicyRefused>>;
    /// Looks at how a node narrows a function that it names, before its graph is created. The function may
    /// not be there: then what can be told without it is.
    ///
    /// # Errors
    /// Each thing that is wrong, with its JSON pointer from the node on, as in `/limits/memory`.
    fn check_bounds(
        &self,
        uses: &str,
        limits: Option<&Json>,
        grants: Option<&Json>,
    ) -> Result<(), Vec<(String, String)>>;
    /// Calls a node function or a tool as a node: a fresh instance, within the limits. A mapped
    /// input is checked against the function's schema first; one that does not fit is a failure
    /// of kind `InvalidInput`, and the function is not called.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, Failure>>;
    /// Calls a tool with an input, which is checked against the tool's schema first.
    fn call_tool(&self, call: ToolCall) -> BoxFuture<'_, Result<Json, Failure>>;
}

/// What the plugins of a name are granted.
#[derive(Clone, Debug)]
pub struct PluginPolicyInfo {
    /// Who says so.
    pub source: PolicySource,
    /// What is said of them, as the implementation reads it.
    pub body: Option<Json>,
    /// What that grants, a line for each grant.
    pub grants: Vec<String>,
}

/// Who says what a plugin is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// The policy that the implementation was started with.
    File,
    /// Whoever set it while it runs.
    Set,
    /// Nobody: nothing is granted.
    Nobody,
}

/// Why what a plugin is granted was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefused {
    /// The policy that the implementation was started with names the plugin.
    #[error("the policy file says what plugin `{0}` is granted: change it there, and start the server again")]
    Fixed(String),
    /// It cannot be read, or grants what is not there.
    #[error("{0}")]
    Invalid(String),
}

/// A component to register.
pub struct NewPlugin {
    /// The component's bytes.
    pub component: Arc<[u8]>,
    /// A name that stands before the one in the component.
    pub name: Option<String>,
    /// A version that stands before the one in the component.
    pub version: Option<String>,
    /// What to name it where the component has no name: a file's stem.
    pub fallback_name: Option<String>,
    /// Where its version is taken by another component, it gets one of its own that counts as newer:
    /// `1.2.0+` and the beginning of its digest.
    pub renumbered: bool,
    /// Callable by digest only.
    pub hidden: bool,
    /// Whether it may have what its name is granted. The operator may say so, and so may whoever asks for it expressly.
    /// A component that is not registered under the name yet is refused otherwise.
    pub replace_granted: bool,
    /// Waits until it can be compiled, however many others wait. Without it, [`RegisterError::Busy`] is the answer
    /// where too many do.
    pub waits: bool,
}

/// A registered plugin.
#[derive(Clone, Debug)]
pub struct PluginInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its version, a semantic version.
    pub version: Arc<str>,
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// The size of the component in bytes.
    pub size: u64,
    /// What it imports, as the component names it.
    pub imports: Vec<String>,
    /// The permissions that its imports request: `clock`, `environment`, `files`, `http`,
    /// `random`, `sockets`, `tools`. Most toolchains import more than their guests use.
    pub requested_permissions: Vec<String>,
    /// Its functions.
    pub functions: Vec<FunctionInfo>,
    /// What it exports that could not be made a function, each with the reason.
    pub left_out: Vec<String>,
    /// What it is granted, a line for each grant.
    pub grants: Vec<String>,
    /// What the operator limits for it in place of the engine's own limits, a line for each.
    pub limits: Vec<String>,
}

/// The description of a function.
#[derive(Clone, Debug)]
pub struct FunctionInfo {
    /// Its name in the plugin.
    pub name: Arc<str>,
    /// Node function or tool.
    pub kind: FunctionKind,
    /// What it does, in one line.
    pub summary: String,
    /// JSON Schema of what it takes.
    pub input: Json,
    /// JSON Schema of what it gives.
    pub output: Json,
    /// JSON Schema of the node's `config`.
    pub config: Option<Json>,
    /// It changes nothing outside of itself.
    pub read_only: bool,
    /// Calling it again with the same input has no further effect.
    pub idempotent: bool,
    /// The nodes that it may name.
    pub routes: Vec<String>,
}

/// What a name was found to be.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The exact function.
    pub function: FunctionRef,
    /// Its description.
    pub info: FunctionInfo,
}

/// Why a name was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No plugin has it.
    #[error("no registered plugin has a function `{uses}`{}", hint(.similar))]
    Unknown {
        /// The name.
        uses: String,
        /// Names that are near it.
        similar: Vec<String>,
    },
    /// What stands behind the `@` is no version.
    #[error("`{uses}`: {problem}")]
    Version {
        /// The name.
        uses: String,
        /// What is wrong with its version, and what to write.
        problem: String,
    },
    /// A plugin has it, and no version of that plugin that fits.
    #[error("no version of `{plugin}` with that function fits `{uses}`: there is {}", .versions.join(", "))]
    NoVersion {
        /// The name.
        uses: String,
        /// The plugin.
        plugin: String,
        /// Its versions, newest first.
        versions: Vec<String>,
    },
    /// Several plugins have it.
    #[error("several plugins have a function `{uses}`: say which with `uses`: {}", .candidates.join(", "))]
    Ambiguous {
        /// The name.
        uses: String,
        /// Every `plugin/function` that it could be.
        candidates: Vec<String>,
    },
}

fn hint(similar: &[String]) -> String {
    match similar {
        [] => "; `GET /v1/plugins` lists what there is".to_owned(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}

/// One call of a function as a node.
pub struct Call {
    /// The exact function.
    pub function: FunctionRef,
    /// What it is given: the state as the branch sees it, or what the node's `input` made of it.
    pub input: Object,
    /// Whether the node's `input` made it.
    pub mapped: bool,
    /// The node's `config`.
    pub config: Json,
    /// The run.
    pub run: RunId,
    /// The node.
    pub node: Arc<str>,
    /// The step.
    pub step: u64,
    /// The attempt.
    pub attempt: u32,
    /// How long this attempt may take, from when the function is called: the node's `timeout`.
    /// Where the operator's limit is smaller, that one stands.
    pub timeout: Option<Duration>,
    /// How the graph narrows what the function may use up and do: checked when the graph was created, and
    /// the same `Arc` for every call of the node as long as the graph is at hand.
    pub bounds: Option<Arc<Bounds>>,
    /// When the step's first attempt began: what an ungranted clock shows.
    pub started_at: Timestamp,
    /// What to wait for before something outside is done for the call: all that it follows from is durable.
    pub durable: Arc<dyn Durable>,
    /// Who is told of what the function writes.
    pub sink: Arc<dyn Sink>,
}

/// Says when what a call follows from is durable.
pub trait Durable: Send + Sync {
    /// Waits for it. False where it never will be: then nothing may be done for the call.
    fn wait(&self) -> BoxFuture<'_, bool>;
}

/// For a call that follows from nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct FollowsFromNothing;

impl Durable for FollowsFromNothing {
    fn wait(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }
}

/// One call of a tool, outside of a run.
pub struct ToolCall {
    /// The exact function: a tool.
    pub function: FunctionRef,
    /// Its input.
    pub input: Json,
    /// What an ungranted clock shows.
    pub started_at: Timestamp,
    /// Who is told of what the tool writes.
    pub sink: Arc<dyn Sink>,
}

/// Takes what a function writes while it is called. Called from the guest's thread: it must not block.
pub trait Sink: Send + Sync {
    /// A log line, or a line on stdout (info) or stderr (warn).
    fn log(&self, level: Level, message: &str);
    /// A chunk for whoever watches now.
    fn emit(&self, chunk: Json);
}

/// Why a component was refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegisterError {
    /// The bytes are no component, or one that cannot be a plugin.
    #[error("{0}")]
    Refused(String),
    /// A component with this name and version and another content is registered.
    #[error(
        "plugin {name}@{version} is registered with another content (sha256 {registered}), which runs may need. Raise \
         the version where the plugin has it, and build it again; or remove the registered one where nothing needs it \
         (`heddle plugin remove {name}@{version}`). While you write a plugin, `heddle serve --watch --plugins DIR` takes \
         each new build in DIR without either"
    )]
    VersionTaken {
        /// The name.
        name: String,
        /// The version.
        version: String,
        /// The digest of the one that has it.
        registered: Digest,
    },
    /// The name has grants, which the component would have from here on.
    #[error(
        "the name `{name}` has grants, and this component would have them: {}. To let it, register it with          `heddle plugin add --replace-granted` (over HTTP `?replace_granted=true`), or list its digest in the policy;          otherwise register it under another name",
        .grants.join("; ")
    )]
    Granted {
        /// The name.
        name: String,
        /// What it is granted, a line for each grant.
        grants: Vec<String>,
    },
    /// The policy grants the name to other components only.
    #[error(
        "the policy lists the components that may be registered as `{name}`, and this one, sha256:{digest}, is none of \
         them. To allow it, add \"sha256:{digest}\" to `digest` of plugin `{name}` in the policy; otherwise register it \
         under another name"
    )]
    NotPinned {
        /// The name.
        name: String,
        /// The digest of the component.
        digest: Digest,
    },
    /// Too many components wait to be compiled.
    #[error(
        "components are being compiled and {most} more wait, the limit (compile_queue): try again in {retry_after_s} s"
    )]
    Busy {
        /// How many may wait.
        most: usize,
        /// When to try again.
        retry_after_s: u32,
    },
    /// The host could not compile it, whatever it is.
    #[error("{0}")]
    Failed(String),
}
