//! Durability: acknowledged runs survive every crash, and failures are reported. The tests inject faults at every write and
//! sync of the real store, kill the real binary, and run it on a full, a stalled and a damaged disk. `docs/durability.md`
//! describes the promises and how to use other seeds.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test may panic

mod damage;
mod disk;
mod held;
mod kills;
mod sweep;
