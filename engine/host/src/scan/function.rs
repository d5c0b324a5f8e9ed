//! Estimates in one pass over a function's code what the function costs to compile.
//!
//! The compiler tracks which values are live in each block of a function. That takes time and memory proportional to
//! the number of values times the number of blocks and branches, so a few kilobytes can take gigabytes. Values that
//! change in nested loops cost the most. The pass counts all of these, and the values of instructions with many
//! parameters and results, and stops at the first limit that is exceeded.

use wasmparser::{BlockType, FuncValidator, FunctionBody, Operator, ValidatorResources, WasmModuleResources};

use super::limits::{self, Limit};

/// The counts of a function.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FunctionCost {
    pub(super) bytes: u64,
    pub(super) locals: u64,
    pub(super) nesting: u64,
    pub(super) branches: u64,
    pub(super) stack: u64,
    pub(super) values: u64,
    /// The number of loops in the function.
    pub(super) loops: u64,
    /// The deepest nesting of loops.
    pub(super) loop_nesting: u64,
}

/// Why a function cannot be compiled.
pub(super) enum FunctionError {
    Exceeds(&'static Limit, u64),
    Damaged(wasmparser::Error),
}

impl From<wasmparser::Error> for FunctionError {
    fn from(error: wasmparser::Error) -> Self {
        Self::Damaged(error)
    }
}

impl FunctionError {
    pub(super) fn exceeded(limit: &'static Limit, value: u64) -> Result<(), Self> {
        match value > limit.most {
            true => Err(Self::Exceeds(limit, value)),
            false => Ok(()),
        }
    }
}

impl FunctionCost {
    /// The values that may be live at once, times the places where they may be live.
    pub(super) fn live(&self) -> u64 {
        (self.locals + self.stack).saturating_mul(self.branches + 1)
    }

    /// The values that may change, times the loops in which they may change.
    pub(super) fn in_loops(&self) -> u64 {
        self.locals.saturating_mul(self.loops)
    }

    fn check(&self) -> Result<(), FunctionError> {
        FunctionError::exceeded(&limits::LOOP_NESTING, self.loop_nesting)?;
        FunctionError::exceeded(&limits::FUNCTION_LOOPS, self.in_loops())?;
        FunctionError::exceeded(&limits::FUNCTION_NESTING, self.nesting)?;
        FunctionError::exceeded(&limits::FUNCTION_BRANCHES, self.branches)?;
        FunctionError::exceeded(&limits::FUNCTION_STACK, self.stack)?;
        FunctionError::exceeded(&limits::FUNCTION_VALUES, self.values)?;
        FunctionError::exceeded(&limits::FUNCTION_LIVE, self.live())
    }
}

/// Counts the parts of a function.
///
/// # Errors
/// The first limit that the function exceeds, or why it is not valid.
pub(super) fn count(
    body: &FunctionBody<'_>,
    validator: &mut FuncValidator<ValidatorResources>,
) -> Result<FunctionCost, FunctionError> {
    let range = body.range();
    let mut counted = FunctionCost {
        bytes: (range.end - range.start) as u64,
        ..FunctionCost::default()
    };
    FunctionError::exceeded(&limits::FUNCTION_BYTES, counted.bytes)?;
    let mut locals = body.get_binary_reader();
    validator.read_locals(&mut locals)?;
    counted.locals = validator.len_locals().into();
    FunctionError::exceeded(&limits::FUNCTION_LOCALS, counted.locals)?;
    let mut operators = body.get_operators_reader()?;
    let mut loops = Loops::default();
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        loops.read(&operator);
        counted.loops = loops.all;
        counted.loop_nesting = loops.deepest;
        let (branches, values) = operator_cost(&operator, validator);
        counted.branches = counted.branches.saturating_add(branches);
        counted.values = counted.values.saturating_add(1).saturating_add(values);
        // Checked before the validator processes each of the values.
        counted.check()?;
        validator.op(offset, &operator)?;
        counted.stack = counted.stack.max(validator.operand_stack_height().into());
        counted.nesting = counted.nesting.max(validator.control_stack_height().into());
    }
    operators.finish()?;
    counted.check()?;
    Ok(counted)
}

/// The loops of a function, while it is read.
#[derive(Default)]
struct Loops {
    /// The open blocks: whether each is a loop.
    open: Vec<bool>,
    nested: u64,
    deepest: u64,
    all: u64,
}

impl Loops {
    fn read(&mut self, operator: &Operator<'_>) {
        match operator {
            Operator::Loop { .. } => {
                self.open.push(true);
                self.all += 1;
                self.nested += 1;
                self.deepest = self.deepest.max(self.nested);
            }
            Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => self.open.push(false),
            // The last `end` belongs to the function, which is not a block.
            Operator::End if self.open.pop() == Some(true) => self.nested -= 1,
            _ => {}
        }
    }
}

/// How many branches an instruction adds, and how many values it takes and returns that its own bytes do not show.
fn operator_cost(operator: &Operator<'_>, validator: &FuncValidator<ValidatorResources>) -> (u64, u64) {
    let resources = validator.resources();
    let of_type = |index: u32| resources.sub_type_at(index).map_or(0, arity);
    let of_function = |index: u32| resources.type_index_of_function(index).map_or(0, of_type);
    let of_block = |block: &BlockType| match block {
        BlockType::Empty => 0,
        BlockType::Type(_) => 1,
        BlockType::FuncType(index) => of_type(*index),
    };
    let of_label = |depth: u32| {
        let frame = validator.get_control_frame(depth as usize);
        frame.map_or(0, |frame| of_block(&frame.block_type))
    };
    match operator {
        Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
            (1, of_block(blockty))
        }
        Operator::Else => (1, of_label(0)),
        Operator::End => (0, of_label(0)),
        Operator::TryTable { try_table } => {
            let catches = try_table.catches.len() as u64;
            (1 + catches, of_block(&try_table.ty).saturating_add(catches))
        }
        Operator::Br { relative_depth }
        | Operator::BrIf { relative_depth }
        | Operator::BrOnNull { relative_depth }
        | Operator::BrOnNonNull { relative_depth }
        | Operator::BrOnCast { relative_depth, .. }
        | Operator::BrOnCastFail { relative_depth, .. } => (1, of_label(*relative_depth)),
        Operator::BrTable { targets } => {
            let ways = u64::from(targets.len()) + 1;
            // Every target of a table takes as many values as its default target.
            (ways, ways.saturating_mul(of_label(targets.default())))
        }
        Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
            (0, of_function(*function_index))
        }
        Operator::CallIndirect { type_index, .. }
        | Operator::ReturnCallIndirect { type_index, .. }
        | Operator::CallRef { type_index }
        | Operator::ReturnCallRef { type_index } => (0, of_type(*type_index)),
        Operator::Return => {
            let outermost = validator.control_stack_height().saturating_sub(1);
            (1, of_label(outermost))
        }
        _ => (0, 0),
    }
}

/// The parameters and results of a function type, or the fields of a struct type.
fn arity(ty: &wasmparser::SubType) -> u64 {
    use wasmparser::CompositeInnerType;
    match &ty.composite_type.inner {
        CompositeInnerType::Func(function) => (function.params().len() + function.results().len()) as u64,
        CompositeInnerType::Struct(fields) => fields.fields.len() as u64,
        CompositeInnerType::Array(_) | CompositeInnerType::Cont(_) => 0,
    }
}
