//! Tools over texts and numbers: `echo`, `upper`, `words`, `join` and `sum`.

use heddle_plugin::{Decimal, prelude::*};

use crate::number::add;

/// Returns its input.
#[tool(read_only, idempotent)]
fn echo(input: Json) -> Json {
    input
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Text {
    /// Any text.
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
    /// The parts between blanks, in the text's order.
    words: Vec<String>,
}

/// Splits a text at its blanks.
#[tool(read_only, idempotent)]
fn words(input: Text) -> Words {
    Words {
        words: input.text.split_whitespace().map(str::to_owned).collect(),
    }
}

#[derive(Deserialize, JsonSchema)]
struct Parts {
    /// The texts to join, in this order.
    parts: Vec<String>,
    /// The separator between the texts; default: a blank.
    #[serde(default = "blank")]
    with: String,
}

fn blank() -> String {
    " ".to_owned()
}

/// Joins texts, with a separator between each two.
#[tool(read_only, idempotent)]
fn join(input: Parts) -> Text {
    Text {
        text: input.parts.join(&input.with),
    }
}

#[derive(Deserialize, JsonSchema)]
struct Numbers {
    /// The numbers to add up.
    numbers: Vec<Decimal>,
}

#[derive(Serialize, JsonSchema)]
struct Sum {
    /// The exact sum: an integer if all numbers are integers.
    sum: Decimal,
}

/// Adds up numbers.
#[tool(read_only, idempotent)]
fn sum(input: Numbers) -> Result<Sum> {
    let mut numbers = input.numbers.iter();
    let sum = numbers.try_fold(Decimal::from(0_u64), |sum, number| add(&sum, number, "the sum"))?;
    Ok(Sum { sum })
}

#[cfg(test)]
mod tests {
    use heddle_plugin::testing::{call, call_text};

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
    fn a_sum_is_exact() {
        let of = |numbers: &str| call_text("sum", &format!(r#"{{"numbers":[{numbers}]}}"#));
        for (numbers, sum) in [
            ("", "0"),
            ("1,-2,9007199254740993", "9007199254740992"),
            ("1,0.5", "1.5"),
            ("0.1,0.2", "0.3"),
            ("9223372036854775807,1", "9223372036854775808"),
            (
                "18446744073709551615,18446744073709551615",
                "36893488147419103230",
            ),
            ("123456789012345678901,-123456789012345678900", "1"),
            ("0.1,0.1,0.1,-0.3", "0.0"),
            ("1e20,1", "100000000000000000001.0"),
        ] {
            assert_eq!(of(numbers).unwrap(), format!(r#"{{"sum":{sum}}}"#), "{numbers}");
        }
        for large in ["1e308,1e308", "1e300,1e-1000"] {
            assert!(
                of(large).unwrap_err().message.contains("the sum is too large"),
                "{large}"
            );
        }
        assert!(
            of("1,\"2\"")
                .unwrap_err()
                .message
                .contains("at `numbers[1]`: expected a number, got \"2\"")
        );
    }
}
