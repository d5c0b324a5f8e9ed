//! Reads, fills in, compares and changes JSON.
//!
//! Numbers are read as 64-bit integers, or as the nearest double, and written so that they read the same again.

mod change;
mod path;
mod template;

#[cfg(test)]
mod tests;
