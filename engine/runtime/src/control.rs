//! Commands to runs: signals and control operations. The run's driver applies a command or refuses it; the sender gets
//! the reply once the command's events are durable.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use heddle_json::Json;
use heddle_kernel::{GraphId, Input, Refusal, Run, RunId, run::Upgrade};
use tokio::sync::oneshot;

use crate::{
    engine::Engine,
    errors::{SendError, StopReason},
    idempotency::{IdempotencyGuard, KeyLookup},
    live_run::{LiveRunGuard, RunCommand},
    ports::{AppendError, ReadError},
    results::RequestKey,
};

impl Engine {
    /// Sends a signal to a run. A wait for the signal continues; without such a wait, the run keeps the signal for the
    /// next one. Returns the number of the last event that the signal caused, once it is durable.
    ///
    /// # Errors
    /// If there is no such run, no node of the run takes this signal, or it could not be stored.
    pub async fn signal(
        &self,
        id: RunId,
        name: &str,
        payload: Json,
        key: Option<RequestKey>,
    ) -> Result<u64, SendError> {
        self.signal_wait(id, name, payload, None, key).await
    }

    /// Sends a signal to one wait of a run, which is named by its step. If `wait` is `None`, does the same as
    /// [`signal`](Self::signal).
    ///
    /// # Errors
    /// As for `signal`, and if the run has no such wait, or the wait takes no more signals.
    pub async fn signal_wait(
        &self,
        id: RunId,
        name: &str,
        payload: Json,
        wait: Option<u64>,
        key: Option<RequestKey>,
    ) -> Result<u64, SendError> {
        let keys = &self.core.idempotency_keys;
        let journal = &*self.core.ports.store;
        let idempotency = match keys.claim::<SendError>(journal, Some(id), key).await? {
            KeyLookup::Applied(request) => return Ok(request.seq),
            KeyLookup::New(idempotency) => idempotency,
        };
        let name = name.into();
        let input = Input::Signal { name, payload, wait };
        self.send(id, input, idempotency).await
    }

    /// Cancels a run: no step starts, active calls are aborted after `grace`, and completed steps are compensated before
    /// the run ends. Returns the number of the last event that followed at once.
    ///
    /// # Errors
    /// If there is no such run, or it has ended or is ending.
    pub async fn cancel(&self, id: RunId, reason: &str, grace: Option<Duration>) -> Result<u64, SendError> {
        let reason = reason.into();
        let grace = grace.unwrap_or(self.core.settings.cancel_grace);
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.send(id, Input::Cancel { reason, grace_ms }, None).await
    }

    /// Pauses a run: active calls may finish, and no step starts until the run is resumed. Returns the number of the last
    /// event that the command caused.
    ///
    /// # Errors
    /// If there is no such run, or it has ended, is ending, queued or paused.
    pub async fn pause(&self, id: RunId, reason: &str) -> Result<u64, SendError> {
        let reason = reason.into();
        self.send(id, Input::Pause { reason }, None).await
    }

    /// Resumes a paused run.
    ///
    /// # Errors
    /// If there is no such run, or it is not paused.
    pub async fn resume(&self, id: RunId) -> Result<u64, SendError> {
        // The driver fills in the steps with active calls.
        let active_calls = Vec::new();
        self.send(id, Input::Resume { active_calls }, None).await
    }

    /// Retries a failed run from where it failed.
    ///
    /// # Errors
    /// If there is no such run, it has not failed, or its steps were compensated.
    pub async fn retry(&self, id: RunId) -> Result<u64, SendError> {
        self.send(id, Input::Retry, None).await
    }

    /// Upgrades a run to the newest versions of its plugins; with `graph` (an id or a name), also to that graph.
    ///
    /// # Errors
    /// If there is no such run, it is not waiting, paused or failed, or it is at a node that the graph does not have.
    pub async fn upgrade(&self, id: RunId, graph: Option<&str>) -> Result<u64, SendError> {
        let (engine, graph) = (self.clone(), graph.map(str::to_owned));
        // The graphs are in use until the upgrade is durable.
        let upgrade = async move { engine.upgrade_to(id, graph.as_deref()).await };
        self.core.complete(upgrade).await
    }

    async fn upgrade_to(&self, id: RunId, graph: Option<&str>) -> Result<u64, SendError> {
        let _in_use = self.core.graphs_in_use.read().await;
        let pinned = match graph {
            Some(graph) => self.core.pin(graph).await,
            None => {
                let ids = |run: &Run| -> (GraphId, BTreeMap<Arc<str>, GraphId>) {
                    let named = run.graphs.iter();
                    let named = named.map(|(name, graph)| (name.clone(), graph.id.clone()));
                    (run.graph.id.clone(), named.collect())
                };
                let ids = self.read_run(id, ids).await?;
                let (own, named) = ids.ok_or(SendError::NoSuchRun(id))?;
                self.core.repin(&own, &named).await
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

    /// Reads a run's current state, durable or not.
    async fn read_run<T>(&self, id: RunId, read: impl FnOnce(&Run) -> T) -> Result<Option<T>, ReadError> {
        if let Some(live) = self.core.live(id) {
            return Ok(Some(live.read(read)));
        }
        Ok(self.core.load(id).await?.map(|loaded| read(&loaded.run)))
    }

    /// Loads a run if it is not in memory, and keeps it there until the guard is dropped. `None` if the run has ended or
    /// does not exist.
    async fn guard(&self, id: RunId) -> Result<Option<LiveRunGuard>, ReadError> {
        loop {
            let Some(live) = self.core.load_and_drive(id).await? else {
                return Ok(None);
            };
            let guard = live.guard();
            // A run that was unloaded before it had the guard is loaded again.
            if !live.is_closed() {
                return Ok(Some(guard));
            }
        }
    }

    /// Sends a command to a run. Returns the number of the last event that it caused, once that is durable.
    pub(crate) async fn send(
        &self,
        id: RunId,
        input: Input,
        idempotency: Option<Arc<IdempotencyGuard>>,
    ) -> Result<u64, SendError> {
        loop {
            if self.core.is_draining() {
                return Err(SendError::Unavailable("the engine is stopping".to_owned()));
            }
            let Some(live) = self.guard(id).await? else {
                match self.send_to_ended(id, &input).await? {
                    Some(seq) => return Ok(seq),
                    None => continue,
                }
            };
            // Before its start is durable, no client has the run's id.
            live.durable_to(1).await?;
            let (reply, answer) = oneshot::channel();
            let command = RunCommand {
                input: input.clone(),
                idempotency: idempotency.clone(),
                reply,
            };
            if live.send(command).is_err() {
                // The driver has just ended: the run has ended or was unloaded.
                tokio::task::yield_now().await;
                continue;
            }
            match answer.await {
                Ok(answer) => {
                    let seq = answer?;
                    match (live.durable_to(seq).await, &idempotency) {
                        (Ok(()), _) => {}
                        (Err(StopReason::AppendFailed(AppendError::DuplicateRequest(first))), guard) => {
                            if let Some(guard) = guard.as_ref().filter(|guard| guard.is_for(&first)) {
                                guard.check_same(&first)?;
                                return Ok(first.seq);
                            }
                            // Another command of the same append was answered before: the run is loaded again.
                            tokio::task::yield_now().await;
                            continue;
                        }
                        (Err(stopped), _) => return Err(stopped.into()),
                    }
                    // The client may repeat the request as soon as it gets the response.
                    idempotency.inspect(|idempotency| idempotency.release());
                    return Ok(seq);
                }
                // The driver ended before it took the command.
                Err(_) => continue,
            }
        }
    }

    /// Sends a command to a run that has ended: retries or upgrades the run, or refuses the command. `None` if the run has
    /// not ended after all.
    async fn send_to_ended(&self, id: RunId, input: &Input) -> Result<Option<u64>, SendError> {
        let core = &self.core;
        if matches!(input, Input::Signal { .. } | Input::Cancel { .. }) {
            let row = core.ports.store.run(id).await?;
            return Err(row.map_or(SendError::NoSuchRun(id), |_| Refusal::Over.into()));
        }
        let (live, last) = {
            // Of two commands at the same time, the second one sees the result of the first.
            let _lock = core.live_runs.lock(id).await;
            if core.live(id).is_some() {
                return Ok(None);
            }
            let loaded = core.load(id).await?.ok_or(SendError::NoSuchRun(id))?;
            if !loaded.run.status.is_over() {
                return Ok(None);
            }
            core.register_pinned_plugins(&loaded.run).await?;
            let slot = core.slot_of(id, loaded.run.shown_status()).await?;
            core.drive_loaded(loaded, Some(input.clone()), slot)?
        };
        live.durable_to(last).await?;
        Ok(Some(last))
    }
}
