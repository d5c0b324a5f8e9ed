//! Simulated clients: each starts a run, watches it to its end, sends its signals and controls it. A client outlives the
//! engine; after a crash it repeats its requests with the same idempotency keys.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use heddle_json::{Object, object::to_json};
use heddle_kernel::{Digest, Event, EventRecord, Refusal, RunId, Status};
use heddle_runtime::{
    Engine, KeyError, ReadError, RequestKey, RunView, SendError, Start, StartError, Watch, WatchItem,
    ports::StoreError,
};
use heddle_tests::random::Random;
use tokio::time::sleep;

use crate::{graphs::MEND, world::World};

/// The delay before a client repeats a failed request.
const AGAIN: Duration = Duration::from_millis(7);

/// The maximum number of retries of a failed run: more than the number of its steps.
const RETRIES: u32 = 50;

/// The size in bytes of a large state: its events soon exceed what the engine folds without a snapshot.
const LARGE: usize = 300_000;

/// A client: its plan and its knowledge.
pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) world: Arc<World>,
    /// The number of events after which it pauses its run for a while.
    pauses_at: Option<usize>,
    /// The number of events after which it cancels its run.
    pub(crate) cancels_at: Option<usize>,
    /// Whether the state of its run is large enough for snapshots.
    large: bool,
    known: Mutex<Known>,
}

/// What a client has sent and received.
#[derive(Default)]
pub(crate) struct Known {
    /// Its run, once the start was acknowledged.
    pub(crate) run: Option<RunId>,
    /// The events that it received, in order.
    pub(crate) seen: Vec<Arc<EventRecord>>,
    /// For each step that waited for a signal: the name, and the state of the signal.
    pub(crate) signals: BTreeMap<u64, (String, Signal)>,
    paused: Steering,
    cancelled: Steering,
    retries: u32,
    /// The end of its run.
    pub(crate) end: Option<End>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Steering {
    #[default]
    Not,
    /// The request was accepted, or the run refused it.
    Sent,
    Done,
}

/// The state of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It must be sent.
    Pending,
    /// It was acknowledged as durable.
    Acknowledged,
    /// The run had ended. It is sent again if the run is retried.
    Refused,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) status: Status,
    pub(crate) state: String,
    pub(crate) error: Option<String>,
}

/// The outcome of a request.
enum Sent {
    Taken,
    Refused(Refusal),
    /// It must be repeated.
    Later,
}

impl Client {
    pub(crate) fn new(number: usize, world: Arc<World>, random: &mut Random) -> Self {
        let at = |random: &mut Random| Some(random.in_range(1..30) as usize);
        Self {
            number,
            world,
            pauses_at: random.one_in(3).then(|| at(random)).flatten(),
            cancels_at: random.one_in(8).then(|| at(random)).flatten(),
            large: random.one_in(12),
            known: Mutex::default(),
        }
    }

    /// The same client without control requests.
    pub(crate) fn without_control(self) -> Self {
        Self {
            pauses_at: None,
            cancels_at: None,
            ..self
        }
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    /// Continues its plan with this engine.
    pub(crate) async fn go(self: Arc<Self>, engine: Engine) {
        while self.known().end.is_none() {
            let known = self.known().run;
            match known {
                None => self.start(&engine).await,
                Some(run) => self.follow(&engine, run).await,
            }
        }
    }

    async fn start(&self, engine: &Engine) {
        let key = format!("start-{}", self.number);
        let start = Start {
            key: Some(RequestKey {
                digest: Digest::of(key.as_bytes()),
                key: key.into(),
            }),
            ..Start::of(format!("root-{}", self.number), self.state())
        };
        match engine.start_run(start).await {
            Ok(started) => self.known().run = Some(started.id),
            Err(
                StartError::Store(StoreError::Unavailable(_))
                | StartError::Draining
                | StartError::Busy { .. }
                | StartError::Key(KeyError::InFlight(_)),
            ) => sleep(AGAIN).await,
            Err(error) => panic!("client {}: {error:?}", self.number),
        }
    }

    /// The initial state of its run.
    fn state(&self) -> Object {
        let mut state = Object::parse(r#"{"append": [1, 2]}"#).unwrap();
        if self.large {
            state.insert("fill", to_json(&"x".repeat(LARGE)));
        }
        state
    }

    /// Watches the run after the last received event, until its end or until the watch breaks.
    async fn follow(&self, engine: &Engine, run: RunId) {
        let after = self.known().seen.len() as u64;
        match engine.watch(run, after).await {
            Ok(Some(watch)) => self.watch(engine, run, watch).await,
            Ok(None) => panic!("client {}: run {run} was acknowledged and is lost", self.number),
            Err(StoreError::Unavailable(_)) => sleep(AGAIN).await,
            Err(error) => panic!("client {}: {error:?}", self.number),
        }
    }

    async fn watch(&self, engine: &Engine, run: RunId, mut watch: Watch) {
        loop {
            if !self.send_pending(engine, run).await {
                sleep(AGAIN).await;
                continue;
            }
            match watch.next().await {
                Some(Ok(WatchItem::Event(event))) => {
                    let mut known = self.known();
                    let expected = known.seen.len() as u64 + 1;
                    assert_eq!(event.seq, expected, "client {}: a gap or a repeat", self.number);
                    if let Event::StepStarted { step, node, .. } = &event.event
                        && let Some(signal) = &self.world.nodes[&**node].signal
                    {
                        known
                            .signals
                            .entry(*step)
                            .or_insert((signal.clone(), Signal::Pending));
                    }
                    known.seen.push(event);
                }
                Some(Ok(WatchItem::Chunk(_) | WatchItem::Missed(_))) => {}
                Some(Err(StoreError::Unavailable(_))) => return sleep(AGAIN).await,
                Some(Err(error)) => panic!("client {}: {error:?}", self.number),
                None => return self.ended(engine, run).await,
            }
        }
    }

    /// Sends the pending requests. False if one failed.
    async fn send_pending(&self, engine: &Engine, run: RunId) -> bool {
        let seen = self.known().seen.len();
        let pending_work = self
            .known()
            .signals
            .iter()
            .find(|(_, (_, came))| *came == Signal::Pending)
            .map(|(step, (name, _))| (*step, name.clone()));
        if let Some((step, name)) = pending_work {
            let key = format!("signal-{}-{step}", self.number);
            let key = RequestKey {
                digest: Digest::of(key.as_bytes()),
                key: key.into(),
            };
            let came = match sent(engine.signal(run, &name, to_json(&3), Some(key)).await) {
                Sent::Later => return false,
                Sent::Taken => Signal::Acknowledged,
                Sent::Refused(Refusal::Over | Refusal::Ending) => Signal::Refused,
                Sent::Refused(refusal) => panic!("client {}: {refusal:?}", self.number),
            };
            self.known().signals.insert(step, (name, came));
        }
        let paused = self.known().paused;
        if self.pauses_at.is_some_and(|at| at <= seen) && paused == Steering::Not {
            match sent(engine.pause(run, "a break").await) {
                Sent::Later => return false,
                Sent::Taken | Sent::Refused(_) => self.known().paused = Steering::Sent,
            }
            sleep(Duration::from_millis(30)).await;
        }
        let paused = self.known().paused;
        if paused == Steering::Sent {
            match sent(engine.resume(run).await) {
                Sent::Later => return false,
                Sent::Taken | Sent::Refused(_) => self.known().paused = Steering::Done,
            }
        }
        let cancelled = self.known().cancelled;
        if self.cancels_at.is_some_and(|at| at <= seen) && cancelled == Steering::Not {
            match sent(
                engine
                    .cancel(run, "not wanted", Some(Duration::from_millis(10)))
                    .await,
            ) {
                Sent::Later => return false,
                Sent::Taken | Sent::Refused(_) => self.known().cancelled = Steering::Done,
            }
        }
        true
    }

    /// Handles a run without further events.
    async fn ended(&self, engine: &Engine, run: RunId) {
        let view = match engine.run(run).await {
            Ok(Some(view)) => view,
            Ok(None) => panic!("client {}: run {run} was acknowledged and is lost", self.number),
            Err(ReadError::Store(StoreError::Unavailable(_))) => return sleep(AGAIN).await,
            Err(error) => panic!("client {}: {error:?}", self.number),
        };
        if self.needs_retry(&view) {
            // A wait that continues with the run gets its signal now.
            for (_, came) in self.known().signals.values_mut() {
                if *came == Signal::Refused {
                    *came = Signal::Pending;
                }
            }
            match sent(engine.retry(run).await) {
                Sent::Later => sleep(AGAIN).await,
                Sent::Taken => self.known().retries += 1,
                // A crash intervened, and the run continues.
                Sent::Refused(refusal) => {
                    assert!(
                        matches!(refusal, Refusal::NotNow(_)),
                        "client {}: {refusal:?}",
                        self.number
                    );
                    sleep(AGAIN).await;
                }
            }
        } else if view.status.is_over() {
            self.known().end = Some(End {
                status: view.status,
                state: view.state.to_text(),
                error: view.error.map(|error| error.message.to_string()),
            });
        }
    }

    fn needs_retry(&self, view: &RunView) -> bool {
        let mend = view.error.as_ref().is_some_and(|error| &*error.message == MEND);
        view.status == Status::Failed && mend && self.known().retries < RETRIES
    }
}

fn sent(answer: Result<u64, SendError>) -> Sent {
    match answer {
        Ok(_) => Sent::Taken,
        Err(SendError::Refused(refusal)) => Sent::Refused(refusal),
        Err(
            SendError::Unavailable(_)
            | SendError::Read(ReadError::Store(StoreError::Unavailable(_)))
            | SendError::Key(KeyError::InFlight(_)),
        ) => Sent::Later,
        Err(error) => panic!("{error:?}"),
    }
}
