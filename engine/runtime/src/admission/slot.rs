//! The admission slot of one run.

use std::sync::Arc;

use heddle_kernel::Status;

/// What one run occupies of the engine's limits.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdmissionSlot {
    /// The run's priority in the queue.
    pub(super) priority: i32,
    /// The group whose limit the run counts toward.
    pub(super) group: Option<Arc<str>>,
    /// The run is one of the runs in flight.
    pub(super) is_occupied: bool,
    /// The run counts in its group: it has started and not ended.
    pub(super) is_counted: bool,
    /// The run is in the queue.
    pub(super) is_queued: bool,
}

impl AdmissionSlot {
    /// The slot of a run that admission has let start.
    pub(crate) fn occupied(group: Option<Arc<str>>) -> Self {
        Self {
            group,
            is_occupied: true,
            is_counted: true,
            ..Self::default()
        }
    }

    /// The slot of a run that acquires it with its first step.
    pub(crate) fn vacant(group: Option<Arc<str>>) -> Self {
        Self {
            group,
            ..Self::default()
        }
    }

    /// The slot of a run that was loaded with this status.
    pub(crate) fn of_loaded(status: Status) -> Self {
        Self {
            is_queued: status == Status::Queued,
            is_counted: status != Status::Queued && !status.is_over(),
            ..Self::default()
        }
    }

    /// The same slot with the priority and the group of the run's row.
    pub(crate) fn with(self, priority: i32, group: Option<Arc<str>>) -> Self {
        Self {
            priority,
            group,
            ..self
        }
    }

    /// Whether the run is one of the runs in flight.
    pub(crate) fn is_occupied(&self) -> bool {
        self.is_occupied
    }

    /// Whether the run counts in its group.
    pub(crate) fn is_counted(&self) -> bool {
        self.is_counted
    }
}
