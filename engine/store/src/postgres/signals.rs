//! Notifications between engines: those that this engine receives, and those that its writes cause.
//!
//! A notification is a hint that can be lost; what it reports is in the tables. NOTIFY takes a lock of the whole database at
//! its commit, so notifications are collected for a moment and sent in transactions of their own.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use heddle_kernel::RunId;
use heddle_runtime::ports::{Notification, RunDisposition};
use tokio::{
    sync::{broadcast, mpsc},
    time::sleep,
};
use uuid::Uuid;

use super::{control::Control, plan::Plan, statement::Answer};

/// The channel that all engines listen on. The channel of an engine is this name with the engine's id.
pub(super) const ALL: &str = "heddle";

/// How long notifications are collected.
const COLLECT: Duration = Duration::from_millis(5);

/// How many received notifications a slow reader can be behind, and how many can wait to be sent. Further ones are lost.
const RECEIVED: usize = 4_096;
const WAITING: usize = 4_096;

/// The largest payload in bytes that PostgreSQL takes, less the id of a run.
const CHUNK_BYTES: usize = 7_900;

/// What the control connection has received.
#[derive(Clone)]
pub(super) struct Received(Arc<Shared>);

struct Shared {
    channels: Mutex<Vec<String>>,
    sender: broadcast::Sender<Notification>,
}

impl Default for Received {
    fn default() -> Self {
        Self(Arc::new(Shared {
            channels: Mutex::default(),
            sender: broadcast::channel(RECEIVED).0,
        }))
    }
}

impl Received {
    /// The channels that the connection listens on.
    pub(super) fn channels(&self) -> Vec<String> {
        self.0
            .channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Listens for this engine from the next connection on.
    pub(super) fn listen_for(&self, engine: i64) {
        let channels = vec![ALL.to_owned(), format!("{ALL}_{engine}")];
        *self.0.channels.lock().unwrap_or_else(PoisonError::into_inner) = channels;
    }

    /// Passes a notification on; `None` says that the connection was lost.
    pub(super) fn add(&self, notification: Option<tokio_postgres::Notification>) {
        let received = match notification {
            None => Some(Notification::Missed),
            Some(notification) => parse(notification.payload()),
        };
        if let Some(received) = received {
            // Fails if nobody reads, which is no loss.
            let _ = self.0.sender.send(received);
        }
    }

    /// The notifications from now on.
    pub(super) fn stream(&self) -> BoxStream<'static, Notification> {
        stream::unfold(self.0.sender.subscribe(), |mut receiver| async {
            match receiver.recv().await {
                Ok(notification) => Some((notification, receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((Notification::Missed, receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
        .boxed()
    }
}

/// Reads a payload. Unknown ones are those of a later version.
fn parse(payload: &str) -> Option<Notification> {
    let (kind, rest) = payload.split_once(' ').unwrap_or((payload, ""));
    let run = |rest: &'_ str| rest.parse::<RunId>().ok();
    Some(match kind {
        "commands" => Notification::Commands,
        "answers" => Notification::Answers,
        "changes" => Notification::Changes,
        "work" => Notification::Work,
        "events" => {
            let (id, seq) = rest.split_once(' ')?;
            Notification::Events {
                run: run(id)?,
                seq: seq.parse().ok()?,
            }
        }
        "chunk" => {
            let (id, chunk) = rest.split_once(' ')?;
            Notification::Chunk {
                run: run(id)?,
                chunk: chunk.into(),
            }
        }
        _ => return None,
    })
}

/// Something that other engines are notified of.
enum Signal {
    /// The events of a run up to this number are durable; the engine watches the run.
    Events(Uuid, u64, i64),
    Chunk(RunId, Arc<str>),
    Answers(i64),
    Work,
    Changes,
}

/// Collects what other engines are notified of. In an exclusive store it collects nothing.
#[derive(Clone, Default)]
pub(super) struct Signals {
    sender: Option<mpsc::Sender<Signal>>,
    /// The runs that another engine watched at their last append.
    watched: Arc<Mutex<HashSet<RunId>>>,
}

/// Receives what [`Signals`] collects.
pub(super) struct Collected(mpsc::Receiver<Signal>);

impl Signals {
    /// Signals of a shared store.
    pub(super) fn shared() -> (Self, Collected) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let signals = Self {
            sender: Some(sender),
            watched: Arc::default(),
        };
        (signals, Collected(receiver))
    }

    fn send(&self, signal: Signal) {
        if let Some(sender) = &self.sender {
            // If too many wait, the notification is lost.
            let _ = sender.try_send(signal);
        }
    }

    /// Reports what a statement has written.
    pub(super) fn written(&self, plan: &Plan<'_>, answer: &Answer) {
        if self.sender.is_none() {
            return;
        }
        let written: HashSet<Uuid> = answer.written.iter().copied().collect();
        let is_queued = |run: &&super::plan::RunWrite<'_>| {
            matches!(run.disposition, RunDisposition::Queued) && written.contains(&run.run.0)
        };
        if plan.runs.iter().find(is_queued).is_some() {
            self.send(Signal::Work);
        }
        for engine in &answer.answered {
            self.send(Signal::Answers(*engine));
        }
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if !watched.is_empty() {
            for run in &answer.written {
                watched.remove(&RunId(*run));
            }
        }
        for (run, engine) in &answer.watched {
            watched.insert(RunId(*run));
            let last = plan.runs.iter().find(|write| write.run.0 == *run);
            if let Some(write) = last {
                self.send(Signal::Events(*run, write.last, *engine));
            }
        }
    }

    /// Sends a chunk to the engines that watch the run.
    pub(super) fn chunk(&self, run: RunId, chunk: Arc<str>) {
        let is_watched = self
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&run);
        if is_watched && chunk.len() <= CHUNK_BYTES && !chunk.contains('\0') {
            self.send(Signal::Chunk(run, chunk));
        }
    }

    /// Reports that a counter of changes has increased.
    pub(super) fn changed(&self) {
        self.send(Signal::Changes);
    }
}

impl Collected {
    /// Sends the notifications as long as the store is open.
    pub(super) async fn notify(mut self, control: Control) {
        while let Some(first) = self.0.recv().await {
            let mut batch = Batch::default();
            batch.add(first);
            sleep(COLLECT).await;
            while let Ok(next) = self.0.try_recv() {
                batch.add(next);
            }
            batch.send(&control).await;
        }
    }
}

/// Notifications that are sent together.
#[derive(Default)]
struct Batch {
    /// By run and engine, the number of the last event.
    events: BTreeMap<(Uuid, i64), u64>,
    answers: BTreeSet<i64>,
    chunks: Vec<(RunId, Arc<str>)>,
    is_work: bool,
    is_changed: bool,
}

impl Batch {
    fn add(&mut self, signal: Signal) {
        match signal {
            Signal::Events(run, seq, engine) => {
                let last = self.events.entry((run, engine)).or_default();
                *last = seq.max(*last);
            }
            Signal::Chunk(run, chunk) => self.chunks.push((run, chunk)),
            Signal::Answers(engine) => {
                self.answers.insert(engine);
            }
            Signal::Work => self.is_work = true,
            Signal::Changes => self.is_changed = true,
        }
    }

    async fn send(self, control: &Control) {
        let mut sent: Vec<(String, String)> = Vec::new();
        for ((run, engine), seq) in self.events {
            sent.push((format!("{ALL}_{engine}"), format!("events {run} {seq}")));
        }
        for engine in self.answers {
            sent.push((format!("{ALL}_{engine}"), "answers".to_owned()));
        }
        for (is, payload) in [(self.is_work, "work"), (self.is_changed, "changes")] {
            if is {
                sent.push((ALL.to_owned(), payload.to_owned()));
            }
        }
        let (channels, payloads): (Vec<String>, Vec<String>) = sent.into_iter().unzip();
        if !channels.is_empty() {
            let sql = "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS n(channel, payload)";
            log(control.rows(sql, &[&channels, &payloads]).await);
        }
        if !self.chunks.is_empty() {
            let runs: Vec<Uuid> = self.chunks.iter().map(|(run, _)| run.0).collect();
            let payloads: Vec<String> = self
                .chunks
                .iter()
                .map(|(run, chunk)| format!("chunk {run} {chunk}"))
                .collect();
            let sql = "SELECT pg_notify('heddle_' || w.engine, c.payload)
                       FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS c(run, payload, place)
                       JOIN watched w ON w.run = c.run ORDER BY c.place";
            log(control.rows(sql, &[&runs, &payloads]).await);
        }
    }
}

fn log<T>(sent: Result<T, heddle_runtime::ports::StoreError>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "notifications were lost");
    }
}
