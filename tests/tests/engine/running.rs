//! Runs with one branch: the commit rule, limits, crashes and stops.

use std::sync::Arc;

use futures_util::future::join_all;
use heddle_json::Object;
use heddle_kernel::{Event, RunId, Status};
use heddle_runtime::{Settings, Start, StartError, WatchItem, ports::StoreError};
use heddle_store::MemoryJournal;
use tokio::time::timeout;

use crate::script::{PATIENCE, Scripted, all, engine, fresh, is_pending, line, seq, start};

#[tokio::test]
async fn nothing_is_published_before_it_is_durable_while_ungranted_steps_run_ahead() {
    let (journal, functions, engine) = fresh();
    let graph = line(&engine, &["a", "b", "c"]).await;
    journal.hold();
    let starting = engine.start_run(Start::of(&graph, Object::default()));
    let mut starting = Box::pin(starting);
    assert!(is_pending(&mut starting).await);
    // The disk stalls, and the whole chain is called anyway.
    functions.called(3).await;
    assert!(
        is_pending(&mut starting).await,
        "an answer was given before the start was durable"
    );
    assert!(
        engine
            .runs(Default::default(), None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    journal.release();
    let run = timeout(PATIENCE, starting)
        .await
        .expect("the start goes through")
        .unwrap()
        .id;
    assert_eq!(all(&engine, run).await.len(), 8);
    assert_eq!(engine.run(run).await.unwrap().unwrap().status, Status::Finished);
}

#[tokio::test]
async fn a_run_is_at_most_its_limit_ahead_of_the_disk() {
    let (journal, functions) = (Arc::new(MemoryJournal::new()), Arc::new(Scripted::default()));
    let settings = Settings {
        run_ahead_bytes: 1,
        ..Settings::default()
    };
    let engine = engine(&journal, &functions, settings);
    let graph = line(&engine, &["gate", "b"]).await;
    let run = start(&engine, &graph, "{}").await;
    functions.called(1).await;
    journal.hold();
    functions.gate.add_permits(1);
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        *functions.calls.borrow(),
        1,
        "the next step did not wait for the disk"
    );
    journal.release();
    assert_eq!(all(&engine, run).await.len(), 6);
}

#[tokio::test]
async fn watchers_and_readers_get_only_durable_events() {
    let (journal, functions, engine) = fresh();
    let graph = line(&engine, &["gate", "b"]).await;
    let run = start(&engine, &graph, "{}").await;
    let mut watch = engine.watch(run, 0).await.unwrap().unwrap();
    assert_eq!(seq(&watch.next().await.unwrap().unwrap()), Some(1));
    assert_eq!(seq(&watch.next().await.unwrap().unwrap()), Some(2));
    journal.hold();
    functions.gate.add_permits(1);
    functions.called(2).await;
    let mut next = Box::pin(watch.next());
    assert!(
        is_pending(&mut next).await,
        "a watcher got an event before it was durable"
    );
    let mut read = Box::pin(engine.run(run));
    assert!(
        is_pending(&mut read).await,
        "a reader got a state before it was durable"
    );
    journal.release();
    assert_eq!(
        seq(&timeout(PATIENCE, next).await.unwrap().unwrap().unwrap()),
        Some(3)
    );
    assert!(timeout(PATIENCE, read).await.unwrap().unwrap().unwrap().last_seq >= 3);
}

#[tokio::test]
async fn a_start_that_cannot_be_stored_is_refused_and_active_runs_continue_later() {
    let (journal, functions, engine) = fresh();
    let graph = line(&engine, &["gate", "b"]).await;
    let under_way = start(&engine, &graph, "{}").await;
    journal.stall(StoreError::Unavailable("the disk is full".to_owned()));
    let refused = timeout(PATIENCE, engine.start_run(Start::of(&graph, Object::default())))
        .await
        .unwrap();
    assert!(matches!(
        refused,
        Err(StartError::Store(StoreError::Unavailable(_)))
    ));
    assert!(engine.health().is_err());
    // One permit for each of the two runs, and one that the call of the refused run may still take.
    functions.gate.add_permits(3);
    journal.release();
    assert_eq!(all(&engine, under_way).await.len(), 6);
    let run = start(&engine, &graph, "{}").await;
    assert_eq!(all(&engine, run).await.len(), 6);
    assert_eq!(engine.runs(Default::default(), None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn after_a_crash_every_run_continues_from_its_durable_events() {
    let (journal, functions, first) = fresh();
    let graph = line(&first, &["a", "gate", "z"]).await;
    let mut runs = Vec::new();
    for _ in 0..20 {
        runs.push(start(&first, &graph, "{}").await);
    }
    functions.called(40).await;
    for run in &runs {
        // Published events are durable: the first step of each run.
        assert_eq!(first.run(*run).await.unwrap().unwrap().steps, 2);
    }
    let left = Arc::new(journal.after_crash());
    let functions = Arc::new(Scripted::default());
    functions.gate.add_permits(20);
    let second = engine(&left, &functions, Settings::default());
    assert_eq!(second.recover().await.unwrap().runs, 20);
    for run in runs {
        let watched = all(&second, run).await;
        let finished = watched.iter().filter(
            |watched| matches!(watched, WatchItem::Event(event) if matches!(event.event, Event::StepFinished { .. })),
        );
        assert_eq!(finished.count(), 3, "every step has one outcome");
        let view = second.run(run).await.unwrap().unwrap();
        assert_eq!(
            (view.status, view.state.to_text()),
            (Status::Finished, r#"{"a":1,"z":3}"#.to_owned())
        );
        assert!(
            functions.by_step.lock().unwrap().get(&(run, 1)).is_none(),
            "a step that was over was called again"
        );
    }
}

#[tokio::test]
async fn the_engines_limits_refuse_by_name() {
    let functions = Arc::new(Scripted::default());
    let journal = Arc::new(MemoryJournal::new());
    let settings = Settings {
        max_runs_in_flight: 1,
        max_queued: 0,
        max_state_bytes: 1_000,
        ..Settings::default()
    };
    let engine = engine(&journal, &functions, settings);
    let large = Object::parse(&format!("{{\"x\":\"{}\"}}", "x".repeat(1_000))).unwrap();
    let gate = line(&engine, &["gate"]).await;
    assert!(matches!(
        engine.start_run(Start::of(&gate, large)).await,
        Err(StartError::TooLarge { limit: 1_000, .. })
    ));
    let run = start(&engine, &gate, "{}").await;
    assert!(matches!(
        engine.start_run(Start::of(&gate, Object::default())).await,
        Err(StartError::Busy { limit: 0, .. })
    ));
    functions.gate.add_permits(1);
    all(&engine, run).await;

    let grow = line(&engine, &["grow"]).await;
    // The slot of the ended run is released right after its last event.
    let run = loop {
        match engine.start_run(Start::of(&grow, Object::default())).await {
            Err(StartError::Busy { .. }) => tokio::task::yield_now().await,
            started => break started.unwrap().id,
        }
    };
    all(&engine, run).await;
    let error = engine.run(run).await.unwrap().unwrap().error.expect("it failed");
    assert_eq!(error.kind.as_str(), "limit");
    assert!(error.message.contains("max_state_bytes"), "{}", error.message);
}

#[tokio::test]
async fn a_panic_of_the_functions_port_fails_the_step_and_nothing_else() {
    let (_, _, engine) = fresh();
    let bad = line(&engine, &["panic"]).await;
    let run = start(&engine, &bad, "{}").await;
    all(&engine, run).await;
    assert_eq!(
        engine
            .run(run)
            .await
            .unwrap()
            .unwrap()
            .error
            .unwrap()
            .kind
            .as_str(),
        "unavailable"
    );
    let good = line(&engine, &["a"]).await;
    let run = start(&engine, &good, "{}").await;
    assert_eq!(all(&engine, run).await.len(), 4);
}

#[tokio::test]
async fn a_watcher_that_is_far_behind_reads_the_journal_and_misses_nothing() {
    let (_, _, engine) = fresh();
    let graph = line(&engine, &["count"]).await;
    let run = start(&engine, &graph, "{}").await;
    let mut slow = engine.watch(run, 0).await.unwrap().unwrap();
    // It reads one event, and the rest long after the end of the run.
    assert_eq!(seq(&slow.next().await.unwrap().unwrap()), Some(1));
    assert_eq!(all(&engine, run).await.len(), 602);
    let mut last = 1;
    while let Some(next) = slow.next().await {
        last += 1;
        assert_eq!(seq(&next.unwrap()), Some(last));
    }
    assert_eq!(last, 602);
}

#[tokio::test]
async fn a_watch_that_begins_at_or_past_the_end_ends_with_the_run() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["gate"]).await;
    let run = start(&engine, &graph, "{}").await;
    let mut at = engine.watch(run, 4).await.unwrap().unwrap();
    let mut past = engine.watch(run, 999_999).await.unwrap().unwrap();
    functions.gate.add_permits(1);
    assert!(timeout(PATIENCE, at.next()).await.expect("it ends").is_none());
    assert!(timeout(PATIENCE, past.next()).await.expect("it ends").is_none());
}

#[tokio::test]
async fn log_lines_and_chunks_of_a_long_step_come_while_it_runs() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["gate", "say"]).await;
    let run = start(&engine, &graph, "{}").await;
    let mut watch = engine.watch(run, 2).await.unwrap().unwrap();
    functions.gate.add_permits(1);
    let (mut chunk, mut line) = (false, false);
    while !(chunk && line) {
        match timeout(PATIENCE, watch.next())
            .await
            .expect("they come while the step waits")
            .unwrap()
            .unwrap()
        {
            WatchItem::Chunk(watched) => {
                chunk = &*watched.node == "say" && watched.data.get() == "{\"token\":1}"
            }
            WatchItem::Event(event) => {
                line |= matches!(&event.event, Event::Log { message, .. } if &**message == "hello");
            }
            WatchItem::Missed(count) => panic!("{count} were missed"),
        }
    }
    functions.gate.add_permits(1);
    let kept = all(&engine, run).await;
    assert!(
        kept.iter().all(|watched| seq(watched).is_some()),
        "chunks are not kept"
    );
}

#[tokio::test]
async fn chunks_keep_their_position_among_the_events_and_missed_chunks_are_counted() {
    let (_, functions, engine) = fresh();
    let graph = line(&engine, &["stream", "after"]).await;
    let run = engine.start_run(Start::of(&graph, Object::default())).await;
    let run = run.unwrap().id;
    let mut watch = engine.watch(run, 0).await.unwrap().unwrap();
    functions.gate.add_permits(1);
    let mut watched = Vec::new();
    while watched.len() < 9 {
        match timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap() {
            WatchItem::Chunk(chunk) => watched.push(format!("chunk {}", chunk.data)),
            WatchItem::Event(event) => {
                if let Event::Log { message, .. } = &event.event {
                    watched.push(format!("line {message}"));
                }
            }
            WatchItem::Missed(count) => panic!("{count} were missed"),
        }
    }
    let expected = [
        "chunk 0", "line 1", "chunk 2", "chunk 3", "line 4", "chunk 5", "chunk 6", "line 7", "chunk 8",
    ];
    assert_eq!(watched, expected);
    // The run does not wait for its watchers.
    functions.gate.add_permits(1);
    let mut other = engine.watch(run, 0).await.unwrap().unwrap();
    while let Some(watched) = timeout(PATIENCE, other.next()).await.expect("it ends") {
        watched.unwrap();
    }
    let mut rest = Vec::new();
    let mut finished = None;
    while let Some(watched) = timeout(PATIENCE, watch.next()).await.expect("it ends") {
        match watched.unwrap() {
            WatchItem::Missed(count) => rest.push(count),
            WatchItem::Chunk(chunk) => {
                assert!(finished.is_none(), "a chunk of the step after its end");
                rest.push(chunk.data.get().parse().unwrap());
            }
            WatchItem::Event(event) => {
                finished =
                    finished.or(matches!(event.event, Event::StepFinished { .. }).then_some(event.seq));
            }
        }
    }
    let missed = rest[0];
    assert!(finished.is_some() && missed > 0);
    assert_eq!(
        rest[1..],
        (missed..1_000).collect::<Vec<_>>(),
        "the latest ones are there, in order"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_runs_are_active_at_once() {
    let (journal, functions) = (Arc::new(MemoryJournal::new()), Arc::new(Scripted::default()));
    let settings = Settings {
        max_runs_in_flight: 3_000,
        ..Settings::default()
    };
    let engine = engine(&journal, &functions, settings);
    let graph = line(&engine, &["a", "gate", "z"]).await;
    let starts = (0..3_000).map(|_| engine.start_run(Start::of(&graph, Object::default())));
    let runs: Vec<RunId> = join_all(starts)
        .await
        .into_iter()
        .map(|started| started.unwrap().id)
        .collect();
    functions.called(6_000).await;
    assert_eq!(engine.stats().runs_in_flight, 3_000);
    functions.gate.add_permits(3_000);
    for run in runs {
        assert_eq!(all(&engine, run).await.len(), 8);
    }
}

#[tokio::test]
async fn a_drained_engine_begins_nothing_and_keeps_everything() {
    let (journal, functions, first) = fresh();
    let graph = line(&first, &["gate", "z"]).await;
    let run = start(&first, &graph, "{}").await;
    functions.called(1).await;
    let draining = tokio::spawn({
        let first = first.clone();
        async move { first.drain(PATIENCE).await }
    });
    while !first.is_draining() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        first.start_run(Start::of(&graph, Object::default())).await,
        Err(StartError::Draining)
    ));
    // The active step may finish; the next one waits for the next start.
    functions.gate.add_permits(1);
    draining.await.unwrap();
    assert_eq!(*functions.calls.borrow(), 1);
    let left = Arc::new(journal.after_crash());
    let second = engine(&left, &functions, Settings::default());
    assert_eq!(second.recover().await.unwrap().runs, 1);
    all(&second, run).await;
    assert_eq!(
        second.run(run).await.unwrap().unwrap().state.to_text(),
        r#"{"z":2}"#
    );
}
