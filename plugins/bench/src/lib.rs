//! Functions that do almost nothing, so that a graph of them measures the cost of the engine.

use std::collections::BTreeMap;

use heddle_plugin::prelude::*;

#[derive(Deserialize, JsonSchema)]
struct Touch {
    /// The key of the state to set.
    key: String,
}

/// Sets the key that its config names to 1. It does not read the state.
#[node(read_only, idempotent)]
fn touch(call: Call<Touch>) -> BTreeMap<String, u8> {
    BTreeMap::from([(call.config.key, 1)])
}

#[derive(Deserialize, JsonSchema)]
struct Until {
    /// The number to count to.
    until: u64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Counter {
    /// The current count.
    #[serde(default)]
    n: u64,
}

/// Adds 1 to `n` and repeats until it is `until`, then goes to `even` or `odd` by what `n` is.
#[node(routes("even", "odd"), read_only, idempotent)]
fn count(state: Counter, call: Call<Until>) -> Outcome<Counter> {
    let n = state.n.saturating_add(1);
    let counted = Outcome::of(Counter { n });
    match n {
        n if n < call.config.until => counted.again(),
        n if n % 2 == 0 => counted.goto("even"),
        _ => counted.goto("odd"),
    }
}

/// Returns its input.
#[tool(read_only, idempotent)]
fn echo(input: Json) -> Json {
    input
}

#[cfg(test)]
mod tests {
    use heddle_plugin::testing::{call, run};

    use super::*;

    #[test]
    fn touch_sets_the_key_of_its_config() {
        let outcome = run("touch", json!({ "other": [1, 2] }), json!({ "key": "k3" })).unwrap();
        assert_eq!(outcome, Outcome::of(json!({ "k3": 1 })));
    }

    #[test]
    fn touch_without_a_config_says_which_key_is_missing() {
        let error = run("touch", json!({}), Value::Null).unwrap_err();
        assert_eq!(
            error.message,
            "`touch` does not take this config: missing field `key`"
        );
    }

    #[test]
    fn count_goes_on_from_n_and_leaves_by_parity() {
        let step = |n: Value, until: u64| run("count", n, json!({ "until": until })).unwrap();
        assert_eq!(step(json!({}), 100), Outcome::of(json!({ "n": 1 })).again());
        assert_eq!(
            step(json!({ "n": 98 }), 100),
            Outcome::of(json!({ "n": 99 })).again()
        );
        assert_eq!(
            step(json!({ "n": 99 }), 100),
            Outcome::of(json!({ "n": 100 })).goto("even")
        );
        assert_eq!(
            step(json!({ "n": 6 }), 7),
            Outcome::of(json!({ "n": 7 })).goto("odd")
        );
        assert_eq!(
            step(json!({ "n": 100 }), 100),
            Outcome::of(json!({ "n": 101 })).goto("odd")
        );
    }

    #[test]
    fn echo_gives_back_what_it_got() {
        let input = json!({ "a": [1, null, "ü"] });
        assert_eq!(call("echo", input.clone()).unwrap(), input);
    }
}
