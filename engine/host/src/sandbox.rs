//! What surrounds one instance: its limits, its place among nested calls, and a WASI in
//! which nothing is there but what the policy grants.
//!
//! Most guests touch little of WASI, so its parts are made when they are first asked for.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use heddle_kernel::Timestamp;
use heddle_runtime::ports::Durable;
use tokio::sync::OnceCell;
use wasmtime::{
    Store, UpdateDeadline,
    component::{HasData, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::{
    contract,
    host::Inner,
    memory::{ChainMemory, Memory},
    outgoing::Outgoing,
    output::{Lines, LogStream, Output, Stream},
    policy::{CallLimits, Limit, Rules},
    wasi::{self, World, clock::Ticks, random::Random},
};

/// What a store holds: everything that one instance has.
pub(crate) struct Sandbox {
    pub(crate) host: Arc<Inner>,
    pub(crate) frame: Frame,
    pub(crate) memory: Memory,
    pub(crate) lines: Arc<Mutex<Lines>>,
    pub(crate) clock: Ticks,
    pub(crate) table: ResourceTable,
    pub(crate) rules: Arc<Rules>,
    pub(crate) world: World,
    random: Option<Random>,
    wasi: Option<WasiCtx>,
    outgoing: Option<Outgoing>,
}

/// A call's place: when it must end, how deep it is nested, and what makes it repeatable.
#[derive(Clone)]
pub(crate) struct Frame {
    /// The same for all calls that one call leads to.
    pub(crate) deadline: Instant,
    /// What the deadline comes from.
    pub(crate) time: Limit<Duration>,
    /// What its instance may use up.
    pub(crate) limits: Arc<CallLimits>,
    /// Which functions it is nested in.
    pub(crate) chain: Arc<Link>,
    /// 1 for the outermost call.
    pub(crate) depth: usize,
    /// What an ungranted clock shows.
    pub(crate) started_at: Timestamp,
    /// What randomness is drawn from: the same for every attempt of a step.
    pub(crate) seed: Arc<str>,
    /// Whether the seed is a key, by which who is asked twice knows that it is one request. A call from
    /// outside of any run has none: the same call made again is meant to be another.
    pub(crate) is_keyed: bool,
    /// How many tools this call has called.
    pub(crate) called: u64,
    /// Where its output goes.
    pub(crate) output: Arc<Output>,
    /// What the outermost call and its tools have of the memory of all calls.
    pub(crate) memory: Arc<ChainMemory>,
    /// What to wait for before something outside is done.
    pub(crate) ground: Arc<Ground>,
}

/// What a call follows from, and whether that is known to be durable.
pub(crate) struct Ground {
    durable: Arc<dyn Durable>,
    is_durable: OnceCell<bool>,
}

impl Ground {
    /// What is to be waited for first.
    pub(crate) fn open(durable: Arc<dyn Durable>) -> Arc<Self> {
        Arc::new(Self {
            durable,
            is_durable: OnceCell::new(),
        })
    }

    /// What was waited for, or where there is nothing to wait for.
    pub(crate) fn firm(durable: Arc<dyn Durable>) -> Arc<Self> {
        Arc::new(Self {
            durable,
            is_durable: OnceCell::new_with(Some(true)),
        })
    }

    /// Waits, once for all calls that one call leads to. False where it will never be durable.
    pub(crate) async fn settle(&self) -> bool {
        *self.is_durable.get_or_init(|| self.durable.wait()).await
    }

    /// Whether it is known that it will never be durable.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_durable.get() == Some(&false)
    }
}

/// A function in a chain of nested calls.
pub(crate) struct Link {
    pub(crate) plugin: Arc<str>,
    pub(crate) function: Arc<str>,
    /// The one that called it.
    pub(crate) caller: Option<Arc<Self>>,
}

impl Link {
    /// It and all that it is nested in, from the inside.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |link| link.caller.as_deref())
    }

    /// The whole chain, from the outside.
    pub(crate) fn shown(&self) -> String {
        let mut names: Vec<_> = self
            .all()
            .map(|link| format!("{}/{}", link.plugin, link.function))
            .collect();
        names.reverse();
        names.join(" → ")
    }
}

impl Frame {
    /// The place of the next call that this one makes.
    pub(crate) fn nested(&mut self) -> Self {
        self.called += 1;
        Self {
            depth: self.depth + 1,
            seed: format!("{}/{}", self.seed, self.called).into(),
            called: 0,
            limits: self.limits.clone(),
            chain: self.chain.clone(),
            output: self.output.clone(),
            memory: self.memory.clone(),
            ground: self.ground.clone(),
            ..*self
        }
    }
}

/// How many handles (streams, timers, files) one instance may hold.
pub(crate) const HANDLES: usize = 10_000;

/// What a guest may hand over at once however small its results must be: its description, a log line.
const LEAST_AT_ONCE: usize = 1 << 20;

/// What it may hand over beyond a result of the largest size, so that a result a little above
/// that is refused with its size.
const AT_ONCE_SLACK: usize = 64 << 10;

impl Sandbox {
    /// A store for one call of a plugin with these rules. Each time the epoch moves on the guest makes
    /// room for others, and it ends at its deadline.
    pub(crate) fn store(host: &Arc<Inner>, rules: &Arc<Rules>, frame: Frame) -> Store<Self> {
        let (deadline, limits) = (frame.deadline, frame.limits.clone());
        let lines = Arc::new(Mutex::new(Lines::new(frame.output.clone())));
        let memory = Memory::new(&limits, frame.memory.clone());
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let mut store = Store::new(
            &host.machine(&limits).engine,
            Self {
                host: host.clone(),
                frame,
                memory,
                lines,
                clock: Ticks::default(),
                table,
                rules: rules.clone(),
                world: World::new(),
                random: None,
                wasi: None,
                outgoing: None,
            },
        );
        store.limiter_async(|sandbox| sandbox);
        store.set_max_component_handles(HANDLES);
        store.set_hostcall_fuel(limits.result.value.max(LEAST_AT_ONCE) + AT_ONCE_SLACK);
        if let Some(fuel) = limits.fuel {
            let counted = store.set_fuel(fuel.value);
            counted.expect("this machine's code counts what it computes");
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

    pub(crate) fn random(&mut self) -> &mut Random {
        self.random.get_or_insert_with(|| Random::new(&self.frame.seed))
    }

    /// The guest's requests, and the table that it has its handles in.
    pub(crate) fn outgoing(&mut self) -> (&mut Outgoing, &mut ResourceTable) {
        let frame = &self.frame;
        let outgoing = self.outgoing.get_or_insert_with(|| {
            let key = frame.is_keyed.then(|| frame.seed.clone());
            Outgoing::new(&self.host, &self.rules, key, frame)
        });
        (outgoing, &mut self.table)
    }
}

impl Drop for Sandbox {
    /// Closing a file may wait for its file system, so it is done on a thread for files.
    fn drop(&mut self) {
        let open = self.open_files();
        if !open.is_empty() {
            self.host.files.leave(&self.rules.plugin, move || drop(open));
        }
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

/// No files, no environment, no arguments, no sockets, an empty stdin. Clocks, randomness, the environment and
/// files are the sandbox's own.
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

/// Gives the parts of the sandbox to the interfaces that are linked from it.
pub(crate) struct Own;

impl HasData for Own {
    type Data<'a> = &'a mut Sandbox;
}

/// Everything that a component may import.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Sandbox>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    // Every component may ask; whether it is granted is looked at for each request.
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    // These stand in for what WASI has.
    linker.allow_shadowing(true);
    wasi::add_to_linker(&mut linker)?;
    linker.allow_shadowing(false);
    contract::add_to_linker(&mut linker)?;
    Ok(linker)
}
