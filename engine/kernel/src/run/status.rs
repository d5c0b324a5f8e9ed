//! The status of a run: stored, and as it is shown.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Run;

/// Whether a run is over, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It goes on.
    Running,
    /// It has not begun its first step: it waits for its turn.
    Queued,
    /// It goes on when a time comes or a signal.
    Waiting,
    /// It stands still until it is resumed.
    Paused,
    /// It is over and its state is final.
    Finished,
    /// It is over because of an error.
    Failed,
    /// It is over because somebody wanted it to be.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::Paused,
        Self::Finished,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether nothing can happen to the run any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }

    /// The status's name.
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
    /// Whether it has not begun: it does with [`Input::Activate`](super::Input::Activate).
    pub fn is_queued(&self) -> bool {
        self.steps == 0 && !self.status.is_over() && !self.is_paused()
    }

    /// Whether it stands still until it is resumed.
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Why it stands still, in the words of who paused it.
    pub fn pause_reason(&self) -> Option<&Arc<str>> {
        self.paused.as_ref().map(|paused| &paused.reason)
    }

    /// Whether no call may begin: it is paused, or being cancelled.
    ///
    /// Who drives the run makes no call then, lets those that are under way answer, and goes on taking what
    /// comes. A paused run can be given up once no call of it is under way. With
    /// [`Input::Resume`](super::Input::Resume) it names the calls that are, and those that it has yet to make:
    /// all others that the run owes are made again. It cancels a run with a grace only while a call is under
    /// way, which a run that was taken up while it was paused may owe without. A run that is being cancelled ends by itself when the
    /// last call has answered, or with [`Input::Due`](super::Input::Due) at [`due`](Self::due).
    pub fn is_suspended(&self) -> bool {
        self.is_paused() || self.cancelling.is_some()
    }

    /// Whether only time or a signal can take the run further.
    pub fn is_waiting(&self) -> bool {
        !self.status.is_over() && !self.is_suspended() && !self.is_queued() && !self.has_active_call()
    }

    /// The status as it is shown.
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
