//! JSON views of the engine's types. Kernel types become the JSON that clients read only here.

pub(crate) mod chunk;
pub(crate) mod event;
pub(crate) mod failure;
pub(crate) mod moment;
pub(crate) mod names;
pub(crate) mod run;
pub(crate) mod wait;
