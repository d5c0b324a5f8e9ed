//! Plays runs of random graphs to their ends, with crashes, duplicates and control requests.

use std::sync::Arc;

use heddle_json::Object;
use heddle_kernel::{
    Answer, Event, EventRecord, Failure, FailureKind, Graph, Input, PendingWork, Run, RunId, Status,
    Timestamp,
    event::FailureAction,
    run::{Graphs, Snapshot, Upgrade},
};
use serde_json::json;

use crate::{
    calls::decide,
    input::{Luck, definition, functions},
    random_graphs::{NodeDraft, compile, hash_of, outcome},
};

pub(crate) struct World {
    pub(crate) graph: Arc<Graph>,
    pub(crate) graphs: Arc<Graphs>,
    conflicts: bool,
}

impl World {
    pub(crate) fn new(
        root: &[NodeDraft],
        child: &[NodeDraft],
        forward: bool,
        conflicts: bool,
    ) -> Option<Self> {
        let child = compile(&definition(child, "child", true, None))?;
        let graph = compile(&definition(root, "root", forward, Some("child")))?;
        let graphs = if graph.graphs().next().is_some() {
            Graphs::from([("child".into(), child)])
        } else {
            Graphs::new()
        };
        Some(Self {
            graph,
            graphs: Arc::new(graphs),
            conflicts,
        })
    }

    pub(crate) fn fold(&self, journal: &[Arc<EventRecord>]) -> Run {
        let id = RunId(uuid::Uuid::nil());
        let mut run = Run::from_first(id, self.graph.clone(), self.graphs.clone(), &journal[0]).unwrap();
        for event in &journal[1..] {
            run.stage(self.graph.clone(), self.graphs.clone());
            run.fold(event).unwrap();
        }
        run.stage(self.graph.clone(), self.graphs.clone());
        run
    }

    /// The run, restored from its snapshot.
    pub(crate) fn restore(&self, run: &Run) -> Run {
        let snapshot = run.snapshot();
        let read = Snapshot::read(snapshot.get()).unwrap();
        let mut back = read
            .restore(run.id, self.graph.clone(), self.graphs.clone())
            .unwrap();
        back.stage(self.graph.clone(), self.graphs.clone());
        assert_eq!(snapshot.get(), back.snapshot().get());
        back
    }

    fn start(&self, queued: bool) -> (Run, Vec<Arc<EventRecord>>) {
        let state: Object = serde_json::from_value(json!({"append": [1, 2]})).unwrap();
        let id = RunId(uuid::Uuid::nil());
        let (graph, graphs) = (self.graph.clone(), self.graphs.clone());
        let unstarted = Run::create(id, graph, graphs, state, functions(), Timestamp(0));
        let (mut run, journal) = if queued {
            unstarted.queue()
        } else {
            unstarted.start()
        };
        run.stage(self.graph.clone(), self.graphs.clone());
        (run, journal)
    }

    /// Runs the graph to its end. The luck decides the order of results, crashes, duplicates and control requests.
    pub(crate) fn play(&self, luck: &Luck) -> (Run, Vec<Arc<EventRecord>>) {
        let queued = luck.strikes(0, 1, 4);
        let (mut run, mut journal) = self.start(queued);
        if queued {
            assert_eq!(run.shown_status(), Status::Queued);
            journal.extend(decide(&mut run, Input::Activate, Timestamp(0)).unwrap());
        }
        self.go_on(&mut run, &mut journal, luck);
        (run, journal)
    }

    /// Plays a run to its end.
    pub(crate) fn go_on(&self, run: &mut Run, journal: &mut Vec<Arc<EventRecord>>, luck: &Luck) {
        let mut turn = 0;
        while !run.status.is_over() {
            turn += 1;
            assert!(turn < 20_000, "the run does not end");
            let now = Timestamp(turn * 5);
            if luck.crashes >> (turn % 64) & 3 == 3 {
                // The memory is lost; only the journal remains.
                *run = self.fold(journal);
                journal.extend(decide(run, Input::Activate, now).unwrap());
            }
            if luck.strikes(turn, 2, 5) {
                self.pause(run, journal, luck, turn);
            }
            if luck.strikes(turn, 3, 4) {
                self.fail(run, journal, luck, turn);
            }
            if luck.strikes(turn, 4, 4) {
                self.upgrade(run, journal, now);
            }
            if run.status.is_over() {
                return;
            }
            let pending_work: Vec<PendingWork> = run.pending_work().collect();
            assert!(
                !pending_work.is_empty(),
                "nothing can go on, and the run is not over"
            );
            let input = match luck.pick(turn, &pending_work) {
                PendingWork::Wait { .. } => Input::Due,
                PendingWork::Call { step, attempt } => self.answered(run, step, attempt),
            };
            let back = luck.strikes(turn, 5, 6).then(|| self.restore(run));
            let events = decide(run, input.clone(), now).unwrap();
            if let Some(mut back) = back {
                let same = decide(&mut back, input.clone(), now).unwrap();
                assert_eq!(format!("{events:?}"), format!("{same:?}"));
                assert_eq!(format!("{run:?}"), format!("{back:?}"));
                *run = back;
            }
            journal.extend(events);
            if luck.twice && matches!(input, Input::Answered { .. }) {
                assert!(decide(run, input, now).is_err(), "an answer counted twice");
            }
        }
    }

    pub(crate) fn answered(&self, run: &Run, step: u64, attempt: u32) -> Input {
        let result = self.answer(run, step);
        Input::Answered {
            step,
            attempt,
            result,
        }
    }

    /// Pauses the run; some calls return, and maybe it crashes; then it is resumed.
    fn pause(&self, run: &mut Run, journal: &mut Vec<Arc<EventRecord>>, luck: &Luck, turn: i64) {
        let now = Timestamp(turn * 5);
        let Ok(events) = decide(run, Input::Pause { reason: "".into() }, now) else {
            return;
        };
        journal.extend(events);
        for more in 0..hash_of(&luck.steers, turn as u8) % 4 {
            let calls: Vec<(u64, u32)> = calls(run).collect();
            if calls.is_empty() || !run.is_paused() {
                break;
            }
            let (step, attempt) = luck.pick(turn + more as i64, &calls);
            let input = self.answered(run, step, attempt);
            journal.extend(decide(run, input, now).unwrap());
            assert_eq!(
                decide(run, Input::Due, now)
                    .map(|events| events.len())
                    .unwrap_or(0),
                0
            );
        }
        if !run.is_paused() {
            return;
        }
        assert_eq!((run.shown_status(), run.due()), (Status::Paused, None));
        let mut active_calls: Vec<u64> = calls(run).map(|(step, _)| step).collect();
        active_calls.retain(|step| luck.strikes(turn + *step as i64, 8, 2));
        if luck.strikes(turn, 6, 2) {
            *run = self.fold(journal);
            assert_eq!(decide(run, Input::Activate, now).unwrap().len(), 0);
            active_calls.clear();
        }
        *run = self.restore(run);
        let later = Timestamp(now.0 + 3);
        journal.extend(decide(run, Input::Resume { active_calls }, later).unwrap());
    }

    /// Fails a call. If that fails the run, retries the run.
    fn fail(&self, run: &mut Run, journal: &mut Vec<Arc<EventRecord>>, luck: &Luck, turn: i64) {
        let now = Timestamp(turn * 5);
        let calls: Vec<(u64, u32)> = calls(run).collect();
        if calls.is_empty() {
            return;
        }
        let (step, attempt) = luck.pick(turn, &calls);
        let result = Err(Failure::new(FailureKind::Unavailable, "bad luck"));
        let input = Input::Answered {
            step,
            attempt,
            result,
        };
        let mut failed = run.clone();
        let events = decide(&mut failed, input, now).unwrap();
        let raises = |event: &Arc<EventRecord>| match &event.event {
            Event::StepFailed { then, .. } => *then == FailureAction::Raise,
            _ => true,
        };
        // Otherwise its failure is part of what the run does.
        if failed.status == Status::Failed && events.iter().all(raises) && !undoes(journal) {
            assert_eq!((failed.pending_work().count(), failed.due()), (0, None));
            assert_eq!(failed.state(), run.state());
            journal.extend(events);
            *run = self.restore(&failed);
            self.upgrade(run, journal, now);
            journal.extend(decide(run, Input::Retry, now).unwrap());
        }
    }

    /// Upgrades the run to its own graph, if possible.
    fn upgrade(&self, run: &mut Run, journal: &mut Vec<Arc<EventRecord>>, now: Timestamp) {
        let upgrade = Upgrade {
            graph: self.graph.clone(),
            graphs: self.graphs.clone(),
            functions: functions(),
        };
        let possible = run.is_waiting() || run.status == Status::Failed;
        let events = decide(run, Input::Upgrade(Box::new(upgrade)), now);
        assert_eq!(events.is_ok(), possible && !undoes(journal), "{events:?}");
        journal.extend(events.into_iter().flatten());
        run.stage(self.graph.clone(), self.graphs.clone());
    }

    fn answer(&self, run: &Run, step: u64) -> Result<Answer, Failure> {
        let call = run.prepare(step).unwrap()?;
        let graphs = std::iter::once(&self.graph).chain(self.graphs.values());
        let node = graphs
            .filter_map(|graph| Some((graph, graph.find(&call.node)?)))
            .next();
        let (graph, at) = node.unwrap();
        let leads = graph
            .node(at)
            .leads
            .iter()
            .map(|to| graph.node(*to).name.to_string());
        let leads: Vec<String> =
            match run.active_step(step).is_some_and(|task| task.item.is_some()) || within(run, step) {
                true => Vec::new(),
                false => leads.collect(),
            };
        // A failing branch cancels the others at arbitrary points. In a nested graph, the result of its node would
        // depend on luck, so functions fail only outside of nested graphs.
        let inner = within(run, step);
        let conflicts = (self.conflicts && !inner).then_some(4);
        outcome(&call.node, &call.input, &leads, conflicts, !inner).map(Answer::Outcome)
    }
}

/// The pending calls of a run.
pub(crate) fn calls(run: &Run) -> impl Iterator<Item = (u64, u32)> {
    run.pending_work().filter_map(|pending_work| match pending_work {
        PendingWork::Call { step, attempt } => Some((step, attempt)),
        PendingWork::Wait { .. } => None,
    })
}

/// Whether a run has started compensations.
pub(crate) fn undoes(journal: &[Arc<EventRecord>]) -> bool {
    let mut events = journal.iter();
    events.any(|event| matches!(event.event, Event::UndoStarted { .. }))
}

/// Whether a step belongs to a nested graph.
pub(crate) fn within(run: &Run, step: u64) -> bool {
    format!("{:?}", run.active_step(step))
        .split("within: ")
        .nth(1)
        .is_some_and(|rest| !rest.starts_with('0'))
}
