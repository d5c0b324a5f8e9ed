//! Starts runs: from a client's request to a driver, or to an entry in the admission queue.

use std::sync::Arc;

use heddle_kernel::{EventRecord, Run, RunId};
use tokio::{runtime::Handle, sync::OwnedRwLockReadGuard};

use crate::{
    admission::{AdmissionDecision, AdmissionSlot, EnqueueWhenDurable, PRIORITIES, QueueFull},
    append_buffer::AppendBuffer,
    core::Core,
    driver::spawn_driver,
    engine::Engine,
    errors::{StartError, StopReason},
    idempotency::{IdempotencyGuard, KeyLookup},
    live_run::LiveRun,
    ports::{Append, AppendError, EngineId, NewRun, QueuedRun, RunDisposition},
    results::Start,
    started_run::StartedRun,
};

/// A run that was created and is not stored yet.
pub(crate) struct CreatedRun {
    pub(crate) run: Run,
    /// The run's first events.
    pub(crate) events: Vec<Arc<EventRecord>>,
    pub(crate) row: NewRun,
    /// Reserves the start request's idempotency key.
    pub(crate) idempotency: Option<Arc<IdempotencyGuard>>,
    /// Prevents the deletion of the run's graphs.
    pub(crate) in_use: GraphsInUse,
}

/// A read lock of [`Core::graphs_in_use`].
pub(crate) type GraphsInUse = OwnedRwLockReadGuard<()>;

/// What a start keeps until its first events are durable or dropped, even if the request's sender no longer waits.
struct UntilDurable {
    core: Arc<Core>,
    live: Arc<LiveRun>,
    /// The number of the last of these events.
    last: u64,
    /// Empty once the events are durable or dropped.
    kept: Option<(Option<Arc<IdempotencyGuard>>, GraphsInUse)>,
}

impl UntilDurable {
    /// Returns the run that the same request has started on another engine meanwhile, if there is one: then this run was
    /// not created.
    async fn wait(mut self) -> Result<Option<RunId>, StartError> {
        let durable = self.live.durable_to(self.last).await;
        // The client may repeat the request as soon as it gets the response.
        let idempotency = self.kept.take().and_then(|(idempotency, _)| idempotency);
        match (durable, idempotency) {
            (Ok(()), _) => Ok(None),
            (Err(StopReason::AppendFailed(AppendError::DuplicateRequest(first))), Some(idempotency)) => {
                idempotency.check_same(&first)?;
                Ok(Some(first.run))
            }
            (Err(stopped), _) => Err(stopped.into()),
        }
    }
}

impl Drop for UntilDurable {
    fn drop(&mut self) {
        // The runtime may be shutting down.
        if let (Some(kept), Ok(_)) = (self.kept.take(), Handle::try_current()) {
            let (live, last) = (self.live.clone(), self.last);
            self.core.live_runs.spawn(live.id, async move {
                // Either way, the store now knows whether the run was started.
                let _ = live.durable_to(last).await;
                drop(kept);
            });
        }
    }
}

impl Engine {
    /// Starts a run of a graph. Returns when the run's start is durable; the run continues in the background.
    ///
    /// # Errors
    /// If the run was not started. Nothing of it is stored then.
    pub async fn start_run(&self, start: Start) -> Result<StartedRun, StartError> {
        let core = &self.core;
        let keys = &core.idempotency_keys;
        let idempotency = match keys
            .claim::<StartError>(&*core.ports.store, None, start.key)
            .await?
        {
            KeyLookup::Applied(request) => return Ok(StartedRun::replayed(self, request.run)),
            KeyLookup::New(idempotency) => idempotency,
        };
        if core.is_draining() {
            return Err(StartError::Draining);
        }
        let (size, limit) = (start.state.size(), core.settings.max_state_bytes);
        if size > limit {
            return Err(StartError::TooLarge { size, limit });
        }
        let in_use = core.graphs_in_use.clone().read_owned().await;
        let pinned = core.pin(&start.graph).await?;
        let now = core.ports.clock.now();
        let mut unstarted = Run::create(
            core.ports.ids.run_id(),
            pinned.graph,
            pinned.graphs,
            start.state,
            pinned.functions,
            now,
        );
        let run = &mut unstarted.run;
        core.settings.limit(run);
        let group = run.group().map_err(StartError::Group)?;
        let (least, most) = PRIORITIES.into_inner();
        let row = NewRun {
            graph: run.graph.id.clone(),
            created_at: run.started_at,
            priority: start.priority.clamp(least, most),
            group: group.as_ref().map(|group| group.name.clone()),
            group_limit: group.as_ref().map(|group| group.at_once),
            origin: start.origin,
        };
        run.recount_memory();
        let has_memory = core.memory.has_room_for(run.memory_bytes());
        let (priority, bytes) = (row.priority, run.journal_bytes);
        let decision = core
            .admission
            .admit(priority, group.as_ref(), bytes, has_memory, now)
            .map_err(|full| core.queue_full(&full))?;
        let created = |(run, events)| CreatedRun {
            run,
            events,
            row,
            idempotency,
            in_use,
        };
        match decision {
            AdmissionDecision::Start => {
                let slot = AdmissionSlot::occupied(group.map(|group| group.name));
                self.drive_created(created(unstarted.start()), slot).await
            }
            AdmissionDecision::Queue => self.enqueue_created(created(unstarted.queue())).await,
        }
    }

    /// Starts a driver for a created run. Returns when the run's start is durable.
    pub(crate) async fn drive_created(
        &self,
        created: CreatedRun,
        slot: AdmissionSlot,
    ) -> Result<StartedRun, StartError> {
        let CreatedRun {
            run,
            events,
            row,
            idempotency,
            in_use,
        } = created;
        let core = &self.core;
        let (id, last) = (run.id, run.seq);
        let live = Arc::new(LiveRun::new(run, 0, &events, &core.memory));
        live.update_slot(|of_live| *of_live = slot);
        core.admission.acquire(&live);
        core.live_runs.insert(&live);
        let request = idempotency.as_ref().map(|guard| guard.result(id, last));
        spawn_driver(
            core,
            live.clone(),
            AppendBuffer::for_new_run(row, events, request),
        );
        let first = self
            .until_durable(live.clone(), last, idempotency, in_use)
            .wait()
            .await?;
        Ok(match first {
            None => StartedRun::new(self, id, Some(live)),
            Some(first) => StartedRun::replayed(self, first),
        })
    }

    /// Stores a created run as queued. Returns when that is durable; then only the run's entry in the queue stays in
    /// memory.
    async fn enqueue_created(&self, created: CreatedRun) -> Result<StartedRun, StartError> {
        let CreatedRun {
            run,
            events,
            row,
            idempotency,
            in_use,
        } = created;
        let core = &self.core;
        let (id, last, bytes) = (run.id, run.seq, run.journal_bytes);
        let live = Arc::new(LiveRun::new(run, 0, &[], &core.memory));
        let ack = EnqueueWhenDurable {
            admission: core.admission.clone(),
            live: live.clone(),
            queued: QueuedRun {
                run: id,
                priority: row.priority,
                group: row.group.clone(),
                group_limit: row.group_limit,
                bytes,
            },
        };
        core.ports.store.append(Append {
            run: id,
            owner: EngineId::EXCLUSIVE,
            begins: Some(row),
            reopens: false,
            events,
            disposition: RunDisposition::Queued,
            requests: idempotency.iter().map(|guard| guard.result(id, last)).collect(),
            commands: Vec::new(),
            snapshot: None,
            ack: Arc::new(ack),
        });
        let first = self.until_durable(live, last, idempotency, in_use).wait().await?;
        Ok(match first {
            None => StartedRun::new(self, id, None),
            Some(first) => StartedRun::replayed(self, first),
        })
    }

    fn until_durable(
        &self,
        live: Arc<LiveRun>,
        last: u64,
        idempotency: Option<Arc<IdempotencyGuard>>,
        in_use: GraphsInUse,
    ) -> UntilDurable {
        UntilDurable {
            core: self.core.clone(),
            live,
            last,
            kept: Some((idempotency, in_use)),
        }
    }
}

impl Core {
    fn queue_full(&self, full: &QueueFull) -> StartError {
        let retry_after_s = full.retry_after_s;
        match full.is_full_of_bytes {
            true => StartError::BusyBytes {
                limit: self.settings.max_queued_bytes,
                retry_after_s,
            },
            false => StartError::Busy {
                limit: self.settings.max_queued,
                retry_after_s,
            },
        }
    }
}
