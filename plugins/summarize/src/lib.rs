//! The `summarize` plugin.
