//! Plugins: registers and stores components, and removes those that no graph and no run needs.

use std::sync::Arc;

use heddle_kernel::{Digest, Run, Status, event::FunctionRef};

use crate::{
    core::Core,
    engine::Engine,
    errors::{PluginDependents, RegisterPluginError, RemovePluginError, StorageLimitReached},
    ports::{BuiltPlugin, NewPlugin, PluginInfo, PluginRow, ReadError, RegisterError, RunFilter, StoreError},
};

/// The maximum number of graphs and runs that an error names.
const MAX_NAMED: usize = 5;
/// The maximum number of unfinished runs that are searched for dependents.
const MAX_RUNS: usize = 10_000;
/// How many runs are listed at once.
const PAGE_LEN: usize = 500;
/// The statuses of runs that may still make calls.
const UNFINISHED: [Status; 4] = [Status::Queued, Status::Running, Status::Waiting, Status::Paused];

impl Engine {
    /// Registers and stores a plugin, so that it is available after a restart. A component that is new under a name with
    /// grants is refused, unless `replace_granted` allows it these grants or the policy lists its digest.
    ///
    /// # Errors
    /// If the component was refused or could not be stored.
    pub async fn register_plugin(
        &self,
        component: Arc<[u8]>,
        name: Option<String>,
        replace_granted: bool,
    ) -> Result<PluginInfo, RegisterPluginError> {
        let new = NewPlugin {
            name,
            replace_granted,
            waits: false,
            ..NewPlugin::of(component)
        };
        self.core.register(new, true).await
    }

    /// Registers a component of the plugins folder; `stem` is the name of its file without the extension. The component is
    /// stored for the graphs and runs that are pinned to it, and is registered again only while its file exists.
    ///
    /// # Errors
    /// If the component was refused or could not be stored.
    pub async fn register_from_folder(
        &self,
        component: Arc<[u8]>,
        stem: String,
    ) -> Result<PluginInfo, RegisterPluginError> {
        let new = NewPlugin {
            fallback_name: Some(stem),
            renumbered: self.core.settings.follow_plugins,
            ..NewPlugin::of(component)
        };
        self.core.register(new, false).await
    }

    /// Does everything that a registration does except storing the plugin and making it visible, and returns its
    /// description.
    ///
    /// # Errors
    /// Why the registration would be refused.
    pub async fn inspect_plugin(
        &self,
        component: Arc<[u8]>,
        name: Option<String>,
    ) -> Result<PluginInfo, RegisterPluginError> {
        let new = NewPlugin {
            name,
            waits: false,
            ..NewPlugin::of(component)
        };
        Ok(self.core.ports.functions.inspect(new).await?)
    }

    /// Removes a version of a plugin, or all versions if `version` is `None`. A plugin that graphs or runs need is removed
    /// only with `force`: then they fail at their next call of it. A plugin with grants is removed only with
    /// `replace_granted`. A component of the plugins folder is registered again at the next start if its file still exists.
    ///
    /// # Errors
    /// If there is no such plugin, something needs it, or the store fails.
    pub async fn remove_plugin(
        &self,
        name: &str,
        version: Option<&str>,
        force: bool,
        replace_granted: bool,
    ) -> Result<Vec<Arc<PluginInfo>>, RemovePluginError> {
        let mut of_name = self.plugins();
        of_name.retain(|plugin| *plugin.name == *name);
        if of_name.is_empty() {
            return Err(RemovePluginError::NoSuchPlugin(name.to_owned()));
        }
        let fits = |plugin: &&Arc<PluginInfo>| version.is_none_or(|version| *plugin.version == *version);
        let removed: Vec<_> = of_name.iter().filter(fits).cloned().collect();
        if removed.is_empty() {
            return Err(RemovePluginError::NoSuchVersion {
                name: name.to_owned(),
                version: version.unwrap_or_default().to_owned(),
                versions: of_name.iter().map(|plugin| plugin.version.to_string()).collect(),
            });
        }
        let granted = removed.iter().find(|plugin| !plugin.grants.is_empty());
        if let (Some(granted), false) = (granted, replace_granted) {
            return Err(RemovePluginError::Granted {
                plugin: label(name, version),
                grants: granted.grants.clone(),
            });
        }
        if !force {
            let needs = self.core.dependents(&removed).await?;
            if !needs.is_empty() {
                return Err(RemovePluginError::Needed {
                    plugin: label(name, version),
                    needs,
                });
            }
        }
        let core = self.core.clone();
        let change = async move {
            let _change = core.plugin_change.lock().await;
            for plugin in &removed {
                core.ports.store.delete_plugin(&plugin.digest).await?;
                core.ports.functions.remove(&plugin.digest);
            }
            core.usage.recount().await;
            Ok(removed)
        };
        self.core.complete(change).await
    }
}

impl Core {
    /// Registers the stored component of a function for graphs and runs that are pinned to it. Returns the reason if it is
    /// not available.
    pub(crate) async fn register_exact(&self, function: &FunctionRef) -> Result<Option<String>, StoreError> {
        Ok(match self.ports.store.plugin(&function.digest).await {
            Ok(Some(plugin)) => {
                let registered = self.register_stored(plugin, true).await;
                registered.err().map(|error| error.to_string())
            }
            Ok(None) => Some("that version was removed".to_owned()),
            Err(StoreError::Damaged(error)) => Some(error),
            Err(error) => return Err(error),
        })
    }

    /// Registers a stored component under its stored name and version.
    pub(crate) async fn register_stored(
        &self,
        plugin: PluginRow,
        hidden: bool,
    ) -> Result<PluginInfo, RegisterError> {
        let new = NewPlugin {
            name: Some(plugin.name.to_string()),
            version: Some(plugin.version.to_string()),
            hidden,
            ..NewPlugin::of(plugin.component)
        };
        self.ports.functions.register(new).await
    }

    /// Builds a component, then stores and publishes it. Only building is cancelled if the caller stops waiting.
    async fn register(
        self: &Arc<Self>,
        plugin: NewPlugin,
        active: bool,
    ) -> Result<PluginInfo, RegisterPluginError> {
        let component = plugin.component.clone();
        if let Some(reached) = self.component_limit_reached(&component).await? {
            return Err(reached.into());
        }
        let built = self.ports.functions.build(plugin).await?;
        let core = self.clone();
        self.complete(async move { core.store_and_publish(built, component, active).await })
            .await
    }

    /// Stores the component first: a plugin that a client can use is there after a restart as well.
    async fn store_and_publish(
        &self,
        built: Box<dyn BuiltPlugin>,
        component: Arc<[u8]>,
        active: bool,
    ) -> Result<PluginInfo, RegisterPluginError> {
        let _change = self.plugin_change.lock().await;
        // Other components may have been stored while this one was built.
        if let Some(reached) = self.component_limit_reached(&component).await? {
            return Err(reached.into());
        }
        let info = built.preview()?;
        let row = PluginRow {
            digest: info.digest,
            name: info.name,
            version: info.version,
            active,
            component,
            added_at: self.ports.clock.now(),
        };
        let stored = self.ports.store.put_plugin(row).await;
        self.usage.recount().await;
        stored?;
        Ok(built.publish()?)
    }

    /// The limit that a further component exceeds, if any. A component that is stored already needs no room.
    async fn component_limit_reached(
        &self,
        component: &[u8],
    ) -> Result<Option<StorageLimitReached>, StoreError> {
        let store = &*self.ports.store;
        let reached = self
            .usage
            .component_limit_reached(store, &self.settings, component.len())
            .await?;
        Ok(match reached {
            Some(reached) if store.plugin(&Digest::of(component)).await?.is_none() => Some(reached),
            _ => None,
        })
    }

    /// Some of the graphs and runs that need one of these plugins.
    async fn dependents(&self, plugins: &[Arc<PluginInfo>]) -> Result<PluginDependents, RemovePluginError> {
        let mut needs = PluginDependents::default();
        for plugin in plugins {
            let graphs = self.ports.store.graphs_with(&plugin.digest, MAX_NAMED).await?;
            needs.graphs.extend(graphs);
        }
        needs.graphs.dedup();
        let needed = |run: &Run| {
            let mut functions = run.functions.values();
            functions.any(|at| plugins.iter().any(|plugin| plugin.digest == at.digest))
        };
        let mut searched = 0;
        for status in UNFINISHED {
            let filter = RunFilter::of_status(status);
            let mut before = None;
            loop {
                let page = self.ports.store.runs(filter.clone(), before, PAGE_LEN).await?;
                let Some(last) = page.last() else { break };
                before = Some(last.position());
                for row in &page {
                    let is_needed = match self.live(row.id) {
                        Some(live) => live.read(needed),
                        None => match self.load(row.id).await {
                            Ok(loaded) => loaded.is_some_and(|loaded| needed(&loaded.run)),
                            Err(ReadError::Store(error)) => return Err(error.into()),
                            // A damaged run makes no more calls.
                            Err(_) => false,
                        },
                    };
                    needs.runs.extend(is_needed.then_some(row.id));
                }
                searched += page.len();
                needs.is_cut = searched >= MAX_RUNS;
                if needs.is_cut || needs.runs.len() >= MAX_NAMED {
                    needs.runs.truncate(MAX_NAMED);
                    return Ok(needs);
                }
            }
        }
        Ok(needs)
    }
}

fn label(name: &str, version: Option<&str>) -> String {
    match version {
        Some(version) => format!("{name}@{version}"),
        None => name.to_owned(),
    }
}
