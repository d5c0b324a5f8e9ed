//! Summarises a long text: splits it into parts, summarises each by its best sentences, merges them, and
//! refines the whole until it is under the length limit. Sentences are ranked by TextRank.
//!
//! `nodes` are the steps of the graph; what they call through the registry, and anybody else may call,
//! is in `tools`. Every sentence of the summary stands in the text as it is, but for its line breaks.

mod nodes;
mod rank;
mod sentences;
mod split;
#[cfg(test)]
mod tests;
mod tools;
mod words;
