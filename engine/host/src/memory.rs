//! The memory of calls: that of one instance with what the host holds for it, and that of all calls together.
//!
//! An instance's linear memories and what the host holds for it count against one limit, its call's `memory`. What the
//! host holds is counted in two ways. A buffer has a [`Charge`], which is given back when it is dropped with the buffer.
//! What lies in the instance's table of resources (header fields, requests, handles) is only added up, since it leaves
//! the table in many ways: when the sum reaches a limit, the table is looked through, and the sum becomes what is there.
//!
//! Of the memory of all calls together, `total_memory`, each call has a small part for itself. A call that needs more
//! takes as much as its limit allows it, all at once, and waits for that where other calls have it: as it then holds
//! nothing that another waits for, no two calls can wait for each other. The tools that a call calls use what it took.
//! Where that is not enough, one call at a time has a further part.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{ResourceLimiterAsync, component::ResourceTable};
use wasmtime_wasi_http::{
    FieldMap,
    p2::{
        bindings::http::types::{Method, Scheme},
        types::{HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse},
    },
};

use crate::{
    engine::TABLE_ELEMENTS,
    output::held,
    policy::CallLimits,
    sandbox::Sandbox,
    shares::{Share, Supply, Taken},
};

/// How many table elements one instance may have, all tables together.
const ELEMENTS: usize = 4 * TABLE_ELEMENTS;

/// What a handle counts: its entry in the table and the box of what it stands for.
pub(crate) const HANDLE_BYTES: usize = 256;

/// What a header field counts on top of its name and value, for its place in the map.
pub(crate) const FIELD_BYTES: usize = 128;

/// How much is looked through before more is taken: below this it is not worth it.
const LOOK_FROM: usize = 64 << 10;

/// The memory of one instance.
pub(crate) struct Memory {
    limit: usize,
    /// Its linear memories.
    linear: usize,
    elements: usize,
    /// What its table of resources takes at most.
    table: usize,
    /// What it and the buffers took when they took most.
    most_by_host: usize,
    /// What buffers take; there once there is one.
    buffers: Option<Arc<Buffers>>,
    /// What it has of the memory of all calls.
    total: Arc<ChainMemory>,
    /// What the guest was refused more of last.
    pub(crate) refused: Option<Refused>,
}

/// What a guest may be refused more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Memory: its own, and what the host held for it at that moment.
    Memory { own: usize, by_host: usize },
    /// The memory of all calls together, of which a call and its tools may have this at most.
    Total(usize),
    /// Elements of tables, of which this is the limit.
    Table(usize),
}

/// The host would hold more for a guest than the guest may have.
#[derive(Debug, thiserror::Error)]
#[error("the guest needs more memory than it may have")]
pub(crate) struct NoMemory;

/// What the buffers of one instance take, wherever they are.
struct Buffers {
    bytes: AtomicUsize,
    total: Arc<ChainMemory>,
}

/// What one buffer takes. It is given back when this is dropped.
pub(crate) struct Charge {
    buffers: Arc<Buffers>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.buffers.bytes.fetch_sub(self.bytes, Relaxed);
        self.buffers.total.used.fetch_sub(self.bytes, Relaxed);
    }
}

impl Memory {
    pub(crate) fn new(limits: &CallLimits, total: Arc<ChainMemory>) -> Self {
        Self {
            limit: limits.memory.value,
            linear: 0,
            elements: 0,
            table: 0,
            most_by_host: 0,
            buffers: None,
            total,
            refused: None,
        }
    }

    /// What the host holds.
    pub(crate) fn by_host(&self) -> usize {
        let buffers = self.buffers.as_ref().map_or(0, |all| all.bytes.load(Relaxed));
        self.table + buffers
    }

    /// How much more the instance may have.
    pub(crate) fn left(&self) -> usize {
        self.limit.saturating_sub(self.linear + self.by_host())
    }

    /// Remembers that the guest may have no more.
    pub(crate) fn refuse(&mut self) -> NoMemory {
        let (own, by_host) = (self.linear, self.by_host());
        self.refused = Some(Refused::Memory { own, by_host });
        NoMemory
    }

    fn look_at_most(&mut self) {
        self.most_by_host = self.most_by_host.max(self.by_host());
    }

    /// Whether the instance may have so much more.
    fn fits(&self, more: usize) -> bool {
        self.linear.saturating_add(self.by_host()).saturating_add(more) <= self.limit
    }

    /// Sets what the table takes.
    fn set_table(&mut self, bytes: usize) {
        match bytes >= self.table {
            true => self.total.used.fetch_add(bytes - self.table, Relaxed),
            false => self.total.used.fetch_sub(self.table - bytes, Relaxed),
        };
        self.table = bytes;
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.most_by_host >= TRIM_FROM {
            self.total.all.trim.soon();
        }
        self.total.used.fetch_sub(self.linear + self.table, Relaxed);
    }
}

impl Sandbox {
    /// Makes room for so much more of the instance's memory, which is then counted as used by all calls.
    async fn reserve(&mut self, more: usize) -> Result<(), NoMemory> {
        if !self.memory.fits(more) {
            self.look_through_table();
            if !self.memory.fits(more) {
                return Err(self.memory.refuse());
            }
        }
        if !self.memory.total.has(more) {
            self.look_through_table();
            let limit = self.memory.limit;
            if let Err(most) = self.memory.total.take(more, limit).await {
                self.memory.refused = Some(Refused::Total(most));
                return Err(NoMemory);
            }
        }
        self.memory.total.used.fetch_add(more, Relaxed);
        Ok(())
    }

    /// Sees what the table of resources takes now.
    fn look_through_table(&mut self) {
        if self.memory.table >= LOOK_FROM {
            let bytes = table_bytes(&mut self.table);
            self.memory.set_table(bytes);
        }
    }

    /// Counts so many bytes that lie in the table of resources from now on. The guest ends where they are too many.
    pub(crate) async fn hold(&mut self, bytes: usize) -> Result<(), NoMemory> {
        self.reserve(bytes).await?;
        self.memory.table += bytes;
        self.memory.look_at_most();
        Ok(())
    }

    /// Counts a buffer of so many bytes, in the same way, until what is returned is dropped.
    pub(crate) async fn charge(&mut self, bytes: usize) -> Result<Charge, NoMemory> {
        self.reserve(bytes).await?;
        let Memory { buffers, total, .. } = &mut self.memory;
        let buffers = buffers.get_or_insert_with(|| {
            Arc::new(Buffers {
                bytes: AtomicUsize::new(0),
                total: total.clone(),
            })
        });
        buffers.bytes.fetch_add(bytes, Relaxed);
        let buffers = buffers.clone();
        self.memory.look_at_most();
        Ok(Charge { buffers, bytes })
    }
}

#[wasmtime_wasi::async_trait]
impl ResourceLimiterAsync for Sandbox {
    async fn memory_growing(
        &mut self,
        now: usize,
        wanted: usize,
        most: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if self.memory.limit >= wanted && most.is_some_and(|most| wanted > most) {
            // Beyond what the memory itself declares: it is not grown, and nothing is counted.
            return Ok(true);
        }
        let more = wanted.saturating_sub(now);
        if self.reserve(more).await.is_err() {
            return Ok(false);
        }
        self.memory.linear += more;
        Ok(true)
    }

    async fn table_growing(
        &mut self,
        now: usize,
        wanted: usize,
        most: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // A table of which nothing is declared has the pool's own limit.
        if most.is_some_and(|most| wanted > most && most < TABLE_ELEMENTS) {
            return Ok(true);
        }
        let memory = &mut self.memory;
        let elements = memory.elements - now.min(memory.elements) + wanted;
        if wanted > TABLE_ELEMENTS || elements > ELEMENTS {
            let limit = if wanted > TABLE_ELEMENTS {
                TABLE_ELEMENTS
            } else {
                ELEMENTS
            };
            memory.refused = Some(Refused::Table(limit));
            return Ok(false);
        }
        memory.elements = elements;
        Ok(true)
    }
}

/// What a table of resources takes. What has a [`Charge`] counts as a handle alone.
fn table_bytes(table: &mut ResourceTable) -> usize {
    let bytes = |entry: &(dyn std::any::Any + Send)| {
        if let Some(fields) = entry.downcast_ref::<FieldMap>() {
            return fields_bytes(fields);
        }
        if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
            return request_bytes(request);
        }
        if let Some(response) = entry.downcast_ref::<HostIncomingResponse>() {
            return fields_bytes(&response.headers);
        }
        if let Some(response) = entry.downcast_ref::<HostOutgoingResponse>() {
            return fields_bytes(&response.headers);
        }
        0
    };
    table.iter_mut().map(|entry| HANDLE_BYTES + bytes(entry)).sum()
}

/// What header fields take.
pub(crate) fn fields_bytes(fields: &http::HeaderMap) -> usize {
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() + FIELD_BYTES
    };
    fields.iter().map(field).sum()
}

fn request_bytes(request: &HostOutgoingRequest) -> usize {
    let method = match &request.method {
        Method::Other(name) => name.len(),
        _ => 0,
    };
    let scheme = match &request.scheme {
        Some(Scheme::Other(name)) => name.len(),
        _ => 0,
    };
    let texts = [&request.authority, &request.path_with_query];
    let texts = texts.map(|text| text.as_ref().map_or(0, String::len));
    method + scheme + texts.iter().sum::<usize>() + fields_bytes(&request.headers)
}

/// The memory of all calls together.
pub(crate) struct TotalMemory {
    /// What each call has for itself.
    own: usize,
    /// What calls share that need more.
    more: Arc<Supply>,
    /// What the one call has that needs more than that.
    last: usize,
    last_turn: Arc<Semaphore>,
    trim: Arc<Trim>,
}

/// What one call, and the tools that it calls, have of the memory of all calls.
pub(crate) struct ChainMemory {
    all: Arc<TotalMemory>,
    share: Arc<Share>,
    used: AtomicUsize,
    /// How much of that is its input as text.
    given: AtomicUsize,
    /// What may be used.
    may: AtomicUsize,
    /// Whether it waits for more.
    waits: AtomicBool,
    taken: Mutex<TakenMemory>,
}

#[derive(Default)]
struct TakenMemory {
    more: Option<Taken>,
    last: Option<OwnedSemaphorePermit>,
}

impl TotalMemory {
    /// Half of it is for the parts that calls have for themselves, an eighth for the one call.
    pub(crate) fn of(total: usize, calls: usize) -> Arc<Self> {
        let (own, last) = (total / 2 / calls.max(1), total / 8);
        Arc::new(Self {
            own,
            more: Supply::of(total - total / 2 - last),
            last,
            last_turn: Arc::new(Semaphore::new(1)),
            trim: Arc::default(),
        })
    }

    /// The most that a call and its tools can have of it.
    pub(crate) fn most(&self) -> usize {
        self.own + self.more.total() + self.last
    }

    /// What a call of the plugin whose share this is begins with.
    pub(crate) fn begin(self: &Arc<Self>, share: &Arc<Share>) -> Arc<ChainMemory> {
        Arc::new(ChainMemory {
            all: self.clone(),
            share: share.clone(),
            used: AtomicUsize::new(0),
            given: AtomicUsize::new(0),
            may: AtomicUsize::new(self.own),
            waits: AtomicBool::new(false),
            taken: Mutex::default(),
        })
    }
}

impl ChainMemory {
    /// Counts the input of the call as text, which the host holds until the call ends.
    pub(crate) fn give(&self, input: usize) {
        self.given.fetch_add(input, Relaxed);
        self.used.fetch_add(input, Relaxed);
    }

    /// Whether the call waits for memory that others have.
    pub(crate) fn waits(&self) -> bool {
        self.waits.load(Relaxed)
    }

    /// Whether so much more may be used.
    fn has(&self, more: usize) -> bool {
        self.used.load(Relaxed).saturating_add(more) <= self.may.load(Relaxed)
    }

    /// Takes what it needs to use so much more, for an instance with this limit. The error is the most that there is.
    async fn take(&self, more: usize, limit: usize) -> Result<(), usize> {
        // It stays set where the call ends while it waits.
        self.waits.store(true, Relaxed);
        if !self.has(more) && held(&self.taken).more.is_none() {
            let needed = limit.max(more) + self.given.load(Relaxed);
            let amount = needed.min(self.all.more.total());
            let taken = self.all.more.take(&self.share, amount).await;
            self.may.fetch_add(amount, Relaxed);
            held(&self.taken).more = Some(taken);
        }
        if !self.has(more) && held(&self.taken).last.is_none() {
            let turn = self.all.last_turn.clone().acquire_owned().await;
            self.may.fetch_add(self.all.last, Relaxed);
            held(&self.taken).last = turn.ok();
        }
        self.waits.store(false, Relaxed);
        self.has(more).then_some(()).ok_or_else(|| self.all.most())
    }
}

/// What a failure says of memory that was refused: how much of it the host held.
pub(crate) fn told(own: usize, by_host: usize) -> String {
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    match by_host {
        0 => String::new(),
        _ => format!(
            ": {:.1} MiB were its own, and {:.1} MiB were what the host held for it, such as header fields, bodies, streams \
             and files",
            mib(own),
            mib(by_host)
        ),
    }
}

/// What the host must have held for a call for its end to be followed by a trim.
const TRIM_FROM: usize = 4 << 20;

/// How long a trim waits, so that many calls which end together are followed by one.
const TRIM_AFTER: Duration = Duration::from_millis(500);

/// Gives memory that was freed back to the system, which the C library keeps for itself: what a call had the host hold
/// lies between what others still have.
#[derive(Default)]
struct Trim {
    is_due: AtomicBool,
}

impl Trim {
    /// Trims soon.
    fn soon(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.is_due.swap(true, Relaxed) {
            return;
        }
        let trim = self.clone();
        runtime.spawn(async move {
            tokio::time::sleep(TRIM_AFTER).await;
            trim.is_due.store(false, Relaxed);
            // It takes milliseconds.
            let _ = tokio::task::spawn_blocking(give_back).await;
        });
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    #[allow(unsafe_code)]
    // SAFETY: the declaration is that of malloc.h.
    unsafe extern "C" {
        fn malloc_trim(keep: usize) -> i32;
    }
    // SAFETY: it may be called at any time and from any thread: it takes the allocator's own locks, and touches nothing
    // but what is free.
    #[allow(unsafe_code)]
    unsafe {
        malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MIB: usize = 1 << 20;

    fn share() -> Arc<Share> {
        Arc::default()
    }

    /// Has a call use so much more.
    async fn use_more(call: &ChainMemory, more: usize, limit: usize) -> Result<(), usize> {
        if !call.has(more) {
            call.take(more, limit).await?;
        }
        call.used.fetch_add(more, Relaxed);
        Ok(())
    }

    #[tokio::test]
    async fn a_call_has_a_part_for_itself_and_waits_for_what_is_more() {
        // 8 MiB for each of four calls, 24 MiB to share, 8 MiB for one of them.
        let all = TotalMemory::of(64 * MIB, 4);
        let (one, other, third) = (all.begin(&share()), all.begin(&share()), all.begin(&share()));
        for call in [&one, &other, &third] {
            use_more(call, 8 * MIB, 24 * MIB).await.unwrap();
        }
        use_more(&one, MIB, 24 * MIB).await.unwrap();
        let mut waits = Box::pin(use_more(&other, MIB, 24 * MIB));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(one);
        waits.as_mut().now_or_never().unwrap().unwrap();
        drop(waits);
        drop((other, third));
        assert_eq!(all.more.free(), 24 * MIB);
    }

    #[tokio::test]
    async fn a_call_whose_tools_need_more_than_it_took_has_the_last_part_and_no_more() {
        let all = TotalMemory::of(64 * MIB, 4);
        let call = all.begin(&share());
        use_more(&call, 40 * MIB, 24 * MIB).await.unwrap();
        assert_eq!(use_more(&call, MIB, 24 * MIB).await, Err(40 * MIB));
        assert_eq!(all.last_turn.available_permits(), 0);
        drop(call);
        assert_eq!(
            (all.more.free(), all.last_turn.available_permits()),
            (24 * MIB, 1)
        );
    }
}
