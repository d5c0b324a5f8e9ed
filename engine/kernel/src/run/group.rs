//! Groups of runs. `limits.group` of a graph limits how many runs of a group are active at a time.

use std::sync::Arc;

use heddle_json::{
    Json,
    object::kind_of,
    tokens::{Tree, compact},
};

use super::{ROOT, Run};
use crate::event::{Failure, FailureKind};

/// A group of runs, and the number of them that may be active at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name or id of the graph, followed by the group's key if the graph has an expression for one:
    /// `review/customer-7`.
    pub name: Arc<str>,
    /// The number of runs of the group that may be active at a time.
    pub at_once: u32,
}

/// The length limit of a group's name, in bytes.
const MAX_GROUP_LEN: usize = 200;

impl Run {
    /// The group of the run, from its graph's `limits.group` and the state at its start. Ask for it at the
    /// start: once the run has ended, that state is not kept.
    ///
    /// # Errors
    /// The expression has no value, or its value is too long for a name.
    pub fn group(&self) -> Result<Option<Group>, Failure> {
        let Some(limit) = &self.graph.group else {
            return Ok(None);
        };
        let mut name = self.graph.title().to_owned();
        if let Some(by) = &limit.by {
            let input = self.executions.get(&ROOT).map_or(&self.last, |own| &own.input);
            let key = self
                .expression_env(input.clone(), input, 0)
                .evaluate(by, "`limits.group.by`")?;
            name.push('/');
            name.push_str(&group_key(&key));
        }
        if name.len() > MAX_GROUP_LEN {
            let message = format!(
                "the name of the run's group takes {} bytes, more than {MAX_GROUP_LEN}: have `limits.group.by` give \
                 something shorter, such as an id",
                name.len()
            );
            return Err(Failure::new(FailureKind::Limit, message));
        }
        Ok(Some(Group {
            name: name.into(),
            at_once: limit.at_once,
        }))
    }
}

/// The key of a group as text: a string without quotes; any other value as JSON in one canonical form.
fn group_key(value: &Json) -> String {
    let text = value.get();
    let string = match kind_of(text) {
        Some("a string") => serde_json::from_str(text).ok(),
        _ => None,
    };
    string.unwrap_or_else(|| match Tree::of(value) {
        Ok(tree) => tree.identity(),
        Err(_) => compact(text).into_owned(),
    })
}
