//! The plugin's functions. A doc comment is a function's summary, and the types are its schemas.

use heddle_plugin::prelude::*;

/// What `greet` reads of the state.
#[derive(Deserialize, JsonSchema)]
struct State {
    /// Whom to greet.
    name: String,
}

/// What it reads of its node's `config`.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
struct Config {
    greeting: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { greeting: "Hello".to_owned() }
    }
}

/// The keys of the state that it sets.
#[derive(Serialize, JsonSchema)]
struct Greeted {
    greeting: String,
}

/// Greets whom the state names.
#[node(read_only, idempotent)]
fn greet(state: State, call: Call<Config>) -> Result<Greeted> {
    if state.name.is_empty() {
        return Err(Error::invalid_input("there is nobody to greet: `name` is empty"));
    }
    log::info!("greeting {}", state.name);
    Ok(Greeted { greeting: format!("{}, {}!", call.config.greeting, state.name) })
}

#[cfg(test)]
mod tests {
    use heddle_plugin::testing::run;

    use super::*;

    #[test]
    fn somebody_is_greeted() {
        let outcome = run("greet", json!({"name": "Ada"}), json!({"greeting": "Hi"})).unwrap();
        assert_eq!(outcome.update, json!({"greeting": "Hi, Ada!"}));
    }
}
