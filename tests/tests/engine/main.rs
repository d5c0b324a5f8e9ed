//! The engine with fake functions, over a journal that a test can delay.
#![allow(clippy::unwrap_used)] // a test may panic

mod admission;
mod cancelled;
mod clock;
mod commit;
mod control;
mod damage;
mod exports;
mod given;
mod history;
mod limits;
mod parallel;
mod requests;
mod retention;
mod running;
mod schedules;
mod script;
mod waiting;
mod wrapped;
