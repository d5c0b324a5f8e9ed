//! The memory of all calls together: `total_memory`.
//!
//! Each call has a small guaranteed part. A call that needs more takes as much as its limit allows in one step, and
//! waits until other calls have returned that much. While it waits it holds nothing that another call waits for, so
//! calls cannot deadlock. The tools of a call use what the call took. If that is not enough, one call at a time gets a
//! reserve.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::trim::Trim;
use crate::{
    fair_pool::{FairPool, PoolPermit, PoolUsage},
    lock::lock,
};

/// The memory of all calls together, in bytes.
pub(crate) struct TotalMemory {
    /// The part of each call.
    own: usize,
    /// The part that calls share.
    shared: Arc<FairPool>,
    /// The reserve for one call at a time.
    reserve: usize,
    reserve_turn: Arc<Semaphore>,
    trim: Arc<Trim>,
}

/// What one call and its tools have of the memory of all calls, in bytes.
pub(crate) struct ChainMemory {
    all: Arc<TotalMemory>,
    usage: Arc<PoolUsage>,
    pub(super) used: AtomicUsize,
    /// The part of `used` that is the call's input as text.
    input_bytes: AtomicUsize,
    /// How much may be used.
    allowed: AtomicUsize,
    /// Whether the call waits for more.
    is_waiting: AtomicBool,
    permits: Mutex<MemoryPermits>,
}

#[derive(Default)]
struct MemoryPermits {
    shared: Option<PoolPermit>,
    reserve: Option<OwnedSemaphorePermit>,
}

impl TotalMemory {
    /// Half of the total is for the calls' own parts, an eighth is the reserve.
    pub(crate) fn new(total: usize, calls: usize) -> Arc<Self> {
        let (own, reserve) = (total / 2 / calls.max(1), total / 8);
        Arc::new(Self {
            own,
            shared: FairPool::new(total - total / 2 - reserve),
            reserve,
            reserve_turn: Arc::new(Semaphore::new(1)),
            trim: Arc::default(),
        })
    }

    /// The most that a call and its tools can have.
    pub(crate) fn most(&self) -> usize {
        self.own + self.shared.total() + self.reserve
    }

    /// The memory of a new call of the plugin with this usage.
    pub(crate) fn begin(self: &Arc<Self>, usage: &Arc<PoolUsage>) -> Arc<ChainMemory> {
        Arc::new(ChainMemory {
            all: self.clone(),
            usage: usage.clone(),
            used: AtomicUsize::new(0),
            input_bytes: AtomicUsize::new(0),
            allowed: AtomicUsize::new(self.own),
            is_waiting: AtomicBool::new(false),
            permits: Mutex::default(),
        })
    }
}

impl ChainMemory {
    /// Returns free memory to the system soon.
    pub(super) fn trim_soon(&self) {
        self.all.trim.soon();
    }

    /// Counts the call's input as text, which the host holds until the call ends.
    pub(crate) fn add_input(&self, input: usize) {
        self.input_bytes.fetch_add(input, Relaxed);
        self.used.fetch_add(input, Relaxed);
    }

    /// Whether the call waits for memory that other calls have.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Relaxed)
    }

    /// Whether `more` may be used without waiting.
    pub(super) fn has(&self, more: usize) -> bool {
        self.used.load(Relaxed).saturating_add(more) <= self.allowed.load(Relaxed)
    }

    /// Waits until `more` may be used, for an instance with this limit.
    ///
    /// # Errors
    /// The most that a call can have, if that is less.
    pub(super) async fn take(&self, more: usize, limit: usize) -> Result<(), usize> {
        // Stays set if the call is dropped while it waits.
        self.is_waiting.store(true, Relaxed);
        if !self.has(more) && lock(&self.permits).shared.is_none() {
            let needed = limit.max(more) + self.input_bytes.load(Relaxed);
            let amount = needed.min(self.all.shared.total());
            let permit = self.all.shared.acquire(&self.usage, amount).await;
            self.allowed.fetch_add(amount, Relaxed);
            lock(&self.permits).shared = Some(permit);
        }
        if !self.has(more) && lock(&self.permits).reserve.is_none() {
            let turn = self.all.reserve_turn.clone().acquire_owned().await;
            self.allowed.fetch_add(self.all.reserve, Relaxed);
            lock(&self.permits).reserve = turn.ok();
        }
        self.is_waiting.store(false, Relaxed);
        self.has(more).then_some(()).ok_or_else(|| self.all.most())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MIB: usize = 1 << 20;

    fn usage() -> Arc<PoolUsage> {
        Arc::default()
    }

    /// Makes a call use more.
    async fn use_more(call: &ChainMemory, more: usize, limit: usize) -> Result<(), usize> {
        if !call.has(more) {
            call.take(more, limit).await?;
        }
        call.used.fetch_add(more, Relaxed);
        Ok(())
    }

    #[tokio::test]
    async fn a_call_has_a_part_of_its_own_and_waits_for_more() {
        // 8 MiB for each of four calls, 24 MiB to share, 8 MiB in reserve.
        let all = TotalMemory::new(64 * MIB, 4);
        let (one, other, third) = (all.begin(&usage()), all.begin(&usage()), all.begin(&usage()));
        for call in [&one, &other, &third] {
            use_more(call, 8 * MIB, 24 * MIB).await.unwrap();
        }
        use_more(&one, MIB, 24 * MIB).await.unwrap();
        let mut is_waiting = Box::pin(use_more(&other, MIB, 24 * MIB));
        assert!(is_waiting.as_mut().now_or_never().is_none());
        drop(one);
        is_waiting.as_mut().now_or_never().unwrap().unwrap();
        drop(is_waiting);
        drop((other, third));
        assert_eq!(all.shared.free(), 24 * MIB);
    }

    #[tokio::test]
    async fn a_call_whose_tools_need_more_than_it_took_has_the_last_part_and_no_more() {
        let all = TotalMemory::new(64 * MIB, 4);
        let call = all.begin(&usage());
        use_more(&call, 40 * MIB, 24 * MIB).await.unwrap();
        assert_eq!(use_more(&call, MIB, 24 * MIB).await, Err(40 * MIB));
        assert_eq!(all.reserve_turn.available_permits(), 0);
        drop(call);
        assert_eq!(
            (all.shared.free(), all.reserve_turn.available_permits()),
            (24 * MIB, 1)
        );
    }
}
