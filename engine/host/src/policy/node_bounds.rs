//! The limits and grants that nodes of graphs narrow, parsed once for each node.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use heddle_json::deserialize::NullRule;
use heddle_kernel::graph::Bounds;

use super::{concurrency::Concurrency, limits::Limits, node_grants::NodeGrants, rules::Rules};

/// How many nodes' bounds are cached; above that, bounds that no call uses are dropped.
const MAX_NODES: usize = 10_000;

/// The bounds of nodes, by the node's identity in its graph.
#[derive(Debug, Default)]
pub(crate) struct NodeBoundsCache {
    nodes: RwLock<HashMap<Arc<str>, Arc<NodeBounds>>>,
}

/// The bounds of one node.
#[derive(Debug)]
pub(crate) struct NodeBounds {
    /// The node's `limits`.
    pub(crate) limits: Limits,
    /// The node's `grants`, if it has any.
    grants: Option<NodeGrants>,
    pub(crate) concurrency: Concurrency,
}

impl NodeBoundsCache {
    /// The bounds of a node.
    ///
    /// # Errors
    /// What is invalid. Creating the graph finds this, unless another version of the engine created it.
    pub(crate) fn of(&self, bounds: &Bounds) -> Result<Arc<NodeBounds>, String> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = nodes.get(&bounds.of) {
            return Ok(known.clone());
        }
        drop(nodes);
        // Earlier versions created graphs with null for a limit or a list.
        let null = NullRule::IsAbsent;
        let limits = bounds.limits.as_ref();
        let limits = limits.map(|limits| Limits::of_node(limits, null)).transpose();
        let limits = limits
            .map_err(|problems| problems_text(&problems))?
            .unwrap_or_default();
        let grants = bounds.grants.as_ref();
        let grants = grants.map(|grants| NodeGrants::of_node(grants, null)).transpose();
        let grants = grants.map_err(|problems| problems_text(&problems))?;
        let narrowed_to = Arc::new(NodeBounds {
            concurrency: Concurrency::new(limits.at_once()),
            limits,
            grants,
        });
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= MAX_NODES {
            nodes.retain(|_, narrowed_to| Arc::strong_count(narrowed_to) > 1);
        }
        // Another call may have added the bounds first: all calls share one semaphore.
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
    /// The rules of the node's calls: those of its plugin, without the grants that the node leaves out.
    pub(crate) fn rules(&self, of_plugin: &Arc<Rules>) -> Arc<Rules> {
        match &self.grants {
            Some(grants) => of_plugin.narrowed_to(grants),
            None => of_plugin.clone(),
        }
    }
}
