//! Scans a component before it is compiled, and refuses one that would take too much of the compiler, or of the pools
//! of instances.
//!
//! The scan takes time and memory proportional to the component's size and checks the limits of [`limits`]. It also
//! validates the component, since the number of values on a function's stack follows from the types. It runs in the
//! compiler's process: deep nesting may crash the process that reads it.

mod function;
mod instances;
pub(crate) mod limits;
#[cfg(test)]
mod tests;
mod type_sizes;

use std::ops::Range;

use wasmparser::{
    CanonicalFunction, ComponentCanonicalSectionReader, ComponentInstance, ComponentInstanceSectionReader,
    CompositeInnerType, Encoding, FuncToValidate, FuncValidatorAllocations, FunctionBody, KnownCustom, Name,
    Parser, Payload, ValidPayload, Validator, ValidatorResources, WasmFeatures, types::TypesRef,
};

use self::{
    function::{FunctionCost, FunctionError},
    instances::{InstanceSize, Instances},
    limits::{Exceeded, Limit},
    type_sizes::TypeSizes,
};

/// Why a component is not compiled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error("{0}. docs/limits.md lists what a component may have")]
    Exceeds(#[from] Exceeded),
    #[error("{0}")]
    Damaged(#[from] wasmparser::Error),
}

/// Checks a component against the limits.
///
/// # Errors
/// The first limit that it exceeds, or why it is not valid.
pub(crate) fn check(component: &[u8]) -> Result<(), ScanError> {
    Scan::of(component).map(drop)
}

/// The state of a scan.
struct Scan<'a> {
    bytes: &'a [u8],
    allocations: FuncValidatorAllocations,
    /// The open modules and components, the outermost first.
    open: Vec<Open>,
    instances: Instances,
    type_sizes: TypeSizes,
    totals: Totals,
    /// The largest value of each count over all functions.
    largest: FunctionCost,
    largest_live: u64,
    largest_in_loops: u64,
}

/// Counts over the whole file.
#[derive(Debug, Default)]
struct Totals {
    modules: u64,
    components: u64,
    types: u64,
    instantiated_types: u64,
    canonical: u64,
    functions: u64,
    imports: u64,
    exports: u64,
    globals: u64,
    elements: u64,
    data: u64,
    arity: u64,
    nesting: u64,
    live: u64,
    size: InstanceSize,
}

enum Open {
    Component,
    Module(Module),
}

/// A core module whose end is not reached yet.
#[derive(Default)]
struct Module {
    /// Its index among the modules of the file, from 0.
    index: u64,
    range: Range<usize>,
    own: InstanceSize,
}

impl<'a> Scan<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, ScanError> {
        let mut scan = Self {
            bytes,
            allocations: FuncValidatorAllocations::default(),
            open: Vec::new(),
            instances: Instances::default(),
            type_sizes: TypeSizes::default(),
            totals: Totals::default(),
            largest: FunctionCost::default(),
            largest_live: 0,
            largest_in_loops: 0,
        };
        // All features are allowed: the engine refuses those that it does not support.
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            scan.count(&payload)?;
            if let (Payload::ComponentInstanceSection(instances), Some(types)) =
                (&payload, validator.types(0))
            {
                // Before the validator compares these types.
                scan.instantiated_types(instances, types)?;
            }
            if let ValidPayload::Func(function, body) = validator.payload(&payload)? {
                scan.function(function, &body)?;
            }
            if let (Payload::ComponentCanonicalSection(functions), Some(types)) =
                (&payload, validator.types(0))
            {
                scan.lowered_functions(functions, types)?;
            }
        }
        Ok(scan)
    }

    /// Counts a section before the validator reads it.
    fn count(&mut self, payload: &Payload<'a>) -> Result<(), ScanError> {
        match payload {
            Payload::Version { encoding, range, .. } => self.begin(*encoding, range.start)?,
            Payload::ModuleSection { unchecked_range, .. } => {
                add(&mut self.totals.modules, 1, &limits::CORE_MODULES)?;
                self.open.push(Open::Module(Module {
                    index: self.totals.modules - 1,
                    range: unchecked_range.clone(),
                    ..Module::default()
                }));
            }
            Payload::ComponentSection { .. } => add(&mut self.totals.components, 1, &limits::COMPONENTS)?,
            Payload::End(_) => self.end(),
            Payload::TypeSection(types) => self.core_types(types)?,
            Payload::CoreTypeSection(types) => add_all(&mut self.totals.types, types, &limits::TYPES)?,
            Payload::ComponentTypeSection(types) => add_all(&mut self.totals.types, types, &limits::TYPES)?,
            Payload::ComponentCanonicalSection(functions) => {
                add_all(
                    &mut self.totals.canonical,
                    functions,
                    &limits::CANONICAL_FUNCTIONS,
                )?;
            }
            Payload::ImportSection(imports) => self.core_imports(imports)?,
            Payload::FunctionSection(functions) => {
                add_all(&mut self.totals.functions, functions, &limits::FUNCTIONS)?;
            }
            Payload::ExportSection(exports) => add_all(&mut self.totals.exports, exports, &limits::EXPORTS)?,
            Payload::GlobalSection(globals) => add_all(&mut self.totals.globals, globals, &limits::GLOBALS)?,
            Payload::ElementSection(segments) => {
                add_all(&mut self.totals.elements, segments, &limits::ELEMENT_SEGMENTS)?;
            }
            Payload::DataSection(segments) => {
                add_all(&mut self.totals.data, segments, &limits::DATA_SEGMENTS)?;
            }
            Payload::TableSection(tables) => {
                for table in tables.clone() {
                    let elements = table?.ty.initial;
                    self.own(|own| {
                        own.tables += 1;
                        own.table_elements = own.table_elements.saturating_add(elements);
                    });
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories.clone() {
                    let memory = memory?;
                    let page = 1_u64 << memory.page_size_log2.unwrap_or(16).min(16);
                    self.own(|own| {
                        own.memories += 1;
                        own.memory_bytes = own
                            .memory_bytes
                            .saturating_add(memory.initial.saturating_mul(page));
                    });
                }
            }
            other => self.count_of_component(other)?,
        }
        Ok(())
    }

    /// Counts a section that only components have.
    fn count_of_component(&mut self, payload: &Payload<'a>) -> Result<(), ScanError> {
        match payload {
            Payload::ComponentImportSection(imports) => {
                add_all(&mut self.totals.imports, imports, &limits::IMPORTS)?;
                for import in imports.clone() {
                    self.instances.unknown(import?.ty.kind());
                }
            }
            Payload::ComponentExportSection(exports) => {
                add_all(&mut self.totals.exports, exports, &limits::EXPORTS)?;
                for export in exports.clone() {
                    let export = export?;
                    self.instances.export(export.kind, export.index);
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases.clone() {
                    self.instances.alias(&alias?);
                }
            }
            Payload::InstanceSection(instances) => {
                for instance in instances.clone() {
                    self.instances.core_instance(&instance?)?;
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances.clone() {
                    self.instances.component_instance(&instance?)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn instantiated_types(
        &mut self,
        instances: &ComponentInstanceSectionReader<'a>,
        types: TypesRef<'_>,
    ) -> Result<(), ScanError> {
        for instance in instances.clone() {
            if let ComponentInstance::Instantiate { component_index, .. } = instance?
                && component_index < types.component_count()
            {
                let id = types.component_at(component_index);
                let size = self.type_sizes.of_component(types, id);
                let total = &mut self.totals.instantiated_types;
                add(total, size, &limits::INSTANTIATED_TYPES)?;
            }
        }
        Ok(())
    }

    fn lowered_functions(
        &mut self,
        functions: &ComponentCanonicalSectionReader<'a>,
        types: TypesRef<'_>,
    ) -> Result<(), ScanError> {
        for function in functions.clone() {
            if let CanonicalFunction::Lower { func_index, .. } = function? {
                let id = types.component_function_at(func_index);
                let size = self.type_sizes.of_function(types, id);
                self.instances.lowered_function(size)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, encoding: Encoding, start: usize) -> Result<(), ScanError> {
        match encoding {
            Encoding::Component => {
                self.open.push(Open::Component);
                self.instances.begin_component();
                let depth = self.open.len() as u64;
                self.totals.nesting = self.totals.nesting.max(depth);
                limits::COMPONENT_NESTING.check(depth, the_component)?;
            }
            // A module as the whole file is refused by the engine.
            Encoding::Module if self.open.is_empty() => self.open.push(Open::Module(Module {
                range: start..self.bytes.len(),
                ..Module::default()
            })),
            Encoding::Module => {}
        }
        Ok(())
    }

    fn end(&mut self) {
        match self.open.pop() {
            Some(Open::Component) => {
                if let Some(size) = self.instances.end_component() {
                    self.totals.size = size;
                }
            }
            Some(Open::Module(module)) => self.instances.end_module(module.own),
            None => {}
        }
    }

    fn core_types(&mut self, types: &wasmparser::TypeSectionReader<'a>) -> Result<(), ScanError> {
        add_all(&mut self.totals.types, types, &limits::TYPES)?;
        for group in types.clone() {
            let group = group?;
            let types = group.types();
            // A group of several types counted as one above.
            add(
                &mut self.totals.types,
                (types.len() as u64).saturating_sub(1),
                &limits::TYPES,
            )?;
            for ty in group.types() {
                if let CompositeInnerType::Func(function) = &ty.composite_type.inner {
                    let arity = (function.params().len() + function.results().len()) as u64;
                    self.totals.arity = self.totals.arity.max(arity);
                    limits::FUNCTION_ARITY.check(arity, || self.module_place("a function type"))?;
                }
            }
        }
        Ok(())
    }

    fn core_imports(&mut self, imports: &wasmparser::ImportSectionReader<'a>) -> Result<(), ScanError> {
        for import in imports.clone().into_imports() {
            import?;
            add(&mut self.totals.imports, 1, &limits::IMPORTS)?;
        }
        Ok(())
    }

    fn own(&mut self, change: impl FnOnce(&mut InstanceSize)) {
        if let Some(Open::Module(module)) = self.open.last_mut() {
            change(&mut module.own);
        }
    }

    fn function(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'a>,
    ) -> Result<(), ScanError> {
        let mut validator = function.into_validator(std::mem::take(&mut self.allocations));
        let counted = function::count(body, &mut validator);
        let counted = counted.map_err(|error| match error {
            FunctionError::Exceeds(limit, value) => ScanError::Exceeds(Exceeded {
                limit,
                value,
                place: self.place(validator.index()),
            }),
            FunctionError::Damaged(error) => error.into(),
        })?;
        self.allocations = validator.into_allocations();
        let live = counted.live();
        add(&mut self.totals.live, live, &limits::CODE_LIVE)?;
        self.largest_live = self.largest_live.max(live);
        let largest = &mut self.largest;
        largest.bytes = largest.bytes.max(counted.bytes);
        largest.locals = largest.locals.max(counted.locals);
        largest.nesting = largest.nesting.max(counted.nesting);
        largest.branches = largest.branches.max(counted.branches);
        largest.stack = largest.stack.max(counted.stack);
        largest.values = largest.values.max(counted.values);
        largest.loop_nesting = largest.loop_nesting.max(counted.loop_nesting);
        self.largest_in_loops = self.largest_in_loops.max(counted.in_loops());
        Ok(())
    }

    /// Names a function of the current module for messages.
    fn place(&self, index: u32) -> String {
        let Some(Open::Module(module)) = self.open.last() else {
            return "a function".to_owned();
        };
        let named = self
            .bytes
            .get(module.range.clone())
            .and_then(|module| name_of(module, index));
        let function = match named {
            Some(name) => format!("function {index} ({name:?})"),
            None => format!("function {index}"),
        };
        self.module_place(&function)
    }

    fn module_place(&self, what: &str) -> String {
        match self.open.last() {
            Some(Open::Module(module)) => format!("{what} of core module {}", module.index),
            _ => format!("{what} of the component"),
        }
    }
}

fn the_component() -> String {
    "the component".to_owned()
}

fn add(total: &mut u64, more: u64, limit: &'static Limit) -> Result<(), Exceeded> {
    *total = total.saturating_add(more);
    limit.check(*total, the_component)
}

fn add_all<T>(
    total: &mut u64,
    section: &wasmparser::SectionLimited<'_, T>,
    limit: &'static Limit,
) -> Result<(), Exceeded> {
    add(total, section.count().into(), limit)
}

/// The longest name of a function in a message, in bytes.
const NAME_SHOWN: usize = 100;

/// The name of a function, if the module has debug names.
fn name_of(module: &[u8], index: u32) -> Option<String> {
    let names = Parser::new(0).parse_all(module).find_map(|payload| {
        let Ok(Payload::CustomSection(section)) = payload else {
            return None;
        };
        match section.as_known() {
            KnownCustom::Name(names) => Some(names),
            _ => None,
        }
    })?;
    let functions = names.into_iter().find_map(|names| match names {
        Ok(Name::Function(functions)) => Some(functions),
        _ => None,
    })?;
    let naming = functions
        .into_iter()
        .find_map(|naming| naming.ok().filter(|naming| naming.index == index))?;
    Some(heddle_json::object::clip(naming.name, NAME_SHOWN).to_owned())
}
