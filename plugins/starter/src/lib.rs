//! The `starter` plugin.
use heddle_plugin::prelude::*;

#[derive(Deserialize, JsonSchema)]
struct Text {
    input: String,
}

#[derive(Serialize, JsonSchema)]
struct Words {
    words: Vec<String>,
}

/// Finds the words of `input`.
#[node]
fn extract(state: Text) -> Result<Words> {
    log::info!("{} bytes", state.input.len());
    Ok(Words {
        words: state.input.split_whitespace().map(str::to_owned).collect(),
    })
}
