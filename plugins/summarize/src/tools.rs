//! The tools: they find and rank sentences.

use heddle_plugin::prelude::*;

use crate::{rank, split};

/// How many sentences are ranked at once: the work grows with the square of their number.
const MOST_SENTENCES: usize = 5000;

/// A text of paragraphs.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Text {
    /// Paragraphs with blank lines between.
    pub text: String,
}

/// Sentences in their order.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Sentences {
    /// Each in one line.
    pub sentences: Vec<String>,
}

/// Finds the sentences of a text. Headings are left out.
#[tool(read_only, idempotent)]
fn sentences(text: Text) -> Sentences {
    Sentences {
        sentences: split::sentences_of(&text.text),
    }
}

/// The rank of each sentence.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Ranks {
    /// In the order of the sentences; the greater, the more important.
    pub ranks: Vec<f64>,
}

/// Ranks sentences by TextRank.
#[tool(name = "rank", read_only, idempotent)]
fn ranks(input: Sentences) -> Result<Ranks> {
    let count = input.sentences.len();
    if count > MOST_SENTENCES {
        return Err(Error::invalid_input(format!(
            "{count} sentences are too many: rank at most {MOST_SENTENCES}"
        )));
    }
    Ok(Ranks {
        ranks: rank::rank(&input.sentences),
    })
}
