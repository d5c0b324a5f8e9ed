//! What functions send while they run, as watchers see it.

use heddle_json::Json;
use heddle_kernel::RunId;
use heddle_runtime::Chunk;
use serde::Serialize;
use utoipa::ToSchema;

/// What a function sends out while it runs, as a watcher sees it: not kept, and without a number.
#[derive(Serialize, ToSchema)]
#[schema(as = Chunk)]
pub(crate) struct ChunkView<'c> {
    /// Always `chunk`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The run.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The node that the function runs at.
    node: &'c str,
    /// The step.
    step: u64,
    /// What was sent.
    #[schema(value_type = Value)]
    data: &'c Json,
    /// Always false: a chunk is told only to who watches at that moment.
    kept: bool,
}

impl<'c> ChunkView<'c> {
    /// How a chunk of a run looks.
    pub(crate) fn of(run: RunId, chunk: &'c Chunk) -> Self {
        Self {
            kind: "chunk",
            run_id: run,
            node: &chunk.node,
            step: chunk.step,
            data: &chunk.data,
            kept: false,
        }
    }

    /// The chunk as JSON text.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("a chunk's keys are strings")
    }
}

/// That a watcher missed chunks, since it was too slow for them. Events are never missed.
#[derive(Serialize, ToSchema)]
#[schema(as = ChunksMissed)]
pub(crate) struct MissedView {
    /// Always `chunks_missed`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The run.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// How many.
    count: u64,
    /// Always false.
    kept: bool,
}

impl MissedView {
    /// How it looks that so many chunks were missed.
    pub(crate) fn of(run: RunId, count: u64) -> Self {
        Self {
            kind: "chunks_missed",
            run_id: run,
            count,
            kept: false,
        }
    }

    /// The same as JSON text.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("its keys are strings")
    }
}
