//! Waits of a run, and the map items that contain them.

use std::sync::Arc;

use heddle_json::Json;
use heddle_kernel::run::{ActiveWait, MapItem};
use serde::Serialize;
use utoipa::ToSchema;

use super::moment::Moment;

/// An item of a map that contains a wait or a step.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = WaitItem)]
pub(crate) struct WaitItem {
    /// The node of the map.
    #[schema(value_type = String)]
    node: Arc<str>,
    /// The step of the map.
    of: u64,
    /// The item's index, from 0.
    index: u32,
    /// The item's key if the map iterates over an object, else null.
    #[schema(value_type = Option<String>, required)]
    key: Option<Arc<str>>,
}

impl WaitItem {
    /// Creates an item of the map at `node`, whose step is `of`.
    pub(crate) fn new(node: Arc<str>, of: u64, index: u32, key: Option<Arc<str>>) -> Self {
        Self { node, of, index, key }
    }
}

impl From<MapItem> for WaitItem {
    fn from(item: MapItem) -> Self {
        Self {
            node: item.node,
            of: item.of,
            index: item.index,
            key: item.key,
        }
    }
}

/// A step that waits for a signal or for a time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Wait)]
pub(crate) struct WaitView {
    /// The id of the wait, which a signal can name: the number of its step.
    id: u64,
    /// The number of the step; the same as `id`.
    step: u64,
    /// The map items that contain the wait, outermost first; empty outside of maps.
    items: Vec<WaitItem>,
    /// The innermost of `items`; null outside of maps.
    #[schema(required)]
    item: Option<WaitItem>,
    /// All but the last of `items`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outer_items: Vec<WaitItem>,
    /// When the wait began.
    #[schema(value_type = String, format = DateTime)]
    since: Moment,
    /// The node that waits.
    #[schema(value_type = String)]
    node: Arc<str>,
    /// The name of the signal to send with `POST /v1/runs/{run_id}/signal`; null if the step waits only for a time.
    #[schema(value_type = Option<String>, required)]
    signal: Option<Arc<str>>,
    /// The question for a person, if the node has a `prompt`.
    #[schema(value_type = Option<String>, required)]
    prompt: Option<Arc<str>>,
    /// The JSON Schema of the signal's payload.
    #[schema(value_type = Option<Value>, required)]
    schema: Option<Json>,
    /// When the wait ends without a signal; null if it has no timeout.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    until: Option<Moment>,
}

impl From<ActiveWait> for WaitView {
    fn from(waiting: ActiveWait) -> Self {
        let items: Vec<WaitItem> = waiting.items.into_iter().map(WaitItem::from).collect();
        let mut outer_items = items.clone();
        let item = outer_items.pop();
        Self {
            id: waiting.step,
            step: waiting.step,
            items,
            item,
            outer_items,
            since: Moment(waiting.since),
            node: waiting.node,
            signal: waiting.signal,
            prompt: waiting.prompt,
            schema: waiting.schema,
            until: waiting.until.map(Moment),
        }
    }
}
