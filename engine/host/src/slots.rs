//! Slots for the memories and tables of instances, of which wasmtime's pools have fixed numbers.
//!
//! The pools have one memory slot and eight table slots for every call that may be active at any depth of nesting, so
//! most calls need no extra slots. A component whose instance needs more takes the rest from a reserve. Each depth has
//! a separate reserve: a call waits only for calls at the same depth, which never wait for calls at a smaller depth,
//! so calls cannot deadlock.

use std::sync::Arc;

use wasmtime::component::Component;

use crate::fair_pool::{FairPool, PluginUsage, PoolPermit};

/// Table slots that come with one memory slot.
const TABLES: usize = 8;

/// The slots of the reserve for outermost calls, and of the reserve for each further depth.
const RESERVE: usize = 256;
const RESERVE_OF_NESTED: usize = 128;

/// The slots that an instance needs beyond one memory and eight tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExtraSlots(usize);

impl ExtraSlots {
    /// The extra slots of a component's instances.
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
pub(crate) struct SlotReserves(Vec<Arc<FairPool>>);

/// How many slots of each kind the pools have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pools {
    pub(crate) calls: usize,
    pub(crate) memories: usize,
    pub(crate) tables: usize,
}

impl SlotReserves {
    /// One reserve for each depth of nesting up to `call_depth`.
    pub(crate) fn new(call_depth: usize) -> Self {
        let reserves = reserves(call_depth);
        Self(reserves.map(FairPool::new).collect())
    }

    /// Waits until an instance at this depth (1 for the outermost call) has its extra slots. Dropping the permit
    /// returns them.
    pub(crate) async fn acquire(
        &self,
        usage: &PluginUsage,
        depth: usize,
        extra: ExtraSlots,
    ) -> Option<PoolPermit> {
        if extra == ExtraSlots::default() {
            return None;
        }
        let pool = self.0.get(depth.saturating_sub(1))?;
        Some(pool.acquire(&usage.of_depth(depth), extra.0).await)
    }
}

impl Pools {
    /// The pools for `outermost_calls` calls at once, each with calls nested in it up to `call_depth`, and for the
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

/// The sizes of the reserves, the one for outermost calls first.
fn reserves(call_depth: usize) -> impl Iterator<Item = usize> {
    let reserve = |depth| if depth == 1 { RESERVE } else { RESERVE_OF_NESTED };
    (1..=call_depth).map(reserve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_components_take_nothing_from_a_reserve() {
        assert_eq!(ExtraSlots::beyond(1, 8), ExtraSlots::default());
        assert_eq!(ExtraSlots::beyond(0, 0), ExtraSlots::default());
        assert_eq!(ExtraSlots::beyond(4, 1), ExtraSlots(3));
        assert_eq!(ExtraSlots::beyond(1, 17), ExtraSlots(2));
    }
}
