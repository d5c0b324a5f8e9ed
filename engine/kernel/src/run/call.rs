//! The input of a call: the branch's view of the state, or the values of the node's `input`.

use std::{cell::OnceCell, sync::Arc};

use heddle_expr::{Bound, Expr};
use heddle_json::{Json, Object, object::to_json};
use serde_json::json;

use super::{ActiveStep, Run, StepState};
use crate::{
    event::{Failure, FailureKind, FunctionRef},
    graph::{Bounds, Node, NodeAction},
    ids::Timestamp,
};

/// A pending call, ready to be made.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The exact function.
    pub function: FunctionRef,
    /// The branch's view of the state, or the values of the node's `input`.
    pub input: Object,
    /// Whether `input` comes from the node's `input`.
    pub mapped: bool,
    /// The node's `config`.
    pub config: Json,
    /// The name of the node.
    pub node: Arc<str>,
    /// The time limit of the attempt, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The node's limits and grants, which narrow those of the function.
    pub bounds: Option<Arc<Bounds>>,
    /// The start of the step's first attempt.
    pub started_at: Timestamp,
}

impl Run {
    /// The pending call of an active step. `None` if it has none.
    ///
    /// # Errors
    /// The call cannot be made. The failure is then the answer of the call.
    pub fn prepare(&self, step: u64) -> Option<Result<Prepared, Failure>> {
        let active_step = self.active_steps.get(&step)?;
        matches!(active_step.state, StepState::Call).then(|| {
            let node = self.graph_of(active_step).node(active_step.node);
            let function = self.function_of(node)?;
            let (input, mapped) = self.input_of(active_step, node)?;
            Ok(Prepared {
                function,
                input,
                mapped,
                config: node.config.clone(),
                node: node.name.clone(),
                timeout_ms: node.timeout_ms,
                bounds: node.bounds.clone(),
                started_at: active_step.started_at,
            })
        })
    }

    /// The function that the run is pinned to for a node.
    pub(super) fn function_of(&self, node: &Node) -> Result<FunctionRef, Failure> {
        let function = node.uses().and_then(|uses| self.functions.get(uses));
        function.cloned().ok_or_else(|| {
            let message = "the run has no function for this node: its journal was written by another version";
            Failure::new(FailureKind::Unavailable, message)
        })
    }

    /// The input of a step, and whether the node's `input` gave it.
    pub(super) fn input_of(&self, active_step: &ActiveStep, node: &Node) -> Result<(Object, bool), Failure> {
        let env = self.step_env(active_step);
        if let Some(input) = &node.input {
            let mut given = Object::default();
            for (name, expr) in input {
                let value = env.evaluate(expr, &format!("`input.{name}`"))?;
                given.insert(name.clone(), value);
            }
            return Ok((given, true));
        }
        if let Some((name, item)) = env.item {
            // An item gets only itself: with the whole state, ten thousand items would each get a copy of it.
            let mut given = Object::default();
            given.insert(name, item.clone());
            return Ok((given, false));
        }
        Ok((env.state, false))
    }

    /// The variables of an active step's expressions.
    pub(super) fn step_env<'r>(&'r self, active_step: &'r ActiveStep) -> Env<'r> {
        let (view, input, steps) = match &active_step.undo {
            Some(undo) => (Some(&undo.view), Some(&undo.input), undo.steps),
            None => {
                let branch = self.branch(active_step.within, active_step.branch);
                let execution = self.executions.get(&active_step.within);
                (
                    branch.map(|branch| &branch.view),
                    execution.map(|execution| &execution.input),
                    branch.map_or(0, |branch| branch.steps),
                )
            }
        };
        let mut state = view.map(|view| view.state.clone()).unwrap_or_default();
        if let Some(error) = &active_step.error {
            state.insert("error", error.clone());
        }
        Env {
            item: self.item(active_step),
            ..self.expression_env(state, input.unwrap_or(&self.last), steps)
        }
    }

    /// The variables of expressions over this state. `steps` counts the steps on the path to the step, itself
    /// included.
    pub(super) fn expression_env<'r>(&'r self, state: Object, input: &'r Object, steps: u64) -> Env<'r> {
        Env {
            run: self,
            steps,
            facts: OnceCell::new(),
            state,
            input,
            node: None,
            item: None,
        }
    }

    /// The name and the value of the step's item.
    fn item<'r>(&'r self, active_step: &ActiveStep) -> Option<(&'r str, &'r Json)> {
        let item = active_step.item?;
        let of = self.active_steps.get(&item.of)?;
        let StepState::Map(items) = &of.state else {
            return None;
        };
        match &self.graph_of(of).node(of.node).action {
            NodeAction::Map(map) => Some((&map.item, items.all.get(item.index as usize)?)),
            _ => None,
        }
    }
}

/// The variables of expressions.
pub(super) struct Env<'r> {
    run: &'r Run,
    steps: u64,
    facts: OnceCell<Json>,
    pub(super) state: Object,
    input: &'r Object,
    /// The result of the node, after its step.
    pub(super) node: Option<Json>,
    item: Option<(&'r str, &'r Json)>,
}

impl Env<'_> {
    /// Evaluates an expression; `what` names it in messages.
    pub(super) fn evaluate(&self, expr: &Expr, what: &str) -> Result<Json, Failure> {
        expr.evaluate(|name| self.find(name))
            .map_err(|error| no_value(what, &error))
    }

    /// Evaluates a condition.
    pub(super) fn holds(&self, expr: &Expr, what: &str) -> Result<bool, Failure> {
        expr.holds(|name| self.find(name))
            .map_err(|error| no_value(what, &error))
    }

    fn find(&self, name: &str) -> Option<Bound<'_>> {
        match (name, self.item) {
            ("state", _) => Some(Bound::Object(&self.state)),
            ("input", _) => Some(Bound::Object(self.input)),
            ("run", _) => Some(Bound::Json(self.facts.get_or_init(|| self.facts()))),
            ("node", _) => self.node.as_ref().map(Bound::Json),
            (name, Some((item, value))) if name == item => Some(Bound::Json(value)),
            _ => None,
        }
    }

    /// The variable `run`.
    fn facts(&self) -> Json {
        let started = jiff::Timestamp::from_millisecond(self.run.started_at.0).unwrap_or_default();
        to_json(&json!({
            "id": self.run.id.to_string(),
            "graph": self.run.graph.title(),
            "started_at": started.to_string(),
            "steps": self.steps,
        }))
    }
}

fn no_value(what: &str, error: &heddle_expr::EvalError) -> Failure {
    Failure::new(FailureKind::Expression, format!("{what} has no value: {error}"))
}
