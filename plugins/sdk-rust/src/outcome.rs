//! The result of a node function: an update of the state, and a route.

/// The route of a run after a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Route {
    /// Along the graph's edges.
    #[default]
    Edges,
    /// To the same node again.
    Again,
    /// To these nodes, in parallel if there are several; one name may be `end`.
    To(Vec<String>),
    /// This branch of the run ends.
    End,
}

/// An update of the state and a route. A function that returns a plain update follows the edges.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Outcome<U> {
    /// The keys of the state that change; it must serialize to a JSON object. `()` changes nothing.
    pub update: U,
    /// Where the run goes next.
    pub route: Route,
}

impl<U> Outcome<U> {
    /// This update, with the route along the graph's edges.
    pub fn of(update: U) -> Self {
        Self {
            update,
            route: Route::Edges,
        }
    }

    /// To the node with this name, which the function's `routes` must list; `end` ends.
    pub fn goto(self, node: impl Into<String>) -> Self {
        self.goto_all([node])
    }

    /// To all these nodes, in parallel.
    pub fn goto_all(self, nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            route: Route::To(nodes.into_iter().map(Into::into).collect()),
            ..self
        }
    }

    /// To the same node again.
    pub fn again(self) -> Self {
        Self {
            route: Route::Again,
            ..self
        }
    }

    /// Ends this branch of the run.
    pub fn end(self) -> Self {
        Self {
            route: Route::End,
            ..self
        }
    }
}

/// What a node function may return: an update, or an [`Outcome`] of one.
pub trait Answer {
    /// The type of the update, which serializes to a JSON object.
    type Update: crate::Output;

    /// Converts the value. A plain update follows the edges.
    fn into_outcome(self) -> Outcome<Self::Update>;
}

impl<U: crate::Output> Answer for U {
    type Update = U;

    fn into_outcome(self) -> Outcome<U> {
        Outcome::of(self)
    }
}

impl<U: crate::Output> Answer for Outcome<U> {
    type Update = U;

    fn into_outcome(self) -> Self {
        self
    }
}
