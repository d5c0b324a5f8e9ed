//! The scheduler: the task that owns all schedules. It answers commands, waits for the next due time, starts runs, and
//! stores the progress of each schedule.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use heddle_json::object::clip;
use heddle_kernel::{
    Digest, RunId, Timestamp,
    schedule::{Overlap, Progress, decide},
};
use tokio::sync::mpsc;

use super::{
    handle::ScheduleCommand,
    model::{MAX_SCHEDULES, ScheduleError, ScheduleSpec, ScheduleView, WhenSpec},
    stored::{FORMAT_VERSION, IMMEDIATELY, ScheduleEntry, StoredSchedule, check_when, invalid_when},
};
use crate::{
    core::Core,
    engine::Engine,
    errors::{KeyError, StartError},
    ports::{ScheduleRow, StoreError},
    results::{RequestKey, Start},
};

/// How many due schedules start their runs at the same time.
const MAX_CONCURRENT_STARTS: usize = 64;
/// The maximum size in bytes of a stored error of a start.
const MAX_ERROR_LEN: usize = 1 << 10;
/// How long to wait after the store failed to answer, in milliseconds.
const STORE_RETRY_DELAY_MS: i64 = 1_000;

struct Scheduler {
    engine: Engine,
    all: BTreeMap<Arc<str>, ScheduleEntry>,
}

impl Engine {
    /// Runs the scheduler until the engine stops.
    pub(crate) async fn run_scheduler(self) {
        let Some(inbox) = self.core.schedules.take_inbox() else {
            return;
        };
        let mut scheduler = Scheduler {
            engine: self,
            all: BTreeMap::new(),
        };
        scheduler.run(inbox).await;
    }
}

impl Scheduler {
    fn core(&self) -> &Arc<Core> {
        &self.engine.core
    }

    fn now(&self) -> Timestamp {
        self.core().ports.clock.now()
    }

    async fn run(&mut self, mut inbox: mpsc::Receiver<ScheduleCommand>) {
        while let Err(error) = self.load().await {
            tracing::error!(%error, "the schedules cannot be read; retrying");
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(STORE_RETRY_DELAY_MS.unsigned_abs())) => {}
                () = self.core().drains() => return,
            }
        }
        let core = self.core().clone();
        while !core.is_draining() {
            let next = self.process_due().await;
            let sleep = async {
                match next {
                    Some(at) => core.ports.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = core.drains() => return,
                command = inbox.recv() => match command {
                    Some(command) => self.answer(command).await,
                    None => return,
                },
                () = core.schedules.awaited_run_ended() => self.check_waiting(),
                () = sleep => {}
            }
        }
    }

    async fn load(&mut self) -> Result<(), StoreError> {
        for ScheduleRow { name, body } in self.core().ports.store.schedules().await? {
            let stored: Result<StoredSchedule, _> = serde_json::from_str(&body);
            let entry = stored
                .map_err(|error| error.to_string())
                .and_then(|stored| ScheduleEntry::new(stored).map_err(|error| error.to_string()));
            match entry {
                Ok(entry) => {
                    self.all.insert(name, entry);
                }
                Err(error) => {
                    tracing::error!(schedule = %name, %error, "a stored schedule is damaged and starts no runs");
                }
            }
        }
        Ok(())
    }

    /// Starts the runs that are due. Returns when the next schedule is due.
    async fn process_due(&mut self) -> Option<Timestamp> {
        let now = self.now();
        let engine = &self.engine;
        let due = self
            .all
            .iter_mut()
            .filter(|(_, entry)| entry.next_check.is_some_and(|at| at <= now));
        stream::iter(due)
            .for_each_concurrent(MAX_CONCURRENT_STARTS, |(name, entry)| {
                engine.process_schedule(name, entry, now)
            })
            .await;
        let awaited: HashSet<RunId> = self
            .all
            .values()
            .filter(|entry| !entry.last_run_ended && !entry.stored.progress.waiting.is_empty())
            .filter_map(|entry| entry.stored.last_run)
            .collect();
        // A run may have ended before it was awaited, so its schedule is checked again.
        if self.core().schedules.set_awaited_runs(awaited) {
            self.check_waiting();
        }
        self.all.values().filter_map(|entry| entry.next_check).min()
    }

    /// Checks the schedules with waiting starts in the next round.
    fn check_waiting(&mut self) {
        for entry in self.all.values_mut() {
            if !entry.stored.progress.waiting.is_empty() {
                entry.next_check = IMMEDIATELY;
            }
        }
    }

    async fn answer(&mut self, command: ScheduleCommand) {
        // The sender may have disconnected; the command still applies.
        match command {
            ScheduleCommand::Put(name, spec, paused, reply) => {
                let _ = reply.send(self.put(name, *spec, paused).await);
            }
            ScheduleCommand::List(reply) => {
                let all = self.all.iter().map(|(name, entry)| entry.view(name));
                let _ = reply.send(Ok(all.collect()));
            }
            ScheduleCommand::Get(name, reply) => {
                let _ = reply.send(self.find(&name).map(|(name, entry)| entry.view(name)));
            }
            ScheduleCommand::Delete(name, reply) => {
                let _ = reply.send(self.delete(&name).await);
            }
            ScheduleCommand::SetPaused(name, paused, reply) => {
                let _ = reply.send(self.set_paused(&name, paused).await);
            }
            ScheduleCommand::RunNow(name, reply) => {
                let _ = reply.send(self.run_now(&name).await);
            }
        }
    }

    fn find(&self, name: &str) -> Result<(&Arc<str>, &ScheduleEntry), ScheduleError> {
        let found = self.all.get_key_value(name);
        found.ok_or_else(|| ScheduleError::NoSuchSchedule(name.to_owned()))
    }

    async fn put(
        &mut self,
        name: Arc<str>,
        mut spec: ScheduleSpec,
        paused: Option<bool>,
    ) -> Result<(ScheduleView, bool), ScheduleError> {
        let now = self.now();
        check_when(&spec.when, now)?;
        let old = self.all.get(&name).map(|entry| entry.stored.clone());
        // Deploying a paused schedule again does not resume it.
        let was_paused = old.as_ref().is_some_and(|old| old.spec.paused);
        spec.paused = paused.unwrap_or(was_paused);
        if old.is_none() && self.all.len() >= MAX_SCHEDULES {
            return Err(ScheduleError::TooMany);
        }
        // Deploying a schedule again does not restart its interval.
        if let WhenSpec::Every { every, from } = &mut spec.when
            && from.is_none()
        {
            *from = Some(match old.as_ref().map(|old| &old.spec.when) {
                Some(WhenSpec::Every { every: before, from }) if before == every => from.unwrap_or(now),
                _ => now,
            });
        }
        let same = old.as_ref().filter(|old| old.spec.when == spec.when);
        if let WhenSpec::At(at) = &spec.when
            && *at <= now
            && same.is_none()
        {
            let message = "this time has passed: no run would ever be started".to_owned();
            return Err(ScheduleError::Invalid {
                pointer: "/when/at",
                message,
            });
        }
        let mut progress = Progress::new(now);
        if let Some(same) = same {
            progress = same.progress.clone();
            if was_paused && !spec.paused {
                // As when it is resumed: times that passed while it was paused do not count as missed.
                progress.after = progress.after.max(now);
            }
        }
        progress.skipped = old.as_ref().map_or(0, |old| old.progress.skipped);
        let stored = StoredSchedule {
            form: FORMAT_VERSION,
            spec,
            created_at: old.as_ref().map_or(now, |old| old.created_at),
            updated_at: now,
            progress,
            last_at: old.as_ref().and_then(|old| old.last_at),
            last_run: old.as_ref().and_then(|old| old.last_run),
            last_error: None,
        };
        let entry = ScheduleEntry::new(stored).map_err(invalid_when)?;
        self.check_size(&name, entry.bytes())?;
        self.engine.store_schedule(&name, &entry.stored).await?;
        let view = entry.view(&name);
        self.all.insert(name, entry);
        Ok((view, old.is_none()))
    }

    /// Checks the limit on the memory of all schedules, with a schedule of `bytes` under this name.
    fn check_size(&self, name: &str, bytes: usize) -> Result<(), ScheduleError> {
        let others = self.all.iter().filter(|(other, _)| ***other != *name);
        let others: usize = others.map(|(_, entry)| entry.bytes()).sum();
        let before = self.all.get(name).map_or(0, ScheduleEntry::bytes);
        let (bytes, limit) = (others + bytes, self.core().settings.max_schedule_bytes);
        // A schedule that does not grow is always accepted: the limit may have been lowered.
        match bytes <= limit || bytes <= others + before {
            true => Ok(()),
            false => Err(ScheduleError::TooLarge { bytes, limit }),
        }
    }

    async fn delete(&mut self, name: &str) -> Result<(), ScheduleError> {
        // A damaged schedule, which is only in the store, can be deleted as well.
        let was_stored = self.core().ports.store.delete_schedule(name).await?;
        match self.all.remove(name).is_some() || was_stored {
            true => Ok(()),
            false => Err(ScheduleError::NoSuchSchedule(name.to_owned())),
        }
    }

    async fn set_paused(&mut self, name: &str, paused: bool) -> Result<ScheduleView, ScheduleError> {
        let now = self.now();
        let (name, entry) = self.find(name)?;
        let name = name.clone();
        let mut stored = entry.stored.clone();
        if stored.spec.paused != paused {
            stored.spec.paused = paused;
            stored.updated_at = now;
            if !paused {
                stored.progress.after = stored.progress.after.max(now);
            }
            self.engine.store_schedule(&name, &stored).await?;
            let entry = ScheduleEntry::new(stored).map_err(invalid_when)?;
            self.all.insert(name.clone(), entry);
        }
        Ok(self.all[&name].view(&name))
    }

    async fn run_now(&mut self, name: &str) -> Result<RunId, ScheduleError> {
        let now = self.now();
        let (name, entry) = self.find(name)?;
        let name = name.clone();
        let run = self
            .engine
            .start_scheduled_run(&name, &entry.stored.spec, format!("{}:by-hand", now.0))
            .await?;
        let entry = self.all.get_mut(&name).expect("the schedule was just found");
        entry.run_started(now, run);
        if let Err(error) = self.engine.store_schedule(&name, &entry.stored).await {
            // The run was started, so the command succeeds.
            tracing::error!(schedule = %name, %error, "the progress of a schedule cannot be stored; retrying");
            entry.is_stored = false;
            entry.next_check = IMMEDIATELY;
        }
        Ok(run)
    }
}

impl Engine {
    /// Processes one schedule: starts the runs that are due, and stores the schedule's progress.
    async fn process_schedule(&self, name: &Arc<str>, entry: &mut ScheduleEntry, now: Timestamp) {
        let retry_at = Some(Timestamp(now.0.saturating_add(STORE_RETRY_DELAY_MS)));
        let is_busy = match self.is_busy(entry).await {
            Ok(is_busy) => is_busy,
            Err(error) => {
                tracing::error!(schedule = %name, %error, "cannot read the last run of a schedule; retrying");
                entry.next_check = retry_at;
                return;
            }
        };
        let decision = decide(&entry.schedule, &entry.stored.progress, is_busy, now);
        let is_changed = decision.progress.waiting != entry.stored.progress.waiting
            || decision.progress.skipped != entry.stored.progress.skipped
            || !decision.fire.is_empty();
        entry.stored.progress = decision.progress;
        entry.next_check = decision.wake_at;
        if !self.start_due_runs(name, entry, decision.fire, now).await {
            return;
        }
        if is_changed || !entry.is_stored {
            entry.is_stored = match self.store_schedule(name, &entry.stored).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!(schedule = %name, %error, "the progress of a schedule cannot be stored; retrying");
                    entry.next_check = retry_at;
                    false
                }
            };
        }
    }

    /// Starts a run for each due time. After an error that may pass, the remaining times wait. Returns false if the engine
    /// is stopping: then the next start of an engine finds the schedule unchanged.
    async fn start_due_runs(
        &self,
        name: &str,
        entry: &mut ScheduleEntry,
        due: Vec<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let mut due = due.into_iter();
        while let Some(at) = due.next() {
            let error = match self
                .start_scheduled_run(name, &entry.stored.spec, at.0.to_string())
                .await
            {
                Ok(run) => {
                    entry.run_started(at, run);
                    continue;
                }
                Err(StartError::Draining) => return false,
                Err(error) => error,
            };
            tracing::warn!(schedule = %name, %error, "a scheduled run was not started");
            let message = error.to_string();
            entry.stored.last_error = Some((now, clip(&message, MAX_ERROR_LEN).into()));
            let progress = &mut entry.stored.progress;
            let Some(pause_s) = retry_after_s(&error) else {
                progress.skipped += 1;
                continue;
            };
            let not_before = Timestamp(now.0.saturating_add(i64::from(pause_s) * 1_000));
            progress.not_before = Some(not_before);
            let left: Vec<Timestamp> = [at].into_iter().chain(due.by_ref()).collect();
            left.into_iter()
                .rev()
                .for_each(|at| progress.waiting.push_front(at));
            entry.next_check = entry
                .next_check
                .map_or(Some(not_before), |at| Some(at.min(not_before)));
        }
        true
    }

    /// Whether the last run of a schedule is active, as far as the schedule's overlap policy needs to know.
    async fn is_busy(&self, entry: &mut ScheduleEntry) -> Result<bool, StoreError> {
        let Some(run) = entry.stored.last_run.filter(|_| !entry.last_run_ended) else {
            return Ok(false);
        };
        if entry.schedule.overlap == Overlap::Allow || entry.schedule.paused {
            return Ok(false);
        }
        // A run without a row had ended and was deleted.
        let row = self.core.ports.store.run(run).await?;
        entry.last_run_ended = row.is_none_or(|row| row.status.is_over());
        Ok(!entry.last_run_ended)
    }

    /// Starts a run of a schedule, once for each value of `occasion`.
    async fn start_scheduled_run(
        &self,
        name: &str,
        spec: &ScheduleSpec,
        occasion: String,
    ) -> Result<RunId, StartError> {
        // A client's key cannot contain blanks, so this key is never one of theirs.
        let key = format!("schedule {name} {occasion}");
        let start = Start {
            graph: spec.graph.clone(),
            state: spec.state.clone(),
            priority: spec.priority,
            key: Some(RequestKey {
                digest: Digest::of(key.as_bytes()),
                key: key.into(),
            }),
            origin: Some(format!("schedule:{name}").into()),
        };
        Ok(self.start_run(start).await?.id)
    }

    async fn store_schedule(&self, name: &Arc<str>, stored: &StoredSchedule) -> Result<(), StoreError> {
        let body = serde_json::to_string(stored).expect("the runtime's own types serialize");
        let row = ScheduleRow {
            name: name.clone(),
            body: body.into(),
        };
        self.core.ports.store.put_schedule(row).await
    }
}

/// When to retry a start that failed, in seconds. `None` if a retry cannot succeed.
fn retry_after_s(error: &StartError) -> Option<u32> {
    const SOON_S: u32 = 5;
    match error {
        StartError::Busy { retry_after_s, .. } | StartError::BusyBytes { retry_after_s, .. } => {
            Some(*retry_after_s)
        }
        StartError::ChecksBusy(busy) => Some(busy.retry_after_s),
        StartError::Store(_) | StartError::Draining | StartError::Key(KeyError::InFlight(_)) => Some(SOON_S),
        StartError::NoSuchGraph(_)
        | StartError::Broken(_)
        | StartError::TooLarge { .. }
        | StartError::Group(_)
        | StartError::Key(KeyError::Reused(_)) => None,
    }
}
