//! The `bench` plugin.
