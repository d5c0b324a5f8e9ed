//! Snapshots: their size, and invalid ones. Every script and the property tests check that snapshots restore
//! runs.

use std::sync::Arc;

use expect_test::expect;
use heddle_json::{Object, object::json};
use heddle_kernel::{
    Answer, Graph, Input, Outcome, PendingWork, Route, Run, RunId, Timestamp,
    run::{Graphs, Snapshot},
};

use crate::calls::decide;
use crate::script::{functions, make, restored};

fn start(graph: &str, state: Object) -> Run {
    let graph = Arc::new(make(graph));
    let functions = functions([&graph].into_iter());
    let graphs = Arc::new(Graphs::new());
    Run::create(
        RunId(uuid::Uuid::nil()),
        graph,
        graphs,
        state,
        functions,
        Timestamp(0),
    )
    .start()
    .0
}

fn answer(run: &mut Run, update: &str) {
    let pending_work = run.pending_work().next();
    let Some(PendingWork::Call { step, attempt }) = pending_work else {
        panic!("no call is owed: {pending_work:?}")
    };
    let outcome = Outcome {
        update: Object::parse(update).unwrap(),
        route: Route::Edges,
    };
    let result = Ok(Answer::Outcome(outcome));
    let answered = Input::Answered {
        step,
        attempt,
        result,
    };
    decide(run, answered, Timestamp(0)).unwrap();
}

/// A state of 100 keys and 10 kB.
fn ten_kilobytes() -> Object {
    let mut state = Object::default();
    for key in 0..100 {
        let value = format!("\"{key}{}\"", "x".repeat(90));
        state.insert(format!("key{key}"), json(&value).unwrap());
    }
    state
}

#[test]
fn values_that_branches_share_are_written_once() {
    let arms: Vec<String> = (0..100).map(|arm| format!("\"arm{arm}\"")).collect();
    let nodes: Vec<String> = arms.iter().map(|arm| format!("{arm}: {{}}")).collect();
    let graph = format!(
        r#"{{"nodes": {{"fork": {{}}, {}}}, "edges": {{"fork": [{}]}}}}"#,
        nodes.join(","),
        arms.join(",")
    );
    let mut run = start(&graph, ten_kilobytes());
    let alone = run.snapshot().get().len();
    answer(&mut run, "{}");
    let together = run.snapshot().get().len();
    assert!(together < alone + 100 * 400, "{alone} bytes became {together}");
    restored(&run);
}

#[test]
fn a_pending_compensation_counts_the_changes_of_its_step() {
    let graph = r#"{"nodes": {"book": {"compensate": "unbook"}, "unbook": {}}, "edges": {"book": "book"}}"#;
    let mut run = start(graph, ten_kilobytes());
    let alone = run.snapshot().get().len();
    for step in 0..1_000 {
        answer(&mut run, &format!("{{\"key{}\": {step}}}", step % 100));
    }
    let together = run.snapshot().get().len();
    assert!(together < alone + 1_000 * 150, "{alone} bytes became {together}");
    restored(&run);
}

#[test]
fn chains_of_updates_are_written_once_however_long_they_are() {
    let graph = r#"{"nodes": {"fork": {}, "a": {}, "b": {}, "c": {}}, "edges": {"fork": ["a", "b"], "a": "a", "b": "c"},
        "state": {"n": {"merge": "add"}}, "limits": {"steps": 100000}}"#;
    let mut run = start(graph, Object::default());
    answer(&mut run, "{}");
    for _ in 0..20_000 {
        answer(&mut run, r#"{"n": 1}"#);
    }
    let back = restored(&run);
    assert_eq!(back.state().to_text(), r#"{"n":20000}"#);
}

/// The error for a snapshot that cannot be used.
fn wrong(text: &str, graph: &Arc<Graph>) -> String {
    let read = Snapshot::read(text);
    let restored =
        read.and_then(|read| read.restore(RunId(uuid::Uuid::nil()), graph.clone(), Arc::default()));
    restored.map(|run| run.seq).expect_err(text).to_string()
}

#[test]
fn text_that_is_not_a_snapshot_is_an_error() {
    let run = start(r#"{"nodes": {"a": {}}}"#, Object::default());
    let (text, graph) = (run.snapshot(), &run.graph);
    assert!(wrong("", graph).starts_with("the snapshot cannot be used: EOF"));
    assert!(wrong("{}", graph).contains("missing field `format`"));
    assert!(wrong(r#"{"format": 2}"#, graph).contains("it has format 2, and this version of Heddle reads 1"));
    assert!(wrong(r#"{"format": 1}"#, graph).contains("missing field"));
    let other = Arc::new(make(r#"{"nodes": {"b": {}}}"#));
    assert!(wrong(text.get(), &other).contains("it is of a run of other graphs"));
    // After any change, the snapshot is restored or refused.
    let changes = [
        (
            r#""executions":{"0""#,
            r#""executions":{"7""#,
            "within 0, which is not active",
        ),
        (r#""names":["a"]"#, r#""names":["b"]"#, "node `b` is not in graph"),
        (r#""node":0"#, r#""node":5"#, "it names name 5, and has 1"),
        (
            r#""branch":0"#,
            r#""branch":5"#,
            "a step's branch is not at its node",
        ),
        (r#""within":0"#, r#""within":5"#, "within 5, which is not active"),
        (r#""tasks":{"1""#, r#""tasks":{"2""#, "not among those begun"),
        (r#""last":0"#, r#""last":9"#, "it names object 9"),
        (
            r#""depth":0"#,
            r#""depth":99"#,
            "inner graphs are nested too deep",
        ),
    ];
    for (from, to, says) in changes {
        assert!(text.get().contains(from), "{from} is not in {text}");
        let message = wrong(&text.get().replace(from, to), graph);
        assert!(message.contains(says), "{to}: {message}");
    }
}

#[test]
fn the_format_is_this_one() {
    let graph = r#"{"nodes": {"a": {"compensate": "u"}, "b": {}, "c": {"wait": {"signal": "s", "timeout": "1s"}}, "u": {}, "d": {}},
        "edges": {"a": ["b", "c"], "b": "d", "c": "d"}, "state": {"n": {"merge": "add"}}, "limits": {"time": "1h"}}"#;
    let mut run = start(graph, Object::parse(r#"{"n": 1, "x": "one"}"#).unwrap());
    answer(&mut run, r#"{"n": 2}"#);
    answer(&mut run, r#"{"n": 3}"#);
    let value: serde_json::Value = serde_json::from_str(run.snapshot().get()).unwrap();
    let mut text = String::new();
    for (key, value) in value.as_object().unwrap() {
        text += &format!("{key}: {value}\n");
    }
    // Another format needs another number, and a reader for this one.
    expect![[r#"
        format: 1
        seq: 6
        graph: "005a7271f9fcf98aa2f511c06161e1c0"
        graphs: {}
        functions: {"a":{"digest":"6985ca1f4daa5a584a28eae043a239cb96689af1337ea13afb63e00c2bf512fa","plugin":"p","version":"1.0.0","function":"a"},"b":{"digest":"6985ca1f4daa5a584a28eae043a239cb96689af1337ea13afb63e00c2bf512fa","plugin":"p","version":"1.0.0","function":"b"},"d":{"digest":"6985ca1f4daa5a584a28eae043a239cb96689af1337ea13afb63e00c2bf512fa","plugin":"p","version":"1.0.0","function":"d"},"u":{"digest":"6985ca1f4daa5a584a28eae043a239cb96689af1337ea13afb63e00c2bf512fa","plugin":"p","version":"1.0.0","function":"u"}}
        started_at: 0
        updated_at: 0
        status: "running"
        error: null
        steps: 3
        branches: 3
        paused: null
        cancelling: null
        ending: null
        until: 3600000
        kept: false
        last: 0
        executions: {"0":{"depth":0,"input":3,"steps":3,"parted":2,"lines":[[1,[1,0],{"before":[0,null]}],[2,[2,null],{"step":4}]],"taken":[2,2]}}
        tasks: {"3":{"within":0,"branch":2,"node":4,"attempt":1,"failures":0,"failed":false,"started_at":0,"doing":{"signal":1000}}}
        signals: {}
        undo: [{"step":1,"within":0,"node":5,"view":[2,null],"input":3,"taken":1}]
        journal_bytes: 1698
        tables: {"names":["d","n","x","b","c","u"],"values":[6,"one",3,1],"objects":[{"set":[]},{"set":[[1,0],[2,1]]},{"set":[[1,2],[2,1]]},{"set":[[1,3],[2,1]]}],"updates":[[2,3,2,null]],"changes":[{"set":[[1,0]]}]}
    "#]].assert_eq(&text);
}

#[test]
fn a_snapshot_of_a_version_that_counted_no_steps_of_branches_has_those_of_the_graph() {
    let graph = r#"{"nodes": {"a": {}, "b": {}, "c": {"output": {"steps": "run.steps"}}}, "edges": {"a": "b", "b": "c"}}"#;
    let mut run = start(graph, Object::default());
    answer(&mut run, "{}");
    let text = run.snapshot().get().replace(r#","taken":[2]"#, "");
    assert_ne!(text, run.snapshot().get());
    let read = Snapshot::read(&text).unwrap();
    let mut run = read
        .restore(run.id, run.graph.clone(), run.graphs.clone())
        .unwrap();
    answer(&mut run, "{}");
    answer(&mut run, "{}");
    assert_eq!(run.state().to_text(), r#"{"steps":3}"#);
}
