//! What components are compiled for and run on: an engine, what it offers them, its cache of compiled
//! components, and the clock that ends what runs too long.
//!
//! A host has one for most calls. Counting what is computed makes code about a third slower, so components
//! whose fuel is limited are compiled for another one, which is there once it is needed.

use wasmtime::{
    Engine,
    component::{Component, Linker},
};

use crate::{
    cache::{Cache, EngineCache},
    component::Inspected,
    contract::Contract,
    engine::{self, Ticker},
    host::HostError,
    sandbox::{self, Sandbox},
    settings::HostSettings,
};

/// Why a component cannot be called.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// It does not run here.
    #[error("{0}")]
    Engine(String),
    /// It has no functions for a graph.
    #[error("{0}")]
    Plugin(String),
    /// Whether it can be called is not known, as the host could not compile it.
    #[error("{0}")]
    Unknown(String),
}

pub(crate) struct Machine {
    pub(crate) engine: Engine,
    pub(crate) ticker: Ticker,
    linker: Linker<Sandbox>,
    pub(crate) cache: EngineCache,
}

impl Machine {
    /// Starts one; with `metered`, the code for it counts what it computes.
    pub(crate) fn start(settings: &HostSettings, cache: &Cache, metered: bool) -> Result<Self, HostError> {
        let failed = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let engine = engine::build(settings, metered).map_err(failed)?;
        Ok(Self {
            linker: sandbox::linker(&engine).map_err(failed)?,
            cache: cache.for_engine(&engine).map_err(HostError::Cache)?,
            ticker: Ticker::start(engine.clone()).map_err(|error| HostError::Engine(error.to_string()))?,
            engine,
        })
    }

    /// Finds out how a compiled component is called. It blocks for a while where the component is large.
    ///
    /// # Errors
    /// Why it cannot be called.
    pub(crate) fn link(&self, component: &Component, found: &Inspected) -> Result<Contract, Unfit> {
        let pre = self.linker.instantiate_pre(component).map_err(|error| {
            Unfit::Engine(format!(
                "the component needs what this host does not have: {error:#}"
            ))
        })?;
        Contract::find(pre, found).map_err(Unfit::Plugin)
    }
}

/// How wasmtime's error reads where a component needs what comes with WASI 0.3; it has no type of its own.
const ASYNC_FEATURE: &str = "component model async feature";

/// Why a component does not compile.
pub(crate) fn not_compiled(error: &wasmtime::Error) -> String {
    let error = format!("{error:#}");
    let advice = match error.contains(ASYNC_FEATURE) {
        true => ". Asynchronous functions, streams and futures are of WASI 0.3: build it for WASI 0.2",
        false => "",
    };
    format!("{error}{advice}")
}
