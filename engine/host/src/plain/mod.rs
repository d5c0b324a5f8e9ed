//! Plain components: components built without the contract, whose exported functions become tools.
//!
//! A function's parameters are read by name from a JSON object ([`lower`]), and its result is written as JSON
//! ([`lift`]); both have schemas derived from the WIT types ([`schema`]). A call gets a fresh instance in the same
//! sandbox as any other. Types are read once, when the component is registered.

pub(crate) mod docs;
mod lift;
mod lower;
mod names;
mod schema;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use heddle_json::object::clip;
use heddle_kernel::{FailureKind, FunctionKind};
use heddle_schema::Misfit;
use wasmtime::{
    Store,
    component::{
        Component, ComponentExportIndex, InstancePre, Val,
        types::{ComponentFunc, ComponentItem},
    },
};

use self::{
    docs::Docs,
    shape::{Fields, Payload, Reader, ResultShape},
};
use crate::{
    contract::types::{FunctionDescription, GuestError},
    describe,
    error::{self, TooManyValues},
    sandbox::Sandbox,
    slots::ExtraSlots,
    units::Bytes,
};

/// How many bytes of an error's text are in the message of a failure; the failure's data has the whole text.
const ERROR_LEN: usize = 600;

/// How many exports that are not tools are listed, and how many bytes each may take.
const MAX_LEFT_OUT: usize = 100;
const LEFT_OUT_LEN: usize = 500;

/// The largest size of the schemas of all functions of a component, in bytes: types that refer to each other can
/// expand to much more than the component's own size.
const SCHEMAS_LEN: usize = 4 << 20;

/// A component with typed functions.
pub(crate) struct PlainComponent {
    pre: InstancePre<Sandbox>,
    extra: ExtraSlots,
    functions: HashMap<String, Function>,
    left_out: Vec<String>,
}

/// An exported function, with the shapes of its parameters and its result.
struct Function {
    export: ComponentExportIndex,
    params: Fields,
    returned: ResultShape,
    /// How many times more memory the result may take than wasmtime counts.
    uncounted: usize,
    summary: String,
    input: String,
    output: String,
}

/// The memory limits of one call's values, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct ValueLimits {
    /// The values of the input, and those of the result.
    pub(crate) values: usize,
    /// The result as text.
    pub(crate) result: usize,
}

impl PlainComponent {
    /// Finds the functions that can be tools.
    ///
    /// # Errors
    /// Why no function can be one.
    pub(crate) fn find<'a>(
        pre: InstancePre<Sandbox>,
        docs: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, String> {
        let mut found = ExportCollector {
            component: pre.component(),
            docs: Docs::read(docs),
            functions: HashMap::new(),
            left_out: Vec::new(),
            more: 0,
            schemas: 0,
        };
        found.collect();
        let ExportCollector {
            functions,
            mut left_out,
            more,
            ..
        } = found;
        if more > 0 {
            left_out.push(format!("{more} more"));
        }
        match (functions.is_empty(), left_out.is_empty()) {
            (true, true) => Err("it exports no function".to_owned()),
            (true, false) => Err(format!(
                "no function that it exports can be a tool: {}",
                left_out.join("; ")
            )),
            (false, _) => Ok(Self {
                extra: ExtraSlots::of(pre.component()),
                pre,
                functions,
                left_out,
            }),
        }
    }

    pub(crate) fn extra_slots(&self) -> ExtraSlots {
        self.extra
    }

    /// The exports that are not tools, each with the reason.
    pub(crate) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Creates an instance, so that a component that cannot be instantiated is refused, and describes every function.
    pub(crate) async fn describe(
        &self,
        store: &mut Store<Sandbox>,
    ) -> wasmtime::Result<Vec<FunctionDescription>> {
        self.pre.instantiate_async(store).await?;
        let mut described: Vec<_> = self
            .functions
            .iter()
            .map(|(name, function)| function.described(name))
            .collect();
        described.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(described)
    }

    /// Reads the input of a function. Returns the values and their size in the host's memory.
    pub(crate) fn read(
        &self,
        function: &str,
        input: &str,
        among_others: bool,
        room: ValueLimits,
    ) -> Result<(Vec<Val>, usize), Misfit> {
        match self.functions.get(function) {
            Some(function) => lower::params(&function.params, input, among_others, room.values),
            None => Ok((Vec::new(), 0)),
        }
    }

    /// Calls a function in a fresh instance.
    pub(crate) async fn call(
        &self,
        store: &mut Store<Sandbox>,
        name: &str,
        input: &[Val],
        room: ValueLimits,
    ) -> wasmtime::Result<Result<String, GuestError>> {
        let function = self.functions.get(name);
        let function =
            function.ok_or_else(|| wasmtime::format_err!("the component has no function `{name}`"))?;
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let called = instance
            .get_func(&mut *store, function.export)
            .ok_or_else(|| wasmtime::format_err!("the instance has no function `{name}`"))?;
        // The result may take only the memory that the guest and the host do not use yet.
        let left = store.data().memory.left();
        store.set_hostcall_fuel(room.values.min(left) / function.uncounted);
        let mut results = vec![Val::Bool(false); function.returned.count()];
        match called.call_async(&mut *store, input, &mut results).await {
            Ok(()) => function.result_of(name, results.pop(), room),
            Err(error) if error::is_exit_of_success(&error) && function.returned.is_empty() => {
                Ok(Ok("null".to_owned()))
            }
            Err(error) if error::is_too_much_at_once(&error) && left < room.values => {
                Err(store.data_mut().memory.refuse().into())
            }
            Err(error) if error::is_too_much_at_once(&error) => Err(TooManyValues(room.values).into()),
            Err(error) => Err(error),
        }
    }
}

impl Function {
    fn schemas(&self) -> usize {
        self.input.len() + self.output.len()
    }

    fn described(&self, name: &str) -> FunctionDescription {
        FunctionDescription {
            name: name.to_owned(),
            kind: FunctionKind::Tool,
            summary: self.summary.clone(),
            input: self.input.clone(),
            output: self.output.clone(),
            config: None,
            // WIT types do not say.
            read_only: false,
            idempotent: false,
            routes: Vec::new(),
        }
    }

    /// Converts what the function returned to a result.
    fn result_of(
        &self,
        name: &str,
        value: Option<Val>,
        room: ValueLimits,
    ) -> wasmtime::Result<Result<String, GuestError>> {
        let carried = |carried: Option<Box<Val>>, shape: &Payload| match (carried, shape) {
            (Some(value), Some(shape)) => lift::json(&value, shape, room.result),
            _ => Ok("null".to_owned()),
        };
        Ok(match (value, &self.returned) {
            (None, _) => Ok("null".to_owned()),
            (Some(value), ResultShape::Value(shape)) => Ok(lift::json(&value, shape, room.result)?),
            (Some(Val::Result(Ok(value))), ResultShape::Result(ok, _)) => Ok(carried(value, ok)?),
            (Some(Val::Result(Err(value))), ResultShape::Result(_, error)) => {
                let message = match &value {
                    Some(value) => error_text(name, value),
                    None => None,
                };
                let data = carried(value, error)?;
                let message = message.unwrap_or_else(|| match error {
                    Some(_) => format!("`{name}` returned the error {}", clip(&data, ERROR_LEN)),
                    None => format!("`{name}` returned an error without details"),
                });
                let data = error.is_some().then_some(data);
                Err(GuestError {
                    kind: FailureKind::Permanent,
                    message,
                    data,
                })
            }
            (Some(_), _) => wasmtime::bail!("`{name}` returned a value of another type than its own"),
        })
    }
}

/// The message of an error that is a string.
fn error_text(name: &str, error: &Val) -> Option<String> {
    match error {
        Val::String(text) if text.trim().is_empty() => Some(format!("`{name}` returned an empty error")),
        Val::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// componentize-py exports this function from every component, for its own use at build time.
fn is_of_componentize_py(interface: Option<&str>, export: &str, ty: &ComponentFunc) -> bool {
    let is_named = (interface, export) == (Some("exports"), "init");
    is_named
        && ty
            .params()
            .map(|(name, _)| name)
            .eq(["app-name", "symbols", "stub-wasi"])
}

/// Collects the functions of a component.
struct ExportCollector<'a> {
    component: &'a Component,
    docs: Docs,
    functions: HashMap<String, Function>,
    left_out: Vec<String>,
    more: usize,
    schemas: usize,
}

impl ExportCollector<'_> {
    fn collect(&mut self) {
        let engine = self.component.engine();
        let exports = self.component.component_type();
        let exports: Vec<_> = exports.exports(engine).collect();
        let instances = exports
            .iter()
            .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentInstance(_)));
        let instances: Vec<_> = instances.map(|(name, _)| *name).collect();
        let names = names::of_interfaces(&instances);
        for (export, item) in &exports {
            match &item.ty {
                ComponentItem::ComponentFunc(ty) => self.function(None, export, export.to_string(), ty),
                ComponentItem::ComponentInstance(instance) => {
                    let interface = names.get(export).and_then(Option::as_deref);
                    let Some(interface) = interface else {
                        let reason = "a newer version, or another interface, has the name that it would have";
                        self.skip_export(export, reason);
                        continue;
                    };
                    for (name, item) in instance.exports(engine) {
                        if let ComponentItem::ComponentFunc(ty) = &item.ty {
                            let tool = format!("{interface}.{}", names::of_function(name));
                            self.function(Some(export), name, tool, ty);
                        }
                    }
                }
                // Types and modules cannot be called.
                _ => {}
            }
        }
    }

    fn function(&mut self, interface: Option<&str>, export: &str, name: String, ty: &ComponentFunc) {
        if self.functions.len() > describe::MAX_FUNCTIONS {
            // The component will be refused for its number of functions.
            return;
        }
        match self.read(interface, export, &name, ty) {
            Ok(function) => {
                self.schemas += function.schemas();
                self.functions.insert(name, function);
            }
            Err(reason) => {
                let place = interface.map_or_else(String::new, |interface| format!("{interface}#"));
                self.skip_export(&format!("{place}{export}"), &reason);
            }
        }
    }

    fn skip_export(&mut self, export: &str, reason: &str) {
        if self.left_out.len() == MAX_LEFT_OUT {
            self.more += 1;
            return;
        }
        let entry = format!("`{}`: {reason}", clip(export, LEFT_OUT_LEN / 2));
        self.left_out.push(clip(&entry, LEFT_OUT_LEN).to_owned());
    }

    /// Reads a function.
    ///
    /// # Errors
    /// Why the function cannot be a tool.
    fn read(
        &self,
        interface: Option<&str>,
        export: &str,
        name: &str,
        ty: &ComponentFunc,
    ) -> Result<Function, String> {
        if is_of_componentize_py(interface, export, ty) {
            return Err("componentize-py calls it once, when it builds the component".to_owned());
        }
        let mut reader = Reader::default();
        let params = reader.params(ty.params())?;
        let returned = reader.returned(ty.results())?;
        let component = self.component;
        let instance = interface.map(|interface| component.get_export_index(None, interface));
        let index = component.get_export_index(instance.flatten().as_ref(), export);
        let docs = self.docs.of(interface, export).unwrap_or_default();
        let mut input = schema::of_params(&params);
        let summary = docs::summary(docs, describe::SUMMARY_LEN);
        if docs.trim() != summary {
            input["description"] = docs.trim().into();
        }
        let function = Function {
            export: index.ok_or("it is not found by its name")?,
            uncounted: returned.uncounted(),
            input: input.to_string(),
            output: schema::of_returned(&returned).to_string(),
            params,
            returned,
            summary,
        };
        if self.schemas + function.schemas() > SCHEMAS_LEN {
            let limit = Bytes(SCHEMAS_LEN);
            return Err(format!(
                "the schemas of all functions would take more than {limit}"
            ));
        }
        // The checks of a plugin's own descriptions apply. A function that fails is left out; the others stay.
        describe::check(vec![(FunctionKind::Tool, function.described(name))])?;
        Ok(function)
    }
}
