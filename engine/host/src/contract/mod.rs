//! The contract between host and plugins, whatever its version, or none.
//!
//! Each released version of `wit/` has a module of bindings here, which stays as it is. Which one
//! a component was built against is found once, when it is registered; the rest of the host
//! speaks the types of this file.

pub(crate) mod types;
mod v0_1_0;

use heddle_kernel::FunctionKind;
use wasmtime::{
    Store,
    component::{InstancePre, Linker},
};

use self::types::{Answer, FunctionDescription, GuestError, Input, Invocation};
use crate::{
    component::ComponentMetadata,
    plain::{Plain, ValueLimits},
    sandbox::Sandbox,
    slots::Extra,
};

/// The interfaces that make a component a plugin.
pub(crate) const INTERFACES: [&str; 2] = [v0_1_0::NODE, v0_1_0::TOOL];

/// A component's side of the contract.
pub(crate) enum Contract {
    V0_1_0(v0_1_0::Exports),
    /// It was built without a contract: its functions have types of their own.
    Plain(Plain),
}

/// Offers every version's imports.
pub(crate) fn add_to_linker(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    v0_1_0::add_to_linker(linker)
}

impl Contract {
    /// Finds the version that a component was built against. One that exports interfaces of a version
    /// is called by them alone, whatever else it exports.
    pub(crate) fn find(pre: InstancePre<Sandbox>, found: &ComponentMetadata) -> Result<Self, String> {
        if !found.is_of_contract() {
            let docs = found.docs.iter().map(|section| &**section);
            return Ok(Self::Plain(Plain::find(pre, docs)?));
        }
        v0_1_0::Exports::find(pre)?.map(Self::V0_1_0).ok_or_else(|| {
            let [node, tool] = INTERFACES;
            format!(
                "it was built against another version of the contract, and exports neither `{node}` nor `{tool}`: \
                 build it against a version that this engine has"
            )
        })
    }

    /// The kinds of function that the component exports.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = FunctionKind> {
        [FunctionKind::Node, FunctionKind::Tool]
            .into_iter()
            .filter(move |&kind| match self {
                Self::V0_1_0(exports) => exports.has(kind),
                Self::Plain(_) => kind == FunctionKind::Tool,
            })
    }

    /// What the component exports that is no function of the plugin, each with the reason.
    pub(crate) fn left_out(&self) -> &[String] {
        match self {
            Self::V0_1_0(_) => &[],
            Self::Plain(plain) => plain.left_out(),
        }
    }

    /// The slots that an instance of the component needs beyond those that every call has.
    pub(crate) fn extra_slots(&self) -> Extra {
        match self {
            Self::V0_1_0(exports) => exports.extra_slots(),
            Self::Plain(plain) => plain.extra_slots(),
        }
    }

    /// The component's own reading of inputs, where its functions have types.
    pub(crate) fn plain(&self) -> Option<&Plain> {
        match self {
            Self::V0_1_0(_) => None,
            Self::Plain(plain) => Some(plain),
        }
    }

    /// Has the component describe its functions of one kind, which it must have.
    pub(crate) async fn describe(
        &self,
        store: &mut Store<Sandbox>,
        kind: FunctionKind,
    ) -> wasmtime::Result<Vec<FunctionDescription>> {
        match self {
            Self::V0_1_0(exports) => exports.describe(store, kind).await,
            Self::Plain(plain) => plain.describe(store).await,
        }
    }

    /// Runs a node function.
    pub(crate) async fn run(
        &self,
        store: &mut Store<Sandbox>,
        call: Invocation,
    ) -> wasmtime::Result<Result<Answer, GuestError>> {
        match self {
            Self::V0_1_0(exports) => exports.run(store, call).await,
            Self::Plain(_) => wasmtime::bail!("a component that was built without the contract has no nodes"),
        }
    }

    /// Calls a tool.
    pub(crate) async fn call(
        &self,
        store: &mut Store<Sandbox>,
        name: String,
        input: Input,
        room: ValueLimits,
    ) -> wasmtime::Result<Result<String, GuestError>> {
        match (self, input) {
            (Self::V0_1_0(exports), Input::Text(input)) => exports.call(store, name, input).await,
            (Self::Plain(plain), Input::Values(input, bytes)) => {
                let _charge = store.data_mut().charge(bytes).await?;
                plain.call(store, &name, &input, room).await
            }
            _ => wasmtime::bail!("the input of `{name}` was read for a component of another kind"),
        }
    }
}
