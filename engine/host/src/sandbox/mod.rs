//! The sandbox of one instance: its memory, its output, its context among nested calls, and its view of WASI, in which it
//! has only what the policy grants.
//!
//! Most guests use little of WASI, so each part is created when the guest first uses it. The sandbox knows neither the
//! registry nor the host: it calls tools through [`ToolCaller`], and uses what all calls share through [`Resources`].

mod clock;
mod context;
mod limiter;
mod random;
mod wasi_state;

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use futures_util::future::BoxFuture;
use heddle_json::Json;
use heddle_kernel::{Failure, FailureKind, Level};
use wasmtime::{
    Engine, Store, UpdateDeadline,
    component::{HasData, Resource, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView, filesystem::Descriptor};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

pub(crate) use self::{
    clock::READING_NS,
    context::{CallContext, ChainLink, Durability},
    wasi_state::{NO_SOCKETS, OpenFile, OpenedPath, UsedGrants},
};
use self::{clock::VirtualClock, random::Random, wasi_state::WasiState};
use crate::{
    error::{HANDLES, LimitExceeded, NoMemory, NotDurable, TimeOver},
    memory::{Charge, Memory},
    outgoing::{Call, Outgoing},
    output::{Lines, LogStream, Stream},
    policy::Rules,
    resources::Resources,
};

/// Calls tools of other plugins for a guest.
pub(crate) trait ToolCaller: Send + Sync {
    /// Calls the tool that `name` finds at this moment, in a fresh instance with the limits and grants of its own plugin.
    fn call_tool(
        self: Arc<Self>,
        name: String,
        input: String,
        context: CallContext,
    ) -> BoxFuture<'static, Result<Json, Failure>>;
}

/// The data of a store: everything that one instance has.
pub(crate) struct Sandbox {
    pub(crate) resources: Arc<Resources>,
    pub(crate) context: CallContext,
    pub(crate) memory: Memory,
    pub(crate) lines: Arc<Mutex<Lines>>,
    pub(crate) clock: VirtualClock,
    pub(crate) table: ResourceTable,
    pub(crate) rules: Arc<Rules>,
    pub(crate) wasi_state: WasiState,
    tools: Arc<dyn ToolCaller>,
    random: Option<Random>,
    wasi: Option<WasiCtx>,
    outgoing: Option<Outgoing>,
}

/// How much a guest may pass at once even if its results are limited to less: a description, a log line.
const MIN_AT_ONCE: usize = 1 << 20;

/// How much more than the largest result a guest may pass at once, so that a slightly larger result is refused with
/// its size.
const AT_ONCE_SLACK: usize = 64 << 10;

impl Sandbox {
    /// Creates the store for one call under these rules. At each epoch the guest yields to other tasks, and ends if its
    /// deadline has passed.
    pub(crate) fn store(
        engine: &Engine,
        tools: Arc<dyn ToolCaller>,
        resources: Arc<Resources>,
        rules: &Arc<Rules>,
        context: CallContext,
    ) -> Store<Self> {
        let (deadline, limits) = (context.deadline, context.limits.clone());
        let lines = Arc::new(Mutex::new(Lines::new(context.output.clone())));
        let memory = Memory::new(&limits, context.memory.clone());
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let mut store = Store::new(
            engine,
            Self {
                resources,
                context,
                memory,
                lines,
                clock: VirtualClock::default(),
                table,
                rules: rules.clone(),
                wasi_state: WasiState::new(),
                tools,
                random: None,
                wasi: None,
                outgoing: None,
            },
        );
        store.limiter_async(|sandbox| sandbox);
        store.set_max_component_handles(HANDLES);
        store.set_hostcall_fuel(limits.result.value.max(MIN_AT_ONCE) + AT_ONCE_SLACK);
        if let Some(fuel) = limits.fuel {
            let set = store.set_fuel(fuel.value);
            set.expect("a call with a fuel limit runs on the metered engine");
        }
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            Ok(match Instant::now() >= deadline {
                true => UpdateDeadline::Interrupt,
                false => UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())),
            })
        });
        store
    }

    /// Counts `bytes` for an entry of the table of resources.
    pub(crate) async fn hold(&mut self, bytes: usize) -> Result<(), NoMemory> {
        self.memory.hold(&mut self.table, bytes).await
    }

    /// Counts a buffer of `bytes` until the charge is dropped.
    pub(crate) async fn charge(&mut self, bytes: usize) -> Result<Charge, NoMemory> {
        self.memory.charge(&mut self.table, bytes).await
    }

    pub(crate) fn random(&mut self) -> &mut Random {
        self.random.get_or_insert_with(|| Random::new(&self.context.seed))
    }

    /// The guest's HTTP requests, and its table of resources.
    pub(crate) fn outgoing(&mut self) -> (&mut Outgoing, &mut ResourceTable) {
        let Self {
            context,
            resources,
            rules,
            outgoing,
            table,
            ..
        } = self;
        let outgoing = outgoing.get_or_insert_with(|| {
            Outgoing::new(Call {
                resources: resources.clone(),
                rules: rules.clone(),
                limits: context.limits.clone(),
                output: context.output.clone(),
                key: context.is_keyed.then(|| context.seed.clone()),
            })
        });
        (outgoing, table)
    }

    /// Calls a tool for the guest, within the time and the output that the guest itself has.
    ///
    /// The outer error ends the guest as well: its own time is over, its output exceeded a limit, or the events that
    /// it follows from will never be durable.
    pub(crate) async fn call_tool_by_name(
        &mut self,
        name: String,
        input: String,
    ) -> wasmtime::Result<Result<String, Failure>> {
        // The host holds the input for as long as the tool runs.
        let _charge = self.charge(name.len() + input.len()).await?;
        let context = self.context.nested();
        let (deadline, durability, output) = (
            context.deadline,
            context.durability.clone(),
            context.output.clone(),
        );
        match self.tools.clone().call_tool(name, input, context).await {
            // If only the tool's own time is over, its caller continues.
            Err(failure) if failure.kind == FailureKind::Timeout && Instant::now() >= deadline => {
                Err(TimeOver.into())
            }
            // The tool wrote more than its caller may.
            _ if output.exceeded().is_some() => Err(LimitExceeded.into()),
            Err(_) if durability.is_failed() => Err(NotDurable.into()),
            result => Ok(result.map(|result| result.get().to_owned())),
        }
    }

    /// Logs a use of a grant, the first time in this instance.
    pub(crate) fn log_first_use(
        &mut self,
        used: impl FnOnce(&mut UsedGrants) -> &mut bool,
        line: impl FnOnce(&Rules) -> (Level, String),
    ) {
        if !std::mem::replace(used(&mut self.wasi_state.used), true) {
            let (level, line) = line(&self.rules);
            self.context.output.log_host_line(level, &line);
        }
    }

    /// Records a use of something that may not be granted, for the hint of a failure.
    pub(crate) fn record_use(&mut self, used: impl FnOnce(&mut UsedGrants) -> &mut bool) {
        *used(&mut self.wasi_state.used) = true;
    }

    /// Adds a hint to a failure that a missing grant may explain.
    pub(crate) fn add_hint(&self, mut failure: Failure) -> Failure {
        if let Some(hint) = self.wasi_state.hint(&self.rules, &failure.message) {
            failure.message = format!("{}; {hint}", failure.message).into();
        }
        failure
    }

    /// Removes the guest's open files and folders from its table.
    fn take_open_files(&mut self) -> Vec<(Descriptor, OpenFile)> {
        let opened = std::mem::take(&mut self.wasi_state.opened_paths);
        let table = &mut self.table;
        let open = opened.into_iter().filter_map(|(rep, opened)| {
            let descriptor = table.delete(Resource::new_own(rep)).ok()?;
            Some((descriptor, opened.open))
        });
        open.collect()
    }
}

impl Drop for Sandbox {
    /// Closing a file may wait for its file system, so a thread for files does it.
    fn drop(&mut self) {
        let open = self.take_open_files();
        if !open.is_empty() {
            let threads = &self.resources.file_threads;
            threads.run_detached(&self.rules.plugin, move || drop(open));
        }
    }
}

impl WasiHttpView for Sandbox {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (outgoing, table) = self.outgoing();
        outgoing.view(table)
    }
}

impl WasiView for Sandbox {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let lines = &self.lines;
        let ctx = self.wasi.get_or_insert_with(|| nothing_granted(lines).build());
        WasiCtxView {
            ctx,
            table: &mut self.table,
        }
    }
}

/// No files, no environment, no arguments, no sockets, an empty stdin. The sandbox has its own clocks, randomness,
/// environment and files.
fn nothing_granted(lines: &Arc<Mutex<Lines>>) -> WasiCtxBuilder {
    let stream = |stream| LogStream {
        lines: lines.clone(),
        stream,
    };
    let mut ctx = WasiCtxBuilder::new();
    ctx.stdout(stream(Stream::Out))
        .stderr(stream(Stream::Err))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    ctx
}

/// Selects the sandbox itself as the data of linked interfaces.
pub(crate) struct SandboxView;

impl HasData for SandboxView {
    type Data<'a> = &'a mut Sandbox;
}
