//! Plugins as the engine keeps them: registered, held to by graphs and runs, and removed.

use std::sync::Arc;

use heddle_kernel::{Digest, GraphId, Run, RunId, Status, event::FunctionRef};

use crate::{
    answer::{ReadError, RegisterPluginError, RemovePluginError},
    engine::Engine,
    inner::Inner,
    ports::{NewPlugin, PluginInfo, PluginRow, RegisterError, RunFilter, StoreError},
};

/// How many graphs and runs are named that need a plugin.
const MOST_NAMED: usize = 5;
/// How many runs are looked through for one that needs a plugin.
const MOST_RUNS: usize = 10_000;
/// How many runs are listed at once meanwhile.
const PAGE: usize = 500;
/// The runs that may still call something.
const NOT_OVER: [Status; 4] = [Status::Queued, Status::Running, Status::Waiting, Status::Paused];

/// What needs a plugin: some of it, to be named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Graphs that were created with it.
    pub graphs: Vec<GraphId>,
    /// Runs that are not over and keep to it.
    pub runs: Vec<RunId>,
    /// Whether so many runs are not over that only some of them were looked at.
    pub is_cut: bool,
}

impl Needs {
    fn is_empty(&self) -> bool {
        self.graphs.is_empty() && self.runs.is_empty() && !self.is_cut
    }
}

impl Engine {
    /// Registers a plugin and keeps it, so that it is there after a restart. A component that is new under a name with
    /// grants is refused unless `replace_granted` says that it shall have them, or the policy lists it.
    ///
    /// # Errors
    /// Where it was refused, or could not be kept.
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
        self.inner.register(new, true).await
    }

    /// Registers a component of the plugins folder, whose file is named `stem`. It is kept for
    /// the graphs and runs that hold to it, and registered again only while its file is there.
    ///
    /// # Errors
    /// Where it was refused, or could not be kept.
    pub async fn register_from_folder(
        &self,
        component: Arc<[u8]>,
        stem: String,
    ) -> Result<PluginInfo, RegisterPluginError> {
        let new = NewPlugin {
            fallback_name: Some(stem),
            renumbered: self.inner.settings.follow_plugins,
            ..NewPlugin::of(component)
        };
        self.inner.register(new, false).await
    }

    /// Does all of a registration but keeping the plugin and making it visible, and says what it would be.
    ///
    /// # Errors
    /// Why it would be refused.
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
        Ok(self.inner.ports.functions.inspect(new).await?)
    }

    /// Removes a version of a plugin, or all of them where `version` is none. What needs it keeps it there,
    /// unless the removal is forced: then that fails when it next calls it. One that has grants is removed only with
    /// `replace_granted`. A component of the plugins
    /// folder comes back at the next start if its file is still there.
    ///
    /// # Errors
    /// Where there is no such plugin, something needs it, or the store gives no answer.
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
            let needs = self.inner.needs(&removed).await?;
            if !needs.is_empty() {
                return Err(RemovePluginError::Needed {
                    plugin: label(name, version),
                    needs,
                });
            }
        }
        for plugin in &removed {
            self.inner.ports.journal.delete_plugin(&plugin.digest).await?;
            self.inner.ports.functions.remove(&plugin.digest);
        }
        self.inner.count_again().await;
        Ok(removed)
    }
}

impl Inner {
    /// Makes sure that the plugins which a run keeps to can be called.
    pub(crate) async fn register_pinned(&self, run: &Run) -> Result<(), StoreError> {
        for function in run.functions.values() {
            if self.ports.functions.has(&function.digest) {
                continue;
            }
            // Where it cannot be had, the step that needs it fails with a clear error of its own.
            if let Some(error) = self.register_exact(function).await? {
                let plugin = &function.plugin;
                tracing::error!(run = %run.id, %plugin, %error, "a plugin that a run keeps to is gone");
            }
        }
        Ok(())
    }

    /// Registers the component of a function that is not registered, for whoever keeps to it. Answers why
    /// it cannot be had, where it cannot.
    pub(crate) async fn register_exact(&self, function: &FunctionRef) -> Result<Option<String>, StoreError> {
        Ok(match self.ports.journal.plugin(&function.digest).await {
            Ok(Some(plugin)) => {
                let registered = self.register_kept(plugin, true).await;
                registered.err().map(|error| error.to_string())
            }
            Ok(None) => Some("that was removed".to_owned()),
            Err(StoreError::Damaged(error)) => Some(error),
            Err(error) => return Err(error),
        })
    }

    pub(crate) async fn register_kept(
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

    async fn register(&self, plugin: NewPlugin, active: bool) -> Result<PluginInfo, RegisterPluginError> {
        let component = plugin.component.clone();
        if let Some(full) = self.component_is_too_much(component.len()).await? {
            // One that is kept already takes nothing more.
            let digest = Digest::of(&component);
            if self.ports.journal.plugin(&digest).await?.is_none() {
                return Err(full.into());
            }
        }
        let kept = self.register_and_keep(plugin, component, active).await;
        // It may have been kept before, or not at all.
        self.count_again().await;
        kept
    }

    async fn register_and_keep(
        &self,
        plugin: NewPlugin,
        component: Arc<[u8]>,
        active: bool,
    ) -> Result<PluginInfo, RegisterPluginError> {
        let info = self.ports.functions.register(plugin).await?;
        let row = PluginRow {
            digest: info.digest.clone(),
            name: info.name.clone(),
            version: info.version.clone(),
            active,
            component,
            added_at: self.ports.clock.now(),
        };
        self.ports.journal.put_plugin(row).await?;
        Ok(info)
    }

    /// What needs one of these plugins.
    async fn needs(&self, plugins: &[Arc<PluginInfo>]) -> Result<Needs, RemovePluginError> {
        let mut needs = Needs::default();
        for plugin in plugins {
            let graphs = self.ports.journal.graphs_with(&plugin.digest, MOST_NAMED).await?;
            needs.graphs.extend(graphs);
        }
        needs.graphs.dedup();
        let needed = |run: &Run| {
            let mut functions = run.functions.values();
            functions.any(|at| plugins.iter().any(|plugin| plugin.digest == at.digest))
        };
        let mut looked_at = 0;
        for status in NOT_OVER {
            let filter = RunFilter::of_status(status);
            let mut before = None;
            loop {
                let page = self.ports.journal.runs(filter.clone(), before, PAGE).await?;
                let Some(last) = page.last() else { break };
                before = Some(last.position());
                for row in &page {
                    let is_needed = match self.live(row.id) {
                        Some(live) => live.read(needed),
                        None => match self.load(row.id).await {
                            Ok(loaded) => loaded.is_some_and(|loaded| needed(&loaded.run)),
                            Err(ReadError::Store(error)) => return Err(error.into()),
                            // A run that is damaged will call nothing any more.
                            Err(_) => false,
                        },
                    };
                    needs.runs.extend(is_needed.then_some(row.id));
                }
                looked_at += page.len();
                needs.is_cut = looked_at >= MOST_RUNS;
                if needs.is_cut || needs.runs.len() >= MOST_NAMED {
                    needs.runs.truncate(MOST_NAMED);
                    return Ok(needs);
                }
            }
        }
        Ok(needs)
    }
}

impl NewPlugin {
    /// A component to register under its own name and version, on the operator's word.
    pub fn of(component: Arc<[u8]>) -> Self {
        Self {
            component,
            name: None,
            version: None,
            fallback_name: None,
            renumbered: false,
            hidden: false,
            replace_granted: true,
            waits: true,
        }
    }
}

fn label(name: &str, version: Option<&str>) -> String {
    match version {
        Some(version) => format!("{name}@{version}"),
        None => name.to_owned(),
    }
}
