//! What a step was given when it began, for those who look at a run afterwards.

use heddle_json::{Json, Object};

use super::{ActiveWait, Run};
use crate::{
    event::{Failure, FailureKind, FunctionRef},
    graph::NodeAction,
    ids::Timestamp,
};

/// What a step was given: everything that its node's expressions made for it.
#[derive(Clone, Debug)]
pub enum StepInput {
    /// A call of a function.
    Call {
        /// The exact function.
        function: FunctionRef,
        /// What the function was called with.
        input: Object,
        /// The node's `config`.
        config: Json,
    },
    /// A map: the list, or the object, of its items.
    Map(Json),
    /// A graph: the state that it began with.
    Graph(Object),
    /// A wait for a signal.
    Wait(Box<ActiveWait>),
    /// A sleep.
    Sleep {
        /// Until when.
        until: Option<Timestamp>,
    },
}

impl Run {
    /// What the latest attempt of a step under way was given, derived from the run as it is after the event by which
    /// the attempt began. Nothing that happens to other steps changes it. `None` where the step is not under way.
    ///
    /// # Errors
    /// Why there is no such thing, which is the failure of the step.
    pub fn step_input(&self, step: u64) -> Option<Result<StepInput, Failure>> {
        let active_step = self.active_steps.get(&step)?;
        let node = self.graph_of(active_step).node(active_step.node);
        Some(match (&node.action, node.uses(), active_step.item) {
            (NodeAction::Map(map), _, None) => self
                .step_env(active_step)
                .evaluate(&map.over, "`map.over`")
                .map(StepInput::Map),
            (_, Some(uses), _) => self.input_of(active_step, node).and_then(|(input, _)| {
                let function = self.functions.get(uses).cloned();
                let function = function.ok_or_else(|| {
                    Failure::new(
                        FailureKind::Unavailable,
                        format!("the run keeps no function `{uses}`"),
                    )
                })?;
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
