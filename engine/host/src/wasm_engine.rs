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
    component::ComponentMetadata,
    contract::{self, Contract},
    engine::{self, EpochTicker},
    error::{ComponentError, HostError},
    sandbox::Sandbox,
    slots::Pools,
    wasi,
};

pub(crate) struct WasmEngine {
    pub(crate) engine: Engine,
    pub(crate) ticker: EpochTicker,
    linker: Linker<Sandbox>,
    pub(crate) cache: EngineCache,
}

impl WasmEngine {
    /// Starts one; with `metered`, the code for it counts what it computes.
    pub(crate) fn start(pools: Pools, cache: &Cache, metered: bool) -> Result<Self, HostError> {
        let failed = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let engine = engine::build(pools, metered).map_err(failed)?;
        Ok(Self {
            linker: linker(&engine).map_err(failed)?,
            cache: cache.for_engine(&engine).map_err(HostError::Cache)?,
            ticker: EpochTicker::start(engine.clone())
                .map_err(|error| HostError::Engine(error.to_string()))?,
            engine,
        })
    }

    /// Finds out how a compiled component is called. It blocks for a while where the component is large.
    ///
    /// # Errors
    /// Why it cannot be called.
    pub(crate) fn link(
        &self,
        component: &Component,
        found: &ComponentMetadata,
    ) -> Result<Contract, ComponentError> {
        let pre = self.linker.instantiate_pre(component).map_err(|error| {
            ComponentError::Engine(format!(
                "the component needs what this host does not have: {error:#}"
            ))
        })?;
        Contract::find(pre, found).map_err(ComponentError::Plugin)
    }
}

/// Everything that a component may import.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<Sandbox>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    // Every component may ask; whether it is granted is looked at for each request.
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    // These stand in for what WASI has.
    linker.allow_shadowing(true);
    wasi::add_to_linker(&mut linker)?;
    linker.allow_shadowing(false);
    contract::add_to_linker(&mut linker)?;
    Ok(linker)
}
