//! Reads, writes and reckons with times, in every time zone of the IANA database, whose release is the plugin's own.
//!
//! A time is an instant together with a zone, UTC unless something else is said.

mod instant;
mod reckon;
mod spell;

#[cfg(test)]
mod tests;
