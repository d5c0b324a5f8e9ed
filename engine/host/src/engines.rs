//! The two wasm engines of a host, and how a component gets onto one of them: from the cache, or through the compiler.

use std::{
    fs::File,
    sync::{Arc, OnceLock},
};

use heddle_kernel::Digest;
use wasmtime::component::Component;

use crate::{
    cache::Cache,
    compile::{CompileError, CompileLimits, CompileQueue, Compiler, child, command},
    component::ComponentMetadata,
    contract::Contract,
    error::{ComponentError, HostError},
    policy::CallLimits,
    settings::HostSettings,
    slots::Pools,
    wasm_engine::WasmEngine,
};

/// The engines, the cache of compiled code, and the compile queue.
pub(crate) struct Engines {
    /// For calls without a fuel limit: most calls.
    unmetered: WasmEngine,
    /// For calls with a fuel limit. Started when the first component is compiled for such calls.
    metered: OnceLock<WasmEngine>,
    pools: Pools,
    pub(crate) cache: Cache,
    pub(crate) queue: CompileQueue,
    compiler: Compiler,
    limits: CompileLimits,
}

impl Engines {
    /// Starts the engine for calls without a fuel limit.
    pub(crate) fn start(settings: &HostSettings) -> Result<Self, HostError> {
        let cache = Cache::open(settings.cache.as_ref()).map_err(HostError::Cache)?;
        let pools = Pools::new(settings.max_total_calls(), settings.call_depth);
        Ok(Self {
            unmetered: WasmEngine::start(pools, &cache, false)?,
            metered: OnceLock::new(),
            pools,
            cache,
            queue: CompileQueue::new(settings.compile_at_once, settings.compile_queue),
            compiler: settings.compiler.clone(),
            limits: settings.compile_limits(),
        })
    }

    /// The engine for calls with these limits.
    pub(crate) fn for_limits(&self, limits: &CallLimits) -> &WasmEngine {
        match limits.fuel {
            None => &self.unmetered,
            // Compiling the component for metered calls started the engine.
            Some(_) => self
                .metered
                .get()
                .expect("compiling the component started the engine"),
        }
    }

    /// The engine for metered calls, or for the others.
    pub(crate) fn engine(&self, metered: bool) -> Result<&WasmEngine, ComponentError> {
        match metered {
            false => Ok(&self.unmetered),
            true => self
                .metered_engine()
                .map_err(|error| ComponentError::Unknown(error.to_string())),
        }
    }

    /// Starts the engine for metered calls if it is not running yet.
    fn metered_engine(&self) -> Result<&WasmEngine, HostError> {
        if let Some(engine) = self.metered.get() {
            return Ok(engine);
        }
        let engine = WasmEngine::start(self.pools, &self.cache, true)?;
        // Another thread may have been faster: its engine is used, and this one is dropped.
        Ok(self.metered.get_or_init(|| engine))
    }

    /// Compiles a component, or loads it from the cache. Dropping the future ends the compiler.
    ///
    /// # Errors
    /// Why the component cannot be called.
    pub(crate) async fn compile(
        self: &Arc<Self>,
        metered: bool,
        digest: &Digest,
        component: &Arc<[u8]>,
        metadata: ComponentMetadata,
    ) -> Result<Contract, ComponentError> {
        let compiled = self.load_or_compile(metered, digest, component).await?;
        self.blocking(metered, move |engine| engine.link(&compiled, &metadata))
            .await?
    }

    async fn load_or_compile(
        self: &Arc<Self>,
        metered: bool,
        digest: &Digest,
        component: &Arc<[u8]>,
    ) -> Result<Component, ComponentError> {
        if let Some(compiled) = self.find_compiled(metered, digest).await? {
            return Ok(compiled);
        }
        let _permit = self.queue.acquire_permit().await;
        // Another request may have compiled the component in the meantime.
        if let Some(compiled) = self.find_compiled(metered, digest).await? {
            return Ok(compiled);
        }
        let created = self
            .blocking(metered, |engine| engine.cache.create().and_then(writable))
            .await?;
        let (code, output) = created.map_err(|error| failed(&format!("no file for its output: {error}")))?;
        match &self.compiler {
            Compiler::InProcess => {
                let component = component.clone();
                let compiled = self.blocking(metered, move |engine| {
                    child::compile(&engine.engine, &component, output)
                });
                compiled.await??;
            }
            Compiler::Command { program, arguments } => {
                let engine = &self.engine(metered)?.engine;
                let request = child::CompileRequest::new(engine, metered, component.len(), &self.limits);
                command::run(program, arguments, request, component.clone(), output).await?;
            }
        }
        let digest = digest.clone();
        let loaded = self
            .blocking(metered, move |engine| {
                engine.cache.load(&engine.engine, &digest, code)
            })
            .await?;
        // The engine refuses here a component that does not fit into the pools of instances.
        loaded.map_err(|error| CompileError::Refused(format!("{error:#}")).into())
    }

    async fn find_compiled(
        self: &Arc<Self>,
        metered: bool,
        digest: &Digest,
    ) -> Result<Option<Component>, ComponentError> {
        let digest = digest.clone();
        self.blocking(metered, move |engine| engine.cache.get(&engine.engine, &digest))
            .await
    }

    /// Runs `work` with an engine on a thread that may block.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        metered: bool,
        work: impl FnOnce(&WasmEngine) -> T + Send + 'static,
    ) -> Result<T, ComponentError> {
        let engines = self.clone();
        let done = tokio::task::spawn_blocking(move || engines.engine(metered).map(work));
        done.await.map_err(|error| failed(&error.to_string()))?
    }
}

fn failed(problem: &str) -> ComponentError {
    CompileError::Failed(problem.to_owned()).into()
}

impl From<CompileError> for ComponentError {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Failed(problem) => Self::Unknown(format!("the compiler failed: {problem}")),
            error => Self::Engine(format!("the component cannot be compiled: {error}")),
        }
    }
}

/// Adds a second handle of the file, for the compiler to write to.
fn writable(code: tempfile::NamedTempFile) -> std::io::Result<(tempfile::NamedTempFile, File)> {
    let output = code.as_file().try_clone()?;
    Ok((code, output))
}
