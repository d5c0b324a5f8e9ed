//! Pools of units that all plugins share: calls, memory, instance slots, open files.
//!
//! A plugin gets more units only while it would then hold at most four times as many as remain free. So one plugin
//! alone can hold four fifths of a pool, a second plugin four fifths of the rest, and so on: a plugin that takes all
//! that it can never leaves another plugin with nothing. A request for units that are not available waits; the calls
//! of one plugin wait in the order of arrival.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::sync::{Notify, Semaphore};

use crate::lock::lock;

/// A plugin holds at most this many times the units that remain free.
const TIMES_THE_REST: usize = 4;

/// A fixed number of units.
pub(crate) struct FairPool {
    total: usize,
    free: AtomicUsize,
    /// How many plugins wait for units.
    waiting: AtomicUsize,
    freed: Notify,
}

/// What one plugin holds of one pool.
#[derive(Debug)]
pub(crate) struct PoolUsage {
    held: AtomicUsize,
    /// Held by the first of the plugin's waiting calls; the others wait for it.
    turn: Semaphore,
}

/// The share of every pool that the plugins of one name use.
#[derive(Debug, Default)]
pub(crate) struct PluginUsage {
    /// Calls.
    pub(crate) calls: Arc<PoolUsage>,
    /// The memory of all calls, in bytes.
    pub(crate) memory: Arc<PoolUsage>,
    /// Open files.
    pub(crate) files: Arc<PoolUsage>,
    /// Threads that look up the names of hosts.
    pub(crate) lookups: Arc<PoolUsage>,
    /// Instance slots, by the depth of the call.
    slots: Mutex<HashMap<usize, Arc<PoolUsage>>>,
}

impl PluginUsage {
    /// What the plugin holds of the instance slots at a depth.
    pub(crate) fn of_depth(&self, depth: usize) -> Arc<PoolUsage> {
        lock(&self.slots).entry(depth).or_default().clone()
    }
}

/// Units of a pool, returned on drop.
pub(crate) struct PoolPermit {
    pool: Arc<FairPool>,
    usage: Arc<PoolUsage>,
    amount: usize,
}

impl Default for PoolUsage {
    fn default() -> Self {
        Self {
            held: AtomicUsize::new(0),
            turn: Semaphore::new(1),
        }
    }
}

/// The size of a pool in which one plugin may hold `amount`.
pub(crate) fn total_for_one(amount: usize) -> usize {
    amount + amount.div_ceil(TIMES_THE_REST)
}

impl FairPool {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            free: AtomicUsize::new(total),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// How many units are free.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.free.load(SeqCst)
    }

    /// Takes units if the plugin may have them at once. An amount larger than the pool takes the whole pool.
    pub(crate) fn try_acquire(self: &Arc<Self>, usage: &Arc<PoolUsage>, amount: usize) -> Option<PoolPermit> {
        let amount = amount.min(self.total);
        let updated = self.free.fetch_update(SeqCst, SeqCst, |free| {
            let rest = free.checked_sub(amount)?;
            // Two simultaneous calls of a plugin may both succeed: the plugin then holds a little more than its part.
            let held = usage.held.load(SeqCst);
            let is_fair = held == 0 || held + amount <= rest.saturating_mul(TIMES_THE_REST);
            is_fair.then_some(rest)
        });
        updated.ok()?;
        usage.held.fetch_add(amount, SeqCst);
        Some(PoolPermit {
            pool: self.clone(),
            usage: usage.clone(),
            amount,
        })
    }

    /// Waits until the plugin may have the units, and takes them.
    pub(crate) async fn acquire(self: &Arc<Self>, usage: &Arc<PoolUsage>, amount: usize) -> PoolPermit {
        // Without a free turn, an earlier call of the plugin waits.
        if usage.turn.available_permits() > 0
            && let Some(permit) = self.try_acquire(usage, amount)
        {
            return permit;
        }
        let turn = usage.turn.acquire().await;
        let _turn = turn.expect("this semaphore is never closed");
        let _waiting = Waiting::of(self);
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // From here on no notification is missed.
            freed.as_mut().enable();
            if let Some(permit) = self.try_acquire(usage, amount) {
                return permit;
            }
            freed.await;
        }
    }
}

/// Counts a waiting plugin until drop.
struct Waiting<'a>(&'a FairPool);

impl<'a> Waiting<'a> {
    fn of(pool: &'a FairPool) -> Self {
        pool.waiting.fetch_add(1, SeqCst);
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

impl Drop for PoolPermit {
    fn drop(&mut self) {
        let Self { pool, usage, amount } = self;
        usage.held.fetch_sub(*amount, SeqCst);
        pool.free.fetch_add(*amount, SeqCst);
        // A waiting plugin counts itself before it checks the free units.
        if pool.waiting.load(SeqCst) > 0 {
            pool.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn usage() -> Arc<PoolUsage> {
        Arc::default()
    }

    /// Takes one unit at a time until no more are available.
    fn all(pool: &Arc<FairPool>, usage: &Arc<PoolUsage>) -> Vec<PoolPermit> {
        std::iter::from_fn(|| pool.try_acquire(usage, 1)).collect()
    }

    #[test]
    fn each_plugin_that_takes_all_it_can_leaves_some_for_the_next() {
        let pool = FairPool::new(320);
        let permit: Vec<_> = (0..5).map(|_| all(&pool, &usage())).collect();
        let counts: Vec<_> = permit.iter().map(Vec::len).collect();
        assert_eq!(counts, [256, 51, 10, 2, 1]);
        drop(permit);
        assert_eq!(pool.free(), 320);
    }

    #[test]
    fn one_plugin_may_hold_the_amount_that_the_pool_was_sized_for() {
        for amount in [1, 2, 3, 4, 64, 256, 1000] {
            let total = total_for_one(amount);
            assert_eq!(all(&FairPool::new(total), &usage()).len(), amount);
        }
    }

    #[test]
    fn an_amount_above_the_pool_takes_the_whole_pool() {
        let (pool, one) = (FairPool::new(8), usage());
        let all = pool.try_acquire(&one, 100).unwrap();
        assert!(pool.try_acquire(&usage(), 1).is_none());
        drop(all);
        assert_eq!(pool.free(), 8);
    }

    #[tokio::test]
    async fn waiting_calls_get_returned_units_in_the_order_of_arrival() {
        let (pool, one) = (FairPool::new(2), usage());
        let held = pool.acquire(&one, 1).await;
        let mut first = Box::pin(pool.acquire(&one, 1));
        let mut second = Box::pin(pool.acquire(&one, 1));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        // Another plugin does not wait behind them.
        let other = pool.acquire(&usage(), 1).now_or_never().unwrap();
        drop(held);
        assert!(second.as_mut().now_or_never().is_none(), "the first is first");
        let held = first.as_mut().now_or_never().unwrap();
        drop((held, first, other));
        second.now_or_never().unwrap();
        assert_eq!(pool.free(), 2);
    }

    #[tokio::test]
    async fn a_cancelled_wait_delays_no_other_call() {
        let (pool, one) = (FairPool::new(2), usage());
        let held = pool.acquire(&one, 1).await;
        let mut gives_up = Box::pin(pool.acquire(&one, 1));
        let mut stays = Box::pin(pool.acquire(&one, 1));
        assert!(gives_up.as_mut().now_or_never().is_none());
        assert!(stays.as_mut().now_or_never().is_none());
        drop((gives_up, held));
        stays.now_or_never().unwrap();
    }
}
