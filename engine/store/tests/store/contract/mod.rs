//! The contract of the storage port, for every implementation: one file for each of its parts.

mod catalog;
mod configuration;
mod journal;
mod ownership;
