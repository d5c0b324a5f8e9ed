//! A fake functions port: tests of the engine run without components.
//!
//! [`FakeFunctions`] resolves every name to a node function of the plugin `script` and passes each call to a
//! [`Script`], which a test implements. It refuses to change policies and to call tools.

use std::{future::ready, ops::Deref, sync::Arc};

use futures_util::future::BoxFuture;
use heddle_json::{Json, object::json};
use heddle_kernel::{Answer, Digest, Failure, FailureKind, FunctionKind, Outcome, event::FunctionRef};
use heddle_runtime::ports::{
    BuiltPlugin, Call, FunctionInfo, Functions, NewPlugin, PluginInfo, PluginPolicyInfo, PolicyRefused,
    PolicySource, RegisterError, ResolveError, Resolved, ToolCall,
};

/// The behaviour of the functions of a test.
pub trait Script: Send + Sync + 'static {
    /// The current version of the plugin `script`. Its digest follows from it.
    fn version(&self) -> String {
        "1.0.0".to_owned()
    }

    /// Whether a function has grants: the engine then calls it only after everything before the call is durable.
    fn is_granted(&self, function: &str) -> bool;

    /// Builds a component that is registered. Refuses it by default.
    ///
    /// # Errors
    /// If the component is refused.
    fn build(&self, _: NewPlugin) -> BoxFuture<'_, Result<Box<dyn BuiltPlugin>, RegisterError>> {
        Box::pin(ready(Err(RegisterError::Refused("this is a script".to_owned()))))
    }

    /// Runs a call. What it does before it returns the future, it does when the engine makes the call.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Outcome, Failure>>;
}

/// A functions port over a [`Script`], which it dereferences to.
#[derive(Default)]
pub struct FakeFunctions<S>(pub S);

impl<S> Deref for FakeFunctions<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0
    }
}

impl<S: Script> Functions for FakeFunctions<S> {
    fn build(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<Box<dyn BuiltPlugin>, RegisterError>> {
        self.0.build(plugin)
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
        let version = self.0.version();
        let function = FunctionRef {
            digest: Digest::of(version.as_bytes()),
            plugin: "script".into(),
            version: version.into(),
            function: uses.into(),
            routes: Vec::new(),
            granted: self.0.is_granted(uses),
        };
        let any = json("{}").expect("this is JSON");
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
            source: PolicySource::Unset,
            body: None,
            grants: Vec::new(),
        }
    }

    fn check_policy(&self, name: &str, _: Json) -> BoxFuture<'_, Result<(), PolicyRefused>> {
        self.set_policy(name, None)
    }

    fn set_policy(&self, _: &str, _: Option<Json>) -> BoxFuture<'_, Result<(), PolicyRefused>> {
        Box::pin(ready(Err(PolicyRefused::Invalid(
            "there is no policy here".to_owned(),
        ))))
    }

    fn check_bounds(&self, _: &str, _: Option<&Json>, _: Option<&Json>) -> Result<(), Vec<(String, String)>> {
        Ok(())
    }

    fn is_granted(&self, function: &FunctionRef) -> bool {
        self.0.is_granted(&function.function)
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, Failure>> {
        let outcome = self.0.call(call);
        Box::pin(async move { outcome.await.map(Answer::Outcome) })
    }

    fn call_tool(&self, _: ToolCall) -> BoxFuture<'_, Result<Json, Failure>> {
        Box::pin(async { Err(Failure::new(FailureKind::Permanent, "this is a script")) })
    }
}
