//! Plays a run of any graph to its end, with functions whose results depend only on their input.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};

use heddle_json::{
    Object,
    object::{json, to_json},
};
use heddle_kernel::{
    Answer, Digest, EventRecord, Failure, FailureKind, Graph, Input, Outcome, PendingWork, Prepared, Route,
    Run, RunId, Timestamp,
    event::FunctionRef,
    graph::{Node, NodeAction},
    run::{Graphs, Snapshot},
};
use serde_json::{Value, json};

use super::calls::decide;

/// The maximum number of inputs to a run. A longer run is checked at this point.
const MAX_TURNS: u64 = 150;
/// The initial state of runs.
const STATE: &str = r#"{"a": 1, "items": [1, 2, 3], "text": "some text", "score": 72, "tags": ["a", "b"],
    "doc": {"pages": 3, "by": {"name": "Ann"}}, "files": {"x": 1, "y": 2}, "findings": [], "none": null}"#;

struct World {
    graph: Arc<Graph>,
    graphs: Arc<Graphs>,
    seed: u64,
}

/// Plays a run. Returns how it ended.
pub(crate) fn play_to_end(graph: &Arc<Graph>, child: &Arc<Graph>, input: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let graphs: Graphs = graph.graphs().map(|name| (name.clone(), child.clone())).collect();
    let world = World {
        graph: graph.clone(),
        graphs: Arc::new(graphs),
        seed: hasher.finish(),
    };
    let functions = graph.functions().chain(child.functions());
    let functions: BTreeMap<Arc<str>, FunctionRef> =
        functions.map(|uses| (uses.clone(), reference(uses))).collect();
    let state = Object::parse(STATE).expect("it is an object");
    let id = RunId(uuid::Uuid::nil());
    let (mut run, mut journal) = Run::create(
        id,
        world.graph.clone(),
        world.graphs.clone(),
        state,
        functions,
        Timestamp(0),
    )
    .start();
    run.stage(world.graph.clone(), world.graphs.clone());
    world.continue_run(&mut run, &mut journal);
    world.check(&run, &journal);
    let error = run.error.as_ref().map(|error| format!("{error:?}"));
    format!("{:?} {}", run.shown_status(), error.unwrap_or_default())
}

fn reference(uses: &str) -> FunctionRef {
    FunctionRef {
        digest: Digest::of(uses.as_bytes()),
        plugin: "p".into(),
        version: "1.0.0".into(),
        function: uses.into(),
        routes: Vec::new(),
        granted: false,
    }
}

impl World {
    fn continue_run(&self, run: &mut Run, journal: &mut Vec<Arc<EventRecord>>) {
        let mut now = 0;
        for turn in 0..MAX_TURNS {
            if run.status.is_over() {
                return;
            }
            now += 5;
            let Some(input) = self.input(run, turn, &mut now) else {
                return;
            };
            // A refusal adds no event: the run is unchanged.
            if let Ok(events) = decide(run, input, Timestamp(now)) {
                journal.extend(events);
            }
            let simple = |node: &Node| {
                matches!(
                    node.action,
                    NodeAction::Call { .. } | NodeAction::Sleep(_) | NodeAction::Wait(_)
                )
            };
            // Items of maps, steps of nested graphs and compensations have separate limits.
            if self
                .graph
                .nodes
                .iter()
                .all(|node| simple(node) && node.compensate.is_none())
            {
                assert!(run.steps <= self.graph.max_steps, "{} steps", run.steps);
            }
        }
    }

    /// The next input to the run. None if nothing is pending.
    fn input(&self, run: &Run, turn: u64, now: &mut i64) -> Option<Input> {
        let calls: Vec<(u64, u32)> = run
            .pending_work()
            .filter_map(|pending_work| match pending_work {
                PendingWork::Call { step, attempt } => Some((step, attempt)),
                PendingWork::Wait { .. } => None,
            })
            .collect();
        if !calls.is_empty() {
            let (step, attempt) = calls[self.drawn(&turn) as usize % calls.len()];
            let result = match run.prepare(step) {
                Some(Ok(call)) => self.answer(&call, turn),
                Some(Err(failure)) => Err(failure),
                None => panic!("the run owes a call that cannot be prepared"),
            };
            return Some(Input::Answered {
                step,
                attempt,
                result,
            });
        }
        let signal = run.waits().find_map(|wait| wait.signal);
        if let Some(name) = signal.filter(|_| turn.is_multiple_of(3) || run.due().is_none()) {
            let payload = to_json(&json!({"approved": turn.is_multiple_of(2), "by": "Ann"}));
            let wait = None;
            return (turn < MAX_TURNS / 2).then_some(Input::Signal { name, payload, wait });
        }
        *now = run.due()?.0.max(*now);
        Some(Input::Due)
    }

    fn drawn(&self, what: &impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, what).hash(&mut hasher);
        hasher.finish()
    }

    fn answer(&self, call: &Prepared, turn: u64) -> Result<Answer, Failure> {
        let drawn = self.drawn(&(&call.node, turn));
        let score = drawn / 100 % 100;
        match drawn % 12 {
            0 => return Err(Failure::new(FailureKind::Permanent, "on purpose")),
            1 => return Err(Failure::new(FailureKind::Unavailable, "on purpose")),
            2 => {
                let result = json!({"score": score, "next": &*call.node, "items": [1]});
                return Ok(Answer::Result(to_json(&result)));
            }
            3 => return Ok(Answer::Result(to_json(&json!([score, null, "text"])))),
            _ => {}
        }
        let updates: [Value; 5] = [
            json!({"score": score}),
            json!({"items": [score, {"id": score}], "text": "x"}),
            json!({"doc": {"pages": score}, "findings": [score]}),
            json!({&*call.node: score}),
            json!({}),
        ];
        let update = updates[drawn as usize / 7 % updates.len()].to_string();
        let route = match drawn / 11 % 9 {
            0 => Route::End,
            1 => Route::Again,
            2 => Route::Goto(vec![
                self.graph.nodes[drawn as usize / 13 % self.graph.nodes.len()]
                    .name
                    .to_string(),
            ]),
            3 => Route::Goto(vec!["nowhere".to_owned()]),
            _ => Route::Edges,
        };
        Ok(Answer::Outcome(Outcome {
            update: Object::parse(&update).expect("it is an object"),
            route,
        }))
    }

    /// Folding the journal, also after storing it as text, gives the run, and so does the snapshot.
    fn check(&self, run: &Run, journal: &[Arc<EventRecord>]) {
        let stored: Vec<EventRecord> = journal
            .iter()
            .map(|event| serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap())
            .collect();
        for (position, event) in stored.iter().enumerate() {
            assert_eq!(event.seq, position as u64 + 1);
        }
        let mut folded =
            Run::from_first(run.id, self.graph.clone(), self.graphs.clone(), &stored[0]).unwrap();
        for event in &stored[1..] {
            folded.stage(self.graph.clone(), self.graphs.clone());
            folded.fold(event).unwrap();
        }
        folded.stage(self.graph.clone(), self.graphs.clone());
        assert_eq!(format!("{run:?}"), format!("{folded:?}"));
        let snapshot = run.snapshot();
        let read = Snapshot::read(snapshot.get()).unwrap();
        let restored = read
            .restore(run.id, self.graph.clone(), self.graphs.clone())
            .unwrap();
        assert_eq!(snapshot.get(), restored.snapshot().get());
        json(&run.state().to_text()).expect("the state is JSON");
    }
}
