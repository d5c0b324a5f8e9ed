//! The port to the ownership of runs, for both modes: an engine that is alone owns every run.

use std::sync::Arc;

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use heddle_kernel::{RunId, Timestamp};
use heddle_runtime::ports::{
    Changes, Claim, CommandAnswer, CommandId, EngineId, EngineRow, Joined, NewCommand, NewEngine,
    Notification, OwnerResult, Ownership, QueuedRun, Renewed, StoreError, StoredCommand,
};

use super::{Mode, PostgresStore, ownership, read};

impl Ownership for PostgresStore {
    fn is_shared(&self) -> bool {
        matches!(self.mode, Mode::Shared(_))
    }

    fn join(&self, engine: NewEngine) -> BoxFuture<'_, Result<Joined, StoreError>> {
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.join(engine).await,
                Mode::Exclusive(_) => Ok(Joined {
                    engine: EngineId::EXCLUSIVE,
                    now: None,
                }),
            }
        }
        .boxed()
    }

    fn renew(&self, engine: EngineId, applied: Changes) -> OwnerResult<'_, Renewed> {
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.renew(engine, applied).await,
                Mode::Exclusive(_) => Ok(Renewed::default()),
            }
        }
        .boxed()
    }

    fn leave(&self, engine: EngineId) -> OwnerResult<'_, ()> {
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.leave(engine).await,
                Mode::Exclusive(_) => Ok(()),
            }
        }
        .boxed()
    }

    fn engines(&self) -> BoxFuture<'_, Result<Vec<EngineRow>, StoreError>> {
        async move {
            match self.mode {
                Mode::Shared(_) => ownership::engines(&self.readers).await,
                Mode::Exclusive(_) => Ok(Vec::new()),
            }
        }
        .boxed()
    }

    fn request_drain(&self, name: &str) -> BoxFuture<'_, Result<usize, StoreError>> {
        let name = name.to_owned();
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.request_drain(&name).await,
                Mode::Exclusive(_) => Ok(0),
            }
        }
        .boxed()
    }

    fn claim_housekeeping(&self, engine: EngineId) -> OwnerResult<'_, bool> {
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.claim_housekeeping(engine).await,
                Mode::Exclusive(_) => Ok(true),
            }
        }
        .boxed()
    }

    fn claim(&self, engine: EngineId, run: RunId) -> OwnerResult<'_, Claim> {
        async move {
            let Mode::Shared(owners) = &self.mode else {
                return Ok(Claim::Owned);
            };
            let claim = owners.claim(engine, run).await?;
            if claim == Claim::Owned {
                self.claimed(vec![run]);
            }
            Ok(claim)
        }
        .boxed()
    }

    fn claim_due(&self, engine: EngineId, now: Timestamp, limit: usize) -> OwnerResult<'_, Vec<RunId>> {
        async move {
            let Mode::Shared(owners) = &self.mode else {
                return Ok(read::due(&self.readers, now, limit).await?);
            };
            let runs = owners.claim_due(engine, limit).await?;
            self.claimed(runs.clone());
            Ok(runs)
        }
        .boxed()
    }

    fn claim_queued(&self, engine: EngineId, limit: usize) -> OwnerResult<'_, Vec<QueuedRun>> {
        async move {
            let Mode::Shared(owners) = &self.mode else {
                return Ok(Vec::new());
            };
            let queued = owners.claim_queued(engine, limit).await?;
            self.claimed(queued.iter().map(|queued| queued.run).collect());
            Ok(queued)
        }
        .boxed()
    }

    fn claim_orphaned(&self, engine: EngineId, limit: usize) -> OwnerResult<'_, Vec<RunId>> {
        async move {
            let Mode::Shared(owners) = &self.mode else {
                return Ok(Vec::new());
            };
            let runs = owners.claim_orphaned(engine, limit).await?;
            self.claimed(runs.clone());
            Ok(runs)
        }
        .boxed()
    }

    fn release(&self, engine: EngineId, runs: Vec<RunId>) -> OwnerResult<'_, ()> {
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.release(engine, &runs).await,
                Mode::Exclusive(_) => Ok(()),
            }
        }
        .boxed()
    }

    fn queue_len(&self, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.queue_len(&self.readers, limit).await,
                Mode::Exclusive(_) => Ok(0),
            }
        }
        .boxed()
    }

    fn changes(&self) -> BoxFuture<'_, Result<Changes, StoreError>> {
        async move {
            match self.mode {
                Mode::Shared(_) => ownership::changes(&self.readers).await,
                Mode::Exclusive(_) => Ok(Changes::default()),
            }
        }
        .boxed()
    }

    fn send_command(&self, engine: EngineId, command: NewCommand) -> OwnerResult<'_, CommandId> {
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.send_command(engine, command).await,
                Mode::Exclusive(_) => Ok(CommandId(0)),
            }
        }
        .boxed()
    }

    fn commands(
        &self,
        engine: EngineId,
        after: CommandId,
        limit: usize,
    ) -> OwnerResult<'_, Vec<StoredCommand>> {
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.commands(engine, after, limit).await,
                Mode::Exclusive(_) => Ok(Vec::new()),
            }
        }
        .boxed()
    }

    fn refuse_command(&self, engine: EngineId, answer: CommandAnswer) -> OwnerResult<'_, ()> {
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.refuse_command(engine, answer).await,
                Mode::Exclusive(_) => Ok(()),
            }
        }
        .boxed()
    }

    fn take_answers(&self, engine: EngineId) -> OwnerResult<'_, Vec<CommandAnswer>> {
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.take_answers(engine).await,
                Mode::Exclusive(_) => Ok(Vec::new()),
            }
        }
        .boxed()
    }

    fn withdraw_command(&self, engine: EngineId, command: CommandId) -> OwnerResult<'_, bool> {
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.withdraw_command(engine, command).await,
                Mode::Exclusive(_) => Ok(false),
            }
        }
        .boxed()
    }

    fn watch(&self, engine: EngineId, run: RunId) -> OwnerResult<'_, ()> {
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.watch(engine, run).await,
                Mode::Exclusive(_) => Ok(()),
            }
        }
        .boxed()
    }

    fn unwatch(&self, engine: EngineId, run: RunId) -> OwnerResult<'_, ()> {
        async move {
            match &self.mode {
                Mode::Shared(owners) => owners.unwatch(engine, run).await,
                Mode::Exclusive(_) => Ok(()),
            }
        }
        .boxed()
    }

    fn emit(&self, _: EngineId, run: RunId, chunk: Arc<str>) {
        self.signals.chunk(run, chunk);
    }

    fn notifications(&self) -> BoxStream<'static, Notification> {
        match self.mode {
            Mode::Shared(_) => self.received.stream(),
            Mode::Exclusive(_) => stream::pending().boxed(),
        }
    }
}
