//! The steps of the graph, from the text in the state to its summary.

use heddle_plugin::prelude::*;

use crate::rank::best_first;
use crate::split::{self, Part};
use crate::tools::{Ranks, Sentences, Text};

/// One in this many sentences of a part goes into its summary.
const KEPT_OF_PART: usize = 5;
/// One round of refining drops at most one in this many sentences.
const DROPPED_A_TURN: usize = 4;

/// The default size of a part, in characters.
fn default_part_size() -> usize {
    4000
}

/// The default length of a summary, in characters.
fn default_limit() -> usize {
    900
}

#[derive(Deserialize, JsonSchema)]
struct Long {
    /// The text: paragraphs with blank lines between.
    text: String,
    /// How long a part may be, in characters.
    #[serde(default = "default_part_size")]
    part_size: usize,
}

#[derive(Serialize, JsonSchema)]
struct Parts {
    /// The parts, by their bytes in the text.
    parts: Vec<Part>,
}

/// Splits the text into parts, at headings, paragraphs or sentences.
#[node(read_only, idempotent)]
fn split_text(state: Long) -> Result<Parts> {
    let parts = split::split(&state.text, state.part_size);
    if parts.is_empty() {
        return Err(Error::invalid_input("`text` has no sentence in it"));
    }
    log::info!(
        "{} parts of {} characters",
        parts.len(),
        state.text.chars().count()
    );
    Ok(Parts { parts })
}

#[derive(Deserialize, JsonSchema)]
struct Divided {
    text: String,
    parts: Vec<Part>,
}

#[derive(Serialize, JsonSchema)]
struct Summarised {
    /// The best sentences of each part, in the order of the text.
    summaries: Vec<Vec<String>>,
    /// How many sentences the text has.
    sentence_count: usize,
}

/// Summarises each part by the best fifth of its sentences.
#[node(read_only, idempotent)]
fn summarise_parts(state: Divided) -> Result<Summarised> {
    let mut summaries = Vec::new();
    let mut sentence_count = 0;
    for Part { start, end } in state.parts {
        let text = state
            .text
            .get(start..end)
            .ok_or_else(|| Error::permanent("`parts` are not those of `text`"))?;
        let found: Sentences = call_tool(
            "summarize/sentences",
            &Text {
                text: text.to_string(),
            },
        )?;
        sentence_count += found.sentences.len();
        let kept = found.sentences.len().div_ceil(KEPT_OF_PART);
        summaries.push(best(found, kept)?);
    }
    log::info!(
        "{} of {sentence_count} sentences are kept",
        summaries.iter().map(Vec::len).sum::<usize>()
    );
    Ok(Summarised {
        summaries,
        sentence_count,
    })
}

/// The best sentences in their order.
fn best(sentences: Sentences, count: usize) -> Result<Vec<String>> {
    let Ranks { ranks } = call_tool("summarize/rank", &sentences)?;
    let mut places = best_first(&ranks);
    places.truncate(count);
    let chosen = |(place, sentence): (usize, String)| places.contains(&place).then_some(sentence);
    Ok(sentences
        .sentences
        .into_iter()
        .enumerate()
        .filter_map(chosen)
        .collect())
}

#[derive(Deserialize, JsonSchema)]
struct ToMerge {
    summaries: Vec<Vec<String>>,
}

/// The summary after this step.
#[derive(Serialize, JsonSchema)]
struct Summary {
    /// Its sentences, in the order of the text.
    sentences: Vec<String>,
    /// The rank of each sentence among the merged ones.
    ranks: Vec<f64>,
    /// The sentences as one text.
    summary: String,
    /// The length of the summary, in characters.
    characters: usize,
}

impl Summary {
    fn of(sentences: Vec<String>, ranks: Vec<f64>) -> Self {
        let summary = sentences.join(" ");
        Self {
            characters: summary.chars().count(),
            sentences,
            ranks,
            summary,
        }
    }
}

/// Merges the parts' summaries into one without duplicate sentences, and ranks its sentences.
#[node(read_only, idempotent)]
fn merge_parts(state: ToMerge) -> Result<Summary> {
    let mut seen = std::collections::HashSet::new();
    let merged = state
        .summaries
        .into_iter()
        .flatten()
        .filter(|sentence| seen.insert(sentence.clone()));
    let merged = Sentences {
        sentences: merged.collect(),
    };
    let Ranks { ranks } = call_tool("summarize/rank", &merged)?;
    let merged = Summary::of(merged.sentences, ranks);
    log::info!(
        "{} sentences, {} characters",
        merged.sentences.len(),
        merged.characters
    );
    Ok(merged)
}

#[derive(Deserialize, JsonSchema)]
struct ToRefine {
    sentences: Vec<String>,
    ranks: Vec<f64>,
    /// How long the summary may be, in characters.
    #[serde(default = "default_limit")]
    limit: usize,
}

/// Drops the least important sentences, at most a quarter a turn; again until the summary is under the
/// limit. One sentence that is too long by itself is cut between two words.
#[node(read_only, idempotent)]
fn refine_summary(state: ToRefine) -> Result<Outcome<Summary>> {
    let ToRefine {
        sentences,
        ranks,
        limit,
    } = state;
    if limit == 0 {
        return Err(Error::invalid_input(
            "`limit` is 0: a summary has at least one character",
        ));
    }
    let now = Summary::of(sentences, ranks);
    if now.characters <= limit {
        return Ok(Outcome::of(now));
    }
    if let [only] = now.sentences.as_slice() {
        return Ok(Outcome::of(Summary::of(vec![cut(only, limit)], now.ranks)));
    }
    let summary = shortened(now, limit);
    log::info!(
        "{} sentences, {} characters",
        summary.sentences.len(),
        summary.characters
    );
    let done = summary.characters <= limit;
    let outcome = Outcome::of(summary);
    Ok(if done { outcome } else { outcome.again() })
}

/// Drops the least important sentences, as few as necessary.
fn shortened(summary: Summary, limit: usize) -> Summary {
    let Summary {
        sentences,
        ranks,
        mut characters,
        ..
    } = summary;
    let most = sentences.len().div_ceil(DROPPED_A_TURN).min(sentences.len() - 1);
    let mut dropped = Vec::new();
    for place in best_first(&ranks).into_iter().rev().take(most) {
        if characters <= limit {
            break;
        }
        // With the sentence goes the blank beside it.
        characters -= sentences[place].chars().count() + 1;
        dropped.push(place);
    }
    let kept = sentences
        .into_iter()
        .zip(ranks)
        .enumerate()
        .filter(|(place, _)| !dropped.contains(place));
    let (sentences, ranks) = kept.map(|(_, kept)| kept).unzip();
    Summary::of(sentences, ranks)
}

/// As many whole words as fit, with `…` behind them.
fn cut(sentence: &str, limit: usize) -> String {
    let room: String = sentence.chars().take(limit - 1).collect();
    let whole = room.rfind(' ').map_or(room.as_str(), |blank| &room[..blank]);
    format!("{}…", whole.trim_end())
}

#[derive(Deserialize, JsonSchema)]
struct ToReport {
    text: String,
    summary: String,
    sentences: Vec<String>,
    sentence_count: usize,
}

#[derive(Serialize, JsonSchema)]
struct Report {
    /// The readability of the text and the summary, by Flesch; `null` without a word.
    reading_ease: ReadingEase,
    /// The summary and the measures, as Markdown.
    report: String,
}

#[derive(Serialize, JsonSchema)]
struct ReadingEase {
    /// The Flesch reading ease of the text.
    text: Option<f64>,
    /// The Flesch reading ease of the summary.
    summary: Option<f64>,
}

/// The parts of the output of `starter/reading_ease` that are needed here.
#[derive(Deserialize)]
struct Ease {
    ease: Option<f64>,
}

/// Reports how much shorter the summary is, and compares the readability of both.
#[node(read_only, idempotent)]
fn report_summary(state: ToReport) -> Result<Report> {
    let ToReport {
        text,
        summary,
        sentences,
        sentence_count,
    } = state;
    let (long, short) = (text.chars().count(), summary.chars().count());
    let ease =
        |text: String| call_tool::<_, Ease>("starter/reading_ease", &Text { text }).map(|ease| ease.ease);
    let reading_ease = ReadingEase {
        text: ease(text)?,
        summary: ease(summary.clone())?,
    };
    let text_of = |ease: Option<f64>| ease.map_or("none".to_string(), |ease| format!("{ease:.0}"));
    let report = format!(
        "# Summary\n\n{summary}\n\n{} of {sentence_count} sentences, {short} of {long} characters. Flesch reading ease: {} \
         (the text: {}).\n",
        sentences.len(),
        text_of(reading_ease.summary),
        text_of(reading_ease.text),
    );
    Ok(Report { reading_ease, report })
}
