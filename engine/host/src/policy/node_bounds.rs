//! What nodes of graphs narrow: read once for each node, and found again by its place.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use heddle_kernel::graph::Bounds;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{limits::Limits, node_grants::NodeGrants, rules::Rules};

/// How many nodes' bounds are kept at hand; past that, those that no call uses are read again.
const MAX_NODES: usize = 10_000;

/// What the nodes of graphs narrow.
#[derive(Debug, Default)]
pub(crate) struct NodeBoundsCache {
    nodes: RwLock<HashMap<Arc<str>, Arc<NodeBounds>>>,
}

/// What one node narrows.
#[derive(Debug)]
pub(crate) struct NodeBounds {
    /// What its calls may use up, where less than they may anyway.
    pub(crate) limits: Limits,
    /// What is left of its plugin's grants, where it says.
    grants: Option<NodeGrants>,
    concurrency: Option<Semaphore>,
}

impl NodeBoundsCache {
    /// What a node narrows.
    ///
    /// # Errors
    /// What is wrong with it, which was found when its graph was created, unless by another version.
    pub(crate) fn of(&self, bounds: &Bounds) -> Result<Arc<NodeBounds>, String> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = nodes.get(&bounds.of) {
            return Ok(known.clone());
        }
        drop(nodes);
        let limits = bounds.limits.as_ref().map(Limits::of_node).transpose();
        let limits = limits
            .map_err(|problems| problems_text(&problems))?
            .unwrap_or_default();
        let grants = bounds.grants.as_ref().map(NodeGrants::of_node).transpose();
        let grants = grants.map_err(|problems| problems_text(&problems))?;
        let narrowed_to = Arc::new(NodeBounds {
            concurrency: limits.at_once().map(Semaphore::new),
            limits,
            grants,
        });
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= MAX_NODES {
            nodes.retain(|_, narrowed_to| Arc::strong_count(narrowed_to) > 1);
        }
        // Another call may have been first: its places count for this one, too.
        Ok(nodes.entry(bounds.of.clone()).or_insert(narrowed_to).clone())
    }
}

fn problems_text(problems: &[(String, String)]) -> String {
    let problems_text: Vec<_> = problems
        .iter()
        .map(|(at, problem)| format!("{at}: {problem}"))
        .collect();
    problems_text.join("; ")
}

impl NodeBounds {
    /// What holds for the node's calls: what holds for its plugin, without the grants that it leaves out.
    pub(crate) fn rules(&self, of_plugin: &Arc<Rules>) -> Arc<Rules> {
        match &self.grants {
            Some(grants) => of_plugin.narrowed_to(grants),
            None => of_plugin.clone(),
        }
    }

    /// Waits until one more call of the node may begin, in the order of arrival.
    pub(crate) async fn acquire_permit(&self) -> Option<SemaphorePermit<'_>> {
        let concurrency = self.concurrency.as_ref()?;
        Some(
            concurrency
                .acquire()
                .await
                .expect("these places are never closed"),
        )
    }
}
