//! The graphs that a run keeps to: made again from their definitions, whatever is registered by then.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{Definition, Diagnostic, Findings, Function, FunctionKind, Graph, check};
use crate::{
    event::{Event, FunctionRef},
    ids::GraphId,
};

/// What an event has its run keep to from there on.
#[derive(Clone, Copy, Debug)]
pub struct Pins<'e> {
    /// The graph that it runs.
    pub graph: &'e GraphId,
    /// For each graph that its graphs name, the one to keep to.
    pub graphs: &'e BTreeMap<Arc<str>, GraphId>,
    /// For each function that they name, the one to keep to.
    pub functions: &'e BTreeMap<Arc<str>, FunctionRef>,
}

impl<'e> Pins<'e> {
    /// What this event has its run keep to, where it does so: a start, a fork or an upgrade.
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

    /// A graph that was checked when it was created, as a run sees it that keeps to these functions: that
    /// some are not registered any more is no matter.
    ///
    /// # Errors
    /// What is wrong with the definition.
    pub fn rebuild(&self, definition: &str) -> Result<Graph, Vec<Diagnostic>> {
        self.made_of(&Definition::parse(definition)?)
    }

    /// The same for a definition of an export, which may be anybody's.
    ///
    /// # Errors
    /// What is wrong with the definition.
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
