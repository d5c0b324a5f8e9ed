//! How requests are read: extractors for bodies, paths and queries. Each answers invalid input with a problem.

pub(crate) mod body;
pub(crate) mod deserialize;
pub(crate) mod idempotency;
pub(crate) mod page_token;
pub(crate) mod path;
pub(crate) mod priority;
pub(crate) mod query;
pub(crate) mod query_check;
pub(crate) mod run_filter;
