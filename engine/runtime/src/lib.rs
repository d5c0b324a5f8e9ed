//! Heddle's runtime: executes runs.
//!
//! A run is a state machine of the kernel. For each input the runtime asks the kernel for the new events, appends them
//! to the journal, and makes the calls that the run then needs. It also admits, loads, watches, schedules and
//! deletes runs, and checks and stores graphs and plugins. Everything starts from [`Engine`].
//!
//! # Ports
//!
//! The runtime reaches its surroundings only through the traits in [`ports`]: [`Store`](ports::Store) stores,
//! [`Functions`](ports::Functions) calls functions, [`Clock`](ports::Clock) and [`Ids`](ports::Ids) supply time and ids,
//! and [`Archive`](ports::Archive) receives exports.
//!
//! # The path of a step
//!
//! 1. `start.rs`: `Engine::start_run` pins the graph (`graphs.rs`), creates the run, and asks `admission/` for a slot.
//!    Without a free slot the run is stored as queued, and `start_queued.rs` starts it later.
//! 2. `driver/mod.rs`: the run gets a driver, the only task that changes it. The driver takes one event after another and
//!    handles it: a call can start, a call has ended, a command has arrived, a timer is due.
//! 3. `driver/call.rs`: the driver starts the call of a step. The call of a granted function first waits until all of the
//!    run's events are durable; other calls run ahead of the disk.
//! 4. The kernel decides the new events for the call's result. They enter the append buffer (`append_buffer.rs`),
//!    and the steps that they start become ready calls.
//! 5. The buffer is appended to the journal when the run waits, before a granted call, and at the latest after some
//!    500 µs. The journal reports when the events are durable to the live run (`live_run.rs`).
//! 6. Responses and watchers (`watch.rs`) wait for that report: nothing leaves the engine before it is durable.
//!
//! A run that only waits is removed from memory. A timer (`wake_due_runs.rs`) or a command (`control.rs`) loads it again
//! (`load.rs`).
//!
//! # What the runtime never does
//!
//! It decides nothing about a run: the kernel does. It names no database, no wasm runtime and no web server. It runs no
//! guest code again to recover a run: it folds the recorded events. No standard lock is held across an await.

mod admission;
mod append_buffer;
mod backtest;
mod chunks;
mod control;
mod core;
mod driver;
mod engine;
mod errors;
mod export;
mod graph_cache;
mod graph_checks;
mod graph_deletion;
mod graphs;
mod history;
mod idempotency;
mod live_run;
mod live_runs;
mod load;
mod memory_budget;
mod page_budget;
mod plugins;
mod policies;
pub mod ports;
mod recover;
mod replay;
mod results;
mod retention;
mod schedules;
mod settings;
mod snapshot_policy;
mod start;
mod start_queued;
mod started_run;
mod storage_limits;
mod system;
mod timers;
mod wake_due_runs;
mod watch;

pub use self::{
    admission::PRIORITIES,
    backtest::{Backtest, Difference},
    chunks::Chunk,
    engine::Engine,
    errors::{
        CallToolError, CreateGraphError, DeleteGraphError, DeleteRunError, ImportError, KeyError,
        PluginDependents, PolicyError, RegisterPluginError, RemovePluginError, SendError, StartError,
        StepError, StorageLimitReached,
    },
    export::Export,
    graph_checks::ChecksBusy,
    ports::ReadError,
    results::{
        CreatedGraph, EventPage, RecoveryReport, RequestKey, RunView, Start, Stats, StepView, ToolAnswer,
    },
    schedules::{MAX_SCHEDULES, NEXT_LEN, ScheduleError, ScheduleSpec, ScheduleView, WhenSpec},
    settings::{Ports, Settings},
    started_run::StartedRun,
    system::{RandomIds, SystemClock},
    watch::{Watch, WatchItem},
};
