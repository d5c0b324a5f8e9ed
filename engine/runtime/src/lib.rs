//! Heddle's executor: it carries out what the kernel decides.
//!
//! A run is a task that owns its state machine: it makes the calls that the run owes, hands the
//! outcomes to the kernel, appends the events to the journal and goes on without waiting for
//! the disk, while everything that leaves the engine waits until it is durable. What it needs
//! of the world comes through the ports in [`ports`]; nothing here names a database, a wasm
//! runtime or a web server.

mod admission;
mod answer;
mod backtest;
mod checks;
mod chunks;
mod drive;
mod engine;
mod export;
mod graph_cache;
mod graph_deletion;
mod graphs;
mod history;
mod inner;
mod live;
mod load;
mod memory;
mod outbox;
mod pages;
mod plugins;
mod policies;
pub mod ports;
mod registry;
mod replay;
mod requests;
mod retention;
mod schedules;
mod sleepers;
mod steer;
mod system;
mod usage;
mod watch;

pub use admission::PRIORITIES;
pub use answer::{
    CallToolError, CreateGraphError, CreatedGraph, ForgetError, Full, ImportError, KeyError, Page,
    PolicyError, ReadError, Recovered, RegisterPluginError, RemovePluginError, RequestKey, RunView,
    SendError, Start, StartError, StartedRun, Stats, StepError, StepView, ToolAnswer,
};
pub use backtest::{Backtest, Difference};
pub use checks::ChecksBusy;
pub use engine::{Engine, Ports, Settings};
pub use export::Export;
pub use graph_deletion::DeleteGraphError;
pub use plugins::Needs;
pub use schedules::{MAX_SCHEDULES, NEXT_LEN, ScheduleError, ScheduleSpec, ScheduleView, WhenSpec};
pub use system::{RandomIds, SystemClock};
pub use watch::{Chunk, Watch, Watched};
