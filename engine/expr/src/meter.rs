//! The budget of one evaluation.
//!
//! Everything that takes time or memory is charged in advance: a visit to a part of the expression; a value
//! that is read, built, compared or written; and the bytes of strings. So every evaluation ends soon and uses
//! little memory, whatever the expression and the state are.

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use super::value::{Key, Value};

/// The limit for the cost of an evaluation, in units. A unit is one operation or one value, some tens of
/// nanoseconds, so an evaluation takes some tens of milliseconds at most.
pub const MAX_COST: u32 = 1_000_000;

/// The bytes of a string that cost one unit.
const BYTES_PER_UNIT: usize = 64;

/// The cost of an object besides its entries: it takes half a KiB even if it has few.
pub(super) const OBJECT_COST: usize = 8;

/// The reason why an evaluation has no value.
#[derive(Debug)]
pub(super) enum Stop {
    /// The values do not fit the expression.
    Wrong(String),
    /// An object does not have the key.
    NoKey(Arc<BTreeMap<Key, Value>>, Arc<str>),
    /// A path, by its index, does not have the key at this position.
    NoPath(usize, usize),
    /// The budget is used up.
    Limit,
}

/// The error that the values do not fit the expression.
pub(super) fn wrong<T>(reason: impl Into<String>) -> Result<T, Box<Stop>> {
    Err(Box::new(Stop::Wrong(reason.into())))
}

/// The rest of the budget.
pub(super) struct Meter {
    left: Cell<u32>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            left: Cell::new(MAX_COST),
        }
    }

    /// Charges `units`.
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

    /// Charges for reading or building a text of `len` bytes.
    pub(super) fn charge_bytes(&self, len: usize) -> Result<(), Box<Stop>> {
        self.charge(len / BYTES_PER_UNIT + 1)
    }
}
