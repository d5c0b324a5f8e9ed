//! Version 0.1.0 of the contract, frozen with `wit/0.1.0`.

use heddle_kernel::{FailureKind, FunctionKind, Level, Route};
use wasmtime::{
    Store,
    component::{Component, ComponentExportIndex, InstancePre, Linker},
};

use self::{
    bindings::heddle::plugin::{host, types},
    types::{Context, Failure, Function, Hints, Kind},
};
use super::types::{Answer, FunctionDescription, GuestError, Invocation};
use crate::{
    error::is_exit_of_success,
    lock::lock,
    sandbox::{Sandbox, SandboxView},
    slots::ExtraSlots,
};

pub(crate) const NODE: &str = "heddle:plugin/node@0.1.0";
pub(crate) const TOOL: &str = "heddle:plugin/tool@0.1.0";

/// The bindings that wasmtime generates. The macro generates unsafe code.
#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all
)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.0",
        world: "plugin",
        imports: {
            "heddle:plugin/host.log": trappable,
            "heddle:plugin/host.emit": trappable,
            "heddle:plugin/host.call-tool": async | trappable,
        },
        exports: { default: async },
    });
}

/// The exports of a component, looked up once.
pub(crate) struct Exports {
    pre: InstancePre<Sandbox>,
    extra: ExtraSlots,
    node: Option<Interface>,
    tool: Option<Interface>,
}

struct Interface {
    describe: ComponentExportIndex,
    call: ComponentExportIndex,
}

impl Interface {
    fn find(component: &Component, interface: &str, call: &str) -> Result<Option<Self>, String> {
        let Some(instance) = component.get_export_index(None, interface) else {
            return Ok(None);
        };
        let export = |name: &str| {
            component
                .get_export_index(Some(&instance), name)
                .ok_or_else(|| format!("it exports `{interface}` without the function `{name}`"))
        };
        Ok(Some(Self {
            describe: export("describe")?,
            call: export(call)?,
        }))
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, SandboxView>(linker, |sandbox| sandbox)?;
    host::add_to_linker::<_, SandboxView>(linker, |sandbox| sandbox)
}

impl Exports {
    pub(super) fn find(pre: InstancePre<Sandbox>) -> Result<Option<Self>, String> {
        let node = Interface::find(pre.component(), NODE, "run")?;
        let tool = Interface::find(pre.component(), TOOL, "call")?;
        let extra = ExtraSlots::of(pre.component());
        Ok((node.is_some() || tool.is_some()).then_some(Self {
            pre,
            extra,
            node,
            tool,
        }))
    }

    pub(super) fn extra_slots(&self) -> ExtraSlots {
        self.extra
    }

    pub(super) fn has(&self, kind: FunctionKind) -> bool {
        self.interface(kind).is_ok()
    }

    fn interface(&self, kind: FunctionKind) -> wasmtime::Result<&Interface> {
        let (interface, name) = match kind {
            FunctionKind::Node => (&self.node, NODE),
            FunctionKind::Tool => (&self.tool, TOOL),
        };
        interface
            .as_ref()
            .ok_or_else(|| wasmtime::format_err!("the component does not export `{name}`"))
    }

    pub(super) async fn describe(
        &self,
        store: &mut Store<Sandbox>,
        kind: FunctionKind,
    ) -> wasmtime::Result<Vec<FunctionDescription>> {
        let interface = self.interface(kind)?;
        let instance = self.pre.instantiate_async(&mut *store).await?;
        // This finds a function with the right name and a wrong type before its first call.
        match kind {
            FunctionKind::Node => {
                instance.get_typed_func::<(types::Invocation,), (Result<types::Outcome, Failure>,)>(
                    &mut *store,
                    interface.call,
                )?;
            }
            FunctionKind::Tool => {
                instance.get_typed_func::<(String, String), (Result<String, Failure>,)>(
                    &mut *store,
                    interface.call,
                )?;
            }
        }
        let describe = instance.get_typed_func::<(), (Vec<Function>,)>(&mut *store, interface.describe)?;
        let (functions,) = describe.call_async(&mut *store, ()).await?;
        Ok(functions.into_iter().map(FunctionDescription::from).collect())
    }

    pub(super) async fn run(
        &self,
        store: &mut Store<Sandbox>,
        call: Invocation,
    ) -> wasmtime::Result<Result<Answer, GuestError>> {
        let interface = self.interface(FunctionKind::Node)?;
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let run = instance.get_typed_func::<(types::Invocation,), (Result<types::Outcome, Failure>,)>(
            &mut *store,
            interface.call,
        )?;
        match run.call_async(&mut *store, (call.into(),)).await {
            Ok((answer,)) => Ok(answer.map(Answer::from).map_err(GuestError::from)),
            Err(error) if is_exit_of_success(&error) => Ok(Ok(Answer {
                update: "{}".to_owned(),
                route: Route::Edges,
            })),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn call(
        &self,
        store: &mut Store<Sandbox>,
        name: String,
        input: String,
    ) -> wasmtime::Result<Result<String, GuestError>> {
        let interface = self.interface(FunctionKind::Tool)?;
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let call = instance
            .get_typed_func::<(String, String), (Result<String, Failure>,)>(&mut *store, interface.call)?;
        match call.call_async(&mut *store, (name, input)).await {
            Ok((answer,)) => Ok(answer.map_err(GuestError::from)),
            Err(error) if is_exit_of_success(&error) => Ok(Ok("null".to_owned())),
            Err(error) => Err(error),
        }
    }
}

impl types::Host for Sandbox {}

impl host::Host for Sandbox {
    fn log(&mut self, level: types::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            types::Level::Trace => Level::Trace,
            types::Level::Debug => Level::Debug,
            types::Level::Info => Level::Info,
            types::Level::Warn => Level::Warn,
            types::Level::Error => Level::Error,
        };
        Ok(lock(&self.lines).log(level, &message)?)
    }

    fn emit(&mut self, chunk: String) -> wasmtime::Result<()> {
        Ok(self.context.output.emit(&chunk)?)
    }

    async fn call_tool(&mut self, name: String, input: String) -> wasmtime::Result<Result<String, Failure>> {
        Ok(self.call_tool_by_name(name, input).await?.map_err(Failure::from))
    }
}

impl From<Invocation> for types::Invocation {
    fn from(call: Invocation) -> Self {
        let context = Context {
            run_id: call.run,
            node: call.node,
            step: call.step,
            attempt: call.attempt,
            idempotency_key: call.key,
        };
        Self {
            function: call.function,
            state: call.state,
            config: call.config,
            context,
        }
    }
}

impl From<Function> for FunctionDescription {
    fn from(function: Function) -> Self {
        Self {
            name: function.name,
            kind: match function.kind {
                Kind::Node => FunctionKind::Node,
                Kind::Tool => FunctionKind::Tool,
            },
            summary: function.summary,
            input: function.input,
            output: function.output,
            config: function.config,
            read_only: function.hints.contains(Hints::READ_ONLY),
            idempotent: function.hints.contains(Hints::IDEMPOTENT),
            routes: function.routes,
        }
    }
}

impl From<types::Outcome> for Answer {
    fn from(outcome: types::Outcome) -> Self {
        let route = match outcome.route {
            types::Route::Edges => Route::Edges,
            types::Route::Again => Route::Again,
            types::Route::Goto(nodes) => Route::Goto(nodes),
            types::Route::End => Route::End,
        };
        Self {
            update: outcome.update,
            route,
        }
    }
}

impl From<Failure> for GuestError {
    fn from(failure: Failure) -> Self {
        let (kind, error) = match failure {
            Failure::Retryable(error) => (FailureKind::Retryable, error),
            Failure::Permanent(error) => (FailureKind::Permanent, error),
            Failure::InvalidInput(error) => (FailureKind::InvalidInput, error),
        };
        Self {
            kind,
            message: error.message,
            data: error.data,
        }
    }
}

impl From<heddle_kernel::Failure> for Failure {
    /// The form in which a caller gets a tool's failure. A trap or an exceeded limit would occur again at once, so it
    /// is permanent.
    fn from(failure: heddle_kernel::Failure) -> Self {
        let error = types::Error {
            message: failure.message.as_ref().to_owned(),
            data: failure.data.map(|data| data.get().to_owned()),
        };
        match failure.kind {
            FailureKind::Retryable => Self::Retryable(error),
            FailureKind::InvalidInput => Self::InvalidInput(error),
            _ => Self::Permanent(error),
        }
    }
}
