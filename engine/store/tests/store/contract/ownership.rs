//! The contract of the ownership of runs. A store that only one engine can use has one owner, whose lease never ends.

use std::time::Duration;

use futures_util::FutureExt as _;
use heddle_kernel::Timestamp;
use heddle_runtime::ports::{Changes, Claim, EngineId, NewEngine};

use crate::world::{RunWriter, World, run_id};

contract! {
    an_engine_of_an_exclusive_store_owns_every_run,
    a_due_run_is_claimed_until_an_append_wakes_it,
}

fn engine() -> NewEngine {
    NewEngine {
        name: "one".into(),
        version: "0.0.0".into(),
        lease: Duration::from_millis(1),
    }
}

async fn an_engine_of_an_exclusive_store_owns_every_run(mut world: impl World) {
    let store = world.open();
    assert!(!store.is_shared());
    let joined = store.join(engine()).await.unwrap();
    assert_eq!((joined.engine, joined.now), (EngineId::EXCLUSIVE, None));
    let mut writer = RunWriter::new(1);
    writer.begin(&*store).await.unwrap().unwrap();
    assert_eq!(store.claim(joined.engine, run_id(1)).await.unwrap(), Claim::Owned);
    store.release(joined.engine, vec![run_id(1)]).await.unwrap();
    // The lease never ends, even though nobody renews it.
    writer.append_logs(&*store, 1).await.unwrap().unwrap();
    assert!(store.claim_orphaned(joined.engine, 10).await.unwrap().is_empty());
    assert!(store.claim_housekeeping(joined.engine).await.unwrap());
    let renewed = store.renew(joined.engine, Changes::default()).await.unwrap();
    assert!(!renewed.is_drain_requested);
    assert_eq!(store.changes().await.unwrap(), Changes::default());
    let mut notifications = store.notifications();
    let next = futures_util::StreamExt::next(&mut notifications).now_or_never();
    assert_eq!(next, None, "no other engine sends anything");
}

async fn a_due_run_is_claimed_until_an_append_wakes_it(mut world: impl World) {
    let store = world.open();
    let engine = store.join(engine()).await.unwrap().engine;
    let mut writer = RunWriter::new(1);
    writer.begin(&*store);
    writer.park(&*store, Some(5)).await.unwrap().unwrap();
    assert!(
        store
            .claim_due(engine, Timestamp(4), 10)
            .await
            .unwrap()
            .is_empty()
    );
    for _ in 0..2 {
        assert_eq!(
            store.claim_due(engine, Timestamp(5), 10).await.unwrap(),
            [run_id(1)]
        );
    }
    writer.append_logs(&*store, 1).await.unwrap().unwrap();
    assert!(
        store
            .claim_due(engine, Timestamp(5), 10)
            .await
            .unwrap()
            .is_empty()
    );
}
