//! Reviews Rust source: extracts its functions, measures them, detects issues, suggests improvements and
//! scores the whole; then applies the improvements that are safe, one kind a turn, until the score
//! meets the threshold or nothing is left to apply.
//!
//! `nodes` are the steps of the graph; what they do to a single file is a tool (`tools`), which they
//! call through the registry, so that anybody else can call it too.

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
