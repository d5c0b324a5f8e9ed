//! How inputs are changed: as bytes, as the words of a text, and as a tree of JSON.

pub(crate) mod bytes;
pub(crate) mod json;
pub(crate) mod text;
pub(crate) mod wasm;
