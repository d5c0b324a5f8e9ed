//! The contract of the catalog: graphs and plugins.

use std::collections::BTreeMap;

use heddle_json::object::json;
use heddle_kernel::{Digest, Event, Timestamp, event::FunctionRef};
use heddle_runtime::ports::{GraphRow, PluginRow, Usage};

use crate::world::{RunWriter, World, graph_id, run_id};

contract! {
    a_plugin_that_is_deleted_is_gone,
    a_graph_is_kept_once,
    a_graph_without_a_name_takes_the_one_that_it_is_given_later,
    a_graph_that_is_deleted_is_gone,
    what_names_a_graph_is_found,
    the_newest_graph_of_a_name_is_found,
    graphs_are_listed_newest_first_by_pages,
    a_plugin_is_kept_once_and_may_become_active,
    active_plugins_keep_their_order,
    the_functions_of_a_graph_are_those_that_it_was_put_with_last,
    data_that_all_runs_share_is_counted_in_bytes,
}

async fn a_plugin_that_is_deleted_is_gone(mut world: impl World) {
    let journal = world.open();
    let plugin = plugin(b"one", true);
    journal.put_plugin(plugin.clone()).await.unwrap();
    assert!(journal.delete_plugin(&plugin.digest).await.unwrap());
    assert!(!journal.delete_plugin(&plugin.digest).await.unwrap());
    assert!(journal.plugin(&plugin.digest).await.unwrap().is_none());
    assert!(journal.active_plugins().await.unwrap().is_empty());
}

async fn a_graph_is_kept_once(mut world: impl World) {
    let journal = world.open();
    assert!(journal.graph(&graph_id(1)).await.unwrap().is_none());
    assert!(journal.put_graph(graph(1, Some("a"), 1)).await.unwrap());
    assert!(!journal.put_graph(graph(1, Some("a"), 2)).await.unwrap());
    let stored = journal.graph(&graph_id(1)).await.unwrap().unwrap();
    assert_eq!(
        (stored.name.as_deref(), stored.created_at),
        (Some("a"), Timestamp(1))
    );
    assert_eq!(journal.graphs(None, 10).await.unwrap().len(), 1);
}

async fn a_graph_without_a_name_takes_the_one_that_it_is_given_later(mut world: impl World) {
    let journal = world.open();
    journal.put_graph(graph(1, Some("a"), 5)).await.unwrap();
    journal.put_graph(graph(2, None, 1)).await.unwrap();
    assert_eq!(journal.graph_named("a").await.unwrap().unwrap().id, graph_id(1));
    assert!(!journal.put_graph(graph(2, None, 7)).await.unwrap());
    assert_eq!(
        journal.graph(&graph_id(2)).await.unwrap().unwrap().created_at,
        Timestamp(1)
    );
    assert!(!journal.put_graph(graph(2, Some("a"), 8)).await.unwrap());
    let named = journal.graph_named("a").await.unwrap().unwrap();
    assert_eq!((named.id, named.created_at), (graph_id(2), Timestamp(8)));
    // A name stays.
    assert!(!journal.put_graph(graph(2, Some("b"), 9)).await.unwrap());
    assert!(journal.graph_named("b").await.unwrap().is_none());
}

async fn a_graph_that_is_deleted_is_gone(mut world: impl World) {
    let journal = world.open();
    journal.put_graph(graph(1, Some("a"), 1)).await.unwrap();
    journal.put_graph(graph(2, Some("a"), 2)).await.unwrap();
    assert!(journal.delete_graph(&graph_id(2)).await.unwrap());
    assert!(!journal.delete_graph(&graph_id(2)).await.unwrap());
    assert!(journal.graph(&graph_id(2)).await.unwrap().is_none());
    assert_eq!(journal.graph_named("a").await.unwrap().unwrap().id, graph_id(1));
    assert_eq!(journal.graphs(None, 10).await.unwrap().len(), 1);
    assert!(journal.put_graph(graph(2, Some("a"), 3)).await.unwrap());
}

async fn what_names_a_graph_is_found(mut world: impl World) {
    let journal = world.open();
    let runs = |number, named: &str| GraphRow {
        definition: format!(r#"{{"nodes":{{"x":{{"graph":"{named}"}}}}}}"#).into(),
        ..graph(number, None, 1)
    };
    for (number, named) in [(1, "a"), (2, "ab"), (3, "a")] {
        journal.put_graph(runs(number, named)).await.unwrap();
    }
    assert_eq!(
        journal.graphs_naming("a", 10).await.unwrap(),
        [graph_id(1), graph_id(3)]
    );
    assert_eq!(journal.graphs_naming("a", 1).await.unwrap(), [graph_id(1)]);
    assert!(journal.graphs_naming("b", 10).await.unwrap().is_empty());
    // The same text in a value of a node is no reference.
    let other = GraphRow {
        definition: r#"{"nodes":{"x":{"config":{"graph":"c"}},"y":{"map":{"graph":"d"}}}}"#.into(),
        ..graph(4, None, 1)
    };
    journal.put_graph(other).await.unwrap();
    assert!(journal.graphs_naming("c", 10).await.unwrap().is_empty());
    assert_eq!(journal.graphs_naming("d", 10).await.unwrap(), [graph_id(4)]);
    let mut run = RunWriter::new(1);
    let mut event = run.started();
    let Event::RunStarted { state, .. } = &mut event else {
        panic!("the first event is the start");
    };
    // The state has the id of a graph, which the run does not use.
    state.insert("text", json(&format!("\"see {} there\"", graph_id(9))).unwrap());
    run.append(&*journal, vec![event]).await.unwrap().unwrap();
    assert_eq!(journal.run_naming(&graph_id(9), 0).await.unwrap().0, None);
    let named = journal.run_naming(&graph_id(1), 0).await.unwrap();
    assert_eq!(named.0, Some(run_id(1)));
}

async fn the_newest_graph_of_a_name_is_found(mut world: impl World) {
    let journal = world.open();
    for (number, name, created_at) in [
        (1, Some("a"), 5),
        (2, Some("a"), 9),
        (3, Some("a"), 7),
        (4, Some("b"), 5),
        (5, Some("b"), 5),
        (6, None, 99),
    ] {
        journal.put_graph(graph(number, name, created_at)).await.unwrap();
    }
    assert_eq!(journal.graph_named("a").await.unwrap().unwrap().id, graph_id(2));
    assert_eq!(journal.graph_named("b").await.unwrap().unwrap().id, graph_id(5));
    assert!(journal.graph_named("c").await.unwrap().is_none());
}

async fn graphs_are_listed_newest_first_by_pages(mut world: impl World) {
    let journal = world.open();
    for number in 1..=5 {
        journal.put_graph(graph(number, None, 0)).await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = journal.graphs(after, 2).await.unwrap();
        let Some((position, _)) = page.last() else { break };
        after = Some(*position);
        assert!(page.len() <= 2);
        seen.extend(page.into_iter().map(|(_, graph)| graph.id));
    }
    assert_eq!(seen, [5, 4, 3, 2, 1].map(graph_id));
}

pub(super) fn plugin(component: &[u8], active: bool) -> PluginRow {
    PluginRow {
        digest: Digest::of(component),
        name: "sample".into(),
        version: "1.0.0".into(),
        active,
        component: component.into(),
        added_at: Timestamp(1),
    }
}

async fn a_plugin_is_kept_once_and_may_become_active(mut world: impl World) {
    let journal = world.open();
    let digest = Digest::of(b"component");
    assert!(journal.plugin(&digest).await.unwrap().is_none());
    journal.put_plugin(plugin(b"component", false)).await.unwrap();
    assert!(journal.active_plugins().await.unwrap().is_empty());
    let stored = journal.plugin(&digest).await.unwrap().unwrap();
    assert_eq!(
        (&*stored.component, &*stored.version, stored.active),
        (&b"component"[..], "1.0.0", false)
    );

    // An inactive one takes over nothing from another inactive one,
    journal
        .put_plugin(PluginRow {
            name: "other".into(),
            ..plugin(b"component", false)
        })
        .await
        .unwrap();
    assert_eq!(&*journal.plugin(&digest).await.unwrap().unwrap().name, "sample");
    // all of it from one that is active,
    let active = PluginRow {
        name: "raised".into(),
        version: "2.0.0".into(),
        ..plugin(b"component", true)
    };
    journal
        .put_plugin(PluginRow {
            added_at: Timestamp(9),
            ..active
        })
        .await
        .unwrap();
    let stored = journal.plugin(&digest).await.unwrap().unwrap();
    assert_eq!(
        (&*stored.name, &*stored.version, stored.active),
        ("raised", "2.0.0", true)
    );
    assert_eq!(stored.added_at, Timestamp(1));
    // and nothing more once it is active itself.
    journal.put_plugin(plugin(b"component", true)).await.unwrap();
    journal.put_plugin(plugin(b"component", false)).await.unwrap();
    let stored = journal.active_plugins().await.unwrap();
    assert_eq!((stored.len(), &*stored[0].name), (1, "raised"));
}

async fn active_plugins_keep_their_order(mut world: impl World) {
    let journal = world.open();
    for (component, active) in [
        (b"b", true),
        (b"c", false),
        (b"a", true),
        (b"d", true),
        (b"c", true),
    ] {
        journal.put_plugin(plugin(component, active)).await.unwrap();
    }
    let mut order = Vec::new();
    for stored in journal.active_plugins().await.unwrap() {
        let stored = journal.plugin(&stored.digest).await.unwrap().unwrap();
        order.push(stored.component);
    }
    assert_eq!(
        order.iter().map(|component| &**component).collect::<Vec<_>>(),
        [b"b", b"c", b"a", b"d"]
    );
}

pub(super) fn graph(number: u64, name: Option<&str>, created_at: i64) -> GraphRow {
    let created_at = Timestamp(created_at);
    GraphRow {
        id: graph_id(number),
        name: name.map(Into::into),
        definition: "{\"nodes\":{}}".into(),
        created_at,
        functions: BTreeMap::new(),
    }
}

fn function(digest: &str) -> FunctionRef {
    FunctionRef {
        digest: Digest(digest.into()),
        plugin: "p".into(),
        version: "1.0.0".into(),
        function: "f".into(),
        routes: vec!["a".into()],
        granted: false,
    }
}

async fn the_functions_of_a_graph_are_those_that_it_was_put_with_last(mut world: impl World) {
    let journal = world.open();
    let with = |number, digests: &[&str]| GraphRow {
        functions: digests
            .iter()
            .map(|digest| ((*digest).into(), function(digest)))
            .collect(),
        ..graph(number, None, 1)
    };
    assert!(journal.put_graph(with(1, &["aa", "bb"])).await.unwrap());
    assert!(journal.put_graph(with(2, &["bb"])).await.unwrap());
    assert!(journal.put_graph(with(3, &["cc"])).await.unwrap());
    // A graph without functions does not remove known ones.
    assert!(!journal.put_graph(with(1, &[])).await.unwrap());
    let ids = async |digest: &str, limit| journal.graphs_with(&Digest(digest.into()), limit).await.unwrap();
    assert_eq!(ids("bb", 10).await, [graph_id(1), graph_id(2)]);
    assert_eq!(ids("bb", 1).await, [graph_id(1)]);
    assert!(!journal.put_graph(with(1, &["cc"])).await.unwrap());
    assert_eq!(ids("bb", 10).await, [graph_id(2)]);
    let stored = journal.graph(&graph_id(1)).await.unwrap().unwrap();
    assert_eq!(stored.functions, with(1, &["cc"]).functions);
}

async fn data_that_all_runs_share_is_counted_in_bytes(mut world: impl World) {
    let journal = world.open();
    assert_eq!(journal.usage().await.unwrap(), Usage::default());
    let graphs = [graph(1, None, 0), graph(2, Some("täglich"), 0), graph(1, None, 0)];
    let graph_bytes: usize = graphs[..2].iter().map(|graph| graph.definition.len()).sum();
    for graph in graphs {
        journal.put_graph(graph).await.unwrap();
    }
    let long = vec![7; 100_000];
    journal.put_plugin(plugin(&long, true)).await.unwrap();
    journal.put_plugin(plugin(b"four", false)).await.unwrap();
    let usage = Usage {
        graphs: 2,
        graph_bytes: graph_bytes as u64,
        plugins: 2,
        plugin_bytes: 100_004,
    };
    assert_eq!(journal.usage().await.unwrap(), usage);
    journal.delete_plugin(&Digest::of(&long)).await.unwrap();
    assert_eq!(journal.usage().await.unwrap().plugin_bytes, 4);
}
