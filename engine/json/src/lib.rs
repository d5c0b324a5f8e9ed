//! JSON as Heddle keeps it: text that is checked once, when it enters, and then shared.
//!
//! - [`object`]: one value as text ([`Json`]) and an object whose values are texts by key ([`Object`]).
//! - [`admit`]: the rules that JSON from outside must meet: depth, unique keys, Unicode, range of numbers.
//! - [`tokens`]: the tokens of a text that is known to be JSON, and a value as a tree of them.
//! - [`decimal`]: JSON numbers as decimals of any length, which are compared and added exactly.

pub mod admit;
pub mod decimal;
pub mod object;
pub mod tokens;

pub use object::{Json, Object};
