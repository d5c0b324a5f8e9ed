//! Copies of a whole store between SQLite and PostgreSQL.

use std::{fs, path::Path};

use heddle_runtime::ports::{PolicyRow, SecretText, Store};
use heddle_store::{
    PostgresSettings, SqliteJournal, SqliteSettings,
    maintenance::{MaintenanceError, StoreLocation, backup_postgres, check_postgres, copy_store},
};
use rusqlite::{Connection, types::Value};

use crate::{
    cluster::cluster,
    golden::{NEWEST, copy, result},
    world::{Postgres, RunWriter},
};

/// Every row of every table that a copy has, without the positions in lists.
fn rows(path: &Path) -> Vec<(&'static str, Vec<Vec<Value>>)> {
    let connection = Connection::open(path).unwrap();
    let tables = [
        ("runs", "*", "id"),
        ("events", "run, first_seq, last_seq, body, sum", "run, first_seq"),
        ("snapshots", "run, seq, sum, body", "run, seq"),
        ("requests", "*", "scope, key"),
        (
            "graphs",
            "id, name, definition, created_at, functions",
            "position",
        ),
        (
            "plugins",
            "digest, name, version, active, added_at, component",
            "position",
        ),
        ("schedules", "*", "name"),
        ("policies", "*", "name"),
        ("secrets", "*", "name"),
    ];
    let all = tables.map(|(name, columns, order)| {
        let mut query = connection
            .prepare(&format!("SELECT {columns} FROM {name} ORDER BY {order}"))
            .unwrap();
        let count = query.column_count();
        let read = |row: &rusqlite::Row<'_>| {
            (0..count)
                .map(|at| row.get(at))
                .collect::<Result<Vec<Value>, _>>()
        };
        (
            name,
            query.query_map([], read).unwrap().map(Result::unwrap).collect(),
        )
    });
    all.into()
}

fn postgres(world: &Postgres) -> StoreLocation {
    StoreLocation::Postgres(Box::new(world.settings()))
}

/// Copies on a thread that has no runtime.
fn transfer(from: StoreLocation, to: StoreLocation) -> Result<(), MaintenanceError> {
    let copied = std::thread::spawn(move || copy_store(&from, &to))
        .join()
        .unwrap()?;
    assert!(
        copied.iter().any(|(name, rows)| *name == "events" && *rows > 0),
        "{copied:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_to_postgresql_and_back_has_every_row() {
    let (folder, first) = copy(NEWEST);
    {
        let journal = SqliteJournal::open(SqliteSettings::new(&first)).unwrap();
        let store: &dyn Store = &journal;
        store.put_secret("key", SecretText("value".into())).await.unwrap();
        let policy = PolicyRow {
            name: "plugin".into(),
            body: "{}".into(),
        };
        store.put_policy(policy).await.unwrap();
        let mut writer = RunWriter::new(77);
        writer.queue(store, 5, Some("group")).await.unwrap().unwrap();
        writer.park(store, Some(4_000)).await.unwrap().unwrap();
        store.close().await.unwrap();
    }
    let world = Postgres::new();
    transfer(StoreLocation::Sqlite(first.clone()), postgres(&world)).unwrap();
    let second = folder.path().join("second.db");
    transfer(postgres(&world), StoreLocation::Sqlite(second.clone())).unwrap();
    for (expected, found) in rows(&first).into_iter().zip(rows(&second)) {
        assert_eq!(expected, found);
    }
    let before = SqliteJournal::open(SqliteSettings::new(&first)).unwrap();
    let after = world.store();
    assert_eq!(result(&after).await, result(&before).await);
    // The copy goes on where the store ended.
    let mut writer = RunWriter::at(77, 2);
    writer.append_logs(&after, 1).await.unwrap().unwrap();
    writer.finish(&after).await.unwrap().unwrap();
    assert_eq!(
        world.psql("SELECT name, active FROM heddle.groups WHERE name = 'group'"),
        "group|0"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_with_content_is_no_target() {
    let (_folder, path) = copy(NEWEST);
    let from = || StoreLocation::Sqlite(path.clone());
    let world = Postgres::new();
    transfer(from(), postgres(&world)).unwrap();
    let error = transfer(from(), postgres(&world)).unwrap_err();
    assert!(matches!(error, MaintenanceError::NotEmpty(_)), "{error}");
    let error = transfer(postgres(&world), from()).unwrap_err();
    assert!(matches!(error, MaintenanceError::Exists(_)), "{error}");
    // Nor is one that an engine uses.
    let used = Postgres::new();
    let store = used.store();
    let error = transfer(from(), postgres(&used)).unwrap_err();
    assert!(error.to_string().contains("is in use"), "{error}");
    drop(store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_checked_and_backed_up_while_an_engine_uses_it() {
    let world = Postgres::new();
    let store = world.store();
    let mut writer = RunWriter::new(1);
    writer.begin(&store).await.unwrap().unwrap();
    writer.append_logs(&store, 3).await.unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let check = |folder: &Path| {
        let (settings, folder) = (world.settings(), folder.to_owned());
        std::thread::spawn(move || check_postgres(&settings, &folder))
            .join()
            .unwrap()
            .unwrap()
    };
    let report = check(folder.path());
    // The graph of the run is not stored, so the check reads its first event only.
    assert_eq!(
        (report.counts.runs, report.counts.events, report.problems.len()),
        (1, 1, 1),
        "{report:?}"
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "the copy is removed"
    );
    world.psql("UPDATE heddle.runs SET last_seq = 9");
    let report = check(folder.path());
    let message = "its last event is 9, but the last stored event is 4";
    assert!(
        report
            .problems
            .iter()
            .any(|problem| problem.message.contains(message)),
        "{report:?}"
    );
    let (settings, to) = (world.settings(), folder.path().join("backup.db"));
    let report = std::thread::spawn(move || backup_postgres(&settings, &to))
        .join()
        .unwrap()
        .unwrap();
    assert_eq!(report.counts.runs, 1);
}

#[test]
fn a_store_that_cannot_be_reached_is_reported_without_the_password() {
    let url = format!("postgres://heddle:geheim@127.0.0.1:{}/none", cluster().port);
    let settings = PostgresSettings::parse(&url).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = backup_postgres(&settings, &folder.path().join("backup.db")).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("geheim"), "{error}");
    assert!(
        error.to_string().contains("password authentication failed"),
        "{error}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
