//! How many graphs and components may be kept, and how many bytes they may take.

use tokio::sync::Mutex;

use crate::{
    answer::{CreateGraphError, Full, ImportError},
    inner::Inner,
    ports::{GraphRow, StoreError, Usage},
};

/// What is kept, as far as it was counted: nothing until somebody asks.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Option<Usage>>);

/// Why something was not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error(transparent)]
    Full(#[from] Full),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<KeepError> for CreateGraphError {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Full(full) => Self::Full(full),
            KeepError::Store(error) => Self::Store(error),
        }
    }
}

impl From<KeepError> for ImportError {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Full(full) => Self::Full(full),
            KeepError::Store(error) => Self::Store(error),
        }
    }
}

impl Inner {
    /// Keeps a graph, if there is room for it. Answers whether it is new.
    pub(crate) async fn put_graph(&self, graph: GraphRow) -> Result<bool, KeepError> {
        let bytes = graph.definition.len() as u64;
        let full = self.take(0, 0, 1, bytes).await?;
        if let Some(full) = full {
            // One that is there already takes nothing more.
            return match self.ports.journal.graph(&graph.id).await? {
                Some(_) => Ok(self.ports.journal.put_graph(graph).await?),
                None => Err(full.into()),
            };
        }
        let kept = self.ports.journal.put_graph(graph).await;
        if !matches!(kept, Ok(true)) {
            self.give_back(0, 0, 1, bytes).await;
        }
        Ok(kept?)
    }

    /// Whether there is room for one more component of so many bytes: why not, where there is none.
    pub(crate) async fn component_is_too_much(&self, bytes: usize) -> Result<Option<Full>, StoreError> {
        self.take(1, bytes as u64, 0, 0).await
    }

    /// Has the store count anew before room is taken next: something was deleted, or was there already.
    pub(crate) async fn count_again(&self) {
        *self.kept.0.lock().await = None;
    }

    async fn take(
        &self,
        plugins: u64,
        plugin_bytes: u64,
        graphs: u64,
        graph_bytes: u64,
    ) -> Result<Option<Full>, StoreError> {
        let mut kept = self.kept.0.lock().await;
        let now = match *kept {
            Some(now) => now,
            None => self.ports.journal.usage().await?,
        };
        let then = Usage {
            plugins: now.plugins + plugins,
            plugin_bytes: now.plugin_bytes + plugin_bytes,
            graphs: now.graphs + graphs,
            graph_bytes: now.graph_bytes + graph_bytes,
        };
        let settings = &self.settings;
        let full = [
            (graphs, "graphs", then.graphs, settings.max_graphs, "max_graphs"),
            (
                graphs,
                "bytes of graphs",
                then.graph_bytes,
                settings.max_graph_bytes,
                "max_graph_bytes",
            ),
            (
                plugins,
                "components of plugins",
                then.plugins,
                settings.max_plugins,
                "max_plugins",
            ),
            (
                plugins,
                "bytes of components",
                then.plugin_bytes,
                settings.max_plugin_bytes,
                "max_plugin_bytes",
            ),
        ]
        .into_iter()
        .find(|(wanted, _, number, limit, _)| *wanted > 0 && number > limit)
        .map(|(_, what, number, limit, name)| Full {
            what,
            number,
            limit,
            name,
        });
        *kept = Some(if full.is_some() { now } else { then });
        Ok(full)
    }

    async fn give_back(&self, plugins: u64, plugin_bytes: u64, graphs: u64, graph_bytes: u64) {
        if let Some(kept) = &mut *self.kept.0.lock().await {
            kept.plugins = kept.plugins.saturating_sub(plugins);
            kept.plugin_bytes = kept.plugin_bytes.saturating_sub(plugin_bytes);
            kept.graphs = kept.graphs.saturating_sub(graphs);
            kept.graph_bytes = kept.graph_bytes.saturating_sub(graph_bytes);
        }
    }
}
