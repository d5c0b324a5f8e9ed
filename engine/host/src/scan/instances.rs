//! Computes what an instance of a component consists of: the instances, memories and tables of everything that it
//! instantiates, each counted as often as it is instantiated.
//!
//! A few hundred bytes can describe any number of instances, as a component may instantiate another component many
//! times, which does the same. So each definition is counted once, at its end, and an instantiation adds the counts of
//! its definition.
//!
//! A module or component from outside of its component (an import, or the export of an instance) is known only when
//! the component is linked. It counts as the largest definition in the file so far.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, Instance,
};

use super::limits::{self, Exceeded};

/// The parts of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InstanceSize {
    pub(crate) core_instances: u64,
    pub(crate) component_instances: u64,
    pub(crate) memories: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) tables: u64,
    pub(crate) table_elements: u64,
    pub(crate) lowered_types: u64,
}

impl InstanceSize {
    fn combined(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            core_instances: combine(self.core_instances, other.core_instances),
            component_instances: combine(self.component_instances, other.component_instances),
            memories: combine(self.memories, other.memories),
            memory_bytes: combine(self.memory_bytes, other.memory_bytes),
            tables: combine(self.tables, other.tables),
            table_elements: combine(self.table_elements, other.table_elements),
            lowered_types: combine(self.lowered_types, other.lowered_types),
        }
    }

    fn add(&mut self, other: Self) {
        *self = self.combined(other, u64::saturating_add);
    }

    fn check(&self) -> Result<(), Exceeded> {
        let counts = [
            (&limits::CORE_INSTANCES, self.core_instances),
            (&limits::COMPONENT_INSTANCES, self.component_instances),
            (&limits::MEMORIES, self.memories),
            (&limits::MEMORY_BYTES, self.memory_bytes),
            (&limits::TABLES, self.tables),
            (&limits::TABLE_ELEMENTS, self.table_elements),
            (&limits::LOWERED_TYPES, self.lowered_types),
        ];
        counts
            .into_iter()
            .try_for_each(|(limit, value)| limit.check(value, || "an instance of the component".to_owned()))
    }
}

/// The open components, the outermost first.
#[derive(Default)]
pub(crate) struct Instances {
    open: Vec<Open>,
    largest_module: InstanceSize,
    largest_component: InstanceSize,
}

/// A component whose end is not reached yet.
#[derive(Default)]
struct Open {
    /// Its index space of modules.
    modules: Vec<InstanceSize>,
    /// Its index space of components.
    components: Vec<InstanceSize>,
    own: InstanceSize,
}

impl Instances {
    pub(crate) fn begin_component(&mut self) {
        self.open.push(Open::default());
    }

    /// Ends the innermost component. Returns its size if it is the outermost one.
    pub(crate) fn end_component(&mut self) -> Option<InstanceSize> {
        let ended = self.open.pop()?.own;
        self.largest_component = self.largest_component.combined(ended, u64::max);
        match self.open.last_mut() {
            Some(outer) => {
                outer.components.push(ended);
                None
            }
            None => Some(ended),
        }
    }

    /// Ends a module of the innermost component; `own` are its memories and tables.
    pub(crate) fn end_module(&mut self, own: InstanceSize) {
        let size = InstanceSize {
            core_instances: 1,
            ..own
        };
        self.largest_module = self.largest_module.combined(size, u64::max);
        if let Some(open) = self.open.last_mut() {
            open.modules.push(size);
        }
    }

    /// Adds a definition that is unknown: an import, or an alias of an instance's export.
    pub(crate) fn unknown(&mut self, kind: ComponentExternalKind) {
        let (module, component) = (self.largest_module, self.largest_component);
        let Some(open) = self.open.last_mut() else { return };
        match kind {
            ComponentExternalKind::Module => open.modules.push(module),
            ComponentExternalKind::Component => open.components.push(component),
            _ => {}
        }
    }

    /// An export adds another index for the exported definition.
    pub(crate) fn export(&mut self, kind: ComponentExternalKind, index: u32) {
        let Some(open) = self.open.last_mut() else { return };
        let space = match kind {
            ComponentExternalKind::Module => &mut open.modules,
            ComponentExternalKind::Component => &mut open.components,
            _ => return,
        };
        let exported = space.get(index as usize).copied();
        space.push(exported.unwrap_or_default());
    }

    pub(crate) fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match *alias {
            ComponentAlias::InstanceExport { kind, .. } => self.unknown(kind),
            ComponentAlias::CoreInstanceExport { .. } => {}
            ComponentAlias::Outer { kind, count, index } => {
                let outer = self.open.len().checked_sub(count as usize + 1);
                let Some(outer) = outer.and_then(|at| self.open.get(at)) else {
                    return;
                };
                let at = index as usize;
                match kind {
                    ComponentOuterAliasKind::CoreModule => {
                        let size = outer.modules.get(at).copied().unwrap_or_default();
                        self.last(|open| open.modules.push(size));
                    }
                    ComponentOuterAliasKind::Component => {
                        let size = outer.components.get(at).copied().unwrap_or_default();
                        self.last(|open| open.components.push(size));
                    }
                    ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
                }
            }
        }
    }

    /// Counts a lowered function whose type has this size: the compiler makes code for each value of the type.
    pub(crate) fn lowered_function(&mut self, lowered_types: u64) -> Result<(), Exceeded> {
        let Some(open) = self.open.last_mut() else {
            return Ok(());
        };
        open.own.add(InstanceSize {
            lowered_types,
            ..InstanceSize::default()
        });
        open.own.check()
    }

    fn last(&mut self, change: impl FnOnce(&mut Open)) {
        if let Some(open) = self.open.last_mut() {
            change(open);
        }
    }

    pub(crate) fn core_instance(&mut self, instance: &Instance<'_>) -> Result<(), Exceeded> {
        let (Instance::Instantiate { module_index, .. }, Some(open)) = (instance, self.open.last_mut())
        else {
            return Ok(());
        };
        let module = open.modules.get(*module_index as usize).copied();
        open.own.add(module.unwrap_or_default());
        open.own.check()
    }

    pub(crate) fn component_instance(&mut self, instance: &ComponentInstance<'_>) -> Result<(), Exceeded> {
        let (ComponentInstance::Instantiate { component_index, .. }, Some(open)) =
            (instance, self.open.last_mut())
        else {
            return Ok(());
        };
        let component = open.components.get(*component_index as usize).copied();
        open.own.add(component.unwrap_or_default());
        open.own.add(InstanceSize {
            component_instances: 1,
            ..InstanceSize::default()
        });
        open.own.check()
    }
}
