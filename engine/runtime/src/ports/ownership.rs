//! The port to the ownership of runs: which engine executes which run, and how engines that share a store reach each
//! other.
//!
//! A store is *exclusive* or *shared*. An exclusive store, such as a SQLite file, admits one engine at a time: that engine
//! owns every run, and its lease never ends. The default methods of [`Ownership`] are those of an exclusive store.
//!
//! A shared store admits any number of engines. Then the following holds:
//!
//! - Each engine has a row with an id that is never reused, and a lease that it renews. The store's clock alone decides
//!   when a lease has ended. An engine is dead once its row is deleted, and only the row of an engine whose lease has ended
//!   is deleted. Nothing that an engine writes is committed after the deletion of its row: every write for an engine checks
//!   the row in its own transaction, and the deletion waits for these transactions.
//! - A run has at most one owner. A run with the status running has the owner that executes it, or none if it was
//!   released. A queued, waiting or paused run has an owner only while an engine changes it: each append with such a status
//!   removes the owner. An ended run has no owner, except while an engine reopens it.
//! - A run is *orphaned* if it is running and has no owner, or its owner has no row.

use std::{sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, ready},
    stream::{self, BoxStream},
};
use heddle_kernel::{RunId, Timestamp};

use super::{errors::StoreError, rows::QueuedRun};

/// The answer of a store to an engine.
pub type OwnerResult<'a, T> = BoxFuture<'a, Result<T, OwnerError>>;

/// Assigns runs to engines, and passes commands and notifications between engines.
///
/// Every method but [`join`](Self::join), [`engines`](Self::engines), [`changes`](Self::changes) and
/// [`request_drain`](Self::request_drain) fails with [`OwnerError::Fenced`] if the engine's row was deleted. No method
/// changes or locks an unbounded number of rows, and the cost of a claim does not depend on the number of stored runs.
pub trait Ownership: Send + Sync + 'static {
    /// Whether several engines can use the store at the same time.
    fn is_shared(&self) -> bool {
        false
    }

    /// Adds a row for this process, with a new id and a lease that starts now.
    ///
    /// An engine joins when it starts, and again after it was fenced. Appends carry the id with which their run was claimed,
    /// so appends from before the second join are refused.
    fn join(&self, engine: NewEngine) -> BoxFuture<'_, Result<Joined, StoreError>> {
        let _ = engine;
        ready(Ok(Joined {
            engine: EngineId::EXCLUSIVE,
            now: None,
        }))
        .boxed()
    }

    /// Extends the engine's lease by the length that it joined with, and records the changes that the engine has applied.
    fn renew(&self, engine: EngineId, applied: Changes) -> OwnerResult<'_, Renewed> {
        let _ = (engine, applied);
        done(Renewed::default())
    }

    /// Deletes the engine's row, so that its runs are orphaned at once instead of at the end of its lease.
    fn leave(&self, engine: EngineId) -> OwnerResult<'_, ()> {
        let _ = engine;
        done(())
    }

    /// All engines that have a row, by id.
    fn engines(&self) -> BoxFuture<'_, Result<Vec<EngineRow>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }

    /// Asks the engines with this name to drain: [`Renewed::is_drain_requested`] reports it to them. Returns how many
    /// engines have this name.
    fn request_drain(&self, name: &str) -> BoxFuture<'_, Result<usize, StoreError>> {
        let _ = name;
        ready(Ok(0)).boxed()
    }

    /// Whether this engine does the housekeeping of the whole store: schedules and retention. At most one engine does, until
    /// it dies or leaves. An engine that asks becomes that engine if there is none.
    fn claim_housekeeping(&self, engine: EngineId) -> OwnerResult<'_, bool> {
        let _ = engine;
        done(true)
    }

    /// Makes the engine the owner of a run of any status, unless another live engine owns the run.
    fn claim(&self, engine: EngineId, run: RunId) -> OwnerResult<'_, Claim> {
        let _ = (engine, run);
        done(Claim::Owned)
    }

    /// Claims at most `limit` waiting runs without an owner whose timers are due, by due time and then by id.
    ///
    /// A shared store compares with its own clock. An exclusive store compares with `now`, and returns a run again until an
    /// append of the run is durable.
    fn claim_due(&self, engine: EngineId, now: Timestamp, limit: usize) -> OwnerResult<'_, Vec<RunId>>;

    /// Claims at most `limit` queued runs without an owner, by descending priority and then oldest first. Skips runs whose
    /// groups are full.
    ///
    /// A claimed run counts in its group from the claim on, until it ends or is released while it is still queued. A shared
    /// store keeps the number of active runs of each group in a row of its own. Only starts, ends and claims of runs of the
    /// group lock that row. The limit of a group is the `group_limit` of the run that was created last.
    fn claim_queued(&self, engine: EngineId, limit: usize) -> OwnerResult<'_, Vec<QueuedRun>> {
        let _ = (engine, limit);
        done(Vec::new())
    }

    /// Claims at most `limit` orphaned runs. First deletes the rows of engines whose leases have ended.
    fn claim_orphaned(&self, engine: EngineId, limit: usize) -> OwnerResult<'_, Vec<RunId>> {
        let _ = (engine, limit);
        done(Vec::new())
    }

    /// Removes the engine as the owner of those of these runs that it owns, and notifies the other engines. A released run
    /// that is running is orphaned.
    fn release(&self, engine: EngineId, runs: Vec<RunId>) -> OwnerResult<'_, ()> {
        let _ = (engine, runs);
        done(())
    }

    /// The number of queued runs, or `limit` if there are more. The answer may be a second old.
    fn queue_len(&self, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        let _ = limit;
        ready(Ok(0)).boxed()
    }

    /// The counters of changes that every engine has to apply. A counter is increased in the transaction of the change.
    fn changes(&self) -> BoxFuture<'_, Result<Changes, StoreError>> {
        ready(Ok(Changes::default())).boxed()
    }

    /// Stores a command for the owner of a run, and notifies that engine. If the owner dies, the next owner finds the command.
    fn send_command(&self, engine: EngineId, command: NewCommand) -> OwnerResult<'_, CommandId> {
        let _ = (engine, command);
        done(CommandId(0))
    }

    /// The stored commands for runs that this engine owns, oldest first, at most `limit`, with ids above `after`.
    ///
    /// A command is returned until an append of its run carries the answer ([`Append::commands`](super::Append::commands)),
    /// or the command is refused.
    fn commands(
        &self,
        engine: EngineId,
        after: CommandId,
        limit: usize,
    ) -> OwnerResult<'_, Vec<StoredCommand>> {
        let _ = (engine, after, limit);
        done(Vec::new())
    }

    /// Answers a command that causes no events: deletes the command, stores the answer for the engine that sent the command,
    /// and notifies it. Does nothing if the command was answered already.
    fn refuse_command(&self, engine: EngineId, answer: CommandAnswer) -> OwnerResult<'_, ()> {
        let _ = (engine, answer);
        done(())
    }

    /// Takes the answers to the commands that this engine sent: returns and deletes them.
    fn take_answers(&self, engine: EngineId) -> OwnerResult<'_, Vec<CommandAnswer>> {
        let _ = engine;
        done(Vec::new())
    }

    /// Withdraws a command whose sender no longer waits. Returns whether the command was still stored: then it was not
    /// applied. Deletes the answer if there is one.
    fn withdraw_command(&self, engine: EngineId, command: CommandId) -> OwnerResult<'_, bool> {
        let _ = (engine, command);
        done(false)
    }

    /// Requests notifications of a run's new events and chunks, until [`unwatch`](Self::unwatch). After a second join the
    /// engine has to watch again.
    fn watch(&self, engine: EngineId, run: RunId) -> OwnerResult<'_, ()> {
        let _ = (engine, run);
        done(())
    }

    /// Ends the notifications of a run.
    fn unwatch(&self, engine: EngineId, run: RunId) -> OwnerResult<'_, ()> {
        let _ = (engine, run);
        done(())
    }

    /// Sends a chunk that a function has emitted to the other engines that watch the run. Never waits. The chunk can be
    /// lost, and is lost if it is too large for a notification.
    fn emit(&self, engine: EngineId, run: RunId, chunk: Arc<str>) {
        let _ = (engine, run, chunk);
    }

    /// The notifications for this engine. They can be lost, so an engine also polls everything that they report. Creating
    /// the stream loses the notifications that came before.
    fn notifications(&self) -> BoxStream<'static, Notification> {
        stream::pending().boxed()
    }
}

fn done<T: Send + 'static>(answer: T) -> OwnerResult<'static, T> {
    ready(Ok(answer)).boxed()
}

/// Identifies an engine that has joined a store. It is the engine's fencing token, so no two joins have the same id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineId(pub i64);

impl EngineId {
    /// The engine of an exclusive store.
    pub const EXCLUSIVE: Self = Self(0);
}

/// An engine that joins a store.
#[derive(Clone, Debug)]
pub struct NewEngine {
    /// The name that operators know the engine by. Several engines may have the same name.
    pub name: Arc<str>,
    /// The version of the program.
    pub version: Arc<str>,
    /// How long the lease is valid after a join or a renewal.
    pub lease: Duration,
}

/// The result of a join.
#[derive(Clone, Copy, Debug)]
pub struct Joined {
    /// The engine's new id.
    pub engine: EngineId,
    /// The time of a shared store. `None` for an exclusive store, whose lease never ends.
    pub now: Option<Timestamp>,
}

/// The result of a renewal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Renewed {
    /// The time of a shared store.
    pub now: Option<Timestamp>,
    /// Whether an operator has requested that the engine drain.
    pub is_drain_requested: bool,
}

/// An engine that has a row in the store.
#[derive(Clone, Debug)]
pub struct EngineRow {
    /// The engine's id.
    pub id: EngineId,
    /// As in [`NewEngine`].
    pub name: Arc<str>,
    /// As in [`NewEngine`].
    pub version: Arc<str>,
    /// When the engine joined.
    pub joined_at: Timestamp,
    /// When the engine's lease ends.
    pub lease_until: Timestamp,
    /// Whether the lease was valid when the store was read.
    pub is_live: bool,
    /// Whether an operator has requested that the engine drain.
    pub is_drain_requested: bool,
    /// The number of runs that the engine owns.
    pub runs: u64,
    /// The changes that the engine had applied at its last renewal.
    pub applied: Changes,
}

/// Counters of the changes that every engine has to apply. Each counter only increases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Graphs that were stored or deleted.
    pub graphs: u64,
    /// Plugins that were stored or deleted.
    pub plugins: u64,
    /// Policies that were stored or deleted.
    pub policies: u64,
    /// Schedules that were stored or deleted.
    pub schedules: u64,
}

/// The result of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The engine owns the run.
    Owned,
    /// Another engine owns the run.
    OwnedBy(EngineId),
    /// The store has no such run.
    Absent,
}

/// Identifies a command in the store. Later commands have greater ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub i64);

/// A command to a run that another engine owns.
#[derive(Clone, Debug)]
pub struct NewCommand {
    /// The run.
    pub run: RunId,
    /// The command as the runtime's own JSON.
    pub body: Arc<str>,
}

/// A command that another engine has stored.
#[derive(Clone, Debug)]
pub struct StoredCommand {
    /// The command's id.
    pub id: CommandId,
    /// The run.
    pub run: RunId,
    /// The command as the runtime's own JSON.
    pub body: Arc<str>,
}

/// The answer to a stored command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandAnswer {
    /// The command's id.
    pub id: CommandId,
    /// The answer as the runtime's own JSON.
    pub body: Arc<str>,
}

/// A notification for an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// The events of a watched run up to `seq` are durable.
    Events {
        /// The run.
        run: RunId,
        /// The number of its last event.
        seq: u64,
    },
    /// A function of a watched run has emitted a chunk.
    Chunk {
        /// The run.
        run: RunId,
        /// The chunk as it was passed to [`Ownership::emit`].
        chunk: Arc<str>,
    },
    /// There are commands for runs that the engine owns.
    Commands,
    /// There are answers to commands that the engine sent.
    Answers,
    /// A counter of [`Changes`] has increased.
    Changes,
    /// Runs were queued or released.
    Work,
    /// Notifications may have been lost, for example because the connection was lost.
    Missed,
}

/// Why a store refused a request of an engine.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OwnerError {
    /// The engine's row was deleted: the engine owns no runs, and has to join again.
    #[error("the engine's lease has ended, and other engines execute its runs")]
    Fenced,
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}
