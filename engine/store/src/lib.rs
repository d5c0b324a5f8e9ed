//! Heddle's journal port: SQLite, and memory for tests.
