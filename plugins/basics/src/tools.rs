//! Tools over texts and numbers: `echo`, `upper`, `words`, `join` and `sum`.

use heddle_plugin::{prelude::*, serde_json::Number};

use crate::number::add;

/// Gives back what it is given.
#[tool(read_only, idempotent)]
fn echo(input: Json) -> Json {
    input
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Text {
    /// The text, of any length.
    text: String,
}

/// Writes a text in capitals.
#[tool(read_only, idempotent)]
fn upper(input: Text) -> Text {
    Text {
        text: input.text.to_uppercase(),
    }
}

#[derive(Serialize, JsonSchema)]
struct Words {
    /// What stands between blanks, in the text's order.
    words: Vec<String>,
}

/// Takes a text apart at its blanks.
#[tool(read_only, idempotent)]
fn words(input: Text) -> Words {
    Words {
        words: input.text.split_whitespace().map(str::to_owned).collect(),
    }
}

#[derive(Deserialize, JsonSchema)]
struct Parts {
    /// The texts to put together, in this order.
    parts: Vec<String>,
    /// What to put between them; a blank where it is left out.
    #[serde(default = "blank")]
    with: String,
}

fn blank() -> String {
    " ".to_owned()
}

/// Makes one text of several.
#[tool(read_only, idempotent)]
fn join(input: Parts) -> Text {
    Text {
        text: input.parts.join(&input.with),
    }
}

#[derive(Deserialize, JsonSchema)]
struct Numbers {
    /// The numbers to add up.
    numbers: Vec<Number>,
}

#[derive(Serialize, JsonSchema)]
struct Sum {
    /// Their sum: an integer, where they all are.
    sum: Number,
}

/// Adds up numbers.
#[tool(read_only, idempotent)]
fn sum(input: Numbers) -> Result<Sum> {
    let mut numbers = input.numbers.iter();
    let sum = numbers.try_fold(Number::from(0), |sum, number| add(&sum, number, "the sum"))?;
    Ok(Sum { sum })
}

#[cfg(test)]
mod tests {
    use heddle_plugin::testing::call;

    use super::*;

    #[test]
    fn texts_are_given_back_raised_split_and_joined() {
        let input = json!({ "a": [1, null, "ü"] });
        assert_eq!(call("echo", input.clone()), Ok(input));
        assert_eq!(
            call("upper", json!({ "text": "loom ß" })),
            Ok(json!({ "text": "LOOM SS" }))
        );
        assert_eq!(
            call("words", json!({ "text": " warp  and\nweft" })),
            Ok(json!({ "words": ["warp", "and", "weft"] }))
        );
        assert_eq!(
            call("join", json!({ "parts": ["warp", "weft"] })),
            Ok(json!({ "text": "warp weft" }))
        );
        assert_eq!(
            call("join", json!({ "parts": ["a", "b"], "with": ", " })),
            Ok(json!({ "text": "a, b" }))
        );
    }

    #[test]
    fn sums_of_integers_are_integers() {
        let of =
            |numbers: Value| call("sum", json!({ "numbers": numbers })).map(|sum| sum["sum"].to_string());
        assert_eq!(of(json!([])).as_deref(), Ok("0"));
        assert_eq!(
            of(json!([1, -2, 9_007_199_254_740_993_i64])).as_deref(),
            Ok("9007199254740992")
        );
        assert_eq!(of(json!([1, 0.5])).as_deref(), Ok("1.5"));
        assert!(
            of(json!([i64::MAX, 1]))
                .unwrap_err()
                .message
                .contains("too large")
        );
    }
}
