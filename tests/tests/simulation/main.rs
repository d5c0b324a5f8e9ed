//! A seeded simulation of the engine on a disk with faults: random graphs, clients that start, watch, signal, pause, cancel
//! and retry their runs, and engines that die and restart. The time is simulated and jumps ahead when all tasks wait.
//!
//! `HEDDLE_SIM_SEED=N` repeats one plan and `HEDDLE_SIM_SEEDS=A..B` runs the plans from A up to B. Without them, plans run
//! for some seconds.
#![allow(clippy::unwrap_used)] // a test may panic

mod clients;
mod graphs;
mod journal;
#[path = "../../../engine/kernel/tests/laws/random_graphs.rs"]
mod random_graphs;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use heddle_kernel::{Event, EventRecord, Next, RunId, Status};
use heddle_runtime::{Engine, Ports, Settings, ports::Clock};
use heddle_tests::{
    functions::FakeFunctions,
    random::{Random, seed},
};
use tokio::task::JoinSet;

use crate::{
    clients::{Client, End, Signal},
    graphs::{Pair, pair},
    journal::{Disk, Faults},
    world::{LifeClock, SimulatedFunctions, World},
};

/// The time for plans if no seed is given.
const SECONDS: u64 = 20;

/// The number of clients.
const CLIENTS: usize = 6;

/// The maximum number of lifetimes with faults. The next lifetime has none.
const LIVES: u64 = 6;

/// The limit of a lifetime by its own clock. A run that has not ended by then never ends.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A plan, derived from a seed.
struct Plan {
    seed: u64,
    pairs: Vec<Pair>,
    /// Whether there are faults and control requests.
    faults: bool,
}

/// The result of a simulation: for each client the end and the route of its run.
#[derive(Debug, PartialEq)]
struct Outcome {
    ends: Vec<End>,
    routes: Vec<Vec<String>>,
    /// All events of all runs as text. They can differ between two simulations of a plan.
    journals: Vec<String>,
    cancelled: Vec<bool>,
    tally: Tally,
}

/// Totals over simulations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tally {
    /// Lifetimes of engines.
    lives: u64,
    /// Snapshots that the engines submitted.
    snapshots: u64,
    /// Plans with identical events in both simulations.
    exact: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.lives += other.lives;
        self.snapshots += other.snapshots;
        self.exact += other.exact;
    }
}

#[test]
fn every_run_ends_correctly_despite_disk_faults_and_crashes() {
    let named = std::env::var("HEDDLE_SIM_SEEDS").ok().map(|text| range(&text));
    let one = std::env::var("HEDDLE_SIM_SEED").is_ok();
    let first = match &named {
        Some(range) => range.start,
        None => seed("HEDDLE_SIM_SEED"),
    };
    let last = match (&named, one) {
        (Some(range), _) => range.end,
        (None, true) => first + 1,
        (None, false) => u64::MAX,
    };
    let began = std::time::Instant::now();
    let next = AtomicU64::new(first);
    let tally = Mutex::new(Tally::default());
    let failed = AtomicBool::new(false);
    let goes_on = |seed: u64| {
        !failed.load(Ordering::SeqCst)
            && seed < last
            && (last < u64::MAX || began.elapsed().as_secs() < SECONDS)
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if !goes_on(seed) {
                        break;
                    }
                    let tried = try_seed(seed, &failed);
                    tally.lock().unwrap().add(tried);
                }
            });
        }
    });
    let tried = next.into_inner() - first - 2;
    let Tally {
        lives,
        snapshots,
        exact,
    } = tally.into_inner().unwrap();
    eprintln!(
        "{tried} plans, each twice: {lives} lives of an engine, {snapshots} snapshots; {exact} were the same to the last event"
    );
    if tried > 50 {
        assert!(lives > 3 * tried && snapshots > 0, "hardly anything went wrong");
    }
}

fn range(text: &str) -> Range<u64> {
    let ends = text
        .split_once("..")
        .and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.unwrap_or_else(|| panic!("HEDDLE_SIM_SEEDS={text}: expected A..B"))
}

/// Simulates a plan once without faults and twice with faults, and compares the results.
fn try_seed(seed: u64, failed: &AtomicBool) -> Tally {
    let _failing = Failing(seed, failed);
    let pairs =
        || (0..CLIENTS).map(|number| pair(&mut Random::new(seed ^ (number as u64 + 1) << 32), number));
    let plan = |faults| Plan {
        seed,
        pairs: pairs().collect(),
        faults,
    };
    let without_control = simulate(&plan(false));
    let one = simulate(&plan(true));
    let two = simulate(&plan(true));
    for (client, end) in one.ends.iter().enumerate() {
        if one.cancelled[client] || two.cancelled[client] {
            continue;
        }
        for (other, what) in [
            (&without_control, "a run without faults"),
            (&two, "the same run again"),
        ] {
            let expected = &other.ends[client];
            assert_eq!(
                end.status, expected.status,
                "client {client}, against {what}: {:?}, {:?}",
                end.error, expected.error
            );
            // A failing run cancels its other branches at arbitrary points.
            if end.status == Status::Finished {
                assert_eq!(end.state, expected.state, "client {client}, against {what}");
                assert_eq!(
                    one.routes[client], other.routes[client],
                    "client {client}, against {what}"
                );
            }
        }
    }
    let mut tally = one.tally;
    tally.add(two.tally);
    tally.exact = u64::from(one.journals == two.journals);
    tally
}

/// Prints the seed if a check fails, and stops the other plans.
struct Failing<'f>(u64, &'f AtomicBool);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.1.store(true, Ordering::SeqCst);
            eprintln!("in this plan: HEDDLE_SIM_SEED={}", self.0);
        }
    }
}

/// The end of a lifetime.
#[derive(PartialEq, Eq)]
enum Ended {
    /// All clients are done.
    Done,
    /// The engine died, was stopped, or failed to start.
    Early,
}

fn simulate(plan: &Plan) -> Outcome {
    let mut random = Random::new(plan.seed);
    let nodes: HashMap<_, _> = plan.pairs.iter().flat_map(|pair| pair.nodes.clone()).collect();
    let world = Arc::new(World::new(nodes));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let drawn = Client::new(number, world.clone(), &mut random);
        clients.push(Arc::new(if plan.faults {
            drawn
        } else {
            drawn.without_control()
        }));
    }
    let mut disk: Option<Arc<Disk>> = None;
    let mut tally = Tally::default();
    loop {
        let goes_wrong = plan.faults && tally.lives < LIVES;
        let disk_faults = match goes_wrong {
            true => disk_faults(&mut random),
            false => Faults::CALM,
        };
        let next = Arc::new(Disk::after(
            disk.as_deref(),
            disk_faults,
            Random::new(random.next_u64()),
        ));
        let stops = (disk_faults.dies_at.is_none() && goes_wrong).then(|| random.in_range(1..2_000));
        disk = Some(next.clone());
        tally.lives += 1;
        let life = Life {
            plan,
            world: world.clone(),
            clients: &clients,
            disk: next.clone(),
            stops,
        };
        let ended = life.live();
        tally.snapshots += next.snapshots();
        if ended == Ended::Done {
            break;
        }
        world
            .now
            .fetch_add(random.in_range(0..200) as i64, Ordering::SeqCst);
    }
    let disk = disk.expect("there was a life");
    check(&world, &clients, &disk, tally)
}

fn disk_faults(random: &mut Random) -> Faults {
    Faults {
        dies_at: (!random.one_in(5)).then(|| random.in_range(1..80)),
        full: random.one_in(2).then_some(12),
        frozen: random.one_in(2).then_some(10),
        unreadable: random.one_in(3).then_some(40),
    }
}

/// One lifetime of an engine, from its start to its end.
struct Life<'p> {
    plan: &'p Plan,
    world: Arc<World>,
    clients: &'p [Arc<Client>],
    disk: Arc<Disk>,
    /// The time of a graceful stop.
    stops: Option<u64>,
}

impl Life<'_> {
    fn live(self) -> Ended {
        // Dropping the runtime ends all tasks of the engine at any point, like the death of a process.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let clock = Arc::new(LifeClock::from(self.world.now.load(Ordering::SeqCst)));
            let ended = tokio::time::timeout(LIFETIME, self.run(clock.clone())).await;
            self.world.now.store(clock.now().0, Ordering::SeqCst);
            ended.unwrap_or_else(|_| {
                for client in self.clients {
                    let known = client.known();
                    let Some(run) = known.run.filter(|_| known.end.is_none()) else {
                        continue;
                    };
                    let events = self.disk.events_of(run);
                    eprintln!("client {}: run {run} is never over: {events:#?}", client.number);
                }
                panic!("some runs are never over")
            })
        })
    }

    async fn run(&self, clock: Arc<LifeClock>) -> Ended {
        tokio::spawn(self.disk.clone().work());
        let engine = Engine::new(
            Ports {
                store: self.disk.clone(),
                functions: Arc::new(FakeFunctions(SimulatedFunctions {
                    world: self.world.clone(),
                    disk: self.disk.clone(),
                })),
                clock,
                ids: self.world.clone(),
            },
            // Few slots, so that some runs are queued.
            Settings {
                max_runs_in_flight: CLIENTS / 2,
                ..Settings::default()
            },
        );
        match engine.recover().await {
            Ok(recovered) => assert!(recovered.damaged.is_empty(), "{:?}", recovered.damaged),
            // The caller starts the engine again.
            Err(_) => return Ended::Early,
        }
        let all = async {
            for text in self.plan.pairs.iter().flat_map(|pair| [&pair.child, &pair.root]) {
                while engine.create_graph(text).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            let mut going: JoinSet<()> = JoinSet::new();
            for client in self.clients {
                going.spawn(client.clone().go(engine.clone()));
            }
            while let Some(gone) = going.join_next().await {
                if let Err(error) = gone {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        };
        tokio::select! {
            biased;
            () = self.disk.death() => Ended::Early,
            () = all => Ended::Done,
            () = tokio::time::sleep(Duration::from_millis(self.stops.unwrap_or_default())), if self.stops.is_some() => {
                engine.drain(Duration::from_millis(50)).await;
                Ended::Early
            }
        }
    }
}

/// Checks the responses, the calls and the stored events against the promises of the engine.
fn check(world: &World, clients: &[Arc<Client>], disk: &Disk, tally: Tally) -> Outcome {
    let wrongs = world.wrongs.lock().unwrap();
    assert!(wrongs.is_empty(), "{wrongs:#?}");
    let rows = disk.all_runs();
    let theirs: BTreeSet<RunId> = clients.iter().filter_map(|client| client.known().run).collect();
    assert_eq!(theirs.len(), clients.len(), "two clients have one run");
    let kept: BTreeSet<RunId> = rows.iter().map(|row| row.id).collect();
    assert_eq!(
        kept, theirs,
        "a key gave another number of runs than one, or something refused was kept"
    );
    let mut outcome = Outcome {
        ends: Vec::new(),
        routes: Vec::new(),
        journals: Vec::new(),
        cancelled: Vec::new(),
        tally,
    };
    for client in clients {
        let known = client.known();
        let run = known.run.expect("every client has a run");
        let journal = disk.events_of(run);
        let end = known.end.clone().expect("every client saw its run end");
        sound(client.number, &journal);
        let text = |events: &[Arc<EventRecord>]| -> Vec<String> {
            events
                .iter()
                .map(|event| serde_json::to_string(event).unwrap())
                .collect()
        };
        let (seen, journal_text) = (text(&known.seen), text(&journal));
        for (at, (seen, kept)) in seen.iter().zip(&journal_text).enumerate() {
            assert_eq!(
                seen,
                kept,
                "client {}: what its watcher saw, and what is kept, of event {}",
                client.number,
                at + 1
            );
        }
        assert_eq!(
            seen.len(),
            journal_text.len(),
            "client {}: how much its watcher saw, and how much is kept: {:?}, {:?}",
            client.number,
            seen.last(),
            journal_text.last()
        );
        let row = rows.iter().find(|row| row.id == run).expect("it is kept");
        assert_eq!(row.status, end.status, "client {}", client.number);
        signals_once(client.number, &known.signals, &journal);
        outcome.ends.push(end);
        outcome.routes.push(route(&journal));
        outcome.journals.push(journal_text.join("\n"));
        outcome.cancelled.push(client.cancels_at.is_some());
    }
    outcome
}

/// Checks that event numbers have no gaps, each step ends at most once, and attempts are in order.
fn sound(client: usize, journal: &[Arc<EventRecord>]) {
    let mut attempts: BTreeMap<u64, u32> = BTreeMap::new();
    let mut over = BTreeSet::new();
    for (position, recorded) in journal.iter().enumerate() {
        assert_eq!(
            recorded.seq,
            position as u64 + 1,
            "client {client}: a gap or a repeat"
        );
        match &recorded.event {
            Event::StepStarted { step, attempt, .. } => {
                let before = attempts.insert(*step, *attempt).unwrap_or_default();
                assert_eq!(*attempt, before + 1, "client {client}: step {step}: its attempts");
                assert!(!over.contains(step), "client {client}: step {step} was over");
            }
            Event::StepFinished { step, attempt, .. } | Event::ItemFinished { step, attempt, .. } => {
                assert_eq!(
                    attempts.get(step),
                    Some(attempt),
                    "client {client}: step {step}: an earlier attempt spoke"
                );
                assert!(
                    over.insert(*step),
                    "client {client}: step {step} has two outcomes"
                );
            }
            _ => {}
        }
    }
    assert!(
        journal.last().is_some_and(|last| last.event.ends_run()),
        "client {client}: its run is not over"
    );
}

/// Checks that each acknowledged signal was received once.
fn signals_once(client: usize, sent: &BTreeMap<u64, (String, Signal)>, journal: &[Arc<EventRecord>]) {
    let mut came: BTreeMap<&str, usize> = BTreeMap::new();
    for recorded in journal {
        if let Event::SignalReceived { name, .. } = &recorded.event {
            *came.entry(name).or_default() += 1;
        }
    }
    let mut meant: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, _) in sent.values().filter(|(_, came)| *came == Signal::Acknowledged) {
        *meant.entry(name).or_default() += 1;
    }
    assert_eq!(came, meant, "client {client}: signals");
}

/// The visits of a run with their results and routes, without numbers, attempts and times.
fn route(journal: &[Arc<EventRecord>]) -> Vec<String> {
    let mut visits: Vec<String> = Vec::new();
    for recorded in journal {
        match &recorded.event {
            Event::StepFinished {
                node, update, next, ..
            } => {
                let next: Vec<&str> = match next {
                    Next::Node(node) => vec![node],
                    Next::Fork(arms) => arms.iter().map(|arm| &*arm.to).collect(),
                    Next::End => vec!["end"],
                };
                visits.push(format!("{node} {} {next:?}", update.to_text()));
            }
            Event::ItemFinished {
                node, item, result, ..
            } => {
                visits.push(format!(
                    "{node} item {} {:?}",
                    item.index,
                    result.as_ref().map(|json| json.get())
                ));
            }
            _ => {}
        }
    }
    visits.sort();
    visits
}
