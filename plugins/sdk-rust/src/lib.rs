//! Write Heddle plugins in Rust.
