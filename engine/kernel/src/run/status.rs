//! The status of a run, as stored and as shown.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Run;

/// The status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A step is active or can start.
    Running,
    /// The run waits for a slot and no step has started.
    Queued,
    /// The run waits only for timers or signals.
    Waiting,
    /// No step starts until the run is resumed.
    Paused,
    /// The run finished and its state is final.
    Finished,
    /// The run ended because of an error.
    Failed,
    /// The run was cancelled.
    Cancelled,
}

impl Status {
    /// Every status, in the order of a run's life.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::Paused,
        Self::Finished,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether the run has ended.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }

    /// The name of the status, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Run {
    /// Whether no step has started. [`Input::Activate`](super::Input::Activate) starts the first one.
    pub fn is_queued(&self) -> bool {
        self.steps == 0 && !self.status.is_over() && !self.is_paused()
    }

    /// Whether the run is paused.
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// The reason that was given for the pause.
    pub fn pause_reason(&self) -> Option<&Arc<str>> {
        self.paused.as_ref().map(|paused| &paused.reason)
    }

    /// Whether no call may start, because the run is paused or being cancelled.
    ///
    /// The runtime then makes no call, lets active calls answer, and passes other inputs on as usual. A
    /// paused run can be unloaded when none of its calls is active. [`Input::Resume`](super::Input::Resume)
    /// lists the calls that are active or were never made; the run makes all other pending calls again. A run
    /// that is being cancelled ends when its last call has answered, or with
    /// [`Input::Due`](super::Input::Due) at [`due`](Self::due). The runtime cancels with a grace period only
    /// while a call is active; a run that was loaded while it was paused has pending calls, but no active
    /// ones.
    pub fn is_suspended(&self) -> bool {
        self.is_paused() || self.cancelling.is_some()
    }

    /// Whether the run waits only for timers or signals.
    pub fn is_waiting(&self) -> bool {
        !self.status.is_over() && !self.is_suspended() && !self.is_queued() && !self.has_active_call()
    }

    /// The status as it is shown: a stored `Running` may be shown as paused, queued or waiting.
    pub fn shown_status(&self) -> Status {
        match self.status {
            over if over.is_over() => over,
            _ if self.is_paused() => Status::Paused,
            _ if self.is_queued() => Status::Queued,
            _ if self.is_waiting() => Status::Waiting,
            status => status,
        }
    }
}
