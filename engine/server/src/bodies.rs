//! How many bytes the bodies of requests may have together that are received or worked on.
//!
//! A body counts as far as it has arrived, so one that is only announced takes nothing. Where no bytes are left, the
//! connection whose body has been arriving for the longest time is closed; where there is none, the request is refused.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::problem::{Kind, Problem};

/// The unit in which bytes are counted.
const UNIT: usize = 1 << 10;
/// Up to this size a body may use all bytes; a larger one leaves an eighth to those.
const SMALL_BYTES: usize = 64 << 10;
/// How long a body may take to arrive before its connection can be closed for others.
const AT_LEAST: Duration = Duration::from_secs(2);
/// How long a body waits for bytes that others give back.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The bytes of all bodies.
#[derive(Clone)]
pub(crate) struct Bodies {
    bytes: Arc<Semaphore>,
    limit: usize,
    arriving: Arc<Mutex<Arriving>>,
}

/// The bodies that are arriving, the one that began first at the beginning.
#[derive(Default)]
struct Arriving {
    latest: u64,
    bodies: BTreeMap<u64, (Instant, Arc<Notify>)>,
}

/// The bytes of one body.
pub(crate) struct HeldBytes {
    bodies: Bodies,
    number: Option<u64>,
    permit: Option<OwnedSemaphorePermit>,
    units: usize,
}

impl Bodies {
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.clamp(8 * UNIT, Semaphore::MAX_PERMITS);
        Self {
            bytes: Arc::new(Semaphore::new(limit / UNIT)),
            limit,
            arriving: Arc::default(),
        }
    }

    /// A body begins to arrive; `end` is told where its connection is to be closed.
    pub(crate) fn begin(&self, end: Arc<Notify>) -> HeldBytes {
        let mut arriving = self.arriving();
        arriving.latest += 1;
        let number = arriving.latest;
        arriving.bodies.insert(number, (Instant::now(), end));
        drop(arriving);
        HeldBytes {
            bodies: self.clone(),
            number: Some(number),
            permit: None,
            units: 0,
        }
    }

    // Nothing panics while it is held, so what it holds is whole.
    fn arriving(&self) -> MutexGuard<'_, Arriving> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connection whose body has been arriving for the longest time, other than this one.
    fn close_one(&self, but: Option<u64>) -> bool {
        let mut arriving = self.arriving();
        let others = arriving.bodies.iter().filter(|(number, _)| Some(**number) != but);
        let oldest = others.take(1).find(|(_, (since, _))| since.elapsed() >= AT_LEAST);
        let Some(number) = oldest.map(|(number, _)| *number) else {
            return false;
        };
        if let Some((_, end)) = arriving.bodies.remove(&number) {
            end.notify_one();
        }
        true
    }
}

impl HeldBytes {
    /// Takes the bytes of a body that has so many by now.
    pub(crate) async fn grow_to(&mut self, len: usize) -> Result<(), Problem> {
        let all = self.bodies.limit / UNIT;
        // A body that is larger than all may have together uses what large ones may use, alone.
        let units = len.div_ceil(UNIT).min(all - all / 4);
        while self.units < units {
            let more = u32::try_from(units - self.units).unwrap_or(u32::MAX);
            let spared = if len > SMALL_BYTES { all / 8 } else { 0 };
            let bytes = self.bodies.bytes.clone();
            let free = bytes.available_permits() >= more as usize + spared;
            let permit = match free {
                true => bytes.try_acquire_many_owned(more).ok(),
                false if self.bodies.close_one(self.number) => {
                    let freed = tokio::time::timeout(LONGEST_WAIT, bytes.acquire_many_owned(more)).await;
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

    /// The body has arrived.
    pub(crate) fn arrived(&mut self) {
        if let Some(number) = self.number.take() {
            self.bodies.arriving().bodies.remove(&number);
        }
    }

    fn refusal(&self) -> Problem {
        let detail = format!(
            "the bodies of requests take as many bytes as they may together, {} (max_bodies_bytes): try again in a moment",
            self.bodies.limit
        );
        Problem::new(Kind::OVERLOADED, detail).retry_after(1)
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.arrived();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bodies_share_their_bytes_and_the_slowest_makes_room() {
        let bodies = Bodies::new(1 << 20);
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
            .expect("a small body has room of its own");

        tokio::time::advance(AT_LEAST).await;
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
            .expect("one that is larger than all goes alone");
    }
}
