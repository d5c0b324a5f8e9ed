//! A clock that the test moves.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use heddle_kernel::Timestamp;
use heddle_runtime::ports::Clock;
use tokio::sync::watch;

pub(crate) struct ManualClock(watch::Sender<Timestamp>);

impl ManualClock {
    pub(crate) fn at(text: &str) -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(moment(text))))
    }

    /// Moves the clock forward.
    pub(crate) fn set(&self, text: &str) {
        self.0.send_modify(|now| *now = moment(text).max(*now));
    }

    pub(crate) fn forward(&self, ms: i64) {
        self.0.send_modify(|now| now.0 += ms);
    }

    /// Waits until this number of tasks sleep on the clock.
    pub(crate) async fn watched_by(&self, many: usize) {
        crate::script::until("somebody waits for the clock", || self.0.receiver_count() >= many).await;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let mut clock = self.0.subscribe();
        Box::pin(async move {
            // A dropped clock never moves; the sleeping task is about to end too.
            let _ = clock.wait_for(|now| *now >= at).await;
        })
    }
}

pub(crate) fn moment(text: &str) -> Timestamp {
    let moment: jiff::Timestamp = text.parse().unwrap();
    Timestamp(moment.as_millisecond())
}

pub(crate) fn show(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).unwrap().to_string()
}
