//! Idempotency keys: a request that is sent several times with one key is applied once.
//!
//! A key is in use from the moment its first request arrives until the request's events are durable or dropped. From
//! then on the store knows the key: it commits the request's result together with the events that the request caused.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use heddle_kernel::RunId;

use crate::{
    errors::KeyError,
    ports::{Journal, Request, StoreError},
    results::RequestKey,
};

/// The keys of the requests in progress, each with the run that the request was sent to.
#[derive(Default)]
pub(crate) struct IdempotencyKeys(Mutex<HashSet<(Option<RunId>, Arc<str>)>>);

/// The result of looking up a request's key.
pub(crate) enum KeyLookup {
    /// The request was applied before, with this result.
    Applied(Request),
    /// The request is new. If it has a key, the guard reserves the key.
    New(Option<Arc<IdempotencyGuard>>),
}

impl IdempotencyKeys {
    // A std mutex: nothing awaits while it is held.
    fn lock(&self) -> MutexGuard<'_, HashSet<(Option<RunId>, Arc<str>)>> {
        self.0.lock().expect("no panic under this lock")
    }

    /// Looks up the key of a request to the run `to`, or of a start request if `to` is `None`. Reserves a new key.
    ///
    /// # Errors
    /// If the key belongs to a request with other content, or to a request in progress.
    pub(crate) async fn claim<E>(
        self: &Arc<Self>,
        journal: &dyn Journal,
        to: Option<RunId>,
        key: Option<RequestKey>,
    ) -> Result<KeyLookup, E>
    where
        E: From<KeyError> + From<StoreError>,
    {
        let Some(key) = key else {
            return Ok(KeyLookup::New(None));
        };
        if !self.lock().insert((to, key.key.clone())) {
            return Err(KeyError::InFlight(key.key).into());
        }
        // From here on, dropping the guard releases the key.
        let guard = IdempotencyGuard {
            keys: self.clone(),
            to,
            key,
            is_released: AtomicBool::new(false),
        };
        match journal.request(to, &guard.key.key).await? {
            None => Ok(KeyLookup::New(Some(Arc::new(guard)))),
            Some(known) => {
                guard.check_same(&known)?;
                Ok(KeyLookup::Applied(known))
            }
        }
    }
}

/// Reserves an idempotency key until it is released or dropped.
pub(crate) struct IdempotencyGuard {
    keys: Arc<IdempotencyKeys>,
    to: Option<RunId>,
    key: RequestKey,
    is_released: AtomicBool,
}

impl IdempotencyGuard {
    /// The request's result, to be stored with the events of `run` up to `seq` that it caused.
    pub(crate) fn result(&self, run: RunId, seq: u64) -> Request {
        Request {
            to: self.to,
            key: self.key.key.clone(),
            digest: self.key.digest.clone(),
            run,
            seq,
        }
    }

    /// Whether a stored request is the one that this guard reserves the key for.
    pub(crate) fn is_for(&self, stored: &Request) -> bool {
        (self.to, &self.key.key) == (stored.to, &stored.key)
    }

    /// Checks that the stored request with this key has the same content.
    ///
    /// # Errors
    /// If it has other content.
    pub(crate) fn check_same(&self, stored: &Request) -> Result<(), KeyError> {
        match stored.digest == self.key.digest {
            true => Ok(()),
            false => Err(KeyError::Reused(self.key.key.clone())),
        }
    }

    /// Releases the key: the store knows the request, or the request had no effect.
    pub(crate) fn release(&self) {
        // Only once: another request may have reserved the key since.
        if !self.is_released.swap(true, Ordering::AcqRel) {
            self.keys.lock().remove(&(self.to, self.key.key.clone()));
        }
    }
}

impl Drop for IdempotencyGuard {
    fn drop(&mut self) {
        self.release();
    }
}
