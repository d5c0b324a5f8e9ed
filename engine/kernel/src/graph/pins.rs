//! The graphs and functions that a run is pinned to, rebuilt from their definitions.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{Definition, Diagnostic, Findings, Function, FunctionKind, Graph, check};
use crate::{
    event::{Event, FunctionRef},
    ids::GraphId,
};

/// The versions to which an event pins its run.
#[derive(Clone, Copy, Debug)]
pub struct Pins<'e> {
    /// The graph of the run.
    pub graph: &'e GraphId,
    /// The graphs that the run is pinned to, by name.
    pub graphs: &'e BTreeMap<Arc<str>, GraphId>,
    /// The functions that the run is pinned to, by name.
    pub functions: &'e BTreeMap<Arc<str>, FunctionRef>,
}

impl<'e> Pins<'e> {
    /// The versions in a start, a fork or an upgrade; `None` for other events.
    pub fn of(event: &'e Event) -> Option<Self> {
        match event {
            Event::RunStarted {
                graph,
                graphs,
                functions,
                ..
            }
            | Event::RunForked {
                graph,
                graphs,
                functions,
                ..
            }
            | Event::RunUpgraded {
                graph,
                graphs,
                functions,
            } => Some(Self {
                graph,
                graphs,
                functions,
            }),
            _ => None,
        }
    }

    /// Rebuilds a graph that was checked at its creation, for a run that is pinned to these functions.
    /// Functions that are no longer registered are not an error.
    ///
    /// # Errors
    /// The problems of the definition.
    pub fn rebuild(&self, definition: &str) -> Result<Graph, Vec<Diagnostic>> {
        self.made_of(&Definition::parse(definition)?)
    }

    /// Rebuilds a graph of an export, which is not trusted.
    ///
    /// # Errors
    /// The problems of the definition.
    pub fn rebuild_imported(&self, definition: &str) -> Result<Graph, Vec<Diagnostic>> {
        self.made_of(&Definition::parse_imported(definition)?)
    }

    fn made_of(&self, definition: &Definition) -> Result<Graph, Vec<Diagnostic>> {
        let find = |uses: &str| {
            let routes = self.functions.get(uses).map(|found| found.routes.iter());
            Ok(Function {
                kind: FunctionKind::Tool,
                routes: routes.into_iter().flatten().map(ToString::to_string).collect(),
                input: Value::Null,
                output: Value::Null,
            })
        };
        let checked = check(definition, find, |_| Ok(None));
        checked.map(|(graph, _)| graph).map_err(Findings::into_shown)
    }
}
