//! The context of a node function's call.

/// The context of a call of a node function, with the `config` of its node.
///
/// Without a type, the node's `config` is not read, and the function's description has no schema for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Call<C = ()> {
    /// The `config` of the node in the graph.
    pub config: C,
    /// The id of the run, a UUID.
    pub run_id: String,
    /// The node of the step.
    pub node: String,
    /// The number of this step in its run, from 1.
    pub step: u64,
    /// The number of this attempt of the step, from 1.
    pub attempt: u32,
    /// The same for every attempt of one step, and for no other step.
    pub idempotency_key: String,
}

impl<C> Call<C> {
    /// A first call with this `config`, for tests.
    pub fn new(config: C) -> Self {
        Call {
            step: 1,
            attempt: 1,
            ..Call::<()>::default()
        }
        .with_config(config)
    }

    pub(crate) fn with_config<D>(self, config: D) -> Call<D> {
        let Call {
            config: _,
            run_id,
            node,
            step,
            attempt,
            idempotency_key,
        } = self;
        Call {
            config,
            run_id,
            node,
            step,
            attempt,
            idempotency_key,
        }
    }
}
