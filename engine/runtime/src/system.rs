//! The machine's clock and random ids: the default implementations of two ports.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use heddle_kernel::{RunId, Timestamp};
use uuid::Uuid;

use crate::ports::{Clock, Ids};

/// The longest time between two looks at the clock, which an operator may set.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let left = at.0.saturating_sub(self.now().0).max(0).unsigned_abs();
        Box::pin(tokio::time::sleep(Duration::from_millis(left).min(MAX_SLEEP)))
    }
}

/// UUIDs of version 7, which sort by creation time.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn run_id(&self) -> RunId {
        RunId(Uuid::now_v7())
    }
}
