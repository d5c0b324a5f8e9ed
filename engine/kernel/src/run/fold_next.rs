//! Folds a journal event by event, with the graphs that its events name.

use std::sync::Arc;

use super::{FoldError, Graphs, Run};
use crate::{
    event::EventRecord,
    graph::{Graph, Pins},
    ids::{GraphId, RunId},
};

/// A run's graph, and the graphs that its graphs name.
pub type NamedGraphs = (Arc<Graph>, Arc<Graphs>);

impl Pins<'_> {
    /// Finds the run's graph, and the graphs that its graphs name.
    ///
    /// # Errors
    /// The first error of `find`.
    pub fn resolve<E>(
        &self,
        mut find: impl FnMut(&GraphId) -> Result<Arc<Graph>, E>,
    ) -> Result<NamedGraphs, E> {
        let own = find(self.graph)?;
        let mut named = Graphs::new();
        for (name, id) in self.graphs {
            named.insert(name.clone(), find(id)?);
        }
        Ok((own, Arc::new(named)))
    }
}

impl Run {
    /// Folds the next event of a journal into `run`, which is `None` before the first event. `graphs` are those that the
    /// event [pins](Pins::of) the run to, if any.
    ///
    /// # Errors
    /// If the event does not follow the run's last event, or does not fit the run or its graphs. The run is not usable
    /// afterwards.
    pub fn fold_next(
        run: &mut Option<Self>,
        id: RunId,
        event: &EventRecord,
        graphs: Option<NamedGraphs>,
    ) -> Result<(), FoldError> {
        match (run, graphs) {
            (Some(run), graphs) => {
                if let Some((graph, graphs)) = graphs {
                    run.stage(graph, graphs);
                }
                run.fold(event)
            }
            (run @ None, Some((graph, graphs))) => {
                *run = Some(Self::from_first(id, graph, graphs, event)?);
                Ok(())
            }
            (None, None) => Err(FoldError::NoStart),
        }
    }
}
