//! Adds the error responses that many operations have in common, and the content of all error responses.
//!
//! Responses that a handler describes itself are not replaced; they only get the content of a problem.

use serde_json::{Map, Value, json};

use super::operations::operations;
use crate::response::problem::{self, ProblemKind};

/// The operations that have a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applies {
    ToAll,
    /// To operations with a request body.
    WithBody,
    /// To operations that access the store.
    WithStore,
}

/// A response that many operations have.
struct Common {
    name: &'static str,
    applies: Applies,
    kinds: &'static [ProblemKind],
}

const COMMON: [Common; 10] = [
    Common {
        name: "BadRequest",
        applies: Applies::ToAll,
        kinds: &[
            ProblemKind::BAD_REQUEST,
            ProblemKind::BAD_QUERY,
            ProblemKind::BAD_ID,
            ProblemKind::BAD_KEY,
            ProblemKind::BAD_JSON,
            ProblemKind::BAD_BODY,
        ],
    },
    Common {
        name: "OriginNotAllowed",
        applies: Applies::ToAll,
        kinds: &[ProblemKind::WRONG_ORIGIN],
    },
    Common {
        name: "MethodNotAllowed",
        applies: Applies::ToAll,
        kinds: &[ProblemKind::WRONG_METHOD],
    },
    Common {
        name: "BodyTimeout",
        applies: Applies::WithBody,
        kinds: &[ProblemKind::BODY_TIMEOUT],
    },
    Common {
        name: "TooLarge",
        applies: Applies::WithBody,
        kinds: &[ProblemKind::TOO_LARGE],
    },
    Common {
        name: "WrongContentType",
        applies: Applies::WithBody,
        kinds: &[ProblemKind::WRONG_TYPE],
    },
    Common {
        name: "WrongHost",
        applies: Applies::ToAll,
        kinds: &[ProblemKind::WRONG_HOST],
    },
    Common {
        name: "InvalidRequest",
        applies: Applies::WithBody,
        kinds: &[ProblemKind::INVALID_REQUEST],
    },
    Common {
        name: "Failed",
        applies: Applies::ToAll,
        kinds: &[ProblemKind::INTERNAL, ProblemKind::STORE_FAILED],
    },
    Common {
        name: "Unavailable",
        applies: Applies::WithStore,
        kinds: &[
            ProblemKind::STORE_UNAVAILABLE,
            ProblemKind::STARTING,
            ProblemKind::STOPPING,
            ProblemKind::NO_MEMORY,
        ],
    },
];

/// The operations that do not access the store.
const WITHOUT_STORE: [&str; 8] = [
    "healthz",
    "get_graph_schema",
    "list_plugins",
    "get_plugin",
    "get_plugin_version",
    "get_plugin_policy",
    "list_tools",
    "get_tool",
];

/// Adds references to the common responses to all operations, and their descriptions to `components`.
pub(super) fn add(api: &mut Value) {
    for operation in operations(api) {
        let with_body = operation.contains_key("requestBody");
        let id = operation.get("operationId").and_then(Value::as_str);
        let with_store = !WITHOUT_STORE.contains(&id.unwrap_or_default());
        let Some(Value::Object(responses)) = operation.get_mut("responses") else {
            continue;
        };
        for common in &COMMON {
            let applies = match common.applies {
                Applies::ToAll => true,
                Applies::WithBody => with_body,
                Applies::WithStore => with_store,
            };
            if applies {
                responses
                    .entry(common.status())
                    .or_insert_with(|| json!({"$ref": format!("#/components/responses/{}", common.name)}));
            }
        }
        for (status, response) in responses.iter_mut() {
            add_content(status, response);
            add_headers(status, response);
        }
        responses.sort_keys();
        responses.insert(
            "default".to_owned(),
            json!({"$ref": "#/components/responses/Problem"}),
        );
    }
    let mut described: Map<String, Value> = COMMON
        .iter()
        .map(|common| (common.name.to_owned(), common.describe()))
        .collect();
    described.insert("Problem".to_owned(), problem("Any other error"));
    api["components"]["responses"] = Value::Object(described);
}

/// Returns an error response.
fn problem(description: &str) -> Value {
    json!({"description": description, "content": problem_content()})
}

fn problem_content() -> Value {
    json!({problem::MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}})
}

/// Adds the content of a problem to an error response.
fn add_content(status: &str, response: &mut Value) {
    let is_error = status.starts_with('4') || status.starts_with('5');
    if is_error && response.get("$ref").is_none() {
        response["content"] = problem_content();
    }
}

/// Adds the headers that all responses with this status have.
fn add_headers(status: &str, response: &mut Value) {
    let (name, schema, description) = match status {
        "405" => (
            "allow",
            json!({"type": "string"}),
            "The methods that the route supports",
        ),
        "429" | "503" => (
            "retry-after",
            json!({"type": "integer", "minimum": 0, "maximum": 4294967295_u32}),
            "The time after which to retry, in seconds",
        ),
        _ => return,
    };
    if response.get("$ref").is_none() {
        response["headers"][name] = json!({"description": description, "schema": schema});
    }
}

impl Common {
    fn status(&self) -> String {
        self.kinds[0].status().to_string()
    }

    fn describe(&self) -> Value {
        let kinds: Vec<String> = self.kinds.iter().map(|kind| kind.title_and_uri()).collect();
        let mut response = problem(&kinds.join("; "));
        add_headers(&self.status(), &mut response);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_a_response_have_the_same_status() {
        for common in &COMMON {
            for kind in common.kinds {
                assert_eq!(kind.status(), common.kinds[0].status(), "{}", common.name);
            }
        }
    }
}
