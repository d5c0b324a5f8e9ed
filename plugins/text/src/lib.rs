//! Splits, joins, searches and shortens texts.
//!
//! Characters are Unicode's scalar values, and every position is counted in them, from 0.

mod measure;
mod search;
mod split;

#[cfg(test)]
mod tests;
