//! The `data-quality` plugin.
