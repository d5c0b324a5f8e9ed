//! The contract between host and plugins, in all its versions, and plain components without it.
//!
//! Each released version of `wit/` has a frozen module of bindings here. The version of a component is determined
//! once, when it is registered; the rest of the host uses the types of [`types`] only.

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
    plain::{PlainComponent, ValueLimits},
    sandbox::Sandbox,
    slots::ExtraSlots,
};

/// The interfaces of which a plugin exports at least one.
pub(crate) const INTERFACES: [&str; 2] = [v0_1_0::NODE, v0_1_0::TOOL];

/// How a component's functions are called.
pub(crate) enum Contract {
    V0_1_0(v0_1_0::Exports),
    /// Built without the contract: its functions have their own types.
    Plain(PlainComponent),
}

/// Adds the imports of every version.
pub(crate) fn add_to_linker(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    v0_1_0::add_to_linker(linker)
}

impl Contract {
    /// Determines the version that a component was built against. A component that exports an interface of the
    /// contract is called by those interfaces only.
    pub(crate) fn find(pre: InstancePre<Sandbox>, found: &ComponentMetadata) -> Result<Self, String> {
        if !found.is_of_contract() {
            let docs = found.docs.iter().map(|section| &**section);
            return Ok(Self::Plain(PlainComponent::find(pre, docs)?));
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

    /// The exports that are not functions of the plugin, each with the reason.
    pub(crate) fn left_out(&self) -> &[String] {
        match self {
            Self::V0_1_0(_) => &[],
            Self::Plain(plain) => plain.left_out(),
        }
    }

    /// The slots that an instance needs beyond those of every call.
    pub(crate) fn extra_slots(&self) -> ExtraSlots {
        match self {
            Self::V0_1_0(exports) => exports.extra_slots(),
            Self::Plain(plain) => plain.extra_slots(),
        }
    }

    /// The plain component, if it is one: it converts inputs to typed values.
    pub(crate) fn plain(&self) -> Option<&PlainComponent> {
        match self {
            Self::V0_1_0(_) => None,
            Self::Plain(plain) => Some(plain),
        }
    }

    /// Calls the component's `describe` for functions of one kind, which it must have.
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
