//! Node functions that route or fail: `goto` and `fail`.

use heddle_plugin::prelude::*;

use crate::number::Keys;

#[derive(Deserialize, JsonSchema)]
struct Goto {
    /// The node to go to, or several nodes to go to in parallel; `end` is the end.
    to: OneOrMany,
    /// The keys to put into the state.
    #[serde(default)]
    set: Keys,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Goes to the nodes that its config names instead of the edges.
///
/// The function cannot declare these nodes, so a graph that forks lists them in the node's `next`.
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
    /// The kind of failure, which decides whether the step is retried.
    #[serde(default)]
    kind: Kind,
    /// The message of the error that the run shows.
    #[serde(default = "message")]
    message: String,
    /// How many attempts of the step fail. Default: all of them.
    times: Option<u32>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// An error after which the step may run again.
    Retryable,
    /// An error after which the step fails at once.
    #[default]
    Permanent,
    /// A panic, which ends the instance with a trap.
    Trap,
}

fn message() -> String {
    "the node failed because its config says so".to_owned()
}

/// Fails as its config says for a number of attempts; then it changes nothing.
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
    fn fail_fails_as_often_as_configured() {
        let config = json!({ "kind": "retryable", "message": "later", "times": 2 });
        assert_eq!(attempt(1, config.clone()), Err(Error::retryable("later")));
        assert_eq!(attempt(2, config.clone()), Err(Error::retryable("later")));
        assert_eq!(attempt(3, config), Ok(()));
        let always = attempt(1000, json!({}));
        assert_eq!(
            always,
            Err(Error::permanent("the node failed because its config says so"))
        );
    }

    #[test]
    #[should_panic(expected = "out of thread")]
    fn fail_panics_if_configured_to_trap() {
        let _ = attempt(1, json!({ "kind": "trap", "message": "out of thread" }));
    }
}
