//! Computes the sizes of a component's types: the number of types and names that a type consists of, each counted as often
//! as it is used.
//!
//! A few types that refer to each other can have any size. So each type is computed once.

use std::collections::HashMap;

use wasmparser::{
    component_types::{
        ComponentAnyTypeId, ComponentDefinedType, ComponentDefinedTypeId, ComponentEntityType,
        ComponentFuncTypeId, ComponentInstanceTypeId, ComponentTypeId, ComponentValType,
    },
    types::TypesRef,
};

/// The sizes that were computed.
#[derive(Default)]
pub(crate) struct TypeSizes {
    defined: HashMap<ComponentDefinedTypeId, u64>,
    instances: HashMap<ComponentInstanceTypeId, u64>,
    components: HashMap<ComponentTypeId, u64>,
}

impl TypeSizes {
    pub(crate) fn of_function(&mut self, types: TypesRef<'_>, id: ComponentFuncTypeId) -> u64 {
        let function = &types[id];
        let values = function.params.iter().map(|(_, ty)| ty).chain(&function.result);
        self.of_values(types, values)
    }

    pub(crate) fn of_component(&mut self, types: TypesRef<'_>, id: ComponentTypeId) -> u64 {
        if let Some(size) = self.components.get(&id) {
            return *size;
        }
        let component = &types[id];
        let items = component.imports.values().chain(component.exports.values());
        let size = items.fold(1, |sum: u64, item| {
            sum.saturating_add(self.of_entity(types, &item.ty))
        });
        self.components.insert(id, size);
        size
    }

    fn of_instance(&mut self, types: TypesRef<'_>, id: ComponentInstanceTypeId) -> u64 {
        if let Some(size) = self.instances.get(&id) {
            return *size;
        }
        let items = types[id].exports.values();
        let size = items.fold(1, |sum: u64, item| {
            sum.saturating_add(self.of_entity(types, &item.ty))
        });
        self.instances.insert(id, size);
        size
    }

    fn of_entity(&mut self, types: TypesRef<'_>, entity: &ComponentEntityType) -> u64 {
        match entity {
            ComponentEntityType::Func(id) => self.of_function(types, *id),
            ComponentEntityType::Value(ty) => self.of_value(types, ty),
            ComponentEntityType::Instance(id) => self.of_instance(types, *id),
            ComponentEntityType::Component(id) => self.of_component(types, *id),
            ComponentEntityType::Type { referenced, .. } => match referenced {
                ComponentAnyTypeId::Defined(id) => self.of_defined(types, *id),
                ComponentAnyTypeId::Func(id) => self.of_function(types, *id),
                ComponentAnyTypeId::Instance(id) => self.of_instance(types, *id),
                ComponentAnyTypeId::Component(id) => self.of_component(types, *id),
                ComponentAnyTypeId::Resource(_) => 1,
            },
            ComponentEntityType::Module(_) => 1,
        }
    }

    fn of_values<'t>(
        &mut self,
        types: TypesRef<'_>,
        values: impl IntoIterator<Item = &'t ComponentValType>,
    ) -> u64 {
        let values = values.into_iter();
        values.fold(1, |sum: u64, ty| sum.saturating_add(self.of_value(types, ty)))
    }

    fn of_value(&mut self, types: TypesRef<'_>, ty: &ComponentValType) -> u64 {
        match ty {
            ComponentValType::Primitive(_) => 1,
            ComponentValType::Type(id) => self.of_defined(types, *id),
        }
    }

    fn of_defined(&mut self, types: TypesRef<'_>, id: ComponentDefinedTypeId) -> u64 {
        if let Some(size) = self.defined.get(&id) {
            return *size;
        }
        let size = match &types[id] {
            ComponentDefinedType::Record(record) => self.of_values(types, record.fields.values()),
            ComponentDefinedType::Variant(variant) => {
                let cases = variant.cases.len() as u64;
                let payloads = variant.cases.values().filter_map(|case| case.ty.as_ref());
                self.of_values(types, payloads).saturating_add(cases)
            }
            ComponentDefinedType::Tuple(tuple) => self.of_values(types, &tuple.types),
            ComponentDefinedType::List { element, .. }
            | ComponentDefinedType::FixedLengthList { element, .. } => self.of_values(types, [element]),
            ComponentDefinedType::Map { key, value, .. } => self.of_values(types, [key, value]),
            ComponentDefinedType::Option { ty, .. } => self.of_values(types, [ty]),
            ComponentDefinedType::Result { ok, err, .. } => self.of_values(types, ok.iter().chain(err)),
            ComponentDefinedType::Future { ty, .. } | ComponentDefinedType::Stream { ty, .. } => {
                self.of_values(types, ty)
            }
            ComponentDefinedType::Flags(names) | ComponentDefinedType::Enum(names) => names.len() as u64,
            ComponentDefinedType::Primitive(_)
            | ComponentDefinedType::Own(_)
            | ComponentDefinedType::Borrow(_) => 1,
        };
        self.defined.insert(id, size);
        size
    }
}
