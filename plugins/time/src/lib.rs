//! Reads, writes and calculates times in every time zone of the IANA database, which is part of the plugin.
//!
//! A time is an instant with a zone; the default zone is UTC.

mod instant;
mod reckon;
mod spell;

#[cfg(test)]
mod tests;
