//! The tools: they find and rank sentences.

use heddle_plugin::prelude::*;

use crate::{rank, split};

/// The limit of sentences in one call of `rank`: the work grows with the square of their number.
const MOST_SENTENCES: usize = 5000;

/// The input of `sentences`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Text {
    /// Paragraphs with blank lines between them.
    pub text: String,
}

/// The sentences of a text, in order.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Sentences {
    /// The sentences, without line breaks in them.
    pub sentences: Vec<String>,
}

/// Finds the sentences of a text. Headings are left out.
#[tool(read_only, idempotent)]
fn sentences(text: Text) -> Sentences {
    Sentences {
        sentences: split::sentences_of(&text.text),
    }
}

/// The result of `rank`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Ranks {
    /// The rank of each sentence, in the order of the sentences. A higher rank means more important.
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
