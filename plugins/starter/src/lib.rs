//! The `starter` plugin.
