//! Texts with places that are filled in from JSON, in the language of Jinja.

use heddle_plugin::prelude::*;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, syntax::SyntaxConfig};

/// How much work a template may do, in instructions. The call's time and memory bound it, too.
const FUEL: u64 = 5_000_000;
/// The name under which the template is known; nobody sees it.
const NAME: &str = "template";

/// A template and what to fill in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Template {
    /// The text: `Dear {{ name }}, {% for item in items %}…{% endfor %}`. It may use Jinja's loops, conditions, macros and filters.
    template: String,
    /// What its names stand for: an object.
    #[serde(default)]
    #[schemars(with = "heddle_plugin::serde_json::Map<String, Value>")]
    values: Value,
}

/// A text that was filled in.
#[derive(Serialize, JsonSchema)]
struct Filled {
    /// The whole text.
    text: String,
}

/// Fills in a Jinja template with values; a name that stands for nothing is an error with its place.
#[tool(read_only, idempotent)]
fn template(input: Template) -> Result<Filled> {
    if !matches!(input.values, Value::Object(_) | Value::Null) {
        return Err(Error::invalid_input(
            "`values` is an object whose keys are the template's names",
        ));
    }
    let source = &input.template;
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build()?);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // The text is not HTML unless the template says so with the filter `escape`.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment
        .add_template(NAME, source)
        .and_then(|()| environment.get_template(NAME))
        .map_err(|error| Error::invalid_input(told(source, &error)))?;
    let compiled = environment.get_template(NAME)?;
    let filled = match input.values {
        Value::Null => compiled.render(()),
        values => compiled.render(minijinja::value::Serde(values)),
    };
    let text = filled.map_err(|error| Error::permanent(told(source, &error)))?;
    Ok(Filled { text })
}

/// An error with its place in the template.
fn told(source: &str, error: &minijinja::Error) -> String {
    let mut told = "the template".to_owned();
    let range = error.range().filter(|range| source.get(range.clone()).is_some());
    match (&range, error.line()) {
        (Some(range), _) => {
            let before = &source[..range.start];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            told += &format!(", line {line}, column {column}");
        }
        (None, Some(line)) => told += &format!(", line {line}"),
        (None, None) => {}
    }
    told += &format!(": {}", error.kind());
    if let Some(detail) = error.detail() {
        told += &format!(": {detail}");
    }
    told
}
