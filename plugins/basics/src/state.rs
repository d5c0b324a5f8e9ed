//! Node functions that change the state: `set`, `count`, `again`, `spin`, and `log`, which does not.

use heddle_plugin::{Decimal, log::Level, prelude::*};

use crate::number::{Keys, add};

/// Puts the keys of its config into the state.
#[node(read_only, idempotent)]
fn set(call: Call<Keys>) -> Keys {
    call.config
}

#[derive(Deserialize, JsonSchema)]
struct Count {
    /// The key of the state that holds the number.
    #[serde(default = "count_key")]
    key: String,
    /// What to add to it.
    #[serde(default = "one")]
    by: Decimal,
}

fn count_key() -> String {
    "count".to_owned()
}

fn one() -> Decimal {
    Decimal::from(1_u64)
}

/// Adds to the number under a key of the state; a missing number is 0.
#[node(read_only, idempotent)]
fn count(state: Keys, call: Call<Count>) -> Result<Keys> {
    let Count { key, by } = call.config;
    let sum = add(&state.number(&key)?, &by, &format!("`{key}`"))?;
    Keys::of(key, &sum)
}

#[derive(Deserialize, JsonSchema)]
struct Again {
    /// How often the node runs.
    times: u64,
    /// The key of the state that counts.
    #[serde(default = "again_key")]
    key: String,
}

fn again_key() -> String {
    "n".to_owned()
}

/// Adds 1 to a key of the state and runs again until the key is `times`; then the run follows the edges.
#[node(read_only, idempotent)]
fn again(state: Keys, call: Call<Again>) -> Result<Outcome<Keys>> {
    let Again { times, key } = call.config;
    let n = add(&state.number(&key)?, &one(), &format!("`{key}`"))?;
    let goes_on = n < Decimal::from(times);
    let counted = Outcome::of(Keys::of(key, &n)?);
    Ok(if goes_on { counted.again() } else { counted })
}

#[derive(Deserialize, JsonSchema)]
struct Spin {
    /// How often to hash. A round takes about a nanosecond.
    rounds: u64,
    /// The key of the state for the digest.
    #[serde(default = "digest_key")]
    key: String,
}

fn digest_key() -> String {
    "digest".to_owned()
}

/// Hashes a number repeatedly and returns the digest: a load that is the same every time.
#[node(read_only, idempotent)]
fn spin(call: Call<Spin>) -> Result<Keys> {
    let digest = digest(call.config.rounds);
    Keys::of(call.config.key, &format!("{digest:016x}"))
}

/// FNV-1a over the rounds' numbers; its offset and its prime are those of 64 bits.
fn digest(rounds: u64) -> u64 {
    (0..rounds).fold(0xcbf2_9ce4_8422_2325, |hash, round| {
        (hash ^ round).wrapping_mul(0x0100_0000_01b3)
    })
}

#[derive(Deserialize, JsonSchema)]
struct Log {
    /// The message to write.
    message: String,
    /// The level of the line.
    #[serde(default)]
    level: LogLevel,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum LogLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// Writes the message of its config to the run's log.
#[node(name = "log", idempotent)]
fn write_log(call: Call<Log>) {
    let level = match call.config.level {
        LogLevel::Trace => Level::Trace,
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
    };
    log::log!(level, "{}", call.config.message);
}

#[cfg(test)]
mod tests {
    use heddle_plugin::testing::{run, run_text};

    use super::*;

    fn update(function: &str, state: Value, config: Value) -> Value {
        run(function, state, config).unwrap().update
    }

    #[test]
    fn set_puts_its_config_into_the_state() {
        let outcome = run("set", json!({ "a": 1 }), json!({ "aggregate": ["A"], "b": null }));
        assert_eq!(outcome, Ok(Outcome::of(json!({ "aggregate": ["A"], "b": null }))));
        assert_eq!(update("set", json!({}), Value::Null), json!({}));
        let error = run("set", json!({}), json!([1])).unwrap_err();
        assert!(
            error.message.contains("`set` does not take this config"),
            "{error}"
        );
    }

    #[test]
    fn count_adds_to_the_configured_key() {
        assert_eq!(update("count", json!({}), Value::Null), json!({ "count": 1 }));
        let config = json!({ "key": "k", "by": -3 });
        assert_eq!(
            update("count", json!({ "k": 10, "count": 5 }), config),
            json!({ "k": 7 })
        );
        assert_eq!(
            update("count", json!({ "count": 1 }), json!({ "by": 0.5 })),
            json!({ "count": 1.5 })
        );
        let error = run("count", json!({ "count": "x" }), Value::Null).unwrap_err();
        assert_eq!(error.message, "the state has no number under `count` but \"x\"");
        let error = run_text("count", r#"{"count": 1}"#, r#"{"by": 1e-2000}"#).unwrap_err();
        assert!(error.message.contains("`count` is too large"), "{error}");
        let error = run("count", json!({}), json!({ "by": "1" })).unwrap_err();
        assert!(error.message.contains("at `by`: expected a number"), "{error}");
    }

    #[test]
    fn no_digit_of_a_number_is_lost() {
        let update =
            |function: &str, state: &str, config: &str| run_text(function, state, config).unwrap().update;
        let keys = r#"{"a":123456789012345678901,"b":[1.50,{"c":0.10000000000000000001}],"d":1e2}"#;
        assert_eq!(update("set", "{}", keys), keys);
        for (state, by, sum) in [
            ("9223372036854775807", "1", "9223372036854775808"),
            ("123456789012345678901", "1", "123456789012345678902"),
            ("0.1", "0.2", "0.3"),
            ("18446744073709551615", "-0.5", "18446744073709551614.5"),
            ("null", "0.10000000000000000001", "0.10000000000000000001"),
        ] {
            let counted = update(
                "count",
                &format!(r#"{{"count":{state}}}"#),
                &format!(r#"{{"by":{by}}}"#),
            );
            assert_eq!(counted, format!(r#"{{"count":{sum}}}"#));
        }
        let counted = run_text(
            "again",
            r#"{"n":18446744073709551613}"#,
            r#"{"times":18446744073709551615}"#,
        )
        .unwrap();
        let expected = r#"{"n":18446744073709551614}"#.to_owned();
        assert_eq!(counted, Outcome::of(expected).again());
    }

    #[test]
    fn again_runs_until_it_has_counted_to_its_times() {
        let step = |state: Value, times: u64| run("again", state, json!({ "times": times })).unwrap();
        assert_eq!(step(json!({}), 2), Outcome::of(json!({ "n": 1 })).again());
        assert_eq!(step(json!({ "n": 1 }), 2), Outcome::of(json!({ "n": 2 })));
        assert_eq!(step(json!({ "n": 7 }), 2), Outcome::of(json!({ "n": 8 })));
        assert_eq!(
            update(
                "again",
                json!({ "i": 3, "n": 9 }),
                json!({ "times": 2, "key": "i" })
            ),
            json!({ "i": 4 })
        );
    }

    /// FNV-1a of no byte, and of the byte 0, as its authors' tables have them.
    #[test]
    fn spin_answers_the_same_digest_every_time() {
        let of = |rounds: u64| update("spin", json!({}), json!({ "rounds": rounds }));
        assert_eq!(of(0), json!({ "digest": "cbf29ce484222325" }));
        assert_eq!(of(1), json!({ "digest": "af63bd4c8601b7df" }));
        assert_eq!(of(1000), of(1000));
        assert_ne!(of(1000), of(1001));
        assert_eq!(
            update("spin", json!({}), json!({ "rounds": 0, "key": "d" })),
            json!({ "d": "cbf29ce484222325" })
        );
    }

    #[test]
    fn log_changes_nothing() {
        let outcome = run("log", json!({}), json!({ "message": "hello", "level": "warn" }));
        assert_eq!(outcome, Ok(Outcome::of(json!({}))));
        assert!(run("log", json!({}), json!({ "message": "hello", "level": "loud" })).is_err());
    }
}
