//! Schedules, with a clock that the test moves.

use std::sync::Arc;

use heddle_json::Object;
use heddle_kernel::{
    RunId, Status,
    schedule::{CatchUp, Overlap},
};
use heddle_runtime::{
    Engine, Ports, ScheduleError, ScheduleSpec, ScheduleView, Settings, WhenSpec,
    ports::{Configuration, RunRow},
};
use heddle_store::MemoryJournal;
use tokio::time::timeout;

use crate::{
    clock::{ManualClock, moment, show},
    script::{PATIENCE, Scripted, all, line, ports, until},
};

struct World {
    journal: Arc<MemoryJournal>,
    functions: Arc<Scripted>,
    clock: Arc<ManualClock>,
    engine: Engine,
    graph: String,
}

impl World {
    /// A schedule test that starts at this time, with a graph of one node.
    async fn at(now: &str, node: &str, settings: Settings) -> Self {
        let journal = Arc::new(MemoryJournal::new());
        let mut world = Self::over(journal, ManualClock::at(now), settings).await;
        world.graph = line(&world.engine, &[node]).await;
        world
    }

    /// An engine over an existing journal.
    async fn over(journal: Arc<MemoryJournal>, clock: Arc<ManualClock>, settings: Settings) -> Self {
        let functions = Arc::new(Scripted::default());
        let ports = Ports {
            clock: clock.clone(),
            ..ports(&journal, &functions)
        };
        let engine = Engine::new(ports, settings);
        engine.recover().await.unwrap();
        let graph = String::new();
        Self {
            journal,
            functions,
            clock,
            engine,
            graph,
        }
    }

    /// Drops the engine without a stop and starts another at this time.
    async fn after_crash(self, now: &str) -> Self {
        let journal = Arc::new(self.journal.after_crash());
        let (clock, graph) = (self.clock, self.graph);
        drop(self.engine);
        clock.set(now);
        let world = Self::over(journal, clock, Settings::default()).await;
        Self { graph, ..world }
    }

    fn spec(&self, when: WhenSpec, overlap: Overlap, catch_up: CatchUp) -> ScheduleSpec {
        ScheduleSpec {
            graph: self.graph.clone(),
            state: Object::parse(r#"{"from": "the schedule"}"#).unwrap(),
            priority: 0,
            when,
            overlap,
            catch_up,
            paused: false,
        }
    }

    async fn put(&self, name: &str, spec: ScheduleSpec) -> ScheduleView {
        self.engine.put_schedule(name, spec, None).await.unwrap().0
    }

    /// Waits for this number of runs of the schedule. Returns them, oldest first.
    async fn runs(&self, many: usize) -> Vec<RunRow> {
        let found = async {
            loop {
                let mut runs = self.engine.runs(Default::default(), None, 1_000).await.unwrap();
                if runs.len() >= many {
                    runs.reverse();
                    return runs;
                }
                tokio::task::yield_now().await;
            }
        };
        let runs = timeout(PATIENCE, found).await.expect("the runs begin");
        assert_eq!(runs.len(), many, "more runs than expected");
        runs
    }

    /// Waits until the schedule is as expected.
    async fn view(&self, name: &str, holds: impl Fn(&ScheduleView) -> bool) -> ScheduleView {
        let found = async {
            loop {
                let view = self.engine.schedule(name).await.unwrap();
                if holds(&view) {
                    return view;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, found).await.expect("the schedule gets there")
    }

    async fn over_with(&self, run: RunId) {
        self.functions.gate.add_permits(1);
        all(&self.engine, run).await;
    }
}

fn every(text: &str) -> WhenSpec {
    WhenSpec::Every {
        every: text.to_owned(),
        from: None,
    }
}

fn cron(text: &str) -> WhenSpec {
    WhenSpec::Cron {
        cron: text.to_owned(),
        time_zone: "Europe/Zurich".to_owned(),
    }
}

#[tokio::test]
async fn a_schedule_starts_a_run_at_each_of_its_times() {
    let world = World::at("2026-11-20T07:00:00Z", "a", Settings::default()).await;
    let spec = world.spec(cron("0 9 * * 1-5"), Overlap::Skip, CatchUp::One);
    let view = world.put("report", spec).await;
    let next: Vec<String> = view.next.iter().map(|at| show(*at)).collect();
    assert_eq!(
        next,
        [
            "2026-11-20T08:00:00Z",
            "2026-11-23T08:00:00Z",
            "2026-11-24T08:00:00Z",
            "2026-11-25T08:00:00Z",
            "2026-11-26T08:00:00Z"
        ]
    );
    world.clock.set("2026-11-20T07:59:59.999Z");
    world.runs(0).await;
    world.clock.set("2026-11-20T08:00:00Z");
    let run = world.runs(1).await.remove(0);
    assert_eq!(run.origin.as_deref(), Some("schedule:report"));
    all(&world.engine, run.id).await;
    let state = world.engine.run(run.id).await.unwrap().unwrap().state;
    assert_eq!(state.to_text(), r#"{"a":1,"from":"the schedule"}"#);
    let view = world.view("report", |view| view.last_run == Some(run.id)).await;
    assert_eq!(view.last_at, Some(moment("2026-11-20T08:00:00Z")));
    assert_eq!(view.next.first(), Some(&moment("2026-11-23T08:00:00Z")));
    world.clock.set("2026-11-23T08:00:00Z");
    world.runs(2).await;
}

#[tokio::test]
async fn a_schedule_with_a_single_time_starts_one_run() {
    let world = World::at("2026-11-20T07:00:00Z", "a", Settings::default()).await;
    let at = WhenSpec::At(moment("2026-11-20T08:00:00Z"));
    let spec = world.spec(at, Overlap::Skip, CatchUp::One);
    world.put("once", spec.clone()).await;
    world.clock.set("2026-11-21T08:00:00Z");
    world.runs(1).await;
    let view = world.view("once", |view| view.last_run.is_some()).await;
    assert!(view.next.is_empty());
    // Putting it again changes nothing; as a new schedule it would never start a run.
    world.put("once", spec.clone()).await;
    let refused = world.engine.put_schedule("other", spec, None).await;
    assert!(matches!(
        refused,
        Err(ScheduleError::Invalid {
            pointer: "/when/at",
            ..
        })
    ));
    world.runs(1).await;
}

#[tokio::test]
async fn a_crash_between_a_start_and_its_record_starts_nothing_twice() {
    let world = World::at("2026-11-20T07:00:00Z", "a", Settings::default()).await;
    let spec = world.spec(every("1h"), Overlap::Skip, CatchUp::One);
    world.put("hourly", spec).await;
    let before = world.journal.schedules().await.unwrap().remove(0);
    world.clock.set("2026-11-20T08:00:00Z");
    let run = world.runs(1).await.remove(0);
    world.view("hourly", |view| view.last_run.is_some()).await;
    // As if the engine had stopped before it recorded the progress of the schedule.
    world.journal.put_schedule(before).await.unwrap();
    let world = world.after_crash("2026-11-20T08:00:30Z").await;
    let view = world.view("hourly", |view| view.last_run.is_some()).await;
    assert_eq!(view.last_run, Some(run.id));
    world.runs(1).await;
}

#[tokio::test]
async fn missed_starts_are_skipped_made_once_or_all_made() {
    for (catch_up, expected, skipped) in [(CatchUp::None, 0, 3), (CatchUp::One, 1, 2), (CatchUp::All, 3, 0)] {
        let world = World::at("2026-11-20T07:00:00Z", "a", Settings::default()).await;
        let spec = world.spec(every("1h"), Overlap::Allow, catch_up);
        world.put("hourly", spec).await;
        let world = world.after_crash("2026-11-20T10:30:00Z").await;
        world.runs(expected).await;
        world.view("hourly", |view| view.skipped == skipped).await;
        world.clock.set("2026-11-20T11:00:00Z");
        world.runs(expected + 1).await;
    }
}

#[tokio::test]
async fn a_start_that_overlaps_the_last_run_is_skipped_delayed_or_made() {
    let settings = Settings::default();
    let world = World::at("2026-11-20T07:00:00Z", "gate", settings).await;
    let spec = world.spec(every("1h"), Overlap::Skip, CatchUp::One);
    world.put("hourly", spec.clone()).await;
    world.clock.set("2026-11-20T08:00:00Z");
    let first = world.runs(1).await.remove(0);
    world.functions.at_gate(1).await;
    world.clock.set("2026-11-20T09:00:00Z");
    world.view("hourly", |view| view.skipped == 1).await;
    world.runs(1).await;

    let spec = ScheduleSpec {
        overlap: Overlap::Queue,
        ..spec
    };
    world.put("hourly", spec.clone()).await;
    world.clock.set("2026-11-20T10:00:00Z");
    world.view("hourly", |view| view.waiting == 1).await;
    world.clock.set("2026-11-20T11:00:00Z");
    world.view("hourly", |view| view.skipped == 2).await;
    world.runs(1).await;
    // It waits for the end of the run, not for a time.
    world.over_with(first.id).await;
    let second = world.runs(2).await.remove(1);
    let view = world.view("hourly", |view| view.waiting == 0).await;
    assert_eq!(view.last_at, Some(moment("2026-11-20T10:00:00Z")));

    let spec = ScheduleSpec {
        overlap: Overlap::Allow,
        ..spec
    };
    world.put("hourly", spec).await;
    world.clock.set("2026-11-20T12:00:00Z");
    let third = world.runs(3).await.remove(2);
    world.functions.gate.add_permits(2);
    for run in [second, third] {
        all(&world.engine, run.id).await;
    }
}

#[tokio::test]
async fn a_delayed_start_is_made_after_a_restart() {
    let world = World::at("2026-11-20T07:00:00Z", "gate", Settings::default()).await;
    let spec = world.spec(every("1h"), Overlap::Queue, CatchUp::One);
    world.put("hourly", spec).await;
    world.clock.set("2026-11-20T08:00:00Z");
    let first = world.runs(1).await.remove(0);
    world.view("hourly", |view| view.last_run.is_some()).await;
    world.clock.set("2026-11-20T09:00:00Z");
    world.view("hourly", |view| view.waiting == 1).await;
    let world = world.after_crash("2026-11-20T09:00:01Z").await;
    world.view("hourly", |view| view.waiting == 1).await;
    world.over_with(first.id).await;
    world.runs(2).await;
    world.view("hourly", |view| view.waiting == 0).await;
}

#[tokio::test]
async fn a_paused_schedule_starts_nothing_and_misses_nothing() {
    let world = World::at("2026-11-20T07:00:00Z", "a", Settings::default()).await;
    let spec = world.spec(every("1h"), Overlap::Skip, CatchUp::All);
    world.put("hourly", spec).await;
    assert!(
        world
            .engine
            .pause_schedule("hourly")
            .await
            .unwrap()
            .next
            .is_empty()
    );
    world.clock.set("2026-11-20T09:30:00Z");
    let view = world.engine.resume_schedule("hourly").await.unwrap();
    assert_eq!(view.next[0], moment("2026-11-20T10:00:00Z"));
    world.runs(0).await;
    world.clock.set("2026-11-20T10:00:00Z");
    world.runs(1).await;
    assert_eq!(world.view("hourly", |_| true).await.skipped, 0);
}

#[tokio::test]
async fn a_paused_schedule_that_is_put_again_stays_paused_by_default() {
    let world = World::at("2026-11-20T07:00:00Z", "a", Settings::default()).await;
    let spec = world.spec(every("1h"), Overlap::Skip, CatchUp::All);
    world.put("hourly", spec.clone()).await;
    world.engine.pause_schedule("hourly").await.unwrap();
    // The same schedule again, and one with other times.
    assert!(world.put("hourly", spec.clone()).await.spec.paused);
    let other = world.spec(every("2h"), Overlap::Skip, CatchUp::All);
    assert!(world.put("hourly", other).await.spec.paused);
    assert!(world.put("hourly", spec.clone()).await.next.is_empty());

    world.clock.set("2026-11-20T09:30:00Z");
    let put = |paused| world.engine.put_schedule("hourly", spec.clone(), paused);
    let (view, new) = put(Some(false)).await.unwrap();
    assert!(!view.spec.paused && !new);
    // Times during the pause do not count as missed.
    assert_eq!(view.next[0], moment("2026-11-20T10:00:00Z"));
    assert_eq!((view.skipped, view.waiting), (0, 0));
    let (view, _) = put(Some(true)).await.unwrap();
    assert!(view.spec.paused);
    world.runs(0).await;
}

#[tokio::test]
async fn a_schedule_of_an_earlier_version_continues_and_is_not_created_again() {
    let world = World::at("2026-11-20T07:00:00Z", "a", Settings::default()).await;
    let spec = world.spec(cron("0 * * * *"), Overlap::Skip, CatchUp::One);
    world.put("hourly", spec).await;
    let mut row = world.journal.schedules().await.unwrap().remove(0);
    row.body = row.body.replace("0 * * * *", "*/61 * * * *").into();
    world.journal.put_schedule(row).await.unwrap();
    let world = world.after_crash("2026-11-20T07:30:00Z").await;
    let view = world.view("hourly", |_| true).await;
    assert_eq!(view.next[0], moment("2026-11-20T08:00:00Z"));
    assert!(world.engine.pause_schedule("hourly").await.unwrap().spec.paused);
    let again = world.engine.put_schedule("hourly", view.spec, None).await;
    assert!(matches!(
        again,
        Err(ScheduleError::Invalid {
            pointer: "/when/cron",
            ..
        })
    ));
}

#[tokio::test]
async fn running_a_schedule_manually_does_not_change_its_times() {
    let world = World::at("2026-11-20T07:00:00Z", "a", Settings::default()).await;
    let spec = ScheduleSpec {
        paused: true,
        ..world.spec(every("1h"), Overlap::Skip, CatchUp::One)
    };
    world.put("hourly", spec).await;
    let run = world.engine.run_schedule("hourly").await.unwrap();
    all(&world.engine, run).await;
    assert_eq!(world.view("hourly", |_| true).await.last_run, Some(run));
    world.engine.resume_schedule("hourly").await.unwrap();
    world.clock.set("2026-11-20T08:00:00Z");
    world.runs(2).await;
}

#[tokio::test]
async fn a_failed_start_is_recorded_and_retried_if_that_can_help() {
    let full = Settings {
        max_runs_in_flight: 1,
        max_queued: 0,
        ..Settings::default()
    };
    let world = World::at("2026-11-20T07:00:00Z", "gate", full).await;
    let spec = world.spec(every("1h"), Overlap::Allow, CatchUp::One);
    world.put("hourly", spec.clone()).await;
    let by_hand = world.engine.run_schedule("hourly").await.unwrap();
    world.functions.at_gate(1).await;
    world.clock.set("2026-11-20T08:00:00Z");
    let view = world.view("hourly", |view| view.last_error.is_some()).await;
    assert!(view.last_error.unwrap().1.contains("max_queued"));
    assert_eq!((view.waiting, view.skipped), (1, 0));
    world.over_with(by_hand).await;
    until("its place is free", || world.engine.stats().runs_in_flight == 0).await;
    // Not before the requested time.
    world.clock.forward(60_000);
    world.runs(2).await;
    let view = world.view("hourly", |view| view.waiting == 0).await;
    assert_eq!(view.last_error, None);
    assert_eq!(view.last_at, Some(moment("2026-11-20T08:00:00Z")));
}

#[tokio::test]
async fn an_invalid_schedule_is_refused_with_a_pointer() {
    let world = World::at("2026-11-20T07:00:00Z", "a", Settings::default()).await;
    let good = world.spec(every("1h"), Overlap::Skip, CatchUp::One);
    let zone = WhenSpec::Cron {
        cron: "0 9 * * *".to_owned(),
        time_zone: "Zurich".to_owned(),
    };
    let with = |when| ScheduleSpec { when, ..good.clone() };
    let lost = ScheduleSpec {
        graph: "nothing".to_owned(),
        ..good.clone()
    };
    for (name, spec, place) in [
        ("a b", good.clone(), "/name"),
        ("a", lost, "/graph"),
        ("a", with(cron("0 25 * * *")), "/when/cron"),
        ("a", with(zone), "/when/time_zone"),
        ("a", with(every("often")), "/when/every"),
    ] {
        match world.engine.put_schedule(name, spec, None).await {
            Err(ScheduleError::Invalid { pointer, .. }) => assert_eq!(pointer, place),
            other => panic!("{place}: {other:?}"),
        }
    }
    assert!(world.engine.schedules().await.unwrap().is_empty());
    world.put("a", good).await;
    world.engine.delete_schedule("a").await.unwrap();
    assert!(matches!(
        world.engine.delete_schedule("a").await,
        Err(ScheduleError::NoSuchSchedule(_))
    ));
    assert!(world.journal.schedules().await.unwrap().is_empty());
}

#[tokio::test]
async fn putting_the_same_interval_again_does_not_restart_it() {
    let world = World::at("2026-11-20T07:00:00Z", "a", Settings::default()).await;
    let spec = world.spec(every("1h"), Overlap::Skip, CatchUp::One);
    world.put("hourly", spec.clone()).await;
    world.clock.set("2026-11-20T07:45:00Z");
    let again = ScheduleSpec {
        priority: 7,
        ..spec.clone()
    };
    let view = world.put("hourly", again).await;
    assert_eq!(view.next[0], moment("2026-11-20T08:00:00Z"));
    let other = ScheduleSpec {
        when: every("2h"),
        ..spec
    };
    assert_eq!(
        world.put("hourly", other).await.next[0],
        moment("2026-11-20T09:45:00Z")
    );
    world.runs(0).await;
}

#[tokio::test]
async fn runs_of_a_schedule_use_the_queue() {
    let narrow = Settings {
        max_runs_in_flight: 1,
        ..Settings::default()
    };
    let world = World::at("2026-11-20T07:00:00Z", "gate", narrow).await;
    for name in ["a", "b", "c"] {
        let spec = world.spec(every("1h"), Overlap::Skip, CatchUp::One);
        world.put(name, spec).await;
    }
    world.clock.set("2026-11-20T08:00:00Z");
    let runs = world.runs(3).await;
    let queued = runs.iter().filter(|run| run.status == Status::Queued);
    assert_eq!(queued.count(), 2);
    world.functions.gate.add_permits(3);
    for run in runs {
        all(&world.engine, run.id).await;
    }
}
