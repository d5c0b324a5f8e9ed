//! Checks and repairs a CSV: profiles its columns, derives rules from the profile, counts violations, and
//! repairs one kind of anomaly per turn until few enough are left.
//!
//! `nodes` has the steps of the graph. The tools that they call through the registry, and that others may call,
//! too, are in `tools`. The rules are derived once, from the original data: a repair does not change them.

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
