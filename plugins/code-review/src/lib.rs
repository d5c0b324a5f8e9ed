//! The `code-review` plugin.
