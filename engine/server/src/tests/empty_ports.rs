//! Ports without any content: an empty journal and no functions.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use heddle_json::Json;
use heddle_kernel::{Answer, Digest, EventRecord, Failure, GraphId, RunId, Timestamp, event::FunctionRef};
use heddle_runtime::ports::*;

/// An empty journal and no functions.
pub(super) struct EmptyPorts;

/// Returns a future that is ready.
fn now<T: Send + 'static>(answer: T) -> BoxFuture<'static, T> {
    std::future::ready(answer).boxed()
}

impl Journal for EmptyPorts {
    fn append(&self, append: Append) {
        append.ack.failed(AppendError::Closed);
    }
    fn run(&self, _: RunId) -> BoxFuture<'_, Result<Option<RunRow>, StoreError>> {
        now(Ok(None))
    }
    fn runs(
        &self,
        _: RunFilter,
        _: Option<RunPosition>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>> {
        now(Ok(Vec::new()))
    }
    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>> {
        now(Ok(Vec::new()))
    }
    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        now(Ok(None))
    }
    fn events(&self, _: RunId, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<Arc<EventRecord>>, StoreError>> {
        now(Ok(Vec::new()))
    }
    fn snapshot(&self, _: RunId, _: u64) -> BoxFuture<'_, Result<Option<RunSnapshot>, StoreError>> {
        now(Ok(None))
    }
    fn request(&self, _: Option<RunId>, _: &str) -> BoxFuture<'_, Result<Option<Request>, StoreError>> {
        now(Ok(None))
    }
    fn queued(&self) -> BoxFuture<'_, Result<Vec<QueuedRun>, StoreError>> {
        now(Ok(Vec::new()))
    }
    fn groups(&self) -> BoxFuture<'_, Result<GroupCounts, StoreError>> {
        now(Ok(Vec::new()))
    }
    fn runs_before(
        &self,
        _: Timestamp,
        _: Option<RunId>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>> {
        now(Ok(Vec::new()))
    }
    fn delete_runs(&self, _: Vec<RunId>) -> BoxFuture<'_, Result<usize, StoreError>> {
        now(Ok(0))
    }
}

impl Catalog for EmptyPorts {
    fn put_graph(&self, _: GraphRow) -> BoxFuture<'_, Result<bool, StoreError>> {
        now(Ok(true))
    }
    fn graph(&self, _: &GraphId) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>> {
        now(Ok(None))
    }
    fn graph_named(&self, _: &str) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>> {
        now(Ok(None))
    }
    fn graphs(
        &self,
        _: Option<i64>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, GraphSummary)>, StoreError>> {
        panic!("a bug in a handler, with its insides")
    }
    fn put_plugin(&self, _: PluginRow) -> BoxFuture<'_, Result<(), StoreError>> {
        now(Ok(()))
    }
    fn plugin(&self, _: &Digest) -> BoxFuture<'_, Result<Option<PluginRow>, StoreError>> {
        now(Ok(None))
    }
    fn active_plugins(&self) -> BoxFuture<'_, Result<Vec<PluginSummary>, StoreError>> {
        now(Ok(Vec::new()))
    }
    fn graphs_with(&self, _: &Digest, _: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>> {
        now(Ok(Vec::new()))
    }
    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        now(Ok(Usage::default()))
    }
    fn graphs_naming(&self, _: &str, _: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>> {
        now(Ok(Vec::new()))
    }
    fn run_naming(&self, _: &GraphId, _: i64) -> BoxFuture<'_, Result<(Option<RunId>, i64), StoreError>> {
        now(Ok((None, 0)))
    }
    fn delete_graph(&self, _: &GraphId) -> BoxFuture<'_, Result<bool, StoreError>> {
        now(Ok(false))
    }
    fn delete_plugin(&self, _: &Digest) -> BoxFuture<'_, Result<bool, StoreError>> {
        now(Ok(false))
    }
}

impl Configuration for EmptyPorts {
    fn put_schedule(&self, _: ScheduleRow) -> BoxFuture<'_, Result<(), StoreError>> {
        now(Ok(()))
    }
    fn delete_schedule(&self, _: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        now(Ok(false))
    }
    fn schedules(&self) -> BoxFuture<'_, Result<Vec<ScheduleRow>, StoreError>> {
        now(Ok(Vec::new()))
    }
    fn put_policy(&self, _: PolicyRow) -> BoxFuture<'_, Result<(), StoreError>> {
        now(Ok(()))
    }
    fn delete_policy(&self, _: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        now(Ok(false))
    }
    fn policies(&self) -> BoxFuture<'_, Result<Vec<PolicyRow>, StoreError>> {
        now(Ok(Vec::new()))
    }
    fn put_secret(&self, _: &str, _: SecretText) -> BoxFuture<'_, Result<(), StoreError>> {
        now(Ok(()))
    }
    fn secret(&self, _: &str) -> BoxFuture<'_, Result<Option<SecretText>, StoreError>> {
        now(Ok(None))
    }
}

impl Ownership for EmptyPorts {
    fn claim_due(&self, _: EngineId, _: Timestamp, _: usize) -> OwnerResult<'_, Vec<RunId>> {
        now(Ok(Vec::new()))
    }
}

impl Store for EmptyPorts {
    fn health(&self) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("the disk is full".to_owned()))
    }
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        now(Ok(()))
    }
}

impl Functions for EmptyPorts {
    fn build(&self, _: NewPlugin) -> BoxFuture<'_, Result<Box<dyn BuiltPlugin>, RegisterError>> {
        now(Err(RegisterError::Refused("this is not a component".to_owned())))
    }
    fn inspect(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<PluginInfo, RegisterError>> {
        self.register(plugin)
    }
    fn has(&self, _: &Digest) -> bool {
        false
    }
    fn remove(&self, _: &Digest) -> bool {
        false
    }
    fn plugins(&self) -> Vec<Arc<PluginInfo>> {
        Vec::new()
    }
    fn resolve(&self, uses: &str) -> Result<Resolved, ResolveError> {
        Err(ResolveError::Unknown {
            uses: uses.to_owned(),
            similar: Vec::new(),
        })
    }
    fn policy(&self, _: &str) -> PluginPolicyInfo {
        PluginPolicyInfo {
            source: PolicySource::Unset,
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
    fn is_granted(&self, _: &FunctionRef) -> bool {
        false
    }
    fn call(&self, _: Call) -> BoxFuture<'_, Result<Answer, Failure>> {
        unreachable!("no function is ever found")
    }
    fn call_tool(&self, _: ToolCall) -> BoxFuture<'_, Result<Json, Failure>> {
        unreachable!("no tool is ever found")
    }
}
