//! Parallel branches, maps and nested graphs.

use heddle_kernel::{Event, Status};
use heddle_runtime::{Start, WatchItem};

use crate::script::{all, fresh, graph, idle, start};

#[tokio::test]
async fn the_branches_of_a_fork_run_in_parallel() {
    let (_, functions, engine) = fresh();
    let graph = graph(
        &engine,
        r#"{"nodes": {"a": {}, "g1": {"uses": "gate"}, "g2": {"uses": "gate"}, "d": {}}, "edges": {"a": ["g1", "g2"], "g1": "d", "g2": "d"}}"#,
    )
    .await;
    let run = start(&engine, &graph, "{}").await;
    // Both are called before either has returned.
    functions.called(3).await;
    functions.gate.add_permits(2);
    all(&engine, run).await;
    assert_eq!(engine.run(run).await.unwrap().unwrap().status, Status::Finished);
    assert_eq!(*functions.calls.borrow(), 4);
}

#[tokio::test]
async fn a_failing_branch_cancels_the_calls_of_the_others() {
    let (_, functions, engine) = fresh();
    let graph = graph(
        &engine,
        r#"{"nodes": {"a": {}, "gate": {}, "broken": {}}, "edges": {"a": ["gate", "broken"]}}"#,
    )
    .await;
    let run = start(&engine, &graph, "{}").await;
    all(&engine, run).await;
    let view = engine.run(run).await.unwrap().unwrap();
    assert_eq!(view.status, Status::Failed);
    assert_eq!(&*view.error.unwrap().node, "broken");
    idle(&engine).await;
    assert_eq!(
        functions.waiting(),
        0,
        "a call continues although its run has ended"
    );
}

#[tokio::test]
async fn cancelling_abandons_the_active_call_and_runs_the_compensations() {
    let (_, functions, engine) = fresh();
    let graph = graph(
        &engine,
        r#"{"nodes": {"book": {"compensate": "unbook"}, "gate": {}, "unbook": {}}, "edges": {"book": "gate"}, "start": "book"}"#,
    )
    .await;
    let run = start(&engine, &graph, "{}").await;
    functions.called(2).await;
    engine.cancel(run, "not wanted", None).await.unwrap();
    all(&engine, run).await;
    let view = engine.run(run).await.unwrap().unwrap();
    assert_eq!(view.status, Status::Cancelled);
    assert!(view.state.get("unbook").is_some());
    idle(&engine).await;
    assert_eq!(
        functions.waiting(),
        0,
        "a call continues although its run has ended"
    );
}

#[tokio::test]
async fn a_map_of_ten_thousand_items_ends_with_its_results_in_order() {
    let (_, functions, engine) = fresh();
    let graph = graph(
        &engine,
        r#"{"nodes": {"each": {"map": {"over": "state.all", "as": "item", "uses": "twice", "into": "doubled", "at_once": 100}}}}"#,
    )
    .await;
    let items: Vec<u32> = (0..10_000).collect();
    let state = serde_json::from_value(serde_json::json!({"all": items})).unwrap();
    let run = engine.start_run(Start::of(&graph, state)).await.unwrap().id;
    let watched = all(&engine, run).await;
    assert_eq!(watched.len(), 20_005);
    let state = engine.run(run).await.unwrap().unwrap().state;
    let doubled: Vec<serde_json::Value> = serde_json::from_str(state.get("doubled").unwrap().get()).unwrap();
    assert!(
        doubled
            .iter()
            .zip(&items)
            .all(|(result, item)| result["twice"] == serde_json::json!(2 * item))
    );
    assert_eq!(doubled.len(), items.len());
    assert_eq!(*functions.calls.borrow(), 10_000);
}

#[tokio::test]
async fn events_of_a_nested_graph_belong_to_the_parent_run() {
    let (_, _, engine) = fresh();
    graph(
        &engine,
        r#"{"name": "child", "nodes": {"x": {}, "y": {}}, "edges": {"x": "y"}}"#,
    )
    .await;
    let parent = graph(
        &engine,
        r#"{"nodes": {"c": {"graph": "child", "input": {"doc": "state.doc"}, "output": "published"}}}"#,
    )
    .await;
    let state = serde_json::from_value(serde_json::json!({"doc": "text"})).unwrap();
    let run = engine.start_run(Start::of(&parent, state)).await.unwrap().id;
    // A newer graph of the same name does not affect this run.
    graph(&engine, r#"{"name": "child", "nodes": {"z": {}}}"#).await;
    let watched = all(&engine, run).await;
    let within = watched.iter().filter(|watched| {
        matches!(watched, WatchItem::Event(event) if matches!(event.event, Event::StepStarted { within: 1, .. }))
    });
    assert_eq!(within.count(), 2);
    let state = engine.run(run).await.unwrap().unwrap().state.to_text();
    assert_eq!(state, r#"{"doc":"text","published":{"doc":"text","x":2,"y":3}}"#);
}
