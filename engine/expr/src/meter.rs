//! The budget of one evaluation.
//!
//! Everything that takes time or memory is charged before it is done: a visit to a part of the
//! expression, a value that is read, made, compared or written, and the bytes of strings. So an
//! evaluation of whatever expression over whatever state ends soon and in little memory.

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use super::value::{Key, Value};

/// The most units that one evaluation may cost. A unit is a step of the evaluation or one value
/// made, tens of nanoseconds, so that the whole stays within some tens of milliseconds.
pub const MAX_COST: u32 = 1_000_000;

/// How many bytes of a string cost a unit.
const BYTES_PER_UNIT: usize = 64;

/// What an object costs beside its entries: it takes half a KiB however few it has.
pub(super) const OBJECT_COST: usize = 8;

/// Why an evaluation stopped without a value.
#[derive(Debug)]
pub(super) enum Stop {
    /// The values do not fit the expression.
    Wrong(String),
    /// An object has no such key.
    NoKey(Arc<BTreeMap<Key, Value>>, Arc<str>),
    /// A path, by its number, has no key at an index.
    NoPath(usize, usize),
    /// The budget is used up.
    Limit,
}

/// Says that the values do not fit the expression.
pub(super) fn wrong<T>(reason: impl Into<String>) -> Result<T, Box<Stop>> {
    Err(Box::new(Stop::Wrong(reason.into())))
}

/// What is left of the budget.
pub(super) struct Meter {
    left: Cell<u32>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            left: Cell::new(MAX_COST),
        }
    }

    /// Takes `units` from the budget.
    pub(super) fn charge(&self, units: usize) -> Result<(), Box<Stop>> {
        let left = u32::try_from(units)
            .ok()
            .and_then(|units| self.left.get().checked_sub(units));
        self.left.set(left.unwrap_or(0));
        if left.is_some() {
            Ok(())
        } else {
            Err(Box::new(Stop::Limit))
        }
    }

    /// Takes what reading or making a text of `len` bytes costs.
    pub(super) fn charge_bytes(&self, len: usize) -> Result<(), Box<Stop>> {
        self.charge(len / BYTES_PER_UNIT + 1)
    }
}
