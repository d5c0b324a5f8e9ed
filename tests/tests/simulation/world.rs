//! What outlives the engine in a simulation: the clock's time, ids, the functions, and what clients know.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use heddle_json::{Json, object::json};
use heddle_kernel::{
    Answer, Digest, Failure, FailureKind, FunctionKind, RunId, Timestamp, event::FunctionRef,
};
use heddle_runtime::ports::{
    Call, Clock, FunctionInfo, Functions, Ids, NewPlugin, PluginInfo, PluginPolicyInfo, PolicyRefused,
    PolicySource, RegisterError, ResolveError, Resolved, ToolCall,
};
use tokio::time::Instant;

use crate::{
    graphs::{self, Facts, drawn},
    journal::Disk,
};

/// What is there before, between and after the lives of the engine.
pub(crate) struct World {
    /// What is known of every node of every graph.
    pub(crate) nodes: HashMap<String, Facts>,
    /// The time at which the next life begins.
    pub(crate) now: AtomicI64,
    ids: AtomicU64,
    /// How often a step was called, whatever became of it.
    pub(crate) calls: Mutex<BTreeMap<(RunId, u64), u32>>,
    /// What must never happen and did.
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

/// The clock of one life: tokio's, which jumps ahead whenever all wait.
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

/// The functions, as one life calls them.
pub(crate) struct Scripted {
    pub(crate) world: Arc<World>,
    pub(crate) disk: Arc<Disk>,
}

impl Scripted {
    /// Holds a call against what is durable at this moment.
    fn look_at(&self, call: &Call) {
        let (run, step, attempt) = (call.run, call.step, call.attempt);
        *self.world.calls.lock().unwrap().entry((run, step)).or_default() += 1;
        if self.disk.is_over(run, step) {
            self.world.wrong(format!(
                "run {run}: step {step} is durably over and is called again"
            ));
        }
        if self.is_granted(&call.function) && !self.disk.has_started(run, step, attempt) {
            self.world.wrong(format!(
                "run {run}: a granted function is called for step {step} and what it follows from is not durable"
            ));
        }
    }
}

impl Functions for Scripted {
    fn register(&self, _: NewPlugin) -> BoxFuture<'_, Result<PluginInfo, RegisterError>> {
        Box::pin(async { Err(RegisterError::Refused("this is a script".to_owned())) })
    }

    fn inspect(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<PluginInfo, RegisterError>> {
        self.register(plugin)
    }

    fn has(&self, _: &Digest) -> bool {
        true
    }

    fn remove(&self, _: &Digest) -> bool {
        false
    }

    fn plugins(&self) -> Vec<Arc<PluginInfo>> {
        Vec::new()
    }

    fn resolve(&self, uses: &str) -> Result<Resolved, ResolveError> {
        let function = FunctionRef {
            digest: Digest::of(b"script"),
            plugin: "script".into(),
            version: "1.0.0".into(),
            function: uses.into(),
            routes: Vec::new(),
            granted: uses == "granted",
        };
        let any = json("{}").unwrap();
        let info = FunctionInfo {
            name: uses.into(),
            kind: FunctionKind::Node,
            summary: String::new(),
            input: any.clone(),
            output: any,
            config: None,
            read_only: false,
            idempotent: false,
            routes: Vec::new(),
        };
        Ok(Resolved { function, info })
    }

    fn policy(&self, _: &str) -> PluginPolicyInfo {
        PluginPolicyInfo {
            source: PolicySource::Nobody,
            body: None,
            grants: Vec::new(),
        }
    }

    fn check_policy(&self, name: &str, _: Json) -> BoxFuture<'_, Result<(), PolicyRefused>> {
        self.set_policy(name, None)
    }

    fn set_policy(&self, _: &str, _: Option<Json>) -> BoxFuture<'_, Result<(), PolicyRefused>> {
        Box::pin(std::future::ready(Err(PolicyRefused::Invalid(
            "there is no policy here".to_owned(),
        ))))
    }

    fn check_bounds(&self, _: &str, _: Option<&Json>, _: Option<&Json>) -> Result<(), Vec<(String, String)>> {
        Ok(())
    }

    fn is_granted(&self, function: &FunctionRef) -> bool {
        &*function.function == "granted"
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(async move {
            self.look_at(&call);
            // How long it takes has nothing to do with what it answers.
            match drawn(&(call.run.0.as_u128(), call.step, call.attempt), 1) % 6 {
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
            .map(Answer::Outcome)
        })
    }

    fn call_tool(&self, _: ToolCall) -> BoxFuture<'_, Result<Json, Failure>> {
        Box::pin(async { Err(Failure::new(FailureKind::Permanent, "this is a script")) })
    }
}
