//! Groups of runs: the key by which `limits.group` of a graph counts its active runs.

use std::sync::Arc;

use heddle_json::{
    Json,
    object::kind_of,
    tokens::{Tree, compact},
};

use super::{ROOT, Run};
use crate::event::{Failure, FailureKind};

/// The runs of which so many may be under way together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name or id of the graph, and the key where there is one: `review/customer-7`.
    pub name: Arc<str>,
    /// How many of its runs may be under way: begun, and not over.
    pub at_once: u32,
}

/// The longest name of a group, in bytes.
const MAX_GROUP_LEN: usize = 200;

impl Run {
    /// The group that the run counts in, by its graph's `limits.group` and the state that it began with. It
    /// is asked for at the run's start: once the run is over, what it began with is not kept.
    ///
    /// # Errors
    /// Why the expression has no value, or that its value is too long for a name.
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

/// A value as the part of a group's name: a string as it is, and anything else as JSON in the one form that all
/// ways to write the same value share.
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
