//! Filters and positions for lists of runs.

use std::sync::Arc;

use heddle_kernel::{RunId, Status, Timestamp};

use super::rows::RunRow;

/// Selects runs for a list: a run must match every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Runs of the graph with this id, or of every graph with this name.
    pub graph: Option<Arc<str>>,
    /// Runs with one of these statuses. Empty: any status.
    pub statuses: Vec<Status>,
    /// Runs with this origin.
    pub origin: Option<OriginFilter>,
    /// Runs created at this time or later.
    pub started_from: Option<Timestamp>,
    /// Runs created before this time.
    pub started_before: Option<Timestamp>,
    /// Runs whose error message contains this text, ignoring case.
    pub error: Option<Arc<str>>,
}

/// Selects runs by their origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginFilter {
    /// All origins of a kind.
    Kind(OriginKind),
    /// One origin as in [`NewRun::origin`](super::NewRun::origin): `schedule:NAME` or `fork:RUN`.
    Exactly(Arc<str>),
}

/// The kinds of origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginKind {
    /// A client's start request.
    Api,
    /// A start by a schedule.
    Schedule,
    /// A fork of another run.
    Fork,
    /// The import of a file.
    Import,
}

impl OriginKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Api, Self::Schedule, Self::Fork, Self::Import];

    /// The kind of an origin. A run without an origin was started by a client's request.
    pub fn of(origin: Option<&str>) -> Self {
        match origin {
            Some("import") => Self::Import,
            Some(origin) if origin.starts_with("schedule:") => Self::Schedule,
            Some(origin) if origin.starts_with("fork:") => Self::Fork,
            _ => Self::Api,
        }
    }

    /// The kind's name in filters and responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Schedule => "schedule",
            Self::Fork => "fork",
            Self::Import => "import",
        }
    }
}

/// A run's position in a list. Lists are ordered by creation time and then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunPosition {
    /// When the run was created.
    pub created_at: Timestamp,
    /// The run's id.
    pub id: RunId,
}

impl RunFilter {
    /// Selects runs of the graph with this id, or of every graph with this name.
    pub fn of_graph(graph: impl Into<Arc<str>>) -> Self {
        Self {
            graph: Some(graph.into()),
            ..Self::default()
        }
    }

    /// Selects runs with this status.
    pub fn of_status(status: Status) -> Self {
        Self {
            statuses: vec![status],
            ..Self::default()
        }
    }

    /// Whether the filter selects this run.
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

/// A text to search for in error messages, ignoring case as Unicode defines it.
pub struct ErrorText(String);

impl ErrorText {
    /// Prepares a search for `text`.
    pub fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    /// Whether `message` contains the text.
    pub fn is_in(&self, message: &str) -> bool {
        message.to_lowercase().contains(&self.0)
    }
}

impl RunRow {
    /// The run's position in a list.
    pub fn position(&self) -> RunPosition {
        RunPosition {
            created_at: self.created_at,
            id: self.id,
        }
    }
}
