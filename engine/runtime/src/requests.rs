//! Requests with a key: what one asks for is done once, however often it is sent.
//!
//! A key is claimed from when it is seen until what its request led to is durable, or given up. From
//! then on the store knows it: it keeps the answer together with the events that the request led to.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use heddle_kernel::RunId;

use crate::{
    answer::{KeyError, RequestKey},
    inner::Inner,
    live::LiveRun,
    ports::{Request, StoreError},
};

/// The keys of the requests that are being carried out, each with the run that the request was sent to.
#[derive(Default)]
pub(crate) struct Claimed(Mutex<HashSet<(Option<RunId>, Arc<str>)>>);

impl Claimed {
    // A std mutex: nothing awaits while it is held.
    fn lock(&self) -> MutexGuard<'_, HashSet<(Option<RunId>, Arc<str>)>> {
        self.0.lock().expect("no panic under this lock")
    }
}

/// A key that nobody else can use until this is dropped, or the store knows the request.
pub(crate) struct Claim {
    engine: Arc<Inner>,
    to: Option<RunId>,
    key: RequestKey,
    given_back: AtomicBool,
}

impl Claim {
    /// The request, to be kept with the events that it led to: those of `run` up to `seq`.
    pub(crate) fn answered(&self, run: RunId, seq: u64) -> Request {
        Request {
            to: self.to,
            key: self.key.key.clone(),
            digest: self.key.digest.clone(),
            run,
            seq,
        }
    }

    /// Holds the key until the events of `live` up to `seq` are durable, or given up, whether or not
    /// somebody still waits for that.
    pub(crate) fn keep_until_durable(self: Arc<Self>, live: Arc<LiveRun>, seq: u64) {
        let engine = self.engine.clone();
        engine.live.spawn(live.id, async move {
            // Either way the store knows now.
            let _ = live.durable_to(seq).await;
            self.give_back();
        });
    }

    /// Gives the key back: the store knows the request, or it came to nothing.
    pub(crate) fn give_back(&self) {
        // Once: it may be claimed anew already.
        if !self.given_back.swap(true, Ordering::AcqRel) {
            let claimed = (self.to, self.key.key.clone());
            self.engine.claimed.lock().remove(&claimed);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// What is known of a request by its key.
pub(crate) enum Keyed {
    /// It was carried out before: this is its answer.
    Known(Request),
    /// It is new; where it has a key, that is its own until the claim is dropped.
    New(Option<Arc<Claim>>),
}

impl Inner {
    /// Looks a request up by its key, and claims the key for it where it is new. `to` is the run that it was
    /// sent to, none where it starts one.
    pub(crate) async fn claim<E>(
        self: &Arc<Self>,
        to: Option<RunId>,
        key: Option<RequestKey>,
    ) -> Result<Keyed, E>
    where
        E: From<KeyError> + From<StoreError>,
    {
        let Some(key) = key else {
            return Ok(Keyed::New(None));
        };
        if !self.claimed.lock().insert((to, key.key.clone())) {
            return Err(KeyError::InFlight(key.key).into());
        }
        // From here on, dropping it gives the key back.
        let claim = Claim {
            engine: self.clone(),
            to,
            key,
            given_back: AtomicBool::new(false),
        };
        match self.ports.journal.request(to, &claim.key.key).await? {
            None => Ok(Keyed::New(Some(Arc::new(claim)))),
            Some(known) if known.digest == claim.key.digest => Ok(Keyed::Known(known)),
            Some(_) => Err(KeyError::Reused(claim.key.key.clone()).into()),
        }
    }
}
