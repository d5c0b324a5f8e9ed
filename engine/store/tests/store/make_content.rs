//! TEMPORARY: makes the content of the golden files.
use crate::world::run_id;
use heddle_kernel::{
    event::FunctionRef,
    object::json,
    run::{Graphs, Upgrade},
    *,
};
use serde_json::{Value, json as j};
use std::{collections::BTreeMap, sync::Arc};

struct Made {
    run: Run,
    events: Vec<Arc<Recorded>>,
    now: i64,
}

fn make(definition: &str) -> Arc<Graph> {
    let any = |_: &str| {
        Ok(Function {
            kind: FunctionKind::Node,
            routes: vec![],
            input: Value::Null,
        })
    };
    Arc::new(
        graph::check(&Definition::parse(definition).unwrap(), any, |_| Ok(()))
            .unwrap()
            .0,
    )
}
fn functions<'g>(graphs: impl Iterator<Item = &'g Arc<Graph>>) -> BTreeMap<Arc<str>, FunctionRef> {
    graphs
        .flat_map(|g| g.functions().cloned().collect::<Vec<_>>())
        .map(|uses| {
            (
                uses.clone(),
                FunctionRef {
                    digest: Digest::of(b"component"),
                    plugin: "p".into(),
                    version: "1.0.0".into(),
                    function: uses,
                    routes: vec![],
                    granted: false,
                },
            )
        })
        .collect()
}
impl Made {
    fn start(number: u64, graph: &Arc<Graph>, graphs: Graphs, state: &str, queued: bool) -> Self {
        let functions = functions(graphs.values().chain([graph]));
        let now = 1_700_000_000_000 + number as i64 * 1_000;
        let (run, events) = Run::start(
            run_id(number),
            graph.clone(),
            Arc::new(graphs),
            Object::parse(state).unwrap(),
            functions,
            queued,
            Timestamp(now),
        );
        Self { run, events, now }
    }
    fn input(mut self, input: Input) -> Self {
        self.now += 7;
        let more = decide(&mut self.run, input, Timestamp(self.now)).unwrap();
        self.events.extend(more);
        self
    }
    fn at(mut self, ms: i64) -> Self {
        self.now += ms - 7;
        self.input(Input::Due)
    }
    fn call(&self, node: &str) -> (u64, u32) {
        self.run
            .owed()
            .find_map(|owed| match owed {
                Owed::Call { step, attempt } if self.run.node_of(step).as_deref() == Some(node) => {
                    Some((step, attempt))
                }
                _ => None,
            })
            .unwrap_or_else(|| panic!("no call at {node}: {:?}", self.events.last()))
    }
    fn answer(self, node: &str, update: &str) -> Self {
        let (step, attempt) = self.call(node);
        let update = Object::parse(update).unwrap();
        self.input(Input::Answered {
            step,
            attempt,
            result: Ok(Answer::Outcome(Outcome {
                update,
                route: Route::Edges,
            })),
        })
    }
    fn tool(self, node: &str, result: &str) -> Self {
        let (step, attempt) = self.call(node);
        self.input(Input::Answered {
            step,
            attempt,
            result: Ok(Answer::Result(json(result).unwrap())),
        })
    }
    fn fail(self, node: &str, kind: FailureKind, message: &str) -> Self {
        let (step, attempt) = self.call(node);
        let failure = Failure {
            kind,
            message: message.into(),
            data: Some(json("{\"at\": [1,\n 2.50]}").unwrap()),
        };
        self.input(Input::Answered {
            step,
            attempt,
            result: Err(failure),
        })
    }
    fn log(self, node: &str, message: &str) -> Self {
        let (step, attempt) = self.call(node);
        self.input(Input::Logged {
            step,
            attempt,
            lines: [(Level::Warn, Arc::from(message))].into(),
        })
    }
    fn signal(self, name: &str, payload: &str) -> Self {
        self.input(Input::Signal {
            name: name.into(),
            payload: json(payload).unwrap(),
        })
    }
    fn line(&self, format: i32, extra: Value) -> Value {
        let status = self.run.shown_status();
        let mut line = j!({"format": format, "run": self.run.id.to_string(), "status": status.as_str(), "events": self.events.iter().map(|e| serde_json::value::to_raw_value(&**e).unwrap()).map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap()).collect::<Vec<_>>()});
        if status == Status::Waiting {
            line["wake_at"] = j!(self.run.due().map(|d| d.0));
        }
        if status.is_over() {
            line["finished_at"] = j!(self.run.updated_at.0);
            line["error"] = j!(self.run.error);
        }
        for (k, v) in extra.as_object().unwrap() {
            line[k] = v.clone();
        }
        line
    }
}

#[test]
fn make_content() {
    let def = [
        (
            1,
            r#"{"name":"line","nodes":{"extract":{},"analyze":{}},"edges":{"extract":"analyze","analyze":"end"}}"#,
        ),
        (
            2,
            r#"{"name":"ask","nodes":{"extract":{},"ask":{"wait":{"signal":"approval","timeout":"1d"}},"publish":{}},"edges":{"extract":"ask","ask":"publish"}}"#,
        ),
        (
            2,
            r#"{"name":"forever","nodes":{"ask":{"wait":{"signal":"approval"}}}}"#,
        ),
        (
            2,
            r#"{"name":"booking","nodes":{"book":{"compensate":"unbook"},"pay":{},"unbook":{}},"edges":{"book":"pay"},"start":"book"}"#,
        ),
        (
            2,
            r#"{"name":"each","nodes":{"list":{},"each":{"map":{"over":"state.files","as":"file","uses":"read","into":"texts","on_item_error":"skip"},"retry":{"attempts":2,"backoff":"1s"}}},"edges":{"list":"each"}}"#,
        ),
        (
            2,
            r#"{"name":"parallel","nodes":{"a":{},"b":{"on_error":"report"},"c":{"graph":"line","input":{"text":"state.text"},"output":"result"},"d":{},"report":{}},"edges":{"a":["b","c"],"b":"d","c":"d"},"state":{"notes":{"merge":"append"}}}"#,
        ),
        (
            2,
            r#"{"name":"sleepy","nodes":{"nap":{"sleep":"1h"},"wake":{"retry":{"attempts":3,"backoff":"10s"}}},"edges":{"nap":"wake"}}"#,
        ),
    ];
    let mut out = vec![];
    let mut graphs: BTreeMap<String, Arc<Graph>> = BTreeMap::new();
    for (format, definition) in def {
        let graph = make(definition);
        out.push(j!({"format": format, "graph": graph.id.0, "name": graph.name, "definition": definition}));
        graphs.insert(graph.name.as_deref().unwrap().to_owned(), graph);
    }
    let g = |name: &str| graphs[name].clone();
    let none = Graphs::new;
    let line = |number, state| Made::start(number, &g("line"), none(), state, false);
    let state = "{\"text\":\"täglich\\n \\u0041\",\"n\":1.50}";
    let mut add = |format, made: &Made, extra| out.push(made.line(format, extra));
    let finished = line(1, state)
        .log("extract", "a \"line\"\n\u{1F9F6}")
        .answer("extract", r#"{"words": ["one"]}"#)
        .answer("analyze", r#"{"score":87,"n":1.50}"#);
    add(1, &finished, j!({}));
    add(
        1,
        &line(2, state)
            .answer("extract", "{}")
            .fail("analyze", FailureKind::Trap, "it broke"),
        j!({}),
    );
    add(
        1,
        &line(3, "{}").answer("extract", "{}").input(Input::TakenUp),
        j!({}),
    );
    let ask = |number| Made::start(number, &g("ask"), none(), "{}", false).answer("extract", "{}");
    add(2, &ask(4), j!({}));
    add(2, &Made::start(5, &g("forever"), none(), "{}", false), j!({}));
    add(
        2,
        &Made::start(6, &g("booking"), none(), "{}", false)
            .answer("book", r#"{"booked":true}"#)
            .input(Input::Cancel {
                reason: "not wanted".into(),
                grace_ms: 0,
            })
            .answer("unbook", "{}"),
        j!({}),
    );
    let each = Made::start(7, &g("each"), none(), "{}", false).answer("list", r#"{"files":["a","b"]}"#);
    add(
        2,
        &each
            .tool("each", "\"A\"")
            .fail("each", FailureKind::Retryable, "again")
            .at(5_000)
            .fail("each", FailureKind::Permanent, "no such file"),
        j!({}),
    );
    let sub: Graphs = [("line".into(), g("line"))].into();
    let parallel = Made::start(8, &g("parallel"), sub.clone(), r#"{"text":"x"}"#, false).answer("a", "{}");
    let parallel = parallel
        .fail("b", FailureKind::Permanent, "broken")
        .answer("extract", r#"{"notes":["from within"]}"#)
        .answer("analyze", "{}")
        .answer("report", r#"{"notes":["told"]}"#);
    add(2, &parallel.answer("d", "{}"), j!({}));
    add(2, &Made::start(9, &g("sleepy"), none(), "{}", false), j!({}));
    add(
        2,
        &Made::start(10, &g("sleepy"), none(), "{}", false)
            .at(3_700_000)
            .fail("wake", FailureKind::Retryable, "not yet"),
        j!({}),
    );
    add(2, &ask(11).signal("approval", r#"{"by": "ann"}"#), j!({}));
    // Format 3.
    add(
        3,
        &Made::start(12, &g("line"), none(), state, true),
        j!({"priority": 5, "group": "line/ann", "requests": [{"key": "start 12", "digest": Digest::of(b"start 12").0}]}),
    );
    let paused = line(13, "{}")
        .answer("extract", r#"{"a":1}"#)
        .input(Input::Pause {
            reason: "let me look".into(),
        });
    add(
        3,
        &paused,
        j!({"group": "line/ann", "snapshot": serde_json::from_str::<Value>(paused.run.snapshot().get()).unwrap()}),
    );
    let resumed = line(14, "{}").input(Input::Pause {
        reason: "a moment".into(),
    });
    let at = resumed.call("extract").0;
    add(
        3,
        &resumed.input(Input::Resume { under_way: vec![at] }),
        j!({"group": "line/ann", "origin": "schedule:nightly", "requests": [{"key": "schedule:nightly:1700000000000", "digest": Digest::of(b"nightly").0}]}),
    );
    add(
        3,
        &line(15, "{}")
            .answer("extract", "{}")
            .fail("analyze", FailureKind::Permanent, "a bug")
            .input(Input::Retry),
        j!({}),
    );
    let of = line(1, state)
        .log("extract", "a \"line\"\n\u{1F9F6}")
        .answer("extract", r#"{"words": ["one"]}"#);
    let end = of
        .events
        .iter()
        .position(|e| e.event.ends_step() == Some(1))
        .unwrap();
    let mut was = Run::from_first(run_id(1), g("line"), Arc::new(none()), &of.events[0]).unwrap();
    of.events[1..=end].iter().for_each(|e| was.fold(e).unwrap());
    let now = 1_700_000_016_000;
    let (run, events) = Run::fork(
        run_id(16),
        &was,
        1,
        Object::parse(r#"{"words":["two"]}"#).unwrap(),
        Timestamp(now),
    )
    .unwrap();
    let fork = Made { run, events, now };
    add(
        3,
        &fork.answer("analyze", "{}"),
        j!({"origin": format!("fork:{}", run_id(1))}),
    );
    let newer = make(
        r#"{"name":"ask","nodes":{"extract":{},"ask":{"wait":{"signal":"approval","timeout":"1d"}},"publish":{},"thank":{}},"edges":{"extract":"ask","ask":"publish","publish":"thank"}}"#,
    );
    let upgrade = Upgrade {
        functions: functions([&newer].into_iter()),
        graph: newer.clone(),
        graphs: Arc::default(),
    };
    let upgraded = ask(17).input(Input::Upgrade(Box::new(upgrade)));
    add(
        3,
        &upgraded,
        j!({"priority": -1, "snapshot": serde_json::from_str::<Value>(upgraded.run.snapshot().get()).unwrap(), "requests": [{"to": run_id(17).to_string(), "key": "a key", "digest": Digest::of(b"a key").0}]}),
    );
    add(
        3,
        &line(18, "{}")
            .input(Input::Cancel {
                reason: "too slow".into(),
                grace_ms: 10_000,
            })
            .at(20_000),
        j!({}),
    );
    add(
        3,
        &line(19, "{}").input(Input::Cancel {
            reason: "too slow".into(),
            grace_ms: 10_000,
        }),
        j!({"origin": "import"}),
    );
    out.push(j!({"format": 3, "graph": newer.id.0, "name": "ask", "definition": r#"{"name":"ask","nodes":{"extract":{},"ask":{"wait":{"signal":"approval","timeout":"1d"}},"publish":{},"thank":{}},"edges":{"extract":"ask","ask":"publish","publish":"thank"}}"#}));
    out.sort_by_key(|line| (line["format"].as_i64(), line["run"].is_string()));
    let text: String = out.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/content.jsonl"),
        text,
    )
    .unwrap();
}
