//! What was acknowledged is there after every crash, and what fails says so: faults at every write and sync of
//! the real store, and the real binary killed, on a full disk, on a disk that stands still, and on a damaged
//! file. `docs/durability.md` says what is promised and how to try other seeds.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

mod damage;
mod disk;
mod held;
mod kills;
mod sweep;
