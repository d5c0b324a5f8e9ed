//! Node functions that decide where a run goes, or that it goes no further: `goto` and `fail`.

use heddle_plugin::prelude::*;

use crate::number::Keys;

#[derive(Deserialize, JsonSchema)]
struct Goto {
    /// The node to go to, or several to go to in parallel; `end` ends.
    to: OneOrMany,
    /// What to put into the state on the way.
    #[serde(default)]
    set: Keys,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Goes to the nodes that its config names, whatever the edges are.
///
/// It cannot declare them, so a graph that forks lists them as the node's `next`.
#[node(read_only, idempotent)]
fn goto(call: Call<Goto>) -> Outcome<Keys> {
    let Goto { to, set } = call.config;
    let outcome = Outcome::of(set);
    match to {
        OneOrMany::One(node) => outcome.goto(node),
        OneOrMany::Many(nodes) => outcome.goto_all(nodes),
    }
}

#[derive(Deserialize, JsonSchema)]
struct Fail {
    /// How it fails.
    #[serde(default)]
    kind: Kind,
    /// What it says.
    #[serde(default = "message")]
    message: String,
    /// How many attempts of the step fail; every one where this is left out.
    times: Option<u32>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// With an error that may not come again.
    Retryable,
    /// With an error that will.
    #[default]
    Permanent,
    /// By a panic.
    Trap,
}

fn message() -> String {
    "it failed, as its config says".to_owned()
}

/// Fails as its config says, and changes nothing once it has failed often enough.
#[node(read_only, idempotent)]
fn fail(call: Call<Fail>) -> Result<()> {
    let Fail { kind, message, times } = call.config;
    if times.is_some_and(|times| call.attempt > times) {
        return Ok(());
    }
    Err(match kind {
        Kind::Retryable => Error::retryable(message),
        Kind::Permanent => Error::permanent(message),
        Kind::Trap => panic!("{message}"),
    })
}

#[cfg(test)]
mod tests {
    use heddle_plugin::testing::{run, run_text};

    use super::*;

    #[test]
    fn goto_goes_to_one_or_to_several_and_sets_keys() {
        let go = |config| run("goto", json!({ "a": 1 }), config);
        assert_eq!(go(json!({ "to": "b" })), Ok(Outcome::of(json!({})).goto("b")));
        assert_eq!(
            go(json!({ "to": ["b", "c"], "set": { "x": 1 } })),
            Ok(Outcome::of(json!({ "x": 1 })).goto_all(["b", "c"]))
        );
        assert!(go(json!({})).unwrap_err().message.contains("`to`"));
        let went = run_text("goto", "{}", r#"{"to":"b","set":{"x":123456789012345678901}}"#).unwrap();
        assert_eq!(went.update, r#"{"x":123456789012345678901}"#);
    }

    fn attempt(attempt: u32, config: Value) -> Result<()> {
        let config = heddle_plugin::serde_json::from_value(config).unwrap();
        fail(Call {
            attempt,
            ..Call::new(config)
        })
    }

    #[test]
    fn fail_fails_as_often_as_it_is_told() {
        let config = json!({ "kind": "retryable", "message": "later", "times": 2 });
        assert_eq!(attempt(1, config.clone()), Err(Error::retryable("later")));
        assert_eq!(attempt(2, config.clone()), Err(Error::retryable("later")));
        assert_eq!(attempt(3, config), Ok(()));
        let always = attempt(1000, json!({}));
        assert_eq!(always, Err(Error::permanent("it failed, as its config says")));
    }

    #[test]
    #[should_panic(expected = "out of thread")]
    fn fail_panics_where_it_is_told_to_trap() {
        let _ = attempt(1, json!({ "kind": "trap", "message": "out of thread" }));
    }
}
