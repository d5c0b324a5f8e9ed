//! Fills templates with JSON values, in the language of Jinja.

use std::collections::BTreeMap;

use heddle_plugin::prelude::*;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, syntax::SyntaxConfig};

use crate::exact;

/// The most instructions that a template may run. The call's time and memory bound it, too.
const FUEL: u64 = 5_000_000;
/// How many characters of an undefined name are shown.
const NAME_LEN: usize = 80;
/// The template's internal name.
const NAME: &str = "template";

/// The input of `template`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Template {
    /// The text: `Dear {{ name }}, {% for item in items %}…{% endfor %}`. It may use Jinja's loops, conditions, macros and filters.
    template: String,
    /// The values of its names: an object. Integers have up to 38 digits, other numbers those of a double.
    #[serde(default, deserialize_with = "exact::read")]
    #[schemars(with = "heddle_plugin::serde_json::Map<String, Value>")]
    values: Value,
}

/// The result of `template`.
#[derive(Serialize, JsonSchema)]
struct Filled {
    /// The text of the template with the values inserted.
    text: String,
}

/// Fills a Jinja template with values. An undefined name is an error with its place.
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
        .map_err(|error| Error::invalid_input(error_message(source, &error)))?;
    let compiled = environment.get_template(NAME)?;
    let filled = match input.values {
        Value::Null => compiled.render(()),
        values => compiled.render(filler(&values, "values")?),
    };
    let text = filled.map_err(|error| Error::permanent(error_message(source, &error)))?;
    Ok(Filled { text })
}

/// A value as a template takes it, all of its digits with it.
fn filler(value: &Value, path: &str) -> Result<minijinja::Value> {
    use minijinja::Value as Filler;
    Ok(match value {
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let items = items.map(|(at, item)| filler(item, &format!("{path}[{at}]")));
            items.collect::<Result<Vec<_>>>()?.into()
        }
        Value::Object(members) => {
            let members = members.iter();
            let members = members.map(|(key, member)| Ok((key.clone(), filler(member, &format!("{path}.{key}"))?)));
            members.collect::<Result<BTreeMap<_, _>>>()?.into()
        }
        value => match exact::long_number(value) {
            None => minijinja::value::Serde(value).into(),
            Some(number) => number.parse::<i128>().map(Filler::from).map_err(|_| {
                Error::invalid_input(format!(
                    "`{path}`: {number} has more digits than a template can calculate with: give it as a string"
                ))
            })?,
        },
    })
}

/// An error with its place in the template.
fn error_message(source: &str, error: &minijinja::Error) -> String {
    let mut message = "the template".to_owned();
    let range = error.range().filter(|range| source.get(range.clone()).is_some());
    match (&range, error.line()) {
        (Some(range), _) => {
            let before = &source[..range.start];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            message += &format!(", line {line}, column {column}");
        }
        (None, Some(line)) => message += &format!(", line {line}"),
        (None, None) => {}
    }
    // The crate names what is undefined only in a debug build.
    match (error.kind(), range.map(|range| &source[range])) {
        (ErrorKind::UndefinedError, Some(name)) => {
            let name: String = name.chars().take(NAME_LEN).collect();
            message += &format!(": `{name}` is undefined");
        }
        (kind, _) => {
            message += &format!(": {kind}");
            if let Some(detail) = error.detail() {
                message += &format!(": {detail}");
            }
        }
    }
    message
}
