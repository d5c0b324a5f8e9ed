//! Driving a run: make the calls that it owes, take the answers, journal what follows, go on.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use heddle_kernel::{
    Answer, Event, Failure, FailureKind, Input, Json, Level, Outcome, Owed, Recorded, Refusal, Run, Status,
    graph::NodeIx,
};

use crate::{
    inner::Inner,
    live::{LiveRun, Stopped},
    ports::{Append, Call, NewRun, RunEnd, Sink},
    watch::Chunk,
};

/// How long a log line may wait for others before it is journaled, while its call goes on.
const LOG_FLUSH: Duration = Duration::from_millis(100);

/// How long a run that goes on without a pause may hold events back, so that steps that take
/// microseconds share an append; then others get a turn, too.
const HOLD: Duration = Duration::from_micros(500);

/// Events on their way to the journal, in order.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Set for the events that begin a run.
    begins: Option<NewRun>,
    /// What was decided and not handed over.
    events: Vec<Arc<Recorded>>,
    /// When the first of them was put in.
    since: Option<Instant>,
    /// How many bytes were handed over since the run last waited for the disk.
    ahead: usize,
}

impl Outbox {
    /// What begins a run.
    pub(crate) fn of_start(begins: NewRun, events: Vec<Arc<Recorded>>) -> Self {
        Self {
            begins: Some(begins),
            events,
            since: Some(Instant::now()),
            ahead: 0,
        }
    }
}

/// Drives a run to its end, or until the engine stops.
pub(crate) async fn drive(engine: Arc<Inner>, live: Arc<LiveRun>, mut outbox: Outbox) {
    while live.stopped().is_none() {
        if engine.is_draining() {
            live.stop(Stopped::Draining);
            break;
        }
        let Some(Owed::Call { node, step, attempt }) = live.read(|run| run.owed().next()) else {
            break;
        };
        let Some(result) = call(&engine, &live, &mut outbox, node, step, attempt).await else {
            break;
        };
        let answered = Input::Answered {
            step,
            attempt,
            result,
        };
        engine.take(&live, &mut outbox, answered);
        if outbox.since.is_some_and(|since| since.elapsed() >= HOLD) {
            engine.send(&live, &mut outbox);
            tokio::task::yield_now().await;
        }
        // What runs ahead of the disk is held in memory, so it has a limit.
        if outbox.ahead > engine.settings.run_ahead_bytes {
            engine.send(&live, &mut outbox);
            outbox.ahead = 0;
            let seq = live.read(|run| run.seq);
            if live.durable_to(seq).await.is_err() {
                break;
            }
        }
    }
    engine.send(&live, &mut outbox);
    let seq = live.read(|run| run.seq);
    if let Err(Stopped::Lost(error)) = live.durable_to(seq).await {
        tracing::error!(run = %live.id, %error, "the run is given up by this engine");
    }
    engine.forget(&live);
}

/// Makes one call; nothing is held back while it waits, its log lines included. `None` where the run was lost
/// meanwhile: nobody waits for the answer then, so the call is given up.
async fn call(
    engine: &Inner,
    live: &Arc<LiveRun>,
    outbox: &mut Outbox,
    node: NodeIx,
    step: u64,
    attempt: u32,
) -> Option<Result<Outcome, Failure>> {
    let sink = Arc::new(StepSink {
        live: live.clone(),
        node,
        step,
        lines: Mutex::default(),
    });
    let Some(call) = live.read(|run| prepare(run, node, step, attempt, sink.clone())) else {
        return Some(Err(Failure::new(
            FailureKind::Unavailable,
            "the run keeps no function for this node: its journal was written by another version",
        )));
    };
    let before = call.input.size();
    let mut answer = AssertUnwindSafe(engine.ports.functions.call(call)).catch_unwind();
    let answer = match (&mut answer).now_or_never() {
        Some(answer) => answer,
        None => loop {
            flush(engine, live, outbox, &sink, attempt);
            engine.send(live, outbox);
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                () = live.lost() => return None,
                () = tokio::time::sleep(LOG_FLUSH) => {}
            }
        },
    };
    flush(engine, live, outbox, &sink, attempt);
    let answer = answer.unwrap_or_else(|_| {
        Err(Failure::new(
            FailureKind::Unavailable,
            "the engine failed while it called the function: see its log",
        ))
    });
    let outcome = answer.and_then(|answer| match answer {
        Answer::Outcome(outcome) => Ok(outcome),
        Answer::Result(result) => Outcome::from_tool_result(&result),
    });
    Some(outcome.and_then(|outcome| within(outcome, before, engine.settings.max_state_bytes)))
}

/// An outcome, if the state is not too large with it.
fn within(outcome: Outcome, before: usize, limit: usize) -> Result<Outcome, Failure> {
    let size = before + outcome.update.size();
    if size <= limit {
        return Ok(outcome);
    }
    Err(Failure::new(
        FailureKind::Limit,
        format!(
            "with this step's update the state would take {size} bytes, more than its limit of {limit} (max_state_bytes)"
        ),
    ))
}

fn prepare(run: &Run, node: NodeIx, step: u64, attempt: u32, sink: Arc<StepSink>) -> Option<Call> {
    let at = run.graph.node(node);
    let (_, branch) = run.branch_at(step)?;
    Some(Call {
        function: run.function(node)?.clone(),
        input: run.state.clone(),
        mapped: false,
        config: at.config.clone(),
        run: run.id,
        node: at.name.clone(),
        step,
        attempt,
        timeout: None,
        started_at: branch.started_at,
        sink,
    })
}

/// Takes what a function has written into the journal.
fn flush(engine: &Inner, live: &LiveRun, outbox: &mut Outbox, sink: &StepSink, attempt: u32) {
    let lines = std::mem::take(
        &mut *sink
            .lines
            .lock()
            .expect("nothing panics while it holds the lines"),
    );
    if !lines.is_empty() {
        let step = sink.step;
        engine.take(live, outbox, Input::Logged { step, attempt, lines });
    }
}

impl Inner {
    /// Has the kernel take an input, and puts what follows into the outbox.
    pub(crate) fn take(&self, live: &LiveRun, outbox: &mut Outbox, input: Input) {
        let now = self.ports.clock.now();
        match live.change(|run| run.take(input, now)) {
            Ok(events) => {
                outbox.events.extend(events);
                outbox.since.get_or_insert_with(Instant::now);
            }
            // Nothing follows from an answer that came too late.
            Err(Refusal::Over | Refusal::Stale) => {}
        }
    }

    /// Hands what is in the outbox to the journal.
    fn send(&self, live: &Arc<LiveRun>, outbox: &mut Outbox) {
        let (begins, events) = (outbox.begins.take(), std::mem::take(&mut outbox.events));
        outbox.since = None;
        let Some(last) = events.last() else { return };
        let ends = match &last.event {
            Event::RunFinished => Some(RunEnd {
                status: Status::Finished,
                at: last.at,
                error: None,
            }),
            Event::RunFailed { error } => Some(RunEnd {
                status: Status::Failed,
                at: last.at,
                error: Some(error.clone()),
            }),
            _ => None,
        };
        outbox.ahead += events.iter().map(|event| size(&event.event)).sum::<usize>();
        self.ports.journal.append(Append {
            run: live.id,
            begins,
            events,
            ends,
            waits: None,
            ack: live.clone(),
        });
    }
}

/// About how many bytes an event takes.
fn size(event: &Event) -> usize {
    const FIXED: usize = 160;
    FIXED
        + match event {
            Event::RunStarted { state, functions, .. } => state.size() + functions.len() * FIXED,
            Event::StepFinished { update, .. } => update.size(),
            Event::Log { message, .. } => message.len(),
            Event::StepFailed { failure, .. } => failure.message.len(),
            Event::StepStarted { .. } | Event::RunFinished | Event::RunFailed { .. } => 0,
        }
}

/// Collects what a function writes while it is called for a step.
struct StepSink {
    live: Arc<LiveRun>,
    node: NodeIx,
    step: u64,
    lines: Mutex<VecDeque<(Level, Arc<str>)>>,
}

impl Sink for StepSink {
    fn log(&self, level: Level, message: &str) {
        let mut lines = self
            .lines
            .lock()
            .expect("nothing panics while it holds the lines");
        lines.push_back((level, message.into()));
    }

    fn emit(&self, data: Json) {
        let node = self.live.read(|run| run.graph.node(self.node).name.clone());
        self.live.emit(Chunk {
            node,
            step: self.step,
            data,
        });
    }
}
