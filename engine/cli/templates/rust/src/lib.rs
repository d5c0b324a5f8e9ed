//! The functions of the plugin. The doc comment of a function is its summary; the types are its schemas.

use heddle_plugin::prelude::*;

/// The keys of the state that `greet` reads.
#[derive(Deserialize, JsonSchema)]
struct State {
    /// The name to greet.
    name: String,
}

/// The `config` of a node that calls `greet`.
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

/// The keys of the state that `greet` sets.
#[derive(Serialize, JsonSchema)]
struct Greeted {
    greeting: String,
}

/// Greets the name in the state.
#[node(read_only, idempotent)]
fn greet(state: State, call: Call<Config>) -> Result<Greeted> {
    if state.name.is_empty() {
        return Err(Error::invalid_input("`name` is empty"));
    }
    log::info!("greeting {}", state.name);
    Ok(Greeted { greeting: format!("{}, {}!", call.config.greeting, state.name) })
}

#[cfg(test)]
mod tests {
    use heddle_plugin::testing::run;

    use super::*;

    #[test]
    fn greets_the_name() {
        let outcome = run("greet", json!({"name": "Ada"}), json!({"greeting": "Hi"})).unwrap();
        assert_eq!(outcome.update, json!({"greeting": "Hi, Ada!"}));
    }
}
