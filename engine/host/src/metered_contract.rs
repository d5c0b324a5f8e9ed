//! A component compiled so that its calls consume fuel: when a policy limits its fuel, or when the first call with a fuel
//! limit needs it.

use std::sync::Arc;

use heddle_kernel::Digest;
use tokio::sync::OnceCell;

use crate::{cache::Source, component, contract::Contract, engines::Engines};

/// The contract of a component for calls with a fuel limit, once the component is compiled for them.
pub(crate) struct MeteredContract {
    source: Source,
    contract: OnceCell<Arc<Contract>>,
}

impl MeteredContract {
    /// Nothing is compiled yet; `source` has the component's bytes.
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            contract: OnceCell::new(),
        }
    }

    /// Compiles the component if it is not compiled yet. Compiling takes seconds.
    ///
    /// # Errors
    /// Why the component cannot be compiled.
    pub(crate) async fn get(&self, engines: &Arc<Engines>, digest: &Digest) -> Result<Arc<Contract>, String> {
        let compiled = self.contract.get_or_try_init(async || {
            let (source, of) = (self.source.clone(), digest.clone());
            let read = tokio::task::spawn_blocking(move || {
                let bytes = source.read(&of)?;
                // Its size was checked when it was registered.
                let metadata = component::inspect(&bytes, usize::MAX)?;
                Ok::<_, String>((bytes, metadata))
            });
            let (bytes, metadata) = read.await.map_err(|error| error.to_string())??;
            let contract = engines.compile(true, digest, &bytes, metadata).await;
            contract.map(Arc::new).map_err(|error| error.to_string())
        });
        compiled.await.cloned()
    }
}
