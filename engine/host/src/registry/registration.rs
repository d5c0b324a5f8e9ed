//! A component that can be published: built, and not visible yet.

use std::sync::Arc;

use heddle_runtime::ports::{PluginInfo, RegisterError};

use super::{plugin::Plugin, snapshot::Snapshot};

/// A component that can be published.
pub(crate) struct Registration {
    /// The plugin under the requested name and version.
    pub(crate) plugin: Plugin,
    /// Whether the plugin gets a version of its own if another component has its version.
    pub(crate) renumbered: bool,
    /// Whether a component that is new under a name with grants gets these grants. `None` in an inspection, which checks no
    /// grants.
    pub(crate) replace_granted: Option<bool>,
}

impl Registration {
    /// The plugins after the registration, and the registered plugin. No snapshot if the registration changes nothing.
    pub(super) fn apply(
        &self,
        current: &Snapshot,
    ) -> Result<(Option<Snapshot>, Arc<PluginInfo>), RegisterError> {
        let PluginInfo {
            name,
            version,
            digest,
            ..
        } = &*self.plugin.info;
        let known = current.by_digest.get(digest);
        if let (true, Some(known)) = (self.plugin.hidden, known) {
            return Ok((None, known.info.clone()));
        }
        if let (false, Some(replace_granted)) = (self.plugin.hidden, self.replace_granted) {
            // The policy may have changed while the plugin was compiled.
            current.admit(name, digest, replace_granted)?;
        }
        let shown = match known.filter(|known| !known.hidden) {
            // Registering an earlier build again makes it the newest one.
            Some(known) if self.renumbered && known.info.name == *name => (**known).clone(),
            Some(known) => return Ok((None, known.check_name(name, version)?)),
            None if self.renumbered && current.has_version(&self.plugin.info) => {
                self.plugin.clone().with_build_metadata()
            }
            None => self.plugin.clone(),
        };
        let shown = current.newest(shown);
        let info = shown.info.clone();
        Ok((Some(current.with(Arc::new(shown))?), info))
    }
}
