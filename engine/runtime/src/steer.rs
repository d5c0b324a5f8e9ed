//! What is sent to a run: signals, and what steers it. Each is taken by the run's driver, or refused with
//! the reason, and answered when what followed is durable.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use heddle_json::Json;
use heddle_kernel::{GraphId, Input, Refusal, Run, RunId, run::Upgrade};
use tokio::sync::oneshot;

use crate::{
    answer::{ReadError, RequestKey, SendError},
    engine::Engine,
    live::{Hold, Letter, Stopped},
    ports::AppendError,
    requests::{Claim, Keyed},
};

impl Engine {
    /// Sends a signal to a run: a wait for it goes on, or it is kept for the next one. The answer
    /// comes when it is durable, with the number of its last event.
    ///
    /// # Errors
    /// Where there is no such run, nothing in it takes such a signal, or it could not be kept.
    pub async fn signal(
        &self,
        id: RunId,
        name: &str,
        payload: Json,
        key: Option<RequestKey>,
    ) -> Result<u64, SendError> {
        self.signal_wait(id, name, payload, None, key).await
    }

    /// Sends a signal to a run for one of its waits, by the step of that wait; without one, as [`signal`](Self::signal)
    /// does.
    ///
    /// # Errors
    /// As for `signal`, and where the run has no such wait, or it takes no signal any more.
    pub async fn signal_wait(
        &self,
        id: RunId,
        name: &str,
        payload: Json,
        wait: Option<u64>,
        key: Option<RequestKey>,
    ) -> Result<u64, SendError> {
        let claim = match self.inner.claim::<SendError>(Some(id), key).await? {
            Keyed::Known(request) => return Ok(request.seq),
            Keyed::New(claim) => claim,
        };
        let name = name.into();
        self.send(id, Input::Signal { name, payload, wait }, claim).await
    }

    /// Cancels a run: no step begins, and what is under way is given up after `grace`. What can be undone is
    /// undone before the run is over. Answers the number of the last event that it led to at once.
    ///
    /// # Errors
    /// Where there is no such run, or it is over or ending.
    pub async fn cancel(&self, id: RunId, reason: &str, grace: Option<Duration>) -> Result<u64, SendError> {
        let reason = reason.into();
        let grace = grace.unwrap_or(self.inner.settings.cancel_grace);
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.send(id, Input::Cancel { reason, grace_ms }, None).await
    }

    /// Has a run stand still: calls under way may finish, and no step begins until it is resumed. Answers
    /// the number of the last event that it led to.
    ///
    /// # Errors
    /// Where there is no such run, or it is over, ending, queued or paused.
    pub async fn pause(&self, id: RunId, reason: &str) -> Result<u64, SendError> {
        let reason = reason.into();
        self.send(id, Input::Pause { reason }, None).await
    }

    /// Has a run that is paused go on.
    ///
    /// # Errors
    /// Where there is no such run, or it is not paused.
    pub async fn resume(&self, id: RunId) -> Result<u64, SendError> {
        // Its driver knows which calls are under way.
        let active_calls = Vec::new();
        self.send(id, Input::Resume { active_calls }, None).await
    }

    /// Has a run that failed go on from where it failed.
    ///
    /// # Errors
    /// Where there is no such run, it did not fail, or what it did was undone.
    pub async fn retry(&self, id: RunId) -> Result<u64, SendError> {
        self.send(id, Input::Retry, None).await
    }

    /// Has a run keep to the newest versions of its plugins from here on; with `graph`, to that graph
    /// (an id or a name), too.
    ///
    /// # Errors
    /// Where there is no such run, it neither waits nor is paused nor failed, or it is at a place that the
    /// graph does not have.
    pub async fn upgrade(&self, id: RunId, graph: Option<&str>) -> Result<u64, SendError> {
        let _in_use = self.inner.graphs_in_use.read().await;
        let pinned = match graph {
            Some(graph) => self.inner.pin(graph).await,
            None => {
                let ids = |run: &Run| -> (GraphId, BTreeMap<Arc<str>, GraphId>) {
                    let named = run.graphs.iter();
                    let named = named.map(|(name, graph)| (name.clone(), graph.id.clone()));
                    (run.graph.id.clone(), named.collect())
                };
                let (own, named) = self.look(id, ids).await?.ok_or(SendError::NoSuchRun(id))?;
                self.inner.repin(&own, &named).await
            }
        };
        let pinned = pinned.map_err(SendError::Upgrade)?;
        let upgrade = Upgrade {
            graph: pinned.graph,
            graphs: pinned.graphs,
            functions: pinned.functions,
        };
        self.send(id, Input::Upgrade(Box::new(upgrade)), None).await
    }

    /// Looks at a run as it is now, durable or not.
    async fn look<T>(&self, id: RunId, look: impl FnOnce(&Run) -> T) -> Result<Option<T>, ReadError> {
        if let Some(live) = self.inner.live(id) {
            return Ok(Some(live.read(look)));
        }
        Ok(self.inner.load(id).await?.map(|loaded| look(&loaded.run)))
    }

    /// The same for somebody who only watches: it is not loaded where that would take the room of runs that go on.
    pub(crate) async fn held_to_watch(&self, id: RunId) -> Result<Option<Hold>, ReadError> {
        match self.inner.live(id).is_some() || self.inner.memory.has_room_to_watch() {
            true => self.held(id).await,
            false => Err(self.inner.no_memory()),
        }
    }

    /// The run, driven by this engine until the hold is dropped. `None` where it is over.
    pub(crate) async fn held(&self, id: RunId) -> Result<Option<Hold>, ReadError> {
        loop {
            let Some(live) = self.inner.rouse(id).await? else {
                return Ok(None);
            };
            let hold = live.hold();
            // One that was parked in between is loaded again.
            if !live.is_closed() {
                return Ok(Some(hold));
            }
        }
    }

    /// Has a run take an input. The answer comes when what followed is durable: the number of its last event.
    pub(crate) async fn send(
        &self,
        id: RunId,
        input: Input,
        claim: Option<Arc<Claim>>,
    ) -> Result<u64, SendError> {
        loop {
            if self.inner.is_draining() {
                return Err(SendError::Unavailable("the engine is stopping".to_owned()));
            }
            let Some(hold) = self.held(id).await? else {
                match self.send_to_past(id, &input).await? {
                    Some(seq) => return Ok(seq),
                    None => continue,
                }
            };
            let live = &hold.0;
            // Nobody was told of a run whose start is not durable.
            live.durable_to(1).await.map_err(not_taken)?;
            let (reply, answer) = oneshot::channel();
            let letter = Letter {
                input: input.clone(),
                claim: claim.clone(),
                reply,
            };
            if live.post(letter).is_err() {
                // Its driver has just let go of it: it is over, or parked.
                tokio::task::yield_now().await;
                continue;
            }
            match answer.await {
                Ok(answer) => {
                    let seq = answer?;
                    live.durable_to(seq).await.map_err(not_taken)?;
                    // Who is answered may send it again at once.
                    claim.inspect(|claim| claim.give_back());
                    return Ok(seq);
                }
                // The driver let go of it before it took the letter.
                Err(_) => continue,
            }
        }
    }

    /// Has a run that is over take what such a one may take, or say why not. `None` where it is not over any more.
    async fn send_to_past(&self, id: RunId, input: &Input) -> Result<Option<u64>, SendError> {
        let inner = &self.inner;
        if matches!(input, Input::Signal { .. } | Input::Cancel { .. }) {
            let row = inner.ports.journal.run(id).await?;
            return Err(row.map_or(SendError::NoSuchRun(id), |_| Refusal::Over.into()));
        }
        let (live, last) = {
            // Of two that come at once, the second one finds what the first one made of the run.
            let _alone = inner.live.alone(id).await;
            if inner.live(id).is_some() {
                return Ok(None);
            }
            let loaded = inner.load(id).await?.ok_or(SendError::NoSuchRun(id))?;
            if !loaded.run.status.is_over() {
                return Ok(None);
            }
            inner.register_pinned(&loaded.run).await?;
            let seat = inner.seat_of(id, loaded.run.shown_status()).await?;
            inner.take_up(loaded, Some(input.clone()), seat)?
        };
        live.durable_to(last).await.map_err(not_taken)?;
        Ok(Some(last))
    }
}

fn not_taken(stopped: Stopped) -> SendError {
    match stopped {
        Stopped::Lost(AppendError::Damaged { run, message }) => ReadError::Damaged { run, message }.into(),
        Stopped::Lost(error) => SendError::Unavailable(error.to_string()),
        Stopped::Draining | Stopped::Parked => SendError::Unavailable("the engine is stopping".to_owned()),
    }
}
