//! The task that owns the schedules: it answers, waits for the next time, starts runs and keeps how far each
//! schedule is.

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
    Ask, MAX_SCHEDULES, ScheduleError, ScheduleSpec, ScheduleView, WhenSpec,
    kept::{AT_ONCE, Entry, FORM, Kept, check, where_wrong},
};
use crate::{
    answer::{KeyError, RequestKey, Start, StartError},
    engine::Engine,
    inner::Inner,
    ports::{ScheduleRow, StoreError},
};

/// How many schedules that are due together start their runs beside each other.
const FIRE_AT_ONCE: usize = 64;
/// How much of an error is kept of why a start did not go well, in bytes.
const MAX_ERROR_LEN: usize = 1 << 10;
/// How long to wait where the store gives no answer, in milliseconds.
const STORE_PAUSE_MS: i64 = 1_000;

/// Owns the schedules.
struct Keeper {
    engine: Engine,
    all: BTreeMap<Arc<str>, Entry>,
}

impl Keeper {
    fn inner(&self) -> &Arc<Inner> {
        &self.engine.inner
    }

    fn now(&self) -> Timestamp {
        self.inner().ports.clock.now()
    }

    async fn keep(&mut self, mut inbox: mpsc::Receiver<Ask>) {
        while let Err(error) = self.load().await {
            tracing::error!(%error, "the schedules cannot be read: it is tried again");
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(STORE_PAUSE_MS.unsigned_abs())) => {}
                () = self.engine.inner.drains() => return,
            }
        }
        let inner = self.inner().clone();
        while !inner.is_draining() {
            let next = self.look().await;
            let sleep = async {
                match next {
                    Some(at) => inner.ports.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = inner.drains() => return,
                ask = inbox.recv() => match ask {
                    Some(ask) => self.answer(ask).await,
                    None => return,
                },
                () = inner.schedules.over.notified() => self.look_at_those_that_wait(),
                () = sleep => {}
            }
        }
    }

    async fn load(&mut self) -> Result<(), StoreError> {
        for ScheduleRow { name, body } in self.inner().ports.journal.schedules().await? {
            let kept: Result<Kept, _> = serde_json::from_str(&body);
            let entry = kept
                .map_err(|error| error.to_string())
                .and_then(|kept| Entry::new(kept).map_err(|error| error.to_string()));
            match entry {
                Ok(entry) => {
                    self.all.insert(name, entry);
                }
                Err(error) => {
                    tracing::error!(schedule = %name, %error, "a schedule cannot be read: it does nothing");
                }
            }
        }
        Ok(())
    }

    /// Does what is due, and says when something will be.
    async fn look(&mut self) -> Option<Timestamp> {
        let now = self.now();
        let engine = &self.engine;
        let due = self
            .all
            .iter_mut()
            .filter(|(_, entry)| entry.look_at.is_some_and(|at| at <= now));
        stream::iter(due)
            .for_each_concurrent(FIRE_AT_ONCE, |(name, entry)| engine.attend(name, entry, now))
            .await;
        // A run may be over before its end is waited for: so it is looked at again after that.
        let waits = |entry: &Entry| !entry.over && !entry.kept.progress.waiting.is_empty();
        let awaited: HashSet<RunId> = self
            .all
            .values()
            .filter(|entry| waits(entry))
            .filter_map(|entry| entry.kept.last_run)
            .collect();
        let new = {
            let known = self.inner().schedules.awaited();
            awaited.iter().any(|run| !known.contains(run))
        };
        self.inner().schedules.wait_for(awaited);
        if new {
            self.look_at_those_that_wait();
        }
        self.all.values().filter_map(|entry| entry.look_at).min()
    }

    fn look_at_those_that_wait(&mut self) {
        for entry in self.all.values_mut() {
            if !entry.kept.progress.waiting.is_empty() {
                entry.look_at = AT_ONCE;
            }
        }
    }

    async fn answer(&mut self, ask: Ask) {
        // Who asked may be gone: it is done all the same.
        match ask {
            Ask::Put(name, spec, paused, reply) => {
                let _ = reply.send(self.put(name, *spec, paused).await);
            }
            Ask::List(reply) => {
                let all = self.all.iter().map(|(name, entry)| entry.view(name));
                let _ = reply.send(Ok(all.collect()));
            }
            Ask::Get(name, reply) => {
                let _ = reply.send(self.find(&name).map(|(name, entry)| entry.view(name)));
            }
            Ask::Delete(name, reply) => {
                let _ = reply.send(self.delete(&name).await);
            }
            Ask::Pause(name, paused, reply) => {
                let _ = reply.send(self.pause(&name, paused).await);
            }
            Ask::Run(name, reply) => {
                let _ = reply.send(self.run(&name).await);
            }
        }
    }

    fn find(&self, name: &str) -> Result<(&Arc<str>, &Entry), ScheduleError> {
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
        check(&spec.when, now)?;
        let old = self.all.get(&name).map(|entry| entry.kept.clone());
        // To deploy a schedule again does not resume it.
        let was_paused = old.as_ref().is_some_and(|old| old.spec.paused);
        spec.paused = paused.unwrap_or(was_paused);
        if old.is_none() && self.all.len() >= MAX_SCHEDULES {
            return Err(ScheduleError::TooMany);
        }
        // What is said again goes on as it is: an interval does not begin anew.
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
            let message = "this time is over: nothing would ever be started".to_owned();
            return Err(ScheduleError::Invalid {
                pointer: "/when/at",
                message,
            });
        }
        let mut progress = Progress::new(now);
        if let Some(same) = same {
            progress = same.progress.clone();
            if was_paused && !spec.paused {
                // As with `resume`: times that came while it was paused were not missed.
                progress.after = progress.after.max(now);
            }
        }
        progress.skipped = old.as_ref().map_or(0, |old| old.progress.skipped);
        let kept = Kept {
            form: FORM,
            spec,
            created_at: old.as_ref().map_or(now, |old| old.created_at),
            updated_at: now,
            progress,
            last_at: old.as_ref().and_then(|old| old.last_at),
            last_run: old.as_ref().and_then(|old| old.last_run),
            last_error: None,
        };
        let entry = Entry::new(kept).map_err(where_wrong)?;
        self.check_room(&name, entry.bytes())?;
        self.engine.save(&name, &entry.kept).await?;
        let view = entry.view(&name);
        self.all.insert(name, entry);
        Ok((view, old.is_none()))
    }

    /// Whether all schedules together are not too large with this one in the place of the one with its name.
    fn check_room(&self, name: &str, bytes: usize) -> Result<(), ScheduleError> {
        let others = self.all.iter().filter(|(other, _)| ***other != *name);
        let others: usize = others.map(|(_, entry)| entry.bytes()).sum();
        let before = self.all.get(name).map_or(0, Entry::bytes);
        let (bytes, limit) = (others + bytes, self.inner().settings.max_schedule_bytes);
        // One that does not grow is taken even so: the limit may have been lowered.
        match bytes <= limit || bytes <= others + before {
            true => Ok(()),
            false => Err(ScheduleError::TooLarge { bytes, limit }),
        }
    }

    async fn delete(&mut self, name: &str) -> Result<(), ScheduleError> {
        // One that cannot be read can be deleted, too.
        let there = self.inner().ports.journal.delete_schedule(name).await?;
        match self.all.remove(name).is_some() || there {
            true => Ok(()),
            false => Err(ScheduleError::NoSuchSchedule(name.to_owned())),
        }
    }

    async fn pause(&mut self, name: &str, paused: bool) -> Result<ScheduleView, ScheduleError> {
        let now = self.now();
        let (name, entry) = self.find(name)?;
        let name = name.clone();
        let mut kept = entry.kept.clone();
        if kept.spec.paused != paused {
            kept.spec.paused = paused;
            kept.updated_at = now;
            if !paused {
                kept.progress.after = kept.progress.after.max(now);
            }
            self.engine.save(&name, &kept).await?;
            let entry = Entry::new(kept).map_err(where_wrong)?;
            self.all.insert(name.clone(), entry);
        }
        Ok(self.all[&name].view(&name))
    }

    async fn run(&mut self, name: &str) -> Result<RunId, ScheduleError> {
        let now = self.now();
        let (name, entry) = self.find(name)?;
        let name = name.clone();
        let run = self
            .engine
            .fire(&name, &entry.kept.spec, format!("{}:by-hand", now.0))
            .await?;
        let entry = self.all.get_mut(&name).expect("it was just found");
        entry.started(now, run);
        if let Err(error) = self.engine.save(&name, &entry.kept).await {
            // The run was started, and who asked is told of it.
            tracing::error!(schedule = %name, %error, "how far a schedule is could not be kept");
            entry.saved = false;
            entry.look_at = AT_ONCE;
        }
        Ok(run)
    }
}

impl Engine {
    /// Keeps the schedules until the engine stops.
    pub(crate) async fn keep_schedules(self) {
        let inbox = self
            .inner
            .schedules
            .inbox
            .lock()
            .expect("no panic under this lock")
            .take();
        // Another call of this has it.
        let Some(inbox) = inbox else { return };
        let mut keeper = Keeper {
            engine: self,
            all: BTreeMap::new(),
        };
        keeper.keep(inbox).await;
    }

    /// Looks at one schedule: starts what is due, and keeps how far it is.
    async fn attend(&self, name: &Arc<str>, entry: &mut Entry, now: Timestamp) {
        let later = Some(Timestamp(now.0.saturating_add(STORE_PAUSE_MS)));
        let busy = match self.is_busy(entry).await {
            Ok(busy) => busy,
            Err(error) => {
                tracing::error!(schedule = %name, %error, "it cannot be told whether the last run of a schedule is over");
                entry.look_at = later;
                return;
            }
        };
        let decision = decide(&entry.schedule, &entry.kept.progress, busy, now);
        let moved = decision.progress.waiting != entry.kept.progress.waiting
            || decision.progress.skipped != entry.kept.progress.skipped
            || !decision.fire.is_empty();
        entry.kept.progress = decision.progress;
        entry.look_at = decision.wake_at;
        let mut due = decision.fire.into_iter();
        while let Some(at) = due.next() {
            match self.fire(name, &entry.kept.spec, at.0.to_string()).await {
                Ok(run) => entry.started(at, run),
                // Another start of the engine finds the schedule as it was.
                Err(StartError::Draining) => return,
                Err(error) => {
                    tracing::warn!(schedule = %name, %error, "the run of a schedule was not started");
                    let message = error.to_string();
                    entry.kept.last_error = Some((now, clip(&message, MAX_ERROR_LEN).into()));
                    let progress = &mut entry.kept.progress;
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
                    entry.look_at = entry
                        .look_at
                        .map_or(Some(not_before), |at| Some(at.min(not_before)));
                }
            }
        }
        if moved || !entry.saved {
            entry.saved = match self.save(name, &entry.kept).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!(schedule = %name, %error, "how far a schedule is could not be kept");
                    entry.look_at = later;
                    false
                }
            };
        }
    }

    /// Whether the last run of a schedule is not over.
    async fn is_busy(&self, entry: &mut Entry) -> Result<bool, StoreError> {
        let Some(run) = entry.kept.last_run.filter(|_| !entry.over) else {
            return Ok(false);
        };
        if entry.schedule.overlap == Overlap::Allow || entry.schedule.paused {
            return Ok(false);
        }
        // One that was forgotten was over.
        let row = self.inner.ports.journal.run(run).await?;
        entry.over = row.is_none_or(|row| row.status.is_over());
        Ok(!entry.over)
    }

    /// Starts the run of a schedule, once for what it is started for.
    async fn fire(&self, name: &str, spec: &ScheduleSpec, what: String) -> Result<RunId, StartError> {
        // No request has such a key: those have no blanks.
        let key = format!("schedule {name} {what}");
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

    async fn save(&self, name: &Arc<str>, kept: &Kept) -> Result<(), StoreError> {
        let body = serde_json::to_string(kept).expect("Heddle's own types serialize");
        let row = ScheduleRow {
            name: name.clone(),
            body: body.into(),
        };
        self.inner.ports.journal.put_schedule(row).await
    }
}

/// In how many seconds a start that did not go through may. None where it will not.
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
