//! A component whose calls are counted: compiled when the first call with limited fuel, or a policy that
//! limits its fuel, needs that.

use std::sync::Arc;

use heddle_kernel::{Digest, Failure, FailureKind};
use tokio::sync::OnceCell;

use crate::{
    cache::Source,
    component,
    contract::Contract,
    host::{HostError, Inner},
    machine::{Machine, Unfit},
    policy::CallLimits,
    registry::Plugin,
};

/// A component compiled for the machine that counts.
pub(crate) struct Metered {
    source: Source,
    contract: OnceCell<Arc<Contract>>,
}

impl Metered {
    /// Nothing is compiled yet.
    pub(crate) fn of(source: Source) -> Self {
        Self {
            source,
            contract: OnceCell::new(),
        }
    }
}

impl Inner {
    /// The machine for calls with these limits.
    pub(crate) fn machine(&self, limits: &CallLimits) -> &Machine {
        match limits.fuel {
            None => &self.machine,
            // What is called was compiled for it before.
            Some(_) => self
                .metered
                .get()
                .expect("this machine was started to compile what is called"),
        }
    }

    /// The machine for calls that are counted, or for those that are not.
    pub(crate) fn machine_for(&self, metered: bool) -> Result<&Machine, Unfit> {
        match metered {
            false => Ok(&self.machine),
            true => self
                .metered_machine()
                .map_err(|error| Unfit::Unknown(error.to_string())),
        }
    }

    /// What is called of a plugin where these limits stand. It takes seconds where the component was never
    /// compiled for them, and no limit of the call counts meanwhile.
    pub(crate) async fn callable(
        self: &Arc<Self>,
        plugin: &Plugin,
        limits: &CallLimits,
    ) -> Result<Arc<Contract>, Failure> {
        if limits.fuel.is_none() {
            return Ok(plugin.contract.clone());
        }
        let counted = self.compile_metered(&plugin.metered, &plugin.info.digest).await;
        counted.map_err(|problem| {
            let name = &plugin.info.name;
            let message = format!("plugin {name} cannot be called with a limit on fuel: {problem}");
            Failure::new(FailureKind::Unavailable, message)
        })
    }

    pub(crate) async fn compile_metered(
        self: &Arc<Self>,
        metered: &Metered,
        digest: &Digest,
    ) -> Result<Arc<Contract>, String> {
        let compiled = metered.contract.get_or_try_init(async || {
            let (source, of) = (metered.source.clone(), digest.clone());
            let read = tokio::task::spawn_blocking(move || {
                let bytes = source.read(&of)?;
                // It was looked at before, when it was compiled for calls that are not counted.
                let found = component::inspect(&bytes, usize::MAX)?;
                Ok::<_, String>((bytes, found))
            });
            let (bytes, found) = read.await.map_err(|error| error.to_string())??;
            let contract = self.compile(true, digest, &bytes, found).await;
            contract.map(Arc::new).map_err(|error| error.to_string())
        });
        compiled.await.cloned()
    }

    /// The machine that counts, which is started where it is not there.
    fn metered_machine(&self) -> Result<&Machine, HostError> {
        if let Some(machine) = self.metered.get() {
            return Ok(machine);
        }
        let machine = Machine::start(&self.settings, &self.cache, true)?;
        // Another thread may have been first: then this one goes.
        Ok(self.metered.get_or_init(|| machine))
    }
}
