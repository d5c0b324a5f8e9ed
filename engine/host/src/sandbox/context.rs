//! The context of a call: its deadline, its place in the chain of nested calls, and what makes it repeatable.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use heddle_kernel::Timestamp;
use heddle_runtime::ports::Durable;
use tokio::sync::OnceCell;

use crate::{
    memory::ChainMemory,
    output::Output,
    policy::{CallLimits, Limit},
};

/// The context of one call.
#[derive(Clone)]
pub(crate) struct CallContext {
    /// The same for a call and all calls nested in it, unless a policy sets an earlier one.
    pub(crate) deadline: Instant,
    /// The limit that set the deadline.
    pub(crate) time: Limit<Duration>,
    /// The limits of this call's instance.
    pub(crate) limits: Arc<CallLimits>,
    /// The functions that this call is nested in.
    pub(crate) chain: Arc<ChainLink>,
    /// 1 for the outermost call.
    pub(crate) depth: usize,
    /// The time of a wall clock without the `clock` grant.
    pub(crate) started_at: Timestamp,
    /// The seed of the pseudo-random bytes: the same for every attempt of a step.
    pub(crate) seed: Arc<str>,
    /// Whether the seed is also an idempotency key. A call from outside of any run has no key: the same call made
    /// again is a new request.
    pub(crate) is_keyed: bool,
    /// How many tools this call has called.
    pub(crate) called: u64,
    /// The sink for log lines and chunks, with its limits.
    pub(crate) output: Arc<Output>,
    /// The memory of the outermost call and its tools.
    pub(crate) memory: Arc<ChainMemory>,
    /// What to wait for before a side effect.
    pub(crate) durability: Arc<Durability>,
}

/// Whether everything that a call follows from is durable.
pub(crate) struct Durability {
    durable: Arc<dyn Durable>,
    is_durable: OnceCell<bool>,
}

impl Durability {
    /// Not known yet: the first [`Self::wait`] waits.
    pub(crate) fn pending(durable: Arc<dyn Durable>) -> Arc<Self> {
        Arc::new(Self {
            durable,
            is_durable: OnceCell::new(),
        })
    }

    /// Durable already, or nothing to wait for.
    pub(crate) fn durable(durable: Arc<dyn Durable>) -> Arc<Self> {
        Arc::new(Self {
            durable,
            is_durable: OnceCell::new_with(Some(true)),
        })
    }

    /// Waits once for a call and all calls nested in it. Returns false if it will never be durable.
    pub(crate) async fn wait(&self) -> bool {
        *self.is_durable.get_or_init(|| self.durable.wait()).await
    }

    /// Whether it is known that it will never be durable.
    pub(crate) fn is_failed(&self) -> bool {
        self.is_durable.get() == Some(&false)
    }
}

/// A function in a chain of nested calls.
pub(crate) struct ChainLink {
    pub(crate) plugin: Arc<str>,
    pub(crate) function: Arc<str>,
    /// The function that called this one; `None` if the engine did.
    pub(crate) caller: Option<Arc<Self>>,
}

impl ChainLink {
    /// This function and its callers, the innermost first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |link| link.caller.as_deref())
    }

    /// The whole chain for messages, the outermost first.
    pub(crate) fn shown(&self) -> String {
        let mut names: Vec<_> = self
            .all()
            .map(|link| format!("{}/{}", link.plugin, link.function))
            .collect();
        names.reverse();
        names.join(" → ")
    }
}

impl CallContext {
    /// The context of the next tool that this call calls.
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
            durability: self.durability.clone(),
            ..*self
        }
    }
}
