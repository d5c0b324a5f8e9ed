//! The store in PostgreSQL alone.

use std::{
    os::unix::fs::chown,
    time::{Duration, Instant},
};

use heddle_runtime::ports::{AppendError, Journal as _, Store as _};
use heddle_store::{PostgresOpenError, PostgresSettings, PostgresStore};

use crate::{
    cluster::{Cluster, cluster},
    proxy::Proxy,
    world::{Postgres, RunWriter, all_events, run_id},
};

fn open(url: &str) -> Result<PostgresStore, PostgresOpenError> {
    PostgresStore::open(PostgresSettings::parse(url)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_engine_is_refused() {
    let world = Postgres::new();
    let store = world.store();
    let settings = world.settings();
    let second = tokio::task::spawn_blocking(move || PostgresStore::open(settings))
        .await
        .unwrap();
    let error = second.err().expect("the first engine renews its lease");
    assert!(matches!(error, PostgresOpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("is in use by the engine"), "{error}");
    store.close().await.unwrap();
    drop(store);
    world.store();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_for_an_engine_without_a_row() {
    let world = Postgres::new();
    let store = world.store();
    let mut writer = RunWriter::new(1);
    writer.begin(&store).await.unwrap().unwrap();
    world.psql("DELETE FROM heddle.engines");
    let result = writer.append_logs(&store, 1).await.unwrap();
    assert!(matches!(result, Err(AppendError::Fenced)), "{result:?}");
    let result = RunWriter::new(2).begin(&store).await.unwrap();
    assert!(matches!(result, Err(AppendError::Fenced)), "{result:?}");
    assert_eq!(all_events(&store, writer.run, 10).await.len(), 1);
    let started = Instant::now();
    while store.health().is_ok() {
        assert!(started.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runs_of_a_dead_engine_are_taken_over_when_its_lease_has_ended() {
    let world = Postgres::new();
    let store = world.store();
    let mut writer = RunWriter::new(1);
    writer.begin(&store).await.unwrap().unwrap();
    store.close().await.unwrap();
    drop(store);
    // As an engine that was killed leaves it.
    world.psql(
        "INSERT INTO heddle.engines (id, name, version, lease_ms, lease_until)
         SELECT engine, 'dead', '0', 1000, clock_timestamp() + interval '1 second' FROM heddle.runs",
    );
    let started = Instant::now();
    let store = world.store();
    assert!(started.elapsed() > Duration::from_millis(500));
    assert_eq!(store.unfinished().await.unwrap(), [run_id(1)]);
    writer.append_logs(&store, 1).await.unwrap().unwrap();
    assert_eq!(
        world.psql("SELECT count(*) FROM heddle.runs r JOIN heddle.engines e ON e.id = r.engine"),
        "1"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_format_is_refused() {
    let world = Postgres::new();
    drop(world.store());
    world.psql("INSERT INTO heddle.refinery_schema_history VALUES (999, 'later', '', '0')");
    let error = PostgresStore::open(world.settings()).err().expect("it is newer");
    assert!(
        matches!(error, PostgresOpenError::Newer { found: 999, .. }),
        "{error}"
    );
}

/// Opens a new database through a proxy.
fn open_through_proxy() -> (Proxy, PostgresStore) {
    let proxy = Proxy::new(cluster().port);
    let url = cluster()
        .tcp_url(&cluster().database())
        .replace(&format!(":{}/", cluster().port), &format!(":{}/", proxy.port));
    let store = open(&url).unwrap();
    (proxy, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_response_is_resolved_by_reading_back() {
    let (proxy, store) = open_through_proxy();
    let mut writer = RunWriter::new(1);
    writer.begin(&store).await.unwrap().unwrap();
    writer.append_logs(&store, 1).await.unwrap().unwrap();
    for round in 0..5 {
        proxy.drop_next_response();
        // A run that begins, a run that goes on, and one that ends, in one commit or in several.
        let (mut begins, mut ends) = (RunWriter::new(10 + round), RunWriter::new(100 + round));
        let results = [
            begins.begin(&store),
            ends.begin(&store),
            ends.finish(&store),
            writer.append_logs(&store, 2),
        ];
        for result in results {
            result.await.unwrap().unwrap();
        }
        assert!(proxy.has_dropped());
        assert_eq!(all_events(&store, begins.run, 10).await.len(), 1);
        assert_eq!(all_events(&store, ends.run, 10).await.len(), 2);
    }
    assert_eq!(all_events(&store, writer.run, 100).await.len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_delays_appends_and_loses_none() {
    let (proxy, store) = open_through_proxy();
    let mut writer = RunWriter::new(1);
    writer.begin(&store).await.unwrap().unwrap();
    proxy.cut();
    let waiting = writer.append_logs(&store, 1);
    let started = Instant::now();
    while store.health().is_ok() {
        assert!(started.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = RunWriter::new(2).begin(&store).await.unwrap();
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    proxy.forward();
    assert_eq!(waiting.await.unwrap().unwrap(), 2);
    assert!(store.health().is_ok());
    RunWriter::new(2).begin(&store).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_or_crashes_loses_no_acknowledged_event() {
    let server = Cluster::start(&[]);
    let database = server.database();
    let store = open(&server.url(&database)).unwrap();
    let mut writer = RunWriter::new(1);
    writer.begin(&store).await.unwrap().unwrap();
    for mode in ["fast", "immediate"] {
        let before: Vec<_> = (0..200).map(|_| writer.append_logs(&store, 1)).collect();
        server.restart(mode);
        let after = writer.append_logs(&store, 1);
        for result in before.into_iter().chain([after]) {
            result.await.unwrap().unwrap();
        }
    }
    assert_eq!(all_events(&store, writer.run, 1_000).await.len(), 403);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_checks_what_sslmode_says() {
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/../host/tests/host/tls");
    // The server reads its key only if nobody else can.
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("server.key");
    std::fs::copy(format!("{files}/server.key"), &key).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    if let Some((uid, gid)) = crate::cluster::user() {
        chown(&key, Some(uid), Some(gid)).unwrap();
    }
    let certificate = folder.path().join("server.pem");
    std::fs::copy(format!("{files}/server.pem"), &certificate).unwrap();
    let server = Cluster::start(&[
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", certificate.display()),
        format!("ssl_key_file={}", key.display()),
    ]);
    let database = server.database();
    let url = server.tcp_url(&database);
    let roots = format!("sslrootcert={files}/authority.pem");
    let is_encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'heddle'";
    for mode in [
        "prefer",
        "require",
        &format!("verify-ca&{roots}"),
        &format!("verify-full&{roots}"),
    ] {
        let store = open(&format!("{url}?sslmode={mode}")).unwrap();
        store.unfinished().await.unwrap();
        assert_eq!(server.psql(&database, is_encrypted).unwrap(), "t", "{mode}");
        store.close().await.unwrap();
    }
    // The system does not trust the tests' authority, and the certificate is not for this name.
    for (url, mode) in [
        (url.clone(), "verify-full".to_owned()),
        (
            url.replace("127.0.0.1", "127.0.0.2"),
            format!("verify-full&{roots}"),
        ),
    ] {
        let error = open(&format!("{url}?sslmode={mode}")).err().expect(&mode);
        assert!(!error.to_string().contains("ge heim"), "{error}");
    }
    let store = open(&format!("{url}?sslmode=disable")).unwrap();
    store.unfinished().await.unwrap();
    assert_eq!(server.psql(&database, is_encrypted).unwrap(), "f");
    drop(store);
    let plain = cluster();
    let error = open(&format!("{}?sslmode=require", plain.tcp_url("postgres")))
        .err()
        .expect("the server has no TLS");
    assert!(error.to_string().contains("TLS"), "{error}");
}
