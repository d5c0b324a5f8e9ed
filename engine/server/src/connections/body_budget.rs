//! The memory budget of all request bodies (`max_bodies_bytes`), from their first byte until the response is sent.
//!
//! Only bytes that have arrived count, so an announced length reserves nothing. If the budget is used up, the
//! connection that has been sending its body for the longest time is closed. If there is none, the request is refused.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::response::problem::{Problem, ProblemKind};

/// The unit of the budget, in bytes.
const UNIT: usize = 1 << 10;
/// Larger bodies leave an eighth of the budget to bodies of up to this size.
const SMALL_BYTES: usize = 64 << 10;
/// A connection that is sending a body can be closed for others only after this time.
const MIN_RECEIVE_TIME: Duration = Duration::from_secs(2);
/// The longest time that a body waits for bytes of a closed connection.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The budget of all request bodies. A clone refers to the same budget.
#[derive(Clone)]
pub(crate) struct BodyBudget {
    bytes: Arc<Semaphore>,
    limit: usize,
    arriving: Arc<Mutex<Arriving>>,
}

/// The bodies that are arriving, oldest first.
#[derive(Default)]
struct Arriving {
    latest: u64,
    bodies: BTreeMap<u64, (Instant, Arc<Notify>)>,
}

/// The bytes that one body has reserved. Dropping it releases them.
pub(crate) struct BodyReservation {
    bodies: BodyBudget,
    /// The key in [`Arriving`] while the body is arriving.
    number: Option<u64>,
    permit: Option<OwnedSemaphorePermit>,
    units: usize,
}

impl BodyBudget {
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.clamp(8 * UNIT, Semaphore::MAX_PERMITS);
        Self {
            bytes: Arc::new(Semaphore::new(limit / UNIT)),
            limit,
            arriving: Arc::default(),
        }
    }

    /// Registers a body that begins to arrive. `close` is notified to close its connection.
    pub(crate) fn begin(&self, close: Arc<Notify>) -> BodyReservation {
        let mut arriving = self.arriving();
        arriving.latest += 1;
        let number = arriving.latest;
        arriving.bodies.insert(number, (Instant::now(), close));
        drop(arriving);
        BodyReservation {
            bodies: self.clone(),
            number: Some(number),
            permit: None,
            units: 0,
        }
    }

    // A std mutex: nothing awaits or panics while it is held.
    fn arriving(&self) -> MutexGuard<'_, Arriving> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connection, other than `but`, whose body has been arriving longest. Returns false if there is none.
    fn close_one(&self, but: Option<u64>) -> bool {
        let mut arriving = self.arriving();
        let others = arriving.bodies.iter().filter(|(number, _)| Some(**number) != but);
        let oldest = others
            .take(1)
            .find(|(_, (since, _))| since.elapsed() >= MIN_RECEIVE_TIME);
        let Some(number) = oldest.map(|(number, _)| *number) else {
            return false;
        };
        if let Some((_, close)) = arriving.bodies.remove(&number) {
            close.notify_one();
        }
        true
    }
}

impl BodyReservation {
    /// Reserves bytes for a body that has `len` bytes so far.
    ///
    /// # Errors
    /// `overloaded` if the budget is used up.
    pub(crate) async fn grow_to(&mut self, len: usize) -> Result<(), Problem> {
        let all = self.bodies.limit / UNIT;
        // A body larger than the whole budget reserves at most three quarters of it.
        let units = len.div_ceil(UNIT).min(all - all / 4);
        while self.units < units {
            let more = u32::try_from(units - self.units).unwrap_or(u32::MAX);
            let spared = if len > SMALL_BYTES { all / 8 } else { 0 };
            let bytes = self.bodies.bytes.clone();
            let free = bytes.available_permits() >= more as usize + spared;
            let permit = match free {
                true => bytes.try_acquire_many_owned(more).ok(),
                false if self.bodies.close_one(self.number) => {
                    let freed = tokio::time::timeout(MAX_WAIT, bytes.acquire_many_owned(more)).await;
                    freed.ok().and_then(Result::ok)
                }
                false => None,
            };
            let Some(permit) = permit else {
                return Err(self.refusal());
            };
            self.units += more as usize;
            match &mut self.permit {
                Some(held) => held.merge(permit),
                none => *none = Some(permit),
            }
        }
        Ok(())
    }

    /// Marks the body as complete: its connection is no longer closed for others.
    pub(crate) fn arrived(&mut self) {
        if let Some(number) = self.number.take() {
            self.bodies.arriving().bodies.remove(&number);
        }
    }

    fn refusal(&self) -> Problem {
        let detail = format!(
            "active requests use the whole budget for request bodies, {} bytes (max_bodies_bytes): try again later",
            self.bodies.limit
        );
        Problem::new(ProblemKind::OVERLOADED, detail).retry_after(1)
    }
}

impl Drop for BodyReservation {
    fn drop(&mut self) {
        self.arrived();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bodies_share_a_budget_and_the_slowest_is_closed() {
        let bodies = BodyBudget::new(1 << 20);
        let slow_end = Arc::new(Notify::new());
        let mut slow = bodies.begin(slow_end.clone());
        slow.grow_to(700 << 10).await.expect("there is room");
        let mut second = bodies.begin(Arc::default());
        let refused = second.grow_to(400 << 10).await.expect_err("there is no room");
        assert!(
            refused.detail().contains("(max_bodies_bytes)"),
            "{}",
            refused.detail()
        );
        second
            .grow_to(64 << 10)
            .await
            .expect("small bodies have reserved room");

        tokio::time::advance(MIN_RECEIVE_TIME).await;
        let closed = tokio::spawn(async move {
            slow_end.notified().await;
            drop(slow);
        });
        let mut third = bodies.begin(Arc::default());
        third.grow_to(400 << 10).await.expect("the slow one made room");
        closed.await.expect("it was closed");
        drop((second, third));
        assert_eq!(bodies.bytes.available_permits(), 1 << 10);
        let mut larger = bodies.begin(Arc::default());
        larger
            .grow_to(5 << 20)
            .await
            .expect("a body larger than the budget is accepted alone");
    }
}
