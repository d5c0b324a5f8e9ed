//! Summarises a long text: splits it into parts, summarises each by its best sentences, merges them, and
//! refines the result until it is under the length limit. Sentences are ranked by TextRank.
//!
//! `nodes` has the steps of the graph. The tools that they call through the registry, and that others may call, too,
//! are in `tools`. Every sentence of the summary is in the text, except for its line breaks.

mod nodes;
mod rank;
mod sentences;
mod split;
#[cfg(test)]
mod tests;
mod tools;
mod words;
