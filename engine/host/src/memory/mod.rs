//! The memory of calls: that of one instance with what the host holds for the instance, and that of all calls together.
//!
//! An instance's linear memories and what the host holds for it count against one limit, its call's `memory`. The host's
//! part is counted in two ways. A buffer has a [`Charge`], which is returned when it is dropped with the buffer. Entries
//! of the instance's table of resources (header fields, requests, handles) are only added up, since they leave the table
//! in many ways: when the sum reaches a limit, the table is counted again, and the sum becomes what it contains.

mod table;
mod total;
mod trim;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use wasmtime::component::ResourceTable;

use self::table::table_bytes;
pub(crate) use self::{
    table::{FIELD_BYTES, HANDLE_BYTES, fields_bytes},
    total::{ChainMemory, TotalMemory},
};
use crate::{engine_config::TABLE_ELEMENTS, error::NoMemory, policy::CallLimits};

/// The end of a call for which the host held at least this many bytes is followed by a trim.
const TRIM_FROM: usize = 4 << 20;

/// The most table elements of one instance, over all tables.
const ELEMENTS: usize = 4 * TABLE_ELEMENTS;

/// The table of resources is counted again only if it takes at least this many bytes.
const RECOUNT_FROM: usize = 64 << 10;

/// The memory of one instance, in bytes.
pub(crate) struct Memory {
    limit: usize,
    /// All linear memories of the instance together.
    linear: usize,
    elements: usize,
    /// The table of resources, at most.
    table: usize,
    /// The most that the table and the buffers took so far.
    peak_by_host: usize,
    /// The buffers; none before the first one.
    buffers: Option<Arc<Buffers>>,
    /// The call's part of the memory of all calls.
    total: Arc<ChainMemory>,
    /// The last growth that was refused.
    pub(crate) refused: Option<MemoryRefusal>,
}

/// Why memory or table elements were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryRefusal {
    /// The instance's limit: its linear memories, and what the host held for it at that moment.
    Memory { own: usize, by_host: usize },
    /// The memory of all calls, of which one call and its tools may have this much.
    Total(usize),
    /// The limit of table elements.
    Table(usize),
}

/// What the buffers of one instance take, wherever they are.
struct Buffers {
    bytes: AtomicUsize,
    total: Arc<ChainMemory>,
}

/// Counts one buffer until drop.
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
            peak_by_host: 0,
            buffers: None,
            total,
            refused: None,
        }
    }

    /// What the host holds for the instance.
    pub(crate) fn by_host(&self) -> usize {
        let buffers = self.buffers.as_ref().map_or(0, |all| all.bytes.load(Relaxed));
        self.table + buffers
    }

    /// How many more bytes the instance may have.
    pub(crate) fn left(&self) -> usize {
        self.limit.saturating_sub(self.linear + self.by_host())
    }

    /// Records that the instance's limit was reached.
    pub(crate) fn refuse(&mut self) -> NoMemory {
        let (own, by_host) = (self.linear, self.by_host());
        self.refused = Some(MemoryRefusal::Memory { own, by_host });
        NoMemory
    }

    fn update_peak(&mut self) {
        self.peak_by_host = self.peak_by_host.max(self.by_host());
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
        if self.peak_by_host >= TRIM_FROM {
            self.total.trim_soon();
        }
        self.total.used.fetch_sub(self.linear + self.table, Relaxed);
    }
}

impl Memory {
    /// Makes room for `more` bytes of the instance's memory, and counts them as used of the memory of all calls.
    async fn reserve(&mut self, table: &mut ResourceTable, more: usize) -> Result<(), NoMemory> {
        if !self.fits(more) {
            self.recount(table);
            if !self.fits(more) {
                return Err(self.refuse());
            }
        }
        if !self.total.has(more) {
            self.recount(table);
            if let Err(most) = self.total.take(more, self.limit).await {
                self.refused = Some(MemoryRefusal::Total(most));
                return Err(NoMemory);
            }
        }
        self.total.used.fetch_add(more, Relaxed);
        Ok(())
    }

    /// Counts again what the table of resources takes.
    fn recount(&mut self, table: &mut ResourceTable) {
        if self.table >= RECOUNT_FROM {
            self.set_table(table_bytes(table));
        }
    }

    /// Counts `bytes` for an entry of the table of resources.
    ///
    /// # Errors
    /// If the instance may not have so much more: the guest ends.
    pub(crate) async fn hold(&mut self, table: &mut ResourceTable, bytes: usize) -> Result<(), NoMemory> {
        self.reserve(table, bytes).await?;
        self.table += bytes;
        self.update_peak();
        Ok(())
    }

    /// Counts a buffer of `bytes` until the charge is dropped.
    ///
    /// # Errors
    /// As [`Self::hold`].
    pub(crate) async fn charge(
        &mut self,
        table: &mut ResourceTable,
        bytes: usize,
    ) -> Result<Charge, NoMemory> {
        self.reserve(table, bytes).await?;
        let Self { buffers, total, .. } = &mut *self;
        let buffers = buffers.get_or_insert_with(|| {
            Arc::new(Buffers {
                bytes: AtomicUsize::new(0),
                total: total.clone(),
            })
        });
        buffers.bytes.fetch_add(bytes, Relaxed);
        let buffers = buffers.clone();
        self.update_peak();
        Ok(Charge { buffers, bytes })
    }

    /// Whether a linear memory may grow from `now` to `wanted` bytes; `most` is the maximum that it declares.
    pub(crate) async fn may_grow(
        &mut self,
        table: &mut ResourceTable,
        now: usize,
        wanted: usize,
        most: Option<usize>,
    ) -> bool {
        if self.limit >= wanted && most.is_some_and(|most| wanted > most) {
            // Above its declared maximum: wasmtime does not grow the memory, so nothing is counted.
            return true;
        }
        let more = wanted.saturating_sub(now);
        if self.reserve(table, more).await.is_err() {
            return false;
        }
        self.linear += more;
        true
    }

    /// Whether a table may grow from `now` to `wanted` elements; `most` is the maximum that it declares.
    pub(crate) fn may_grow_table(&mut self, now: usize, wanted: usize, most: Option<usize>) -> bool {
        // A table without a declared maximum has the limit of the instance pool.
        if most.is_some_and(|most| wanted > most && most < TABLE_ELEMENTS) {
            return true;
        }
        let elements = self.elements - now.min(self.elements) + wanted;
        if wanted > TABLE_ELEMENTS || elements > ELEMENTS {
            let limit = if wanted > TABLE_ELEMENTS {
                TABLE_ELEMENTS
            } else {
                ELEMENTS
            };
            self.refused = Some(MemoryRefusal::Table(limit));
            return false;
        }
        self.elements = elements;
        true
    }
}

/// The part of a failure's message that says how much memory the host held.
pub(crate) fn host_share(own: usize, by_host: usize) -> String {
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    match by_host {
        0 => String::new(),
        _ => format!(
            ": it used {:.1} MiB itself, and the host held {:.1} MiB for it, such as header fields, bodies, streams \
             and files",
            mib(own),
            mib(by_host)
        ),
    }
}
