//! The input of a step, for clients who inspect a run.

use heddle_json::{Json, Object};

use super::{ActiveWait, Run};
use crate::{
    event::{Failure, FunctionRef},
    graph::NodeAction,
    ids::Timestamp,
};

/// The input of a step: the values that its node's expressions gave.
#[derive(Clone, Debug)]
pub enum StepInput {
    /// A call of a function.
    Call {
        /// The exact function.
        function: FunctionRef,
        /// The input of the call.
        input: Object,
        /// The node's `config`.
        config: Json,
    },
    /// A map: the list or the object of its items.
    Map(Json),
    /// An inner graph: its state at the start.
    Graph(Object),
    /// A wait for a signal.
    Wait(Box<ActiveWait>),
    /// A sleep.
    Sleep {
        /// When the sleep ends.
        until: Option<Timestamp>,
    },
}

impl Run {
    /// The input of the latest attempt of an active step. It is derived from the run after the event by which
    /// the attempt started; events of other steps do not change it. `None` if the step is not active.
    ///
    /// # Errors
    /// The expressions have no value. This is the failure of the step.
    pub fn step_input(&self, step: u64) -> Option<Result<StepInput, Failure>> {
        let active_step = self.active_steps.get(&step)?;
        let node = self.graph_of(active_step).node(active_step.node);
        Some(match (&node.action, node.uses(), active_step.item) {
            (NodeAction::Map(map), _, None) => self
                .step_env(active_step)
                .evaluate(&map.over, "`map.over`")
                .map(StepInput::Map),
            (_, Some(_), _) => self.input_of(active_step, node).and_then(|(input, _)| {
                let function = self.function_of(node)?;
                let config = node.config.clone();
                Ok(StepInput::Call {
                    function,
                    input,
                    config,
                })
            }),
            (NodeAction::Sleep(_), ..) => Ok(StepInput::Sleep {
                until: active_step.until(),
            }),
            (NodeAction::Wait(_), ..) => {
                let waiting = self.waits().find(|waiting| waiting.step == step)?;
                Ok(StepInput::Wait(Box::new(waiting)))
            }
            _ => self
                .input_of(active_step, node)
                .map(|(state, _)| StepInput::Graph(state)),
        })
    }
}
