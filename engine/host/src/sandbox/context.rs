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

/// A call's place: when it must end, how deep it is nested, and what makes it repeatable.
#[derive(Clone)]
pub(crate) struct CallContext {
    /// The same for all calls that one call leads to.
    pub(crate) deadline: Instant,
    /// What the deadline comes from.
    pub(crate) time: Limit<Duration>,
    /// What its instance may use up.
    pub(crate) limits: Arc<CallLimits>,
    /// Which functions it is nested in.
    pub(crate) chain: Arc<ChainLink>,
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
    pub(crate) durability: Arc<Durability>,
}

/// What a call follows from, and whether that is known to be durable.
pub(crate) struct Durability {
    durable: Arc<dyn Durable>,
    is_durable: OnceCell<bool>,
}

impl Durability {
    /// What is to be waited for first.
    pub(crate) fn pending(durable: Arc<dyn Durable>) -> Arc<Self> {
        Arc::new(Self {
            durable,
            is_durable: OnceCell::new(),
        })
    }

    /// What was waited for, or where there is nothing to wait for.
    pub(crate) fn durable(durable: Arc<dyn Durable>) -> Arc<Self> {
        Arc::new(Self {
            durable,
            is_durable: OnceCell::new_with(Some(true)),
        })
    }

    /// Waits, once for all calls that one call leads to. False where it will never be durable.
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
    /// The one that called it.
    pub(crate) caller: Option<Arc<Self>>,
}

impl ChainLink {
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

impl CallContext {
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
            durability: self.durability.clone(),
            ..*self
        }
    }
}
