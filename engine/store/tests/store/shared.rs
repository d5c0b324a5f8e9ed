//! Engines that share a store in PostgreSQL.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use heddle_kernel::Timestamp;
use heddle_runtime::ports::{
    Append, AppendError, Changes, Claim, CommandAnswer, EngineId, NewCommand, NewEngine, Notification,
    OwnerError, Ownership as _, RunDisposition, RunWait, Store,
};
use heddle_store::PostgresStore;

use crate::world::{AckReceiver, Postgres, RunWriter, all_events, log, run_id};

/// An engine of a shared store.
struct Member {
    store: Arc<dyn Store>,
    id: EngineId,
}

impl Member {
    async fn join(world: &Postgres, name: &str, lease: Duration) -> Self {
        let mut settings = world.settings();
        settings.is_shared = true;
        let store = tokio::task::spawn_blocking(move || PostgresStore::open(settings))
            .await
            .unwrap()
            .unwrap();
        let engine = NewEngine {
            name: name.into(),
            version: "1".into(),
            lease,
        };
        let id = store.join(engine).await.unwrap().engine;
        Self {
            store: Arc::new(store),
            id,
        }
    }

    async fn new(world: &Postgres, name: &str) -> Self {
        Self::join(world, name, Duration::from_secs(60)).await
    }

    /// Appends log events to a run that this engine executes.
    fn append(&self, writer: &mut RunWriter, disposition: RunDisposition) -> AckReceiver {
        let (append, result) = writer.draft(vec![log("a line")], disposition);
        self.store.append(Append {
            owner: self.id,
            ..append
        });
        result
    }

    /// Creates a run.
    async fn begin(
        &self,
        number: u64,
        disposition: RunDisposition,
        group: Option<(&str, u32)>,
        priority: i32,
    ) -> RunWriter {
        let mut writer = RunWriter::new(number);
        let event = writer.started();
        let (mut append, result) = writer.draft(vec![event], disposition);
        let begins = append.begins.as_mut().unwrap();
        begins.priority = priority;
        if let Some((group, limit)) = group {
            (begins.group, begins.group_limit) = (Some(group.into()), Some(limit));
        }
        self.store.append(Append {
            owner: self.id,
            ..append
        });
        result.await.unwrap().unwrap();
        writer
    }
}

fn waiting(until: Option<i64>) -> RunDisposition {
    RunDisposition::Waiting(RunWait {
        until: until.map(Timestamp),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_has_one_owner_and_only_the_owner_appends() {
    let world = Postgres::new();
    let (a, b) = (Member::new(&world, "a").await, Member::new(&world, "b").await);
    assert!(a.store.is_shared() && a.id < b.id);
    let mut run = a.begin(1, RunDisposition::Running, None, 0).await;
    assert_eq!(b.store.claim(b.id, run.run).await.unwrap(), Claim::OwnedBy(a.id));
    assert_eq!(a.store.claim(a.id, run.run).await.unwrap(), Claim::Owned);
    assert_eq!(b.store.claim(b.id, run_id(9)).await.unwrap(), Claim::Absent);
    let mut copy = RunWriter::at(1, 1);
    let refused = b.append(&mut copy, RunDisposition::Running).await.unwrap();
    assert!(
        matches!(refused, Err(AppendError::Conflict { .. })),
        "{refused:?}"
    );
    // A run that waits has no owner: the other engine claims it and goes on, and the first engine cannot.
    a.append(&mut run, waiting(None)).await.unwrap().unwrap();
    assert_eq!(b.store.claim(b.id, run.run).await.unwrap(), Claim::Owned);
    let refused = a
        .append(&mut RunWriter::at(1, 2), RunDisposition::Running)
        .await
        .unwrap();
    assert!(
        matches!(refused, Err(AppendError::Conflict { .. })),
        "{refused:?}"
    );
    b.append(&mut RunWriter::at(1, 2), RunDisposition::Running)
        .await
        .unwrap()
        .unwrap();
    // A released run can be claimed by all, and its claim lets the first engine append again.
    b.store.release(b.id, vec![run.run]).await.unwrap();
    assert_eq!(a.store.claim_orphaned(a.id, 10).await.unwrap(), [run.run]);
    a.append(&mut RunWriter::at(1, 3), RunDisposition::Running)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(all_events(&*b.store, run.run, 10).await.len(), 4);
    let engines = b.store.engines().await.unwrap();
    let listed: Vec<_> = engines
        .iter()
        .map(|engine| (&*engine.name, engine.runs, engine.is_live))
        .collect();
    assert_eq!(listed, [("a", 1, true), ("b", 0, true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runs_of_an_engine_whose_lease_has_ended_are_claimed_and_it_writes_nothing_more() {
    let world = Postgres::new();
    let dead = Member::join(&world, "dead", Duration::from_millis(300)).await;
    let mut runs = Vec::new();
    for number in 1..=5 {
        runs.push(
            dead.begin(number, RunDisposition::Running, Some(("g", 9)), 0)
                .await,
        );
    }
    let heir = Member::new(&world, "heir").await;
    assert_eq!(
        heir.store.claim(heir.id, run_id(1)).await.unwrap(),
        Claim::OwnedBy(dead.id)
    );
    let renewed = dead.store.renew(dead.id, Changes::default()).await.unwrap();
    assert!(!renewed.is_drain_requested && renewed.now.is_some());
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(heir.store.claim(heir.id, run_id(1)).await.unwrap(), Claim::Owned);
    let claimed = heir.store.claim_orphaned(heir.id, 3).await.unwrap();
    assert_eq!(claimed, [run_id(2), run_id(3), run_id(4)]);
    assert_eq!(heir.store.claim_orphaned(heir.id, 9).await.unwrap(), [run_id(5)]);
    assert!(heir.store.claim_orphaned(heir.id, 9).await.unwrap().is_empty());
    for writer in &mut runs {
        let fenced = dead.append(writer, RunDisposition::Running).await.unwrap();
        assert!(matches!(fenced, Err(AppendError::Fenced)), "{fenced:?}");
    }
    let fenced = dead.store.renew(dead.id, Changes::default()).await;
    assert!(matches!(fenced, Err(OwnerError::Fenced)), "{fenced:?}");
    let fenced = dead.store.claim_due(dead.id, Timestamp(0), 1).await;
    assert!(matches!(fenced, Err(OwnerError::Fenced)), "{fenced:?}");
    // The process joins again under a new id.
    let engine = NewEngine {
        name: "dead".into(),
        version: "1".into(),
        lease: Duration::from_secs(9),
    };
    let again = dead.store.join(engine).await.unwrap();
    assert!(again.engine > heir.id);
    heir.append(&mut RunWriter::at(1, 1), RunDisposition::Running)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(world.psql("SELECT active FROM heddle.groups"), "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queued_runs_are_claimed_by_priority_and_groups_are_never_too_full() {
    let world = Postgres::new();
    let (a, b) = (Member::new(&world, "a").await, Member::new(&world, "b").await);
    for number in 1..=20 {
        a.begin(number, RunDisposition::Queued, Some(("full", 3)), 5)
            .await;
    }
    for (number, priority) in [(30, 0), (31, 9), (32, 0)] {
        b.begin(number, RunDisposition::Queued, None, priority).await;
    }
    assert_eq!(a.store.queue_len(100).await.unwrap(), 23);
    let (from_a, from_b) = tokio::join!(a.store.claim_queued(a.id, 10), b.store.claim_queued(b.id, 10));
    let (mut from_a, from_b) = (from_a.unwrap(), from_b.unwrap());
    // The second claim skips the rows that the first one has locked; together both claim every run that can start.
    let late = a.store.claim_queued(a.id, 10).await.unwrap();
    from_a.extend(late);
    let mut claimed: Vec<_> = from_a.iter().chain(&from_b).map(|queued| queued.run).collect();
    claimed.sort();
    assert_eq!(claimed, [1, 2, 3, 30, 31, 32].map(run_id));
    assert!(b.store.claim_queued(b.id, 10).await.unwrap().is_empty());
    // A run that ends makes room for one, and so does a queued run that is released.
    let (owner, writer) = match from_a.iter().any(|queued| queued.run == run_id(1)) {
        true => (&a, RunWriter::at(1, 1)),
        false => (&b, RunWriter::at(1, 1)),
    };
    let mut writer = writer;
    owner
        .append(&mut writer, RunDisposition::Running)
        .await
        .unwrap()
        .unwrap();
    assert!(b.store.claim_queued(b.id, 10).await.unwrap().is_empty());
    let (append, result) = writer.draft(vec![heddle_kernel::Event::RunFinished], over());
    owner.store.append(Append {
        owner: owner.id,
        ..append
    });
    result.await.unwrap().unwrap();
    let next = b.store.claim_queued(b.id, 10).await.unwrap();
    assert_eq!(
        next.iter().map(|queued| queued.run).collect::<Vec<_>>(),
        [run_id(4)]
    );
    assert_eq!(next[0].group_limit, Some(3));
    b.store.release(b.id, vec![run_id(4)]).await.unwrap();
    assert_eq!(a.store.claim_queued(a.id, 10).await.unwrap()[0].run, run_id(4));
    assert_eq!(world.psql("SELECT active, run_limit FROM heddle.groups"), "3|3");
}

fn over() -> RunDisposition {
    RunDisposition::Over(heddle_runtime::ports::RunEnd {
        status: heddle_kernel::Status::Finished,
        at: Timestamp(2_000),
        error: None,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_run_is_claimed_once_by_the_clock_of_the_store() {
    let world = Postgres::new();
    let (a, b) = (Member::new(&world, "a").await, Member::new(&world, "b").await);
    a.begin(1, waiting(Some(1_000)), None, 0).await;
    a.begin(2, waiting(Some(900)), None, 0).await;
    a.begin(3, waiting(Some(i64::MAX)), None, 0).await;
    // The engine's own time does not matter.
    assert_eq!(
        b.store.claim_due(b.id, Timestamp(0), 1).await.unwrap(),
        [run_id(2)]
    );
    assert_eq!(
        a.store.claim_due(a.id, Timestamp(0), 9).await.unwrap(),
        [run_id(1)]
    );
    assert!(
        b.store
            .claim_due(b.id, Timestamp(i64::MAX), 9)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_to_the_run_of_another_engine_is_applied_once() {
    let world = Postgres::new();
    let (owner, asks) = (
        Member::new(&world, "owner").await,
        Member::new(&world, "asks").await,
    );
    let mut writer = owner.begin(1, RunDisposition::Running, None, 0).await;
    let mut to_owner = owner.store.notifications();
    let mut to_asks = asks.store.notifications();
    for member in [&owner, &asks] {
        member.store.renew(member.id, Changes::default()).await.unwrap();
    }
    let send = |body: &str| {
        let command = NewCommand {
            run: run_id(1),
            body: body.into(),
        };
        asks.store.send_command(asks.id, command)
    };
    let first = send("one").await.unwrap();
    next(&mut to_owner, &Notification::Commands).await;
    let found = owner
        .store
        .commands(owner.id, Default::default(), 10)
        .await
        .unwrap();
    assert_eq!((found.len(), found[0].id, &*found[0].body), (1, first, "one"));
    assert!(
        asks.store
            .commands(asks.id, Default::default(), 10)
            .await
            .unwrap()
            .is_empty()
    );
    let answer = |id| CommandAnswer {
        id,
        body: "done".into(),
    };
    let apply = |writer: &mut RunWriter, id| {
        let (append, result) = writer.draft(vec![log("applied")], RunDisposition::Running);
        owner.store.append(Append {
            owner: owner.id,
            commands: vec![answer(id)],
            ..append
        });
        result
    };
    apply(&mut writer, first).await.unwrap().unwrap();
    next(&mut to_asks, &Notification::Answers).await;
    assert_eq!(asks.store.take_answers(asks.id).await.unwrap(), [answer(first)]);
    assert!(asks.store.take_answers(asks.id).await.unwrap().is_empty());
    assert!(!asks.store.withdraw_command(asks.id, first).await.unwrap());
    // A refusal is an answer too.
    let second = send("two").await.unwrap();
    owner
        .store
        .refuse_command(owner.id, answer(second))
        .await
        .unwrap();
    assert_eq!(asks.store.take_answers(asks.id).await.unwrap(), [answer(second)]);
    // A command that was withdrawn is not applied.
    let third = send("three").await.unwrap();
    assert!(asks.store.withdraw_command(asks.id, third).await.unwrap());
    let refused = apply(&mut writer, third).await.unwrap();
    assert!(
        matches!(refused, Err(AppendError::Conflict { .. })),
        "{refused:?}"
    );
    assert_eq!(all_events(&*asks.store, run_id(1), 10).await.len(), 2);
}

/// Waits for this notification.
async fn next(stream: &mut (impl futures_util::Stream<Item = Notification> + Unpin), wanted: &Notification) {
    let found = async {
        while let Some(found) = stream.next().await {
            if found == *wanted {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found)
        .await
        .expect("a notification");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_hear_of_watched_runs_of_changes_and_of_housekeeping() {
    let world = Postgres::new();
    let (owner, watches) = (
        Member::new(&world, "owner").await,
        Member::new(&world, "watches").await,
    );
    let mut stream = watches.store.notifications();
    watches.store.renew(watches.id, Changes::default()).await.unwrap();
    let mut writer = owner.begin(1, RunDisposition::Running, None, 0).await;
    watches.store.watch(watches.id, writer.run).await.unwrap();
    owner
        .append(&mut writer, RunDisposition::Running)
        .await
        .unwrap()
        .unwrap();
    let events = Notification::Events {
        run: writer.run,
        seq: 2,
    };
    next(&mut stream, &events).await;
    owner.store.emit(owner.id, writer.run, "a chunk".into());
    let chunk = Notification::Chunk {
        run: writer.run,
        chunk: "a chunk".into(),
    };
    next(&mut stream, &chunk).await;
    let before = watches.store.changes().await.unwrap();
    owner.store.delete_policy("none").await.unwrap();
    next(&mut stream, &Notification::Changes).await;
    assert!(watches.store.changes().await.unwrap().policies > before.policies);
    assert!(owner.store.claim_housekeeping(owner.id).await.unwrap());
    assert!(!watches.store.claim_housekeeping(watches.id).await.unwrap());
    assert_eq!(watches.store.request_drain("owner").await.unwrap(), 1);
    assert!(
        owner
            .store
            .renew(owner.id, Changes::default())
            .await
            .unwrap()
            .is_drain_requested
    );
    owner.store.leave(owner.id).await.unwrap();
    next(&mut stream, &Notification::Work).await;
    assert!(watches.store.claim_housekeeping(watches.id).await.unwrap());
    assert_eq!(
        watches.store.claim_orphaned(watches.id, 9).await.unwrap(),
        [writer.run]
    );
    assert!(matches!(
        owner.store.leave(owner.id).await,
        Err(OwnerError::Fenced)
    ));
}
