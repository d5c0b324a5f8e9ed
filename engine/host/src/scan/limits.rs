//! The limits of [`scan`](super) by name. docs/limits.md lists them; a test compares that page with this table.

use std::fmt;

/// The most parts of one kind that a component, a core module or a function may have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// The name in messages and in the documentation.
    pub(crate) name: &'static str,
    /// What is counted.
    pub(crate) what: &'static str,
    /// The largest allowed number.
    pub(crate) most: u64,
}

macro_rules! limits {
    ($($constant:ident = $name:literal, $most:expr, $what:literal;)*) => {
        $(pub(crate) const $constant: Limit = Limit { name: $name, what: $what, most: $most };)*
        /// Every limit, in the order of the documentation.
        #[cfg(test)]
        pub(crate) const ALL: &[&Limit] = &[$(&$constant),*];
    };
}

limits! {
    // One function.
    FUNCTION_BYTES = "function_bytes", 1 << 20, "bytes of code";
    FUNCTION_LOCALS = "function_locals", 10_000, "locals and parameters";
    FUNCTION_NESTING = "function_nesting", 5_000, "nested blocks";
    LOOP_NESTING = "loop_nesting", 100, "nested loops";
    FUNCTION_LOOPS = "function_loops", 100_000, "locals times loops";
    FUNCTION_BRANCHES = "function_branches", 100_000, "blocks and branches";
    FUNCTION_STACK = "function_stack", 10_000, "values on its stack at once";
    FUNCTION_VALUES = "function_values", 1_500_000, "values that its instructions take and give";
    FUNCTION_LIVE = "function_live", 10_000_000, "locals and stack places times blocks and branches";
    FUNCTION_ARITY = "function_arity", 250, "parameters and results";
    // A component with everything that is nested in it, as in its file.
    CODE_LIVE = "code_live", 200_000_000, "locals and stack places times blocks and branches, over all functions";
    FUNCTIONS = "functions", 200_000, "core functions";
    COMPONENT_NESTING = "component_nesting", 16, "levels of nested components";
    CORE_MODULES = "core_modules", 500, "core modules";
    COMPONENTS = "components", 500, "nested components";
    TYPES = "types", 50_000, "types";
    INSTANTIATED_TYPES = "instantiated_types", 1_000_000, "types and names in the types of the components that it instantiates";
    CANONICAL_FUNCTIONS = "canonical_functions", 20_000, "lifted and lowered functions";
    IMPORTS = "imports", 50_000, "imports";
    EXPORTS = "exports", 50_000, "exports";
    GLOBALS = "globals", 50_000, "globals";
    ELEMENT_SEGMENTS = "element_segments", 20_000, "element segments";
    DATA_SEGMENTS = "data_segments", 50_000, "data segments";
    // An instance of the component: a definition counts as often as it is instantiated.
    CORE_INSTANCES = "core_instances", 128, "instances of core modules";
    COMPONENT_INSTANCES = "component_instances", 500, "instances of nested components";
    MEMORIES = "memories", 8, "memories";
    MEMORY_BYTES = "memory_bytes", 4 << 30, "bytes of memory from the start";
    TABLES = "tables", 32, "tables";
    TABLE_ELEMENTS = "table_elements", 4 << 16, "table elements from the start";
    LOWERED_TYPES = "lowered_types", 100_000, "types and names in the types of lowered functions";
    // The component itself, without what is nested in it.
    COMPONENT_NAMES = "component_names", 10_000, "imports and exports of its own";
    COMPONENT_NAME_BYTES = "component_name_bytes", 1 << 20, "bytes in the names of its own imports and exports";
}

/// A component exceeds a limit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) struct Exceeded {
    pub(crate) limit: &'static Limit,
    pub(crate) value: u64,
    /// The component, or the core module or function that exceeds the limit.
    pub(crate) place: String,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, value, place } = self;
        let Limit { name, what, most } = limit;
        write!(
            f,
            "{place} has {value} {what}, more than the limit of {most} ({name})"
        )
    }
}

impl Limit {
    /// # Errors
    /// If the value is above the limit, with the place that exceeds it.
    pub(crate) fn check(&'static self, value: u64, place: impl FnOnce() -> String) -> Result<(), Exceeded> {
        match value > self.most {
            false => Ok(()),
            true => Err(Exceeded {
                limit: self,
                value,
                place: place(),
            }),
        }
    }
}
