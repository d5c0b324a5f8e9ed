//! Driving a run: make the calls that it owes, take the answers, journal what follows, go on; and
//! give it up while it only waits.

use std::{
    collections::{HashMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use heddle_json::Json;
use heddle_kernel::{Answer, Event, Failure, FailureKind, Input, Level, PendingWork, Timestamp, decide};
use tokio::{
    sync::OwnedSemaphorePermit,
    task::{AbortHandle, JoinSet},
};

use crate::{
    inner::Inner,
    live::{Letter, LiveRun, Stopped},
    memory::LOOK_EVERY,
    outbox::Outbox,
    ports::{Call, Sink},
};

/// How long a log line may wait for others before it is journaled, while its call goes on.
const LOG_FLUSH: Duration = Duration::from_millis(100);

/// How long a run that goes on without a pause may hold events back, so that steps that take
/// microseconds share an append; then others get a turn, too.
const HOLD: Duration = Duration::from_micros(500);

/// The longest that a driver sleeps at once; then it looks at the clock again.
const LONGEST_SLEEP_MS: i64 = 60_000;

type Answered = Result<Answer, Failure>;

/// Drives a run to its end, until it only waits, or until the engine stops.
pub(crate) async fn drive(engine: Arc<Inner>, live: Arc<LiveRun>, outbox: Outbox) {
    let (ready, held) = live.read(|run| {
        let held = run.is_suspended() || run.status.is_over();
        // Of a run that stands still it is not known which calls were made: all are when it goes on.
        let pending_work = run.pending_work().filter(|_| !held);
        (pending_work.filter_map(call_of).collect(), held)
    });
    let mut driver = Driver {
        engine,
        live,
        outbox,
        ready,
        held,
        calls: JoinSet::new(),
        flying: HashMap::new(),
        turn: None,
    };
    driver.run().await;
    driver.leave().await;
}

fn call_of(pending_work: PendingWork) -> Option<(u64, u32)> {
    match pending_work {
        PendingWork::Call { step, attempt } => Some((step, attempt)),
        PendingWork::Wait { .. } => None,
    }
}

struct Driver {
    engine: Arc<Inner>,
    live: Arc<LiveRun>,
    outbox: Outbox,
    /// Calls that are owed and not made: step and attempt.
    ready: VecDeque<(u64, u32)>,
    /// Whether the run stands still: no call is made meanwhile.
    held: bool,
    /// Calls under way that did not answer at once.
    calls: JoinSet<(u64, u32, Answered)>,
    /// The same, by step.
    flying: HashMap<u64, Flying>,
    /// Held while this run goes on although the runs in memory hold as much as they may.
    turn: Option<OwnedSemaphorePermit>,
}

struct Flying {
    attempt: u32,
    sink: Arc<StepSink>,
    abort: AbortHandle,
}

impl Driver {
    /// Goes on until there is nothing more to do for this driver.
    async fn run(&mut self) {
        while self.live.stopped().is_none() {
            let draining = self.engine.is_draining();
            if draining && self.flying.is_empty() {
                return self.live.stop(Stopped::Draining);
            }
            let may_call = !draining && !self.held && !self.ready.is_empty();
            if may_call && self.has_memory() {
                if !self.keep_pace().await {
                    return;
                }
                // Something may have come meanwhile that has the run stand still.
                if !self.held
                    && let Some((step, attempt)) = self.ready.pop_front()
                {
                    self.call(step, attempt);
                }
                continue;
            }
            if self.look_up() {
                continue;
            }
            let (over, due) = self.live.read(|run| (run.status.is_over(), run.due()));
            if over {
                return;
            }
            if self.held && self.flying.is_empty() && self.give_up() {
                continue;
            }
            self.flush();
            self.outbox.send(&self.engine, &self.live);
            if self.flying.is_empty() && self.park().await {
                return;
            }
            if !self.wait(due.filter(|_| !draining), may_call).await {
                return;
            }
        }
    }

    /// Takes what was sent to the run, and what is due. Answers whether anything happened.
    fn look_up(&mut self) -> bool {
        let mut happened = false;
        while let Some(letter) = self.live.letter() {
            self.open(letter);
            happened = true;
        }
        let due = self.live.read(|run| run.due().filter(|_| !run.status.is_over()));
        let now = self.engine.ports.clock.now();
        if due.is_some_and(|due| due <= now) && !self.engine.is_draining() {
            happened |= self.take(Input::Due).is_ok_and(|last| last > 0);
        }
        happened
    }

    /// Takes what somebody sent.
    fn open(&mut self, letter: Letter) {
        let Letter { input, claim, reply } = letter;
        // Which calls are under way is known here alone.
        let input = match input {
            Input::Resume { .. } => Input::Resume {
                active_calls: self.under_way(),
            },
            Input::Cancel { reason, .. } if self.flying.is_empty() => Input::Cancel { reason, grace_ms: 0 },
            input => input,
        };
        let answer = self.take(input);
        if let (Some(claim), Ok(seq)) = (claim, &answer) {
            self.outbox.answers(claim.answered(self.live.id, *seq));
            claim.keep_until_durable(self.live.clone(), *seq);
        }
        // Who sent it may be gone: it happened all the same.
        let _ = reply.send(answer);
    }

    /// Ends a run that is being cancelled and of which no call is under way, though it may owe some. False
    /// where it is not being cancelled.
    fn give_up(&mut self) -> bool {
        let cancelling = self.live.read(|run| run.is_suspended() && !run.is_paused());
        cancelling && self.take(Input::Activate).is_ok_and(|last| last > 0)
    }

    /// The steps whose calls are under way, or were never made.
    fn under_way(&self) -> Vec<u64> {
        let ready = self.ready.iter().map(|(step, _)| *step);
        self.flying.keys().copied().chain(ready).collect()
    }

    /// Whether there is memory for a step, or it is this run's turn to take one without.
    fn has_memory(&mut self) -> bool {
        let memory = &self.engine.memory;
        if !memory.is_over() {
            self.turn = None;
            return true;
        }
        if self.turn.is_none() {
            self.turn = memory.try_turn();
        }
        self.turn.is_some()
    }

    /// Waits for what comes next, and with `looks` no longer than until it is looked for memory again. False where the
    /// run was lost meanwhile.
    async fn wait(&mut self, due: Option<Timestamp>, looks: bool) -> bool {
        let sleep = due.map(|due| {
            let left = due.0.saturating_sub(self.engine.ports.clock.now().0);
            Duration::from_millis(left.clamp(0, LONGEST_SLEEP_MS).unsigned_abs())
        });
        let flying = !self.flying.is_empty();
        let live = self.live.clone();
        tokio::select! {
            biased;
            Some(joined) = self.calls.join_next() => {
                if let Ok((step, attempt, answer)) = joined {
                    self.answered(step, attempt, answer);
                }
            }
            () = live.lost() => return false,
            () = live.stirred.notified() => {}
            () = tokio::time::sleep(sleep.unwrap_or_default()), if sleep.is_some() => {}
            () = tokio::time::sleep(LOG_FLUSH), if flying => {}
            () = tokio::time::sleep(LOOK_EVERY), if looks => {}
        }
        true
    }

    /// Makes a call. One that answers at once is taken at once; another goes on beside this driver.
    fn call(&mut self, step: u64, attempt: u32) {
        let pending_work = Some(PendingWork::Call { step, attempt });
        if self.live.read(|run| run.pending_work_at(step) != pending_work) {
            return;
        }
        let sink = Arc::new(StepSink {
            live: self.live.clone(),
            step,
            written: Mutex::default(),
        });
        let Some(prepared) = self.live.read(|run| run.prepare(step)) else {
            return;
        };
        let call = match prepared {
            Err(failure) => return self.answered(step, attempt, Err(failure)),
            Ok(call) => Call {
                function: call.function,
                input: call.input,
                mapped: call.mapped,
                config: call.config,
                run: self.live.id,
                node: call.node,
                step,
                attempt,
                timeout: call.timeout_ms.map(Duration::from_millis),
                bounds: call.bounds,
                started_at: call.started_at,
                durable: self.live.clone(),
                sink: sink.clone(),
            },
        };
        self.engine.occupy(&self.live);
        // A call that may have an effect outside follows from nothing that could still be lost.
        let granted = self.engine.ports.functions.is_granted(&call.function);
        let durable = granted.then(|| {
            self.outbox.send(&self.engine, &self.live);
            self.live.clone().durable_so_far()
        });
        let engine = self.engine.clone();
        let mut answer: BoxFuture<'static, Answered> = Box::pin(async move {
            if let Some(durable) = durable
                && durable.await.is_err()
            {
                // The run is given up, and with it this call.
                return std::future::pending().await;
            }
            let call = AssertUnwindSafe(engine.ports.functions.call(call)).catch_unwind();
            call.await.unwrap_or_else(|_| {
                let message = "the engine failed while it called the function: see its log";
                Err(Failure::new(FailureKind::Unavailable, message))
            })
        });
        if let Some(answer) = (&mut answer).now_or_never() {
            self.log(step, attempt, &sink);
            return self.answered(step, attempt, answer);
        }
        let abort = self.calls.spawn(async move { (step, attempt, answer.await) });
        let flying = Flying { attempt, sink, abort };
        self.flying.insert(step, flying);
    }

    fn answered(&mut self, step: u64, attempt: u32, result: Answered) {
        let known = self
            .flying
            .get(&step)
            .is_some_and(|flying| flying.attempt == attempt);
        if known && let Some(flying) = self.flying.remove(&step) {
            self.log(step, attempt, &flying.sink);
        }
        // Nothing follows from an answer that came too late.
        let _ = self.take(Input::Answered {
            step,
            attempt,
            result,
        });
    }

    /// Takes what the functions under way have written into the journal.
    fn flush(&mut self) {
        let flying: Vec<(u64, u32, Arc<StepSink>)> = self
            .flying
            .iter()
            .map(|(step, flying)| (*step, flying.attempt, flying.sink.clone()))
            .collect();
        for (step, attempt, sink) in flying {
            self.log(step, attempt, &sink);
        }
    }

    /// Takes what a function wrote into the journal, and tells what it sent between its lines behind them.
    fn log(&mut self, step: u64, attempt: u32, sink: &StepSink) {
        loop {
            let written = {
                let mut written = sink.lock();
                written.is_taken = !written.parts.is_empty();
                std::mem::take(&mut written.parts)
            };
            if written.is_empty() {
                return;
            }
            let mut lines = VecDeque::new();
            for part in written {
                match part {
                    Part::Line(level, line) => lines.push_back((level, line)),
                    Part::Chunk(data) => {
                        self.journal(step, attempt, std::mem::take(&mut lines));
                        self.live.emit(step, data);
                    }
                }
            }
            self.journal(step, attempt, lines);
        }
    }

    fn journal(&mut self, step: u64, attempt: u32, lines: VecDeque<(Level, Arc<str>)>) {
        if !lines.is_empty() {
            let _ = self.take(Input::Logged { step, attempt, lines });
        }
    }

    /// Has the kernel take an input, puts what follows into the outbox, and sees what is owed now.
    /// Answers the number of the last event.
    fn take(&mut self, input: Input) -> Result<u64, heddle_kernel::Refusal> {
        let now = self.engine.ports.clock.now();
        let events = self.live.change(|run| decide(run, input, now))?;
        let mut ended = false;
        self.live.read(|run| {
            for recorded in &events {
                match &recorded.event {
                    Event::StepStarted { step, .. } => {
                        self.ready.extend(run.pending_work_at(*step).and_then(call_of))
                    }
                    Event::StepFailed { .. } | Event::UndoStarted { .. } => ended = true,
                    event => ended |= event.ends_run(),
                }
            }
            let over = run.status.is_over();
            self.held = over || run.is_suspended();
            if ended {
                // What a failure or a cancellation ended is not waited for.
                self.flying.retain(|step, flying| {
                    let attempt = flying.attempt;
                    let pending_work =
                        run.pending_work_at(*step) == Some(PendingWork::Call { step: *step, attempt });
                    if over || !pending_work {
                        flying.abort.abort();
                    }
                    pending_work && !over
                });
            }
        });
        let last = events.last().map_or(0, |last| last.seq);
        self.outbox.put(events);
        Ok(last)
    }

    /// Lets others have a turn, looks up, and lets the disk keep up. False where the run was lost meanwhile.
    async fn keep_pace(&mut self) -> bool {
        if self.outbox.held_for() >= HOLD {
            self.outbox.send(&self.engine, &self.live);
            tokio::task::yield_now().await;
            while let Some(Ok((step, attempt, answer))) = self.calls.try_join_next() {
                self.answered(step, attempt, answer);
            }
            self.look_up();
        }
        // What runs ahead of the disk is held in memory, so it has a limit.
        if self.outbox.ahead() > self.engine.settings.run_ahead_bytes {
            self.outbox.send(&self.engine, &self.live);
            self.outbox.caught_up();
            return self.durable().await;
        }
        true
    }

    async fn durable(&self) -> bool {
        self.live.clone().durable_so_far().await.is_ok()
    }

    /// Gives a run up that rests, if nobody holds it: the store wakes it, or somebody who asks for it.
    async fn park(&mut self) -> bool {
        if !self.outbox.rests() || !self.durable().await {
            return false;
        }
        // Also where somebody holds it: it uses nothing up while it rests.
        self.engine.vacate(&self.live);
        let due = self.live.read(|run| run.due());
        self.engine.park(&self.live, due)
    }

    /// Ends the driving: everything is handed over, and nothing is taken any more.
    async fn leave(&mut self) {
        self.outbox.send(&self.engine, &self.live);
        let durable = self.live.clone().durable_so_far().await;
        if let Err(Stopped::Lost(error)) = &durable {
            tracing::error!(run = %self.live.id, %error, "the run is given up by this engine");
        }
        self.engine.forget(&self.live);
        self.engine.vacate(&self.live);
        let over = durable.is_ok() && self.live.read(|run| run.status.is_over());
        if over || self.live.progress().borrow().seq == 0 {
            self.engine.done_with(&self.live);
        }
        self.live.close();
    }
}

/// Collects what a function writes while it is called for a step.
struct StepSink {
    live: Arc<LiveRun>,
    step: u64,
    written: Mutex<Written>,
}

/// What was written and is not in the journal yet.
#[derive(Default)]
struct Written {
    parts: VecDeque<Part>,
    /// Whether the driver is at taking parts: what comes meanwhile comes after them.
    is_taken: bool,
}

enum Part {
    Line(Level, Arc<str>),
    Chunk(Json),
}

impl StepSink {
    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written
            .lock()
            .expect("nothing panics while it holds what was written")
    }
}

impl Sink for StepSink {
    fn log(&self, level: Level, message: &str) {
        self.lock().parts.push_back(Part::Line(level, message.into()));
    }

    fn emit(&self, data: Json) {
        if !self.live.is_watched() {
            return;
        }
        let mut written = self.lock();
        match written.parts.is_empty() && !written.is_taken {
            // Told under the lock: no line that follows comes before it.
            true => self.live.emit(self.step, data),
            // A line that came before it is told first.
            false => written.parts.push_back(Part::Chunk(data)),
        }
    }
}
