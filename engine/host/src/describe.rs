//! Checks the descriptions of a plugin's functions.

use std::collections::HashMap;

use heddle_json::{Json, admit::admit_to_depth, object};
use heddle_kernel::FunctionKind;
use heddle_runtime::ports::FunctionInfo;
use heddle_schema::{PatternBudget, Schema};

use crate::{component::NAME_LEN, contract::types::FunctionDescription};

/// The most functions of one plugin.
pub(crate) const MAX_FUNCTIONS: usize = 1000;

/// The most nodes that one function may name as routes.
const MAX_ROUTES: usize = 1000;

/// The longest summary, in bytes.
pub(crate) const SUMMARY_LEN: usize = 1000;

/// The deepest nesting of a schema.
const SCHEMA_DEPTH: usize = 100;

/// The largest schema, in bytes.
const SCHEMA_LEN: usize = 256 << 10;

/// The largest description of all functions of a plugin together, in bytes.
const DESCRIPTION_LEN: usize = 4 << 20;

/// Checks the descriptions of a plugin's functions, and compiles their input schemas.
///
/// # Errors
/// The first function that cannot be used, and why.
pub(crate) fn check(
    described: Vec<(FunctionKind, FunctionDescription)>,
) -> Result<Vec<(FunctionInfo, Schema)>, String> {
    if described.is_empty() {
        return Err("it describes no function".to_owned());
    }
    if described.len() > MAX_FUNCTIONS {
        return Err(format!(
            "it describes {} functions; the most is {MAX_FUNCTIONS}",
            described.len()
        ));
    }
    let bytes: usize = described.iter().map(|(_, function)| function.bytes()).sum();
    if bytes > DESCRIPTION_LEN {
        return Err(format!(
            "it describes its functions with {bytes} bytes; the most is {DESCRIPTION_LEN}"
        ));
    }
    let mut kinds = HashMap::new();
    let mut patterns = PatternBudget::default();
    let mut functions = Vec::with_capacity(described.len());
    for (interface, function) in described {
        check_name(&function.name)?;
        let name = &function.name;
        if function.kind != interface {
            let (is, says) = (kind_name(interface), kind_name(function.kind));
            return Err(format!(
                "`{name}` is described by the {is} interface and says that it is a {says}"
            ));
        }
        match kinds.insert(function.name.clone(), interface) {
            Some(other) if other == interface => return Err(format!("it describes `{name}` twice")),
            Some(_) => {
                return Err(format!(
                    "it has a node function and a tool of the name `{name}`: rename one, since a graph could not \
                     tell them apart"
                ));
            }
            None => {}
        }
        let info = info(function)?;
        let input = Schema::compile_within(info.input.get(), &mut patterns)
            .map_err(|problem| format!("the input schema of `{}` {problem}", info.name))?;
        functions.push((info, input));
    }
    Ok(functions)
}

impl FunctionDescription {
    /// The size of the description in bytes.
    fn bytes(&self) -> usize {
        let config = self.config.as_ref().map_or(0, String::len);
        let routes: usize = self.routes.iter().map(String::len).sum();
        self.name.len() + self.summary.len() + self.input.len() + self.output.len() + config + routes
    }
}

fn info(function: FunctionDescription) -> Result<FunctionInfo, String> {
    let name = function.name;
    if function.summary.len() > SUMMARY_LEN {
        return Err(format!(
            "the summary of `{name}` is longer than {SUMMARY_LEN} bytes"
        ));
    }
    check_routes(&name, &function.routes)?;
    Ok(FunctionInfo {
        kind: function.kind,
        summary: function.summary,
        input: schema(&name, "input", &function.input)?,
        output: schema(&name, "output", &function.output)?,
        config: function
            .config
            .map(|config| schema(&name, "config", &config))
            .transpose()?,
        read_only: function.read_only,
        idempotent: function.idempotent,
        routes: function.routes,
        name: name.into(),
    })
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = (1..=NAME_LEN).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    match fits {
        true => Ok(()),
        false => Err(format!(
            "it describes a function {:?}: a name has letters, digits, `_`, `-` and `.`, at most {NAME_LEN}",
            object::clip(name, 2 * NAME_LEN)
        )),
    }
}

fn check_routes(function: &str, routes: &[String]) -> Result<(), String> {
    if routes.len() > MAX_ROUTES {
        return Err(format!(
            "`{function}` names {} routes; the most is {MAX_ROUTES}",
            routes.len()
        ));
    }
    match routes
        .iter()
        .find(|route| route.is_empty() || route.len() > 2 * NAME_LEN)
    {
        Some(route) => Err(format!(
            "`{function}` names a route {:?}, which cannot be a node's name",
            object::clip(route, NAME_LEN)
        )),
        None => Ok(()),
    }
}

/// Checks that a text is an object or a boolean, as a JSON Schema must be. Compiling finds everything else.
fn schema(function: &str, of: &str, text: &str) -> Result<Json, String> {
    let problem = |problem: String| format!("the {of} schema of `{function}` {problem}");
    if text.len() > SCHEMA_LEN {
        return Err(problem(format!(
            "has {} bytes; the most is {SCHEMA_LEN}",
            text.len()
        )));
    }
    let schema = admit_to_depth(text, SCHEMA_DEPTH)
        .and_then(|text| object::admit(&text))
        .map_err(|error| problem(format!("cannot be used: {error}")))?;
    match object::kind_of(schema.get()) {
        Some("an object" | "a boolean") => Ok(schema),
        kind => Err(problem(format!(
            "is {}; a JSON Schema is an object",
            kind.unwrap_or("nothing")
        ))),
    }
}

fn kind_name(kind: FunctionKind) -> &'static str {
    match kind {
        FunctionKind::Node => "node",
        FunctionKind::Tool => "tool",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, kind: FunctionKind) -> FunctionDescription {
        FunctionDescription {
            name: name.to_owned(),
            kind,
            summary: String::new(),
            input: "{}".to_owned(),
            output: "true".to_owned(),
            config: None,
            read_only: false,
            idempotent: false,
            routes: Vec::new(),
        }
    }

    fn refusal(described: Vec<(FunctionKind, FunctionDescription)>) -> String {
        check(described).expect_err("it is refused")
    }

    use FunctionKind::{Node, Tool};

    #[test]
    fn a_plain_description_is_taken() {
        let functions = check(vec![
            (Node, function("a", Node)),
            (Tool, function("b.C-d_9", Tool)),
        ])
        .unwrap();
        assert_eq!(
            functions
                .iter()
                .map(|(function, _)| &*function.name)
                .collect::<Vec<_>>(),
            ["a", "b.C-d_9"]
        );
    }

    #[test]
    fn all_that_a_plugin_says_has_a_limit() {
        let large = |number: usize| {
            let name = format!("f{number}");
            let output = format!("{{\"description\": \"{}\"}}", "x".repeat(200 << 10));
            let large = FunctionDescription {
                output,
                ..function(&name, Node)
            };
            (Node, large)
        };
        assert!(check((0..20).map(large).collect()).is_ok());
        let refused = refusal((0..21).map(large).collect());
        assert!(refused.contains("4194304"), "{refused}");
    }

    #[test]
    fn names_must_be_valid_and_unique() {
        assert!(refusal(vec![]).contains("no function"));
        assert!(refusal(vec![(Node, function("a/b", Node))]).contains("letters, digits"));
        assert!(refusal(vec![(Node, function("", Node))]).contains("letters, digits"));
        assert!(
            refusal(vec![(Node, function("a", Node)), (Node, function("a", Node))]).contains("`a` twice")
        );
        assert!(
            refusal(vec![(Node, function("a", Node)), (Tool, function("a", Tool))]).contains("rename one")
        );
        assert!(refusal(vec![(Node, function("a", Tool))]).contains("says that it is a tool"));
    }

    #[test]
    fn schemas_must_be_json_schemas() {
        let with = |input: &str| FunctionDescription {
            input: input.to_owned(),
            ..function("a", Node)
        };
        assert!(refusal(vec![(Node, with("{"))]).contains("input schema of `a` cannot be used: not JSON"));
        assert!(refusal(vec![(Node, with("[]"))]).contains("is an array"));
        let fetched = refusal(vec![(Node, with(r#"{"$ref": "https://example.com/a"}"#))]);
        assert!(
            fetched.contains("input schema of `a` refers to \"https://example.com/a\""),
            "{fetched}"
        );
        assert!(
            refusal(vec![(
                Node,
                with(&format!("{}{}", "[".repeat(101), "]".repeat(101)))
            )])
            .contains("nested")
        );
        let routes = FunctionDescription {
            routes: vec![String::new()],
            ..function("a", Node)
        };
        assert!(refusal(vec![(Node, routes)]).contains("route"));
    }
}
