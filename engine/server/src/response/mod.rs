//! How responses are written: problems, large JSON within a memory budget, streamed lists and event streams.

pub(crate) mod budget;
pub(crate) mod event_stream;
pub(crate) mod json_list;
pub(crate) mod problem;
