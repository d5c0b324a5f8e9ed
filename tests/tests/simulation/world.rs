//! The parts of a simulation that outlive an engine: the time, the ids, the functions and the record of their calls.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use heddle_kernel::{Failure, Outcome, RunId, Timestamp};
use heddle_runtime::ports::{Call, Clock, Ids};
use heddle_tests::functions::Script;
use tokio::time::Instant;

use crate::{
    graphs::{self, Facts, hash_of},
    journal::Disk,
};

/// The state of a simulation across the lifetimes of its engines.
pub(crate) struct World {
    /// The facts of every node of every graph, by name.
    pub(crate) nodes: HashMap<String, Facts>,
    /// The time at which the next engine starts, in ms.
    pub(crate) now: AtomicI64,
    ids: AtomicU64,
    /// The number of calls of each step, whatever their results.
    pub(crate) calls: Mutex<BTreeMap<(RunId, u64), u32>>,
    /// The violations that were found.
    pub(crate) wrongs: Mutex<Vec<String>>,
}

impl World {
    pub(crate) fn new(nodes: HashMap<String, Facts>) -> Self {
        Self {
            nodes,
            now: AtomicI64::new(1_000_000),
            ids: AtomicU64::new(1),
            calls: Mutex::default(),
            wrongs: Mutex::default(),
        }
    }

    pub(crate) fn wrong(&self, what: String) {
        self.wrongs.lock().unwrap().push(what);
    }
}

impl Ids for World {
    fn run_id(&self) -> RunId {
        let number = self.ids.fetch_add(1, Ordering::SeqCst);
        RunId(uuid::Uuid::from_u128(
            0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(number),
        ))
    }
}

/// The clock of one engine. It is tokio's paused clock, which jumps ahead when all tasks wait.
pub(crate) struct LifeClock {
    from: i64,
    began: Instant,
}

impl LifeClock {
    pub(crate) fn from(now: i64) -> Self {
        Self {
            from: now,
            began: Instant::now(),
        }
    }
}

impl Clock for LifeClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.from + self.began.elapsed().as_millis() as i64)
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let left = at.0.saturating_sub(self.now().0).max(0).unsigned_abs();
        Box::pin(tokio::time::sleep(Duration::from_millis(left)))
    }
}

/// The fake functions of one lifetime of the engine.
pub(crate) struct SimulatedFunctions {
    pub(crate) world: Arc<World>,
    pub(crate) disk: Arc<Disk>,
}

impl SimulatedFunctions {
    /// Checks a call against the durable events at this moment.
    fn check_call(&self, call: &Call) {
        let (run, step, attempt) = (call.run, call.step, call.attempt);
        *self.world.calls.lock().unwrap().entry((run, step)).or_default() += 1;
        if self.disk.is_over(run, step) {
            self.world.wrong(format!(
                "run {run}: step {step} has durably ended and is called again"
            ));
        }
        if self.is_granted(&call.function.function) && !self.disk.has_started(run, step, attempt) {
            self.world.wrong(format!(
                "run {run}: a granted function is called for step {step} before its preceding events are durable"
            ));
        }
    }
}

impl Script for SimulatedFunctions {
    fn is_granted(&self, function: &str) -> bool {
        function == "granted"
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Outcome, Failure>> {
        Box::pin(async move {
            self.check_call(&call);
            // The duration of a call does not depend on its result.
            match hash_of(&(call.run.0.as_u128(), call.step, call.attempt), 1) % 6 {
                0 | 1 => {}
                2 => tokio::task::yield_now().await,
                ms => tokio::time::sleep(Duration::from_millis(ms * ms)).await,
            }
            let facts = &self.world.nodes[&*call.node];
            graphs::answer(
                &call.function.function,
                &call.node,
                facts,
                &call.input,
                call.attempt,
            )
        })
    }
}
