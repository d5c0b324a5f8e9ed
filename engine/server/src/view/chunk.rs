//! Chunks: live output of functions, such as tokens or progress, sent to watchers and not stored.

use heddle_json::Json;
use heddle_kernel::RunId;
use heddle_runtime::Chunk;
use serde::Serialize;
use utoipa::ToSchema;

/// Live output of a function. Chunks are not stored and have no event number.
#[derive(Serialize, ToSchema)]
#[schema(as = Chunk)]
pub(crate) struct ChunkView<'c> {
    /// Always `chunk`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The run's id (UUID).
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The node whose function sent the chunk.
    node: &'c str,
    /// The number of the step.
    step: u64,
    /// The data of the chunk.
    #[schema(value_type = Value)]
    data: &'c Json,
    /// Always false: only clients that are watching when a chunk is sent receive it.
    kept: bool,
}

impl<'c> ChunkView<'c> {
    /// Builds the message for a chunk of a run.
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

    /// Returns the message as JSON text.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("a chunk's keys are strings")
    }
}

/// A notice that the client was too slow and missed chunks. Events are never missed.
#[derive(Serialize, ToSchema)]
#[schema(as = ChunksMissed)]
pub(crate) struct MissedView {
    /// Always `chunks_missed`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The run's id (UUID).
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The number of missed chunks.
    count: u64,
    /// Always false.
    kept: bool,
}

impl MissedView {
    /// Builds the notice for `count` missed chunks.
    pub(crate) fn of(run: RunId, count: u64) -> Self {
        Self {
            kind: "chunks_missed",
            run_id: run,
            count,
            kept: false,
        }
    }

    /// Returns the notice as JSON text.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("its keys are strings")
    }
}
