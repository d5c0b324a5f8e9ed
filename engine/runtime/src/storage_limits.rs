//! The limits on stored graphs and components, by number and by bytes.

use tokio::sync::Mutex;

use crate::{
    errors::{CreateGraphError, ImportError, StorageLimitReached},
    ports::{Catalog, GraphRow, StoreError, Usage},
    settings::Settings,
};

/// The totals of the stored graphs and components. `None` until they are needed: then the store counts them.
#[derive(Default)]
pub(crate) struct UsageCounter(Mutex<Option<Usage>>);

/// Why something was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    #[error(transparent)]
    StorageLimitReached(#[from] StorageLimitReached),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PutError> for CreateGraphError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::StorageLimitReached(reached) => Self::StorageLimitReached(reached),
            PutError::Store(error) => Self::Store(error),
        }
    }
}

impl From<PutError> for ImportError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::StorageLimitReached(reached) => Self::StorageLimitReached(reached),
            PutError::Store(error) => Self::Store(error),
        }
    }
}

impl UsageCounter {
    /// Stores a graph if the limits allow it. Returns whether the graph is new.
    pub(crate) async fn put_graph(
        &self,
        catalog: &dyn Catalog,
        settings: &Settings,
        graph: GraphRow,
    ) -> Result<bool, PutError> {
        let added = Usage {
            graphs: 1,
            graph_bytes: graph.definition.len() as u64,
            ..Usage::default()
        };
        if let Some(reached) = self.reserve(catalog, settings, added).await? {
            // A graph that is stored already needs no further room.
            return match catalog.graph(&graph.id).await? {
                Some(_) => Ok(catalog.put_graph(graph).await?),
                None => Err(reached.into()),
            };
        }
        let is_new = catalog.put_graph(graph).await;
        if !matches!(is_new, Ok(true)) {
            self.cancel(added).await;
        }
        Ok(is_new?)
    }

    /// The limit that a further component of `bytes` would exceed, if any. Nothing is reserved.
    pub(crate) async fn component_limit_reached(
        &self,
        catalog: &dyn Catalog,
        settings: &Settings,
        bytes: usize,
    ) -> Result<Option<StorageLimitReached>, StoreError> {
        let added = Usage {
            plugins: 1,
            plugin_bytes: bytes as u64,
            ..Usage::default()
        };
        let mut counted = self.0.lock().await;
        let now = count(&mut counted, catalog).await?;
        Ok(exceeded(added, now.with(added), settings))
    }

    /// Has the store count again before the next reservation: something was deleted, or was stored already.
    pub(crate) async fn recount(&self) {
        *self.0.lock().await = None;
    }

    async fn reserve(
        &self,
        catalog: &dyn Catalog,
        settings: &Settings,
        added: Usage,
    ) -> Result<Option<StorageLimitReached>, StoreError> {
        let mut counted = self.0.lock().await;
        let then = count(&mut counted, catalog).await?.with(added);
        let reached = exceeded(added, then, settings);
        if reached.is_none() {
            *counted = Some(then);
        }
        Ok(reached)
    }

    async fn cancel(&self, added: Usage) {
        if let Some(counted) = &mut *self.0.lock().await {
            counted.plugins = counted.plugins.saturating_sub(added.plugins);
            counted.plugin_bytes = counted.plugin_bytes.saturating_sub(added.plugin_bytes);
            counted.graphs = counted.graphs.saturating_sub(added.graphs);
            counted.graph_bytes = counted.graph_bytes.saturating_sub(added.graph_bytes);
        }
    }
}

impl Usage {
    fn with(self, added: Self) -> Self {
        Self {
            plugins: self.plugins + added.plugins,
            plugin_bytes: self.plugin_bytes + added.plugin_bytes,
            graphs: self.graphs + added.graphs,
            graph_bytes: self.graph_bytes + added.graph_bytes,
        }
    }
}

/// The totals, which the store counts if they are not known.
async fn count(counted: &mut Option<Usage>, catalog: &dyn Catalog) -> Result<Usage, StoreError> {
    Ok(match *counted {
        Some(now) => now,
        None => *counted.insert(catalog.usage().await?),
    })
}

/// The first limit that `then` exceeds, among the limits on what is `added`.
fn exceeded(added: Usage, then: Usage, settings: &Settings) -> Option<StorageLimitReached> {
    let reached = |what, number, limit, name| StorageLimitReached {
        what,
        number,
        limit,
        name,
    };
    let limits = [
        (
            added.graphs,
            reached("graphs", then.graphs, settings.max_graphs, "max_graphs"),
        ),
        (
            added.graphs,
            reached(
                "bytes of graphs",
                then.graph_bytes,
                settings.max_graph_bytes,
                "max_graph_bytes",
            ),
        ),
        (
            added.plugins,
            reached(
                "components of plugins",
                then.plugins,
                settings.max_plugins,
                "max_plugins",
            ),
        ),
        (
            added.plugins,
            reached(
                "bytes of components",
                then.plugin_bytes,
                settings.max_plugin_bytes,
                "max_plugin_bytes",
            ),
        ),
    ];
    let mut exceeded = limits
        .into_iter()
        .filter(|(added, reached)| *added > 0 && reached.number > reached.limit);
    exceeded.next().map(|(_, reached)| reached)
}
