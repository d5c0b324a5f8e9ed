//! Mutation of inputs: as bytes, as the words of a text, and as JSON trees.

pub(crate) mod bytes;
pub(crate) mod json;
pub(crate) mod text;
pub(crate) mod wasm;
