//! Limits in bytes for runs, their journals and schedules, individually and together.

use std::sync::{Arc, atomic::Ordering};

use heddle_json::{Object, object::json};
use heddle_kernel::{Digest, FailureKind, Status, Timestamp};
use heddle_runtime::{
    CreateGraphError, Engine, ImportError, RegisterPluginError, ScheduleError, ScheduleSpec, Settings,
    WhenSpec,
    ports::{Catalog, PluginRow},
};
use heddle_store::MemoryJournal;

use crate::script::{Scripted, all, engine, graph, line, start, until, view};

const KIB: usize = 1 << 10;

async fn world(settings: Settings) -> (Arc<MemoryJournal>, Arc<Scripted>, Engine) {
    let (journal, functions) = (Arc::new(MemoryJournal::new()), Arc::new(Scripted::default()));
    let engine = engine(&journal, &functions, settings);
    engine.recover().await.unwrap();
    (journal, functions, engine)
}

/// Whether no run is active or queued. With little memory left, a queued run cannot be watched.
fn is_idle(engine: &Engine) -> bool {
    let stats = engine.stats();
    (stats.runs_in_flight, stats.runs_queued) == (0, 0)
}

fn state(bytes: usize) -> String {
    format!("{{\"text\":\"{}\"}}", "x".repeat(bytes))
}

/// An engine with a limit of 100 KiB for all runs together.
fn tight() -> Settings {
    Settings {
        max_memory_bytes: 100 * KIB,
        ..Settings::default()
    }
}

#[tokio::test]
async fn runs_that_exceed_the_memory_together_are_queued() {
    let (_, functions, engine) = world(tight()).await;
    let graph = line(&engine, &["gate"]).await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(start(&engine, &graph, &state(40 * KIB)).await);
    }
    functions.at_gate(2).await;
    let stats = engine.stats();
    assert_eq!((stats.runs_in_flight, stats.runs_queued), (2, 3));
    until("those that are queued are not held", || {
        (80 * KIB..120 * KIB).contains(&engine.stats().held_bytes)
    })
    .await;
    functions.gate.add_permits(5);
    until("all are over", || is_idle(&engine)).await;
    for run in runs {
        assert_eq!(view(&engine, run).await.status, Status::Finished);
    }
    until("nothing is held any more", || engine.stats().held_bytes == 0).await;
}

#[tokio::test]
async fn runs_that_outgrow_the_memory_take_turns_and_all_finish() {
    let (_, _, engine) = world(Settings {
        max_memory_bytes: 20 * KIB,
        ..Settings::default()
    })
    .await;
    let graph = graph(
        &engine,
        r#"{"nodes": {"count": {}, "grow": {}, "again": {"uses": "count"}}, "edges": {"count": "grow", "grow": "again"}}"#,
    )
    .await;
    let mut runs = Vec::new();
    for _ in 0..20 {
        runs.push(start(&engine, &graph, r#"{"to": 40}"#).await);
    }
    until("all are over", || is_idle(&engine)).await;
    for run in runs {
        assert_eq!(view(&engine, run).await.status, Status::Finished);
    }
}

#[tokio::test]
async fn a_run_larger_than_the_whole_budget_starts_alone() {
    let (_, _, engine) = world(tight()).await;
    let graph = line(&engine, &["a", "b"]).await;
    let run = start(&engine, &graph, &state(300 * KIB)).await;
    until("it is over", || is_idle(&engine)).await;
    assert_eq!(view(&engine, run).await.status, Status::Finished);
}

#[tokio::test]
async fn watchers_of_waiting_runs_take_none_of_the_memory() {
    let (_, _, engine) = world(tight()).await;
    let waits = graph(&engine, r#"{"nodes": {"ask": {"wait": {"signal": "go"}}}}"#).await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        let run = start(&engine, &waits, &state(30 * KIB)).await;
        until("it waits without being held", || engine.stats().held_bytes == 0).await;
        runs.push(run);
    }
    let mut watches = Vec::new();
    for run in &runs {
        let mut watch = engine.watch(*run, 0).await.unwrap().expect("there is such a run");
        assert!(watch.next().await.unwrap().is_ok());
        watches.push(watch);
    }
    assert_eq!(engine.stats().held_bytes, 0);
    engine
        .signal(runs[3], "go", json("1").unwrap(), None)
        .await
        .unwrap();
    drop(watches);
    until("it is over", || engine.stats().held_bytes == 0).await;
    assert!(engine.watch(runs[2], 0).await.is_ok());
}

#[tokio::test]
async fn active_runs_continue_after_a_restart_although_the_slots_do_not_suffice_for_all() {
    let (journal, functions, first) = world(Settings::default()).await;
    let graph = line(&first, &["gate", "b"]).await;
    let mut runs = Vec::new();
    for _ in 0..6 {
        runs.push(start(&first, &graph, &state(40 * KIB)).await);
    }
    functions.at_gate(6).await;
    let functions = Arc::new(Scripted::default());
    functions.gate.add_permits(100);
    let again = engine(&Arc::new(journal.after_crash()), &functions, tight());
    assert_eq!(again.recover().await.unwrap().runs, 6);
    until("every call is made", || *functions.calls.borrow() == 12).await;
    until("all are over", || is_idle(&again)).await;
    for run in runs {
        assert_eq!(view(&again, run).await.status, Status::Finished);
    }
}

#[tokio::test]
async fn a_run_whose_journal_is_full_fails_and_so_does_its_import() {
    let settings = Settings {
        max_journal_bytes: 3 << 20,
        ..Settings::default()
    };
    let (_, _, here) = world(settings).await;
    let graph = graph(&here, r#"{"nodes": {"grow": {}}, "edges": {"grow": "grow"}}"#).await;
    let run = start(&here, &graph, "{}").await;
    all(&here, run).await;
    let error = view(&here, run).await.error.expect("why it failed");
    assert_eq!(error.kind, FailureKind::JournalLimit);
    assert!(
        error.message.contains("3145728 (max_journal_bytes)"),
        "{}",
        error.message
    );
    let pieces = here
        .export(run)
        .await
        .unwrap()
        .expect("there is such a run")
        .pieces();
    let text: Vec<u8> = futures_util::TryStreamExt::try_concat(pieces).await.unwrap();

    let (_, _, there) = world(Settings::default()).await;
    assert_eq!(there.import(text.clone()).await.unwrap(), run);
    let (_, _, smaller) = world(Settings {
        max_journal_bytes: 1 << 20,
        ..settings
    })
    .await;
    let refused = smaller.import(text.clone()).await.unwrap_err();
    assert!(
        matches!(refused, ImportError::TooLarge { limit: 1_048_576, .. }),
        "{refused}"
    );
    assert!(smaller.run(run).await.unwrap().is_none());
    let (_, _, narrow) = world(Settings {
        max_run_bytes: 1_000,
        ..Settings::default()
    })
    .await;
    let refused = narrow.import(text.clone()).await.unwrap_err();
    assert!(
        matches!(refused, ImportError::HoldsTooMuch { limit: 1_000 }),
        "{refused}"
    );
}

#[tokio::test]
async fn schedules_have_a_limit_of_bytes_together() {
    let (_, _, engine) = world(Settings {
        max_schedule_bytes: 100 * KIB,
        ..Settings::default()
    })
    .await;
    let graph = line(&engine, &["a"]).await;
    let spec = |bytes: usize| ScheduleSpec {
        graph: graph.clone(),
        state: Object::parse(&state(bytes)).unwrap(),
        priority: 0,
        when: WhenSpec::Every {
            every: "1h".to_owned(),
            from: None,
        },
        overlap: Default::default(),
        catch_up: Default::default(),
        paused: false,
    };
    engine.put_schedule("a", spec(40 * KIB), None).await.unwrap();
    engine.put_schedule("b", spec(40 * KIB), None).await.unwrap();
    let refused = engine.put_schedule("c", spec(40 * KIB), None).await.unwrap_err();
    let ScheduleError::TooLarge { limit, .. } = refused else {
        panic!("{refused}")
    };
    assert_eq!(limit, 100 * KIB);
    assert!(refused.to_string().contains("max_schedule_bytes"));
    // A replacement counts instead of the original.
    engine.put_schedule("b", spec(50 * KIB), None).await.unwrap();
    engine.delete_schedule("a").await.unwrap();
    engine.put_schedule("c", spec(40 * KIB), None).await.unwrap();
}

#[tokio::test]
async fn stored_graphs_are_limited_and_a_known_one_can_be_created_again() {
    let definition = |name: &str| format!(r#"{{"name": "{name}", "nodes": {{"a": {{}}}}}}"#);
    let (_, _, engine) = world(Settings {
        max_graphs: 2,
        ..Settings::default()
    })
    .await;
    engine.create_graph(&definition("one")).await.unwrap();
    engine.create_graph(&definition("two")).await.unwrap();
    let refused = engine.create_graph(&definition("three")).await.unwrap_err();
    assert!(
        matches!(refused, CreateGraphError::StorageLimitReached(_)),
        "{refused}"
    );
    assert!(refused.to_string().contains("2 (max_graphs)"), "{refused}");
    assert!(!engine.create_graph(&definition("two")).await.unwrap().new);

    let (_, _, engine) = world(Settings {
        max_graph_bytes: 70,
        ..Settings::default()
    })
    .await;
    engine.create_graph(&definition("one")).await.unwrap();
    // The same schedule again needs no more space.
    for _ in 0..5 {
        engine.create_graph(&definition("one")).await.unwrap();
    }
    engine.create_graph(&definition("two")).await.unwrap();
    let refused = engine.create_graph(&definition("three")).await.unwrap_err();
    assert!(refused.to_string().contains("70 (max_graph_bytes)"), "{refused}");
}

#[tokio::test]
async fn a_graph_that_takes_too_much_memory_is_refused() {
    let nodes: Vec<String> = (0..5_000)
        .map(|n| format!(r#""{n}": {{"sleep": "1s"}}"#))
        .collect();
    let edges: Vec<String> = (0..4_999).map(|n| format!(r#""{n}": "{}""#, n + 1)).collect();
    let definition = format!(
        r#"{{"nodes": {{{}}}, "edges": {{{}}}}}"#,
        nodes.join(","),
        edges.join(",")
    );
    assert!(definition.len() < 250_000);
    let (_, _, engine) = world(Settings {
        max_checked_graph_bytes: 1 << 20,
        ..Settings::default()
    })
    .await;
    let CreateGraphError::Invalid(found) = engine.create_graph(&definition).await.unwrap_err() else {
        panic!("it is refused")
    };
    assert!(
        found[0].message.contains("1048576 (max_checked_graph_bytes)"),
        "{found:?}"
    );
}

#[tokio::test]
async fn stored_components_are_limited_and_a_known_one_can_be_added_again() {
    let kept = PluginRow {
        digest: Digest::of(b"kept"),
        name: "kept".into(),
        version: "1.0.0".into(),
        active: false,
        component: b"kept".as_slice().into(),
        added_at: Timestamp(0),
    };
    for (settings, name) in [
        (
            Settings {
                max_plugins: 1,
                ..Settings::default()
            },
            "1 (max_plugins)",
        ),
        (
            Settings {
                max_plugin_bytes: 6,
                ..Settings::default()
            },
            "6 (max_plugin_bytes)",
        ),
    ] {
        let (journal, functions, engine) = world(settings).await;
        journal.put_plugin(kept.clone()).await.unwrap();
        let refused = engine
            .register_plugin(b"another".as_slice().into(), None, false)
            .await
            .unwrap_err();
        assert!(
            matches!(refused, RegisterPluginError::StorageLimitReached(_)),
            "{refused}"
        );
        assert!(refused.to_string().contains(name), "{refused}");
        assert_eq!(
            functions.registered.load(Ordering::Relaxed),
            0,
            "it is not even compiled"
        );
        // The fake port refuses every component that passes the limit.
        let refused = engine
            .register_plugin(b"kept".as_slice().into(), None, false)
            .await
            .unwrap_err();
        assert!(matches!(refused, RegisterPluginError::Register(_)), "{refused}");
    }
}
