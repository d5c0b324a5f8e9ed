//! Which runs are listed, and in which order.

use std::sync::Arc;

use heddle_kernel::{RunId, Status, Timestamp};

use super::RunRow;

/// Which runs to list: those that fit everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// The graph: the one with this id, or every graph with this name.
    pub graph: Option<Arc<str>>,
    /// Any of these statuses; every status where it is empty.
    pub statuses: Vec<Status>,
    /// What started the run.
    pub origin: Option<OriginFilter>,
    /// The run began at this time or later.
    pub started_from: Option<Timestamp>,
    /// The run began before this time.
    pub started_before: Option<Timestamp>,
    /// The message of the run's error contains this text. Upper and lower case are the same.
    pub error: Option<Arc<str>>,
}

/// What started the runs to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginFilter {
    /// Every origin of a kind.
    Kind(OriginKind),
    /// One origin, as [`NewRun::origin`](super::NewRun::origin) has it: `schedule:NAME` or `fork:RUN`.
    Exactly(Arc<str>),
}

/// The kinds of origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginKind {
    /// A request to start it.
    Api,
    /// A schedule.
    Schedule,
    /// A fork of another run.
    Fork,
    /// The import of a file.
    Import,
}

impl OriginKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Api, Self::Schedule, Self::Fork, Self::Import];

    /// The kind of an origin. A run without one was started by a request.
    pub fn of(origin: Option<&str>) -> Self {
        match origin {
            Some("import") => Self::Import,
            Some(origin) if origin.starts_with("schedule:") => Self::Schedule,
            Some(origin) if origin.starts_with("fork:") => Self::Fork,
            _ => Self::Api,
        }
    }

    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Schedule => "schedule",
            Self::Fork => "fork",
            Self::Import => "import",
        }
    }
}

/// A run's place in a list. The order is by the time at which runs began, and then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunPosition {
    /// When the run began.
    pub created_at: Timestamp,
    /// Its id.
    pub id: RunId,
}

impl RunFilter {
    /// Only runs of the graph with this id, or of every graph with this name.
    pub fn of_graph(graph: impl Into<Arc<str>>) -> Self {
        Self {
            graph: Some(graph.into()),
            ..Self::default()
        }
    }

    /// Only runs with this status.
    pub fn of_status(status: Status) -> Self {
        Self {
            statuses: vec![status],
            ..Self::default()
        }
    }

    /// Whether a run is to be listed.
    pub fn fits(&self, row: &RunRow) -> bool {
        let graph = |wanted: &Arc<str>| row.graph.0 == *wanted || row.graph_name.as_ref() == Some(wanted);
        self.graph.as_ref().is_none_or(graph)
            && (self.statuses.is_empty() || self.statuses.contains(&row.status))
            && self
                .origin
                .as_ref()
                .is_none_or(|origin| origin.fits(row.origin.as_deref()))
            && self.started_from.is_none_or(|from| row.created_at >= from)
            && self.started_before.is_none_or(|before| row.created_at < before)
            && self.error.as_ref().is_none_or(|text| {
                let error = row.error.as_ref();
                error.is_some_and(|error| ErrorText::new(text).is_in(&error.message))
            })
    }
}

impl OriginFilter {
    fn fits(&self, origin: Option<&str>) -> bool {
        match self {
            Self::Kind(kind) => OriginKind::of(origin) == *kind,
            Self::Exactly(wanted) => origin == Some(wanted),
        }
    }
}

/// A text to look for in the messages of errors. Upper and lower case are the same, as Unicode has them.
pub struct ErrorText(String);

impl ErrorText {
    /// This text.
    pub fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    /// Whether a message contains it.
    pub fn is_in(&self, message: &str) -> bool {
        message.to_lowercase().contains(&self.0)
    }
}

impl RunRow {
    /// Its place in a list.
    pub fn position(&self) -> RunPosition {
        RunPosition {
            created_at: self.created_at,
            id: self.id,
        }
    }
}
