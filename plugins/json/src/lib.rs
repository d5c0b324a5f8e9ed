//! Reads, fills in, compares and changes JSON.
//!
//! A number that has more digits than 64 bits or a double hold keeps them.

mod change;
mod exact;
mod order;
mod path;
mod template;

#[cfg(test)]
mod tests;
