//! Reviews Rust source: extracts its functions, measures them, detects issues, suggests improvements and
//! computes a score; then applies the safe improvements, one kind per turn, until the score
//! reaches the threshold or no safe improvement is left.
//!
//! `nodes` has the steps of the graph. Their work on a single file is in tools (`tools`), which they
//! call through the registry, so that others can call them, too.

mod fixes;
mod functions;
mod known;
mod metrics;
mod model;
mod nodes;
mod report;
mod rules;
mod score;
mod source;
mod temporaries;
#[cfg(test)]
mod tests;
mod tools;
mod walk;
