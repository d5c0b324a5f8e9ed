//! Slots for the memories and tables of instances, which wasmtime's pools have in fixed numbers.
//!
//! The pools have one slot for a memory, and eight for tables, for every call that may be under way at any depth of
//! nesting, so most calls need not ask. A component whose instance has more takes what is beyond from a reserve. There
//! is one for each depth: a call waits only for calls as deep as it is, and those for none that are less deep, so no
//! two calls can wait for each other.

use std::sync::Arc;

use wasmtime::component::Component;

use crate::fair_pool::{FairPool, PluginUsage, PoolPermit};

/// The tables that go with one memory.
const TABLES: usize = 8;

/// How many slots the reserve for outermost calls has, and how many those of each further depth have.
const RESERVE: usize = 256;
const RESERVE_OF_NESTED: usize = 128;

/// What an instance needs beyond one memory and eight tables, in slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extra(usize);

impl Extra {
    /// What the instances of a component need.
    pub(crate) fn of(component: &Component) -> Self {
        let needs = component.resources_required();
        let (memories, tables) = needs.map_or((0, 0), |needs| (needs.num_memories, needs.num_tables));
        Self::beyond(memories as usize, tables as usize)
    }

    fn beyond(memories: usize, tables: usize) -> Self {
        Self(memories.max(tables.div_ceil(TABLES)).saturating_sub(1))
    }
}

/// The reserves, the one for outermost calls first.
pub(crate) struct Slots(Vec<Arc<FairPool>>);

/// How many slots of each kind the pools have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pools {
    pub(crate) calls: usize,
    pub(crate) memories: usize,
    pub(crate) tables: usize,
}

impl Slots {
    /// One reserve for each depth of nesting up to `call_depth`.
    pub(crate) fn new(call_depth: usize) -> Self {
        let reserves = reserves(call_depth);
        Self(reserves.map(FairPool::new).collect())
    }

    /// Waits until an instance may be made at this depth, the outermost one being 1. Its slots are free again when what
    /// is returned is dropped.
    pub(crate) async fn take(&self, usage: &PluginUsage, depth: usize, extra: Extra) -> Option<PoolPermit> {
        if extra == Extra::default() {
            return None;
        }
        let supply = self.0.get(depth.saturating_sub(1))?;
        Some(supply.take(&usage.of_depth(depth), extra.0).await)
    }
}

impl Pools {
    /// The pools for this many outermost calls at once, each with calls nested in it up to `call_depth`, and for the
    /// reserves.
    pub(crate) fn new(outermost_calls: usize, call_depth: usize) -> Self {
        let calls = outermost_calls.saturating_mul(call_depth).max(1);
        let reserves: usize = reserves(call_depth).sum();
        let memories = calls.saturating_add(reserves);
        Self {
            calls,
            memories,
            tables: memories.saturating_mul(TABLES),
        }
    }
}

/// How many slots each reserve has, the one for outermost calls first.
fn reserves(call_depth: usize) -> impl Iterator<Item = usize> {
    let reserve = |depth| if depth == 1 { RESERVE } else { RESERVE_OF_NESTED };
    (1..=call_depth).map(reserve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_components_take_nothing_from_a_reserve() {
        assert_eq!(Extra::beyond(1, 8), Extra::default());
        assert_eq!(Extra::beyond(0, 0), Extra::default());
        assert_eq!(Extra::beyond(4, 1), Extra(3));
        assert_eq!(Extra::beyond(1, 17), Extra(2));
    }
}
