//! Write Heddle plugins in Rust.
//!
//! A plugin is a crate of type `cdylib` whose functions have the attribute [`node`] or [`tool`]. Their types
//! give the JSON Schemas, their doc comments the summaries, and `cargo build --target wasm32-wasip2`
//! the component.
//!
//! ```
//! use heddle_plugin::prelude::*;
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Text {
//!     input: String,
//! }
//!
//! #[derive(Serialize, JsonSchema)]
//! struct Words {
//!     words: Vec<String>,
//! }
//!
//! /// Finds the words of `input`.
//! #[node]
//! fn extract(state: Text) -> Result<Words> {
//!     log::info!("{} bytes", state.input.len());
//!     Ok(Words { words: state.input.split_whitespace().map(str::to_owned).collect() })
//! }
//! ```
//!
//! The derives use the crates `serde` and `schemars`, so a plugin depends on these, too.
//!
//! For other targets than wasm, the crate is an ordinary library: its functions can be called
//! and tested where they are written. There, [`call_tool`] reaches the tools of the crates that are
//! linked together, chunks of [`emit`] are kept for the test, log lines go to the test's logger, and the
//! module `testing` calls functions as the engine does, from JSON to JSON.

mod call;
mod decimal;
mod error;
mod function;
#[cfg(feature = "http")]
pub mod http;
mod json;
mod outcome;

#[cfg(target_arch = "wasm32")]
#[path = "guest.rs"]
mod platform;
#[cfg(not(target_arch = "wasm32"))]
#[path = "native.rs"]
mod platform;

pub use call::Call;
pub use decimal::Decimal;
pub use error::{Error, Kind, Result, ResultExt};
pub use heddle_plugin_macros::{node, tool};
pub use json::{Input, Json, Output};
pub use outcome::{Answer, Outcome, Route};
#[cfg(not(target_arch = "wasm32"))]
pub use platform::testing;
pub use {log, schemars, serde, serde_json};

use serde::{Serialize, de::DeserializeOwned};

/// The names that a plugin's source needs.
pub mod prelude {
    pub use crate::{
        Call, Error, Json, Outcome, Result, ResultExt, Route, call_tool, emit, log, node, serde_json::Value,
        serde_json::json, tool,
    };
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
}

/// Calls a tool of any registered plugin: `plugin/tool`, or `tool` if only one plugin has it.
///
/// The tool's failure is returned unchanged: a retryable failure stays retryable. A result
/// that does not fit `O` is a permanent error that names the tool and the place in the result.
pub fn call_tool<I, O>(name: &str, input: &I) -> Result<O>
where
    I: Serialize + ?Sized,
    O: DeserializeOwned,
{
    let input = json::to_text(input, format_args!("the input of `{name}`"))?;
    let answer = platform::call_tool(name, input)?;
    json::parse(&answer).map_err(|malformed| {
        Error::permanent(format!(
            "the result of `{name}` is not what was expected: {malformed}"
        ))
    })
}

/// Sends a chunk of output (a token, progress) to the run's current watchers. It is not stored.
pub fn emit<T: Serialize + ?Sized>(chunk: &T) -> Result<()> {
    platform::emit(json::to_text(chunk, format_args!("a chunk of output"))?);
    Ok(())
}

/// Used by the expansion of the attributes only.
#[doc(hidden)]
pub mod __private {
    pub use crate::function::{Body, Function, Invocation, Written, answer_node, answer_tool, section};
    pub use crate::json::{any_object, read, schema_of_input, schema_of_output, schema_of_update};
    pub use inventory;
}
