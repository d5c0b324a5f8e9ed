//! JSON as text that is checked once and then shared.
//!
//! A workflow's state may be large, and a step changes little of it. So Heddle does not parse values on their
//! way: a [`Json`] is one value as shared text, and an [`Object`] maps keys to such texts. Copying an object
//! copies one pointer, and merging an update costs only what the update contains.
//!
//! This crate never changes a number's digits and never converts a number to a double. It does no I/O.
//!
//! # Where to start
//! - [`object`]: [`Json`] and [`Object`].
//! - [`admit`]: the rules for JSON from outside: depth, unique keys, Unicode, range of numbers.
//! - [`tokens`]: the tokens of JSON text, and values as trees of tokens.
//! - [`decimal`]: JSON numbers as exact decimals.
//! - [`deserialize`]: Rust types from JSON, with errors for the people who wrote the JSON.
//! - [`pointer`]: JSON pointers.
//!
//! # Example
//! ```
//! use heddle_json::Object;
//!
//! let mut state = Object::admit(r#"{"total": 1.50, "lines": [1, 2]}"#).expect("an object");
//! state.merge(&Object::admit(r#"{"total": 2.50}"#).expect("an object"));
//! assert_eq!(state.to_text(), r#"{"lines":[1,2],"total":2.50}"#);
//! ```

pub mod admit;
pub mod decimal;
pub mod deserialize;
pub mod object;
pub mod pointer;
pub mod tokens;

pub use object::{Json, Object};
