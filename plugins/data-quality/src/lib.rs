//! Checks and repairs a CSV: profiles its columns, derives rules from the profile, counts what breaks the
//! rules, and repairs one kind of anomaly a turn until few enough are left.
//!
//! `nodes` are the steps of the graph; what they call through the registry, and anybody else may
//! call, is in `tools`. The rules are derived once, from the data as it came: a repair does not move
//! the goal.

mod cell;
mod nodes;
mod profile;
mod repair;
mod rules;
mod stats;
mod table;
#[cfg(test)]
mod tests;
mod tools;
