//! Clients that disconnect while their change is being stored: the change is either complete or absent, also after a restart.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use heddle_json::Object;
use heddle_kernel::Digest;
use heddle_runtime::{DeleteGraphError, Engine, ImportError, Settings, Start, ports::Catalog};
use heddle_store::MemoryJournal;

use crate::script::{PATIENCE, Scripted, engine, graph, is_pending, line, start, until};

/// Does a change over a journal that does not write, and stops waiting for it.
async fn disconnect<T>(change: impl Future<Output = T>) {
    let mut change = Box::pin(change);
    for _ in 0..100 {
        assert!(is_pending(&mut change).await, "the journal does not write");
        tokio::task::yield_now().await;
    }
}

async fn world(settings: Settings) -> (Arc<MemoryJournal>, Arc<Scripted>, Engine) {
    let (journal, functions) = (Arc::new(MemoryJournal::new()), Arc::new(Scripted::default()));
    functions.takes_components.store(true, Ordering::SeqCst);
    let engine = engine(&journal, &functions, settings);
    engine.recover().await.unwrap();
    (journal, functions, engine)
}

#[tokio::test]
async fn a_plugin_is_not_visible_before_it_is_stored() {
    let (journal, functions, engine) = world(Settings::default()).await;
    journal.hold();
    let component: Arc<[u8]> = b"component".as_slice().into();
    disconnect(engine.register_plugin(component.clone(), None, false)).await;
    assert!(functions.published.lock().unwrap().is_empty(), "it is visible");
    assert!(journal.plugin(&Digest::of(&component)).await.unwrap().is_none());

    // The registration is completed without the client.
    journal.release();
    until("it is visible", || {
        !functions.published.lock().unwrap().is_empty()
    })
    .await;
    let stored = journal
        .after_crash()
        .plugin(&Digest::of(&component))
        .await
        .unwrap();
    assert!(stored.is_some(), "it is visible, and gone after a restart");
}

#[tokio::test]
async fn cancelled_registrations_do_not_count_for_the_limit() {
    let (_, functions, engine) = world(Settings {
        max_plugins: 1,
        ..Settings::default()
    })
    .await;
    let component = |name: &str| -> Arc<[u8]> { name.as_bytes().into() };
    functions.never_builds.store(true, Ordering::SeqCst);
    for n in 0..5 {
        disconnect(engine.register_plugin(component(&n.to_string()), None, false)).await;
    }
    functions.never_builds.store(false, Ordering::SeqCst);
    engine
        .register_plugin(component("one"), None, false)
        .await
        .expect("there is room for one");
    let refused = engine
        .register_plugin(component("two"), None, false)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("1 (max_plugins)"), "{refused}");
}

#[tokio::test]
async fn cancelled_creations_of_a_stored_graph_do_not_count_for_the_limit() {
    let definition = |name: &str| format!(r#"{{"name": "{name}", "nodes": {{"a": {{}}}}}}"#);
    let (journal, _, engine) = world(Settings {
        max_graphs: 4,
        ..Settings::default()
    })
    .await;
    engine.create_graph(&definition("one")).await.unwrap();
    journal.hold();
    for _ in 0..5 {
        let (engine, text) = (engine.clone(), definition("one"));
        let create = tokio::spawn(async move { engine.create_graph(&text).await.map(drop) });
        tokio::time::sleep(Duration::from_millis(20)).await;
        create.abort();
    }
    journal.release();
    let created = async {
        for name in ["two", "three", "four"] {
            while engine.create_graph(&definition(name)).await.is_err() {
                tokio::task::yield_now().await;
            }
        }
    };
    let created = tokio::time::timeout(PATIENCE, created).await;
    created.expect("there is room for four graphs");
}

#[tokio::test]
async fn a_graph_is_not_deleted_while_a_start_whose_client_left_is_being_stored() {
    let (journal, _, engine) = world(Settings::default()).await;
    let graph = line(&engine, &["a"]).await;
    journal.hold();
    let begin = || Start {
        graph: graph.clone(),
        state: Object::default(),
        priority: 0,
        key: None,
        origin: None,
    };
    disconnect(engine.start_run(begin())).await;
    let busy = engine.delete_graph(&graph).await.unwrap_err();
    assert!(matches!(busy, DeleteGraphError::Busy), "{busy}");
    journal.release();
    let deleted = async {
        loop {
            match engine.delete_graph(&graph).await {
                Err(DeleteGraphError::OfRun(_)) => return,
                Err(DeleteGraphError::Busy) => {}
                other => panic!("the run needs its graph: {other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, deleted)
        .await
        .expect("the run is stored");
}

#[tokio::test]
async fn an_import_keeps_its_permit_until_it_is_over() {
    let (_, _, from) = world(Settings::default()).await;
    let waits = graph(&from, r#"{"nodes": {"ask": {"wait": {"signal": "go"}}}}"#).await;
    let run = start(&from, &waits, "{}").await;
    until("it waits", || from.stats().runs_in_flight == 0).await;
    let mut export = from.export(run).await.unwrap().expect("the run is stored");
    let mut text = Vec::new();
    while let Some(piece) = export.next().await.unwrap() {
        text.extend(piece);
    }

    let (journal, _, to) = world(Settings::default()).await;
    journal.hold();
    let permit = Arc::new(());
    disconnect(to.import_keeping(permit.clone(), text.clone(), false)).await;
    assert_eq!(Arc::strong_count(&permit), 2, "the next import could begin");
    journal.release();
    until("the import is over", || Arc::strong_count(&permit) == 1).await;
    let known = to.import(text).await.unwrap_err();
    assert!(matches!(known, ImportError::Known(id) if id == run), "{known}");
}
