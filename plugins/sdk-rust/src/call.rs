//! What a node function may know of its call besides the state.

/// Where and for what a node function is called, and the `config` of its node.
///
/// Without a type, the node's `config` is not looked at and the function's description asks for none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Call<C = ()> {
    /// The `config` of the node in the graph.
    pub config: C,
    /// The id of the run, a UUID.
    pub run_id: String,
    /// The node that the run is at.
    pub node: String,
    /// The number of this step in its run, from 1.
    pub step: u64,
    /// The number of this attempt of the step, from 1.
    pub attempt: u32,
    /// The same for every attempt of one step, and for no other step.
    pub idempotency_key: String,
}

impl<C> Call<C> {
    /// A first call with this `config` and nothing else, as a test wants it.
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
