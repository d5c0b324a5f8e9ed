//! Queries, compares and changes JSON, and fills templates with it.
//!
//! A number with more digits than 64 bits or a double can hold keeps them.

mod change;
mod exact;
mod order;
mod path;
mod template;

#[cfg(test)]
mod tests;
