//! Splits, joins, searches and shortens texts.
//!
//! Characters are Unicode scalar values, and every position counts them, from 0.

mod measure;
mod search;
mod split;

#[cfg(test)]
mod tests;
