//! Stores of older formats are migrated without loss.

use std::path::Path;

use heddle_kernel::{Digest, Status, Timestamp};
use heddle_runtime::ports::{Catalog, EngineId, Journal, Ownership};
use rusqlite::{Connection, params};

use crate::world::{RunWriter, Sqlite, all_events, graph_id, log, record, run_id};

refinery::embed_migrations!("migrations");

/// Creates a file with the migrations up to this format.
pub(crate) fn migrated(path: &Path, format: i32) -> Connection {
    let mut connection = Connection::open(path).unwrap();
    // As the version that had this format created it.
    connection
        .pragma_update(None, "auto_vacuum", "INCREMENTAL")
        .unwrap();
    migrations::runner()
        .set_target(refinery::Target::Version(format))
        .run(&mut connection)
        .unwrap();
    let found: i32 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(found, format);
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_format_1_is_opened_with_everything_in_it() {
    let world = Sqlite::new();
    let old = migrated(&world.path(), 1);
    let error = r#"{"code":"permanent","message":"it broke","node":"node","step":7,"attempt":2,"data":null}"#;
    for (number, status, finished_at, error) in [
        (1, "running", None, None),
        (2, "finished", Some(2_000), None),
        (3, "failed", Some(3_000), Some(error)),
        (4, "running", None, None),
    ] {
        let run = run_id(number).0.into_bytes();
        old.execute(
            "INSERT INTO runs (id, graph, status, created_at, finished_at, error)
             VALUES (?1, ?2, ?3, 1000, ?4, ?5)",
            params![&run[..], &*graph_id(number % 2).0, status, finished_at, error],
        )
        .unwrap();
        let mut body = Vec::new();
        for seq in 1..=3 {
            serde_json::to_writer(&mut body, &*record(seq, log("of old"))).unwrap();
            body.push(b'\n');
        }
        old.execute(
            "INSERT INTO events VALUES (?1, 1, 3, ?2)",
            params![&run[..], body],
        )
        .unwrap();
    }
    old.execute(
        "INSERT INTO graphs (id, name, definition, created_at) VALUES (?1, 'review', '{}', 5)",
        [&*graph_id(1).0],
    )
    .unwrap();
    let digest = Digest::of(b"component");
    old.execute(
        "INSERT INTO plugins (digest, name, version, active, added_at, component)
         VALUES (?1, 'sample', '1.0.0', 1, 6, ?2)",
        params![&*digest.0, b"component"],
    )
    .unwrap();
    drop(old);

    // Opened twice: the second time it has the newest format.
    drop(world.journal());
    let journal = world.journal();
    assert_eq!(journal.unfinished().await.unwrap(), [1, 4].map(run_id));
    let finished = journal.run(run_id(2)).await.unwrap().unwrap();
    assert_eq!(
        (finished.status, finished.finished_at, finished.last_seq),
        (Status::Finished, Some(Timestamp(2_000)), 3)
    );
    let failed = journal.run(run_id(3)).await.unwrap().unwrap();
    assert_eq!(
        (failed.status, &failed.graph, failed.created_at),
        (Status::Failed, &graph_id(1), Timestamp(1_000))
    );
    assert_eq!((failed.wake_at, failed.error.unwrap().step), (None, Some(7)));
    assert!(journal.graph_named("review").await.unwrap().is_some());
    assert_eq!(
        &*journal.plugin(&digest).await.unwrap().unwrap().component,
        b"component"
    );

    // Its runs continue and can use what later formats added.
    assert_eq!(RunWriter::at(1, 3).finish(&journal).await.unwrap().unwrap(), 4);
    assert_eq!(
        RunWriter::at(4, 3)
            .park(&journal, Some(9_000))
            .await
            .unwrap()
            .unwrap(),
        4
    );
    assert_eq!(
        journal
            .claim_due(EngineId::EXCLUSIVE, Timestamp(9_000), 10)
            .await
            .unwrap(),
        [run_id(4)]
    );
    assert_eq!(all_events(&journal, run_id(4), 10).await.len(), 4);
    assert_eq!(RunWriter::at(4, 4).cancel(&journal).await.unwrap().unwrap(), 5);
    assert_eq!(
        journal.run(run_id(4)).await.unwrap().unwrap().status,
        Status::Cancelled
    );
}
