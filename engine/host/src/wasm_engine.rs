//! A wasm engine with everything that components need to run on it: the linker with their imports, the cache of
//! compiled code, and the epoch thread.
//!
//! Most calls use an engine whose code consumes no fuel. Consuming fuel makes code about a third slower, so a second
//! engine compiles the components whose calls have a fuel limit; it is started when the first one needs it.

use wasmtime::{
    Engine,
    component::{Component, Linker},
};

use crate::{
    cache::{Cache, EngineCache},
    component::ComponentMetadata,
    contract::{self, Contract},
    engine_config,
    epoch_ticker::EpochTicker,
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
    /// Starts an engine. With `metered`, its code consumes fuel.
    pub(crate) fn start(pools: Pools, cache: &Cache, metered: bool) -> Result<Self, HostError> {
        let failed = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let engine = engine_config::build(pools, metered).map_err(failed)?;
        Ok(Self {
            linker: linker(&engine).map_err(failed)?,
            cache: cache.for_engine(&engine).map_err(HostError::Cache)?,
            ticker: EpochTicker::start(engine.clone())
                .map_err(|error| HostError::Engine(error.to_string()))?,
            engine,
        })
    }

    /// Links a compiled component and finds the contract that it implements. Blocks, for a while if the component is
    /// large.
    ///
    /// # Errors
    /// Why the component cannot be called.
    pub(crate) fn link(
        &self,
        component: &Component,
        found: &ComponentMetadata,
    ) -> Result<Contract, ComponentError> {
        let pre = self.linker.instantiate_pre(component).map_err(|error| {
            ComponentError::Engine(format!(
                "the component imports what this host does not provide: {error:#}"
            ))
        })?;
        Contract::find(pre, found).map_err(ComponentError::Plugin)
    }
}

/// The linker with everything that a component may import.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<Sandbox>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    // Every component may import HTTP; the grants are checked at each request.
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    // The sandbox's own implementations replace these parts of WASI.
    linker.allow_shadowing(true);
    wasi::add_to_linker(&mut linker)?;
    linker.allow_shadowing(false);
    contract::add_to_linker(&mut linker)?;
    Ok(linker)
}
