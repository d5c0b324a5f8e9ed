//! Extracts words, numbers, dates and links from a text, and measures its topics and readability.
//!
//! The node functions `extract` and `analyze` call the plugin's tools through the engine's registry,
//! like tools of any other plugin, so each tool can also be used on its own.
//! For an empty text, the lists are empty, the counts are 0, and there is no reading ease.

mod dates;
mod elements;
mod numbers;
mod reading;
mod terms;

use heddle_plugin::prelude::*;

use dates::Date;
use elements::Elements;
use numbers::Number;
use reading::Reading;
use terms::Terms;

/// How many terms `analyze` names.
const TERMS: usize = 10;

#[derive(Deserialize, JsonSchema)]
struct State {
    /// The text, of any length.
    input: String,
}

/// Finds the words, numbers, dates and links of the text in `input`.
#[node(read_only, idempotent)]
fn extract(state: State) -> Result<Elements> {
    let elements: Elements = call_tool("starter/elements", &json!({ "text": state.input }))?;
    if elements.words.is_empty() {
        log::warn!("the input has no words in it");
    }
    log::info!(
        "{} words, {} numbers, {} dates, {} links",
        elements.words.len(),
        elements.numbers.len(),
        elements.dates.len(),
        elements.links.len()
    );
    Ok(elements)
}

/// The text, and the output of `extract`, if that ran before.
#[derive(Deserialize, JsonSchema)]
struct Extracted {
    /// The text, of any length.
    input: String,
    /// The words that `extract` found. Without them, everything is extracted again.
    words: Option<Vec<String>>,
    #[serde(default)]
    numbers: Vec<Number>,
    #[serde(default)]
    dates: Vec<Date>,
    #[serde(default)]
    links: Vec<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Analyzed {
    analysis: Analysis,
}

/// The measures of a text.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Analysis {
    /// The characters, blanks included.
    characters: usize,
    words: usize,
    /// The words that differ in more than their case.
    distinct_words: usize,
    numbers: usize,
    dates: usize,
    links: usize,
    sentences: usize,
    syllables: usize,
    /// Flesch's reading ease; none without a word.
    reading_ease: Option<f64>,
    /// What Flesch calls that ease.
    reading_level: Option<String>,
    /// The most frequent words, without stop words.
    frequent_terms: Vec<terms::Term>,
}

/// Counts the elements of the text, and finds its most frequent terms and its readability.
#[node(read_only, idempotent)]
fn analyze(state: Extracted) -> Result<Analyzed> {
    let text = json!({ "text": state.input });
    let elements = match state.words {
        Some(words) => Elements {
            words,
            numbers: state.numbers,
            dates: state.dates,
            links: state.links,
        },
        None => call_tool("starter/elements", &text)?,
    };
    let reading: Reading = call_tool("starter/reading_ease", &text)?;
    let terms: Terms = call_tool(
        "starter/frequent_terms",
        &json!({ "words": elements.words, "limit": TERMS }),
    )?;
    let analysis = Analysis {
        characters: state.input.chars().count(),
        words: elements.words.len(),
        distinct_words: terms.distinct,
        numbers: elements.numbers.len(),
        dates: elements.dates.len(),
        links: elements.links.len(),
        sentences: reading.sentences,
        syllables: reading.syllables,
        reading_ease: reading.ease,
        reading_level: reading.level,
        frequent_terms: terms.terms,
    };
    Ok(Analyzed { analysis })
}

#[derive(Deserialize, JsonSchema)]
struct Text {
    /// The text, of any length.
    text: String,
}

/// Finds the words, numbers, dates and links of a text, in the text's order.
#[tool(read_only, idempotent)]
fn elements(input: Text) -> Elements {
    Elements::of(&input.text)
}

/// Measures the readability of an English text, by Flesch's formula.
#[tool(read_only, idempotent)]
fn reading_ease(input: Text) -> Reading {
    Reading::of(&input.text)
}

#[derive(Deserialize, JsonSchema)]
struct Words {
    /// The words of a text, in any order and case.
    words: Vec<String>,
    /// The largest number of terms.
    #[serde(default = "all")]
    limit: usize,
}

fn all() -> usize {
    usize::MAX
}

/// Counts the words of a text, without those that every English text has.
#[tool(read_only, idempotent)]
fn frequent_terms(input: Words) -> Terms {
    Terms::of(&input.words, input.limit)
}

#[cfg(test)]
mod tests {
    use heddle_plugin::testing::run;

    use super::*;

    /// Counted by hand: 2 sentences, 14 words, of which "the" comes three times and "cat" twice,
    /// and 16 syllables (all of one but "Monday" and "over", of two).
    const TEXT: &str = "The cat sat on the mat on Monday. Then the cat leapt over 12 mats!";

    fn node(function: &str, state: Value) -> Value {
        run(function, state, Value::Null).unwrap().update
    }

    #[test]
    fn extract_then_analyze_measures_a_text() {
        let mut state = node("extract", json!({ "input": TEXT }));
        assert_eq!(state["words"].as_array().unwrap().len(), 14);
        assert_eq!(state["numbers"], json!([{ "text": "12", "value": 12.0 }]));
        state["input"] = TEXT.into();
        let analysis = &node("analyze", state)["analysis"];
        assert_eq!(analysis["characters"], 66);
        assert_eq!(analysis["words"], 14);
        assert_eq!(analysis["distinct_words"], 10);
        assert_eq!(
            (&analysis["sentences"], &analysis["syllables"]),
            (&json!(2), &json!(16))
        );
        // 206.835 - 1.015 * 14 / 2 - 84.6 * 16 / 14 = 206.835 - 7.105 - 96.686
        assert_eq!(analysis["reading_ease"], 103.04);
        assert_eq!(
            analysis["frequent_terms"][0],
            json!({ "term": "cat", "count": 2 })
        );
    }

    #[test]
    fn analyze_alone_gives_what_it_gives_after_extract() {
        let mut state = node("extract", json!({ "input": TEXT }));
        state["input"] = TEXT.into();
        assert_eq!(node("analyze", json!({ "input": TEXT })), node("analyze", state));
    }

    #[test]
    fn an_empty_text_has_nothing_in_it_and_no_reading_ease() {
        for empty in ["", " \n\t ", "—"] {
            let found = node("extract", json!({ "input": empty }));
            assert_eq!(
                found,
                json!({ "words": [], "numbers": [], "dates": [], "links": [] })
            );
            let analysis = &node("analyze", json!({ "input": empty }))["analysis"];
            assert_eq!(
                (&analysis["words"], &analysis["sentences"]),
                (&json!(0), &json!(0))
            );
            assert_eq!(analysis["reading_ease"], Value::Null);
            assert_eq!(analysis["frequent_terms"], json!([]));
        }
    }

    #[test]
    fn the_first_example_of_all_runs() {
        let found = node("extract", json!({ "input": "some data" }));
        assert_eq!(found["words"], json!(["some", "data"]));
        let analysis = &node("analyze", json!({ "input": "some data" }))["analysis"];
        assert_eq!(
            analysis["frequent_terms"],
            json!([{ "term": "data", "count": 1 }])
        );
    }

    #[test]
    fn an_input_that_is_not_text_is_refused() {
        let error = run("extract", json!({ "input": 3 }), Value::Null).unwrap_err();
        assert_eq!(
            error.message,
            "`extract` does not take this state: at `input`: invalid type: integer `3`, expected a string"
        );
    }
}
