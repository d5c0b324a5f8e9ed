//! Connections: accepted within limits, with timeouts for slow clients, and closed when the server shuts down.

pub(crate) mod active_request;
pub(crate) mod body_budget;
pub(crate) mod serve;
pub(crate) mod shutdown;
mod slots;
mod timed_stream;
