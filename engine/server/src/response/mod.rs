//! How responses are written: problems, large JSON within a memory budget, and streamed lists.

pub(crate) mod budget;
pub(crate) mod json_list;
pub(crate) mod problem;
