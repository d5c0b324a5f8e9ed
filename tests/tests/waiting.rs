//! Runs that wait, branches that run beside each other, and what comes to a run from outside, on an
//! engine whose journal and functions a test controls.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic
