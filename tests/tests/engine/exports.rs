//! Export and import of runs.

use std::sync::atomic::Ordering;

use futures_util::TryStreamExt;
use heddle_json::object::json;
use heddle_kernel::{RunId, Status, Timestamp};
use heddle_runtime::{
    Engine, ImportError,
    ports::{Journal, RunFilter},
};

use crate::script::{all, fresh, graph, idle, line, names, start, view};

async fn text_of(engine: &Engine, run: RunId) -> Vec<u8> {
    let export = engine.export(run).await.unwrap().expect("there is such a run");
    export.pieces().try_concat().await.unwrap()
}

#[tokio::test]
async fn an_imported_ended_run_is_shown_unchanged() {
    let (_, _, here) = fresh();
    let graph = line(&here, &["a", "b"]).await;
    let run = start(&here, &graph, r#"{"x": [1,2]}"#).await;
    all(&here, run).await;
    let text = text_of(&here, run).await;
    let (journal, functions, there) = fresh();
    assert_eq!(there.import(text.clone()).await.unwrap(), run);
    assert_eq!(names(&there, run).await, names(&here, run).await);
    assert_eq!(view(&there, run).await.state, view(&here, run).await.state);
    assert_eq!(
        there.step(run, 1).await.unwrap().state.to_text(),
        r#"{"a":1,"x":[1,2]}"#
    );
    assert!(there.graph(&graph).await.unwrap().is_some());
    let row = journal.run(run).await.unwrap().unwrap();
    assert_eq!(
        (row.status, row.origin.as_deref()),
        (Status::Finished, Some("import"))
    );
    assert_eq!(*functions.calls.borrow(), 0);
    // The second export equals the first, except for the origin.
    let again = text_of(&there, run).await;
    let events = |text: &[u8]| text.splitn(2, |byte| *byte == b'\n').nth(1).unwrap().to_vec();
    assert_eq!(events(&again), events(&text));
    assert!(matches!(
        there.import(text.clone()).await,
        Err(ImportError::Known(_))
    ));
    let nobody = RunId(uuid::Uuid::nil());
    assert!(there.export(nobody).await.unwrap().is_none());
}

#[tokio::test]
async fn an_imported_active_run_is_paused_until_it_is_resumed() {
    let (_, functions, here) = fresh();
    let graph = line(&here, &["a", "gate", "c"]).await;
    let run = start(&here, &graph, "{}").await;
    functions.at_gate(1).await;
    here.pause(run, "to take it elsewhere").await.unwrap();
    let text = text_of(&here, run).await;
    here.resume(run).await.unwrap();
    let running = text_of(&here, run).await;
    for (text, pauses) in [(text, 1), (running, 2)] {
        let (_, functions, there) = fresh();
        there.import(text.clone()).await.unwrap();
        assert_eq!(there.recover().await.unwrap().runs, 0);
        let actual = names(&there, run).await;
        assert_eq!(actual.iter().filter(|name| *name == "run_paused").count(), pauses);
        assert_eq!(view(&there, run).await.status, Status::Paused);
        functions.gate.add_permits(1);
        there.resume(run).await.unwrap();
        all(&there, run).await;
        assert_eq!(view(&there, run).await.state.to_text(), r#"{"a":1,"c":3}"#);
    }
}

#[tokio::test]
async fn an_export_contains_every_graph_that_the_run_used() {
    let (_, functions, here) = fresh();
    let inner = graph(&here, r#"{"name": "inner", "nodes": {"i": {}}}"#).await;
    let first = graph(&here, r#"{"name": "g", "nodes": {"ask": {"wait": {"signal": "s"}}, "sub": {"graph": "inner"}}, "edges": {"ask": "sub"}}"#).await;
    let run = start(&here, &first, "{}").await;
    idle(&here).await;
    let second = graph(&here, r#"{"name": "g", "nodes": {"ask": {"wait": {"signal": "s"}}, "sub": {"graph": "inner"}, "z": {}}, "edges": {"ask": "sub", "sub": "z"}}"#).await;
    functions.version.store(2, Ordering::SeqCst);
    here.upgrade(run, Some(&second)).await.unwrap();
    here.signal(run, "s", json("1").unwrap(), None).await.unwrap();
    all(&here, run).await;
    let text = text_of(&here, run).await;
    let (_, _, there) = fresh();
    there.import(text.clone()).await.unwrap();
    for graph in [inner, first, second] {
        assert!(there.graph(&graph).await.unwrap().is_some());
    }
    assert_eq!(view(&there, run).await.state, view(&here, run).await.state);
}

#[tokio::test]
async fn a_value_in_several_lines_is_exported_in_one_and_read_in_either() {
    // As stored by an older version.
    let (_, _, here) = fresh();
    let graph = line(&here, &["a", "b"]).await;
    let run = start(&here, &graph, "{\"x\": {\n  \"y\": [1.50,\r\n 2]\n}}").await;
    all(&here, run).await;
    let text = String::from_utf8(text_of(&here, run).await).unwrap();
    for line in text.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
    let one_line = r#"{"y":[1.50,2]}"#;
    assert!(text.contains(one_line), "{text}");
    let several = text.replace(one_line, "{\n  \"y\": [1.50,\n 2]\n}");
    assert_ne!(several, text);
    for text in [text, several] {
        let (_, _, there) = fresh();
        there.import(text.as_bytes()).await.unwrap();
        let state = view(&there, run).await.state.to_text();
        assert_eq!(state, r#"{"a":1,"b":2,"x":{"y":[1.50,2]}}"#);
    }
}

#[tokio::test]
async fn a_bad_line_is_never_skipped() {
    let (_, _, here) = fresh();
    let graph = line(&here, &["a", "b"]).await;
    let run = start(&here, &graph, r#"{"x": "value"}"#).await;
    all(&here, run).await;
    let text = String::from_utf8(text_of(&here, run).await).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let with = |bad: usize, line: &str| {
        let mut lines = lines.clone();
        lines[bad] = line;
        lines.join("\n")
    };
    let (_, _, there) = fresh();
    for (text, line, message) in [
        (with(2, &lines[2][..lines[2].len() / 2]), 3, "not JSON at column"),
        (with(2, "not an event"), 3, "not JSON at column"),
        (with(2, "{}"), 3, "`seq` is missing"),
        (with(2, "7"), 3, "expected an object, got a number"),
        (
            text.replace("\"seq\":3", "\"seq\":\"3\""),
            4,
            "at /seq: expected a whole number, 0 or more, got a string",
        ),
        (
            text.replace("\"heddle_run\":1", "\"heddle_run\":\"one\""),
            1,
            "at /heddle_run: expected a whole number, 0 or more, got a string",
        ),
        (
            text.replace("\"graphs\":[", "\"graphs\":{}, \"others\":["),
            1,
            "at /graphs: expected an array, got an object",
        ),
        (
            text.replace("\"step_started\"", "\"step_begun\""),
            3,
            "at /event: expected one of run_started",
        ),
        (
            text.replace("\"step_started\":{\"step\":1,", "\"step_started\":{\"step\":1.5,"),
            3,
            "at /event/step_started/step: expected a whole number, 0 or more, got 1.5",
        ),
        (with(5, &lines[5][..3]), 6, "not JSON at column"),
        (
            text.replace("value", "\\ud800"),
            2,
            "at /event/run_started/state/x: the string has `\\ud800`",
        ),
        (
            text.replace("\"value\"", "1E400"),
            2,
            "at /event/run_started/state/x: the number `1E400`",
        ),
        (
            text.replace("\"value\"", &format!("{}{}", "[".repeat(200), "]".repeat(200))),
            2,
            "nested deeper than 160 levels",
        ),
    ] {
        match there.import(text.as_bytes()).await {
            Err(ImportError::Malformed {
                line: at,
                message: actual,
            }) => {
                assert_eq!(at, line, "{actual}");
                assert!(actual.contains(message), "{actual}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_malformed_export_is_refused_with_its_line_and_nothing_is_stored() {
    let (_, _, here) = fresh();
    let graph = line(&here, &["a", "b"]).await;
    let run = start(&here, &graph, "{}").await;
    all(&here, run).await;
    let text = String::from_utf8(text_of(&here, run).await).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without = |left_out: usize| {
        let kept = lines.iter().enumerate().filter(|(number, _)| *number != left_out);
        kept.map(|(_, line)| *line).collect::<Vec<_>>().join("\n")
    };
    let (journal, _, there) = fresh();
    for (text, line, message) in [
        (String::new(), 1, "the text is empty"),
        ("{}".to_owned(), 1, "`heddle_run` is missing"),
        (
            text.replace("\"heddle_run\":1", "\"heddle_run\":2"),
            1,
            "its form is 2",
        ),
        (lines[0].to_owned(), 2, "events are not there"),
        (without(1), 2, "not the run's start"),
        (without(3), 4, "event 4 follows event 2"),
        (without(lines.len() - 1), 6, "line 1 says that it has 6"),
        (
            text.replace("\"b\":{}", "\"b\":{\"uses\":\"other\"}"),
            1,
            "is another one",
        ),
        (
            text.replace("\"node\":\"b\"", "\"node\":\"q\""),
            4,
            "`q` is not in the graph",
        ),
    ] {
        match there.import(text.as_bytes()).await {
            Err(ImportError::Malformed {
                line: found,
                message: actual,
            }) => {
                assert!(actual.contains(message), "{actual}");
                assert_eq!(found, line, "{actual}");
            }
            other => panic!("{message}: {other:?}"),
        }
    }
    assert!(journal.run(run).await.unwrap().is_none());
    assert!(there.graph(&graph).await.unwrap().is_none());
    // The newline at the end is optional.
    there.import(text.trim_end().as_bytes()).await.unwrap();
}

#[tokio::test]
async fn an_imported_long_run_gets_a_snapshot() {
    let (_, _, here) = fresh();
    let graph = graph(
        &here,
        r#"{"nodes": {"count": {}, "ask": {"wait": {"signal": "s"}}}, "edges": {"count": "ask"}}"#,
    )
    .await;
    let run = start(&here, &graph, r#"{"to": 1000}"#).await;
    idle(&here).await;
    let text = text_of(&here, run).await;
    let (journal, _, there) = fresh();
    there.import(text.clone()).await.unwrap();
    let last = view(&there, run).await.last_seq;
    assert_eq!(journal.snapshot(run, last).await.unwrap().unwrap().seq, last);
    there.resume(run).await.unwrap();
    there.signal(run, "s", json("1").unwrap(), None).await.unwrap();
    all(&there, run).await;
    assert_eq!(view(&there, run).await.status, Status::Finished);
}

#[tokio::test]
async fn an_import_assigns_graph_names_only_on_request() {
    let named = |end: &str| format!(r#"{{"name": "review", "nodes": {{"{end}": {{}}}}}}"#);
    let (_, _, here) = fresh();
    let theirs = graph(&here, &named("b")).await;
    let run = start(&here, &theirs, "{}").await;
    all(&here, run).await;
    // The position of the most recently created graph, with the maximum time.
    let text = String::from_utf8(text_of(&here, run).await).unwrap();
    let head = text.lines().next().unwrap();
    let created = head.rfind("\"created_at\":").unwrap() + "\"created_at\":".len();
    let end = created + head[created..].find('}').unwrap();
    let text = format!("{}4102444800000{}", &text[..created], &text[end..]);

    let (_, _, there) = fresh();
    let own = graph(&there, &named("a")).await;
    assert_eq!(there.import(text.as_bytes()).await.unwrap(), run);
    let named_review = async |engine: &Engine| engine.graph("review").await.unwrap().unwrap().id.to_string();
    assert_eq!(named_review(&there).await, own);
    let imported = there.graph(&theirs).await.unwrap().unwrap();
    assert!(imported.name.is_none() && imported.created_at < Timestamp(4_102_444_800_000));
    // The run and the list show the name under which the graph is stored.
    assert_eq!(view(&there, run).await.graph_name, None);
    assert_eq!(there.row(run).await.unwrap().unwrap().graph_name, None);
    // Creating the graph assigns its name.
    assert!(!there.create_graph(&named("b")).await.unwrap().new);
    assert_eq!(named_review(&there).await, theirs);
    assert_eq!(view(&there, run).await.graph_name.as_deref(), Some("review"));

    let (_, _, there) = fresh();
    graph(&there, &named("a")).await;
    there.import_with_names(text.as_bytes()).await.unwrap();
    assert_eq!(named_review(&there).await, theirs);
    let later = graph(&there, &named("c")).await;
    assert_eq!(
        named_review(&there).await,
        later,
        "its time is that of the import"
    );
}

#[tokio::test]
async fn an_import_with_times_that_do_not_fit_is_refused() {
    let (_, _, here) = fresh();
    let graph = line(&here, &["a"]).await;
    let run = start(&here, &graph, "{}").await;
    all(&here, run).await;
    let text = String::from_utf8(text_of(&here, run).await).unwrap();
    let began = here.row(run).await.unwrap().unwrap().created_at.0;
    let moved = |ms: i64| text.replace(&format!("\"at\":{began}"), &format!("\"at\":{}", began + ms));
    assert_ne!(moved(1), text);
    let with_id = |id: &str| text.replace(&run.to_string(), id);
    let (journal, _, there) = fresh();
    for (text, expected) in [
        (moved(600_000), "in the future (import_ahead)"),
        (moved(-7_200_000), "do not belong together"),
        (
            with_id("00000000-0000-7000-8000-000000000000"),
            "do not belong together",
        ),
        (
            with_id("ffffffff-ffff-7fff-bfff-ffffffffffff"),
            "in the future (import_ahead)",
        ),
        (
            with_id("00000000-0000-4000-8000-000000000000"),
            "no UUID of version 7",
        ),
        (
            with_id("ffffffff-ffff-ffff-ffff-ffffffffffff"),
            "no UUID of version 7",
        ),
    ] {
        match there.import(text.as_bytes()).await {
            Err(ImportError::Malformed { message, .. }) => assert!(message.contains(expected), "{message}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
    // The last event is before the first one.
    let last = text.trim_end().lines().count();
    let (before, end) = text.rsplit_once("\"at\":").unwrap();
    let early = format!(
        "{before}\"at\":{}{}",
        began - 600_000,
        &end[began.to_string().len()..]
    );
    match there.import(early.as_bytes()).await {
        Err(ImportError::Malformed { line, message }) => {
            assert_eq!(line, last);
            assert!(
                message.starts_with("/at: event ") && message.contains("(import_ahead)"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
    let filter = RunFilter::default();
    assert!(journal.runs(filter, None, 10).await.unwrap().is_empty());
    let most = text.replace("\"priority\":0", "\"priority\":2000000000");
    there.import(most.as_bytes()).await.unwrap();
    assert_eq!(there.row(run).await.unwrap().unwrap().priority, 100);
}
