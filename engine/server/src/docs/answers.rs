//! The answers that every operation of a kind may give: described once, and named by each operation.
//!
//! What is particular to an operation stands at its handler; that is never replaced here.

use serde_json::{Map, Value, json};

use super::operations;
use crate::problem::{self, Kind};

/// Which operations may give an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// Every one.
    All,
    /// Those that take a body.
    WithBody,
    /// Those that read or write the store.
    WithStore,
}

/// An answer that many operations may give.
struct Common {
    name: &'static str,
    of: Of,
    kinds: &'static [Kind],
}

const COMMON: [Common; 10] = [
    Common {
        name: "BadRequest",
        of: Of::All,
        kinds: &[
            Kind::BAD_REQUEST,
            Kind::BAD_QUERY,
            Kind::BAD_ID,
            Kind::BAD_KEY,
            Kind::BAD_JSON,
            Kind::BAD_BODY,
        ],
    },
    Common {
        name: "OriginNotAllowed",
        of: Of::All,
        kinds: &[Kind::WRONG_ORIGIN],
    },
    Common {
        name: "MethodNotAllowed",
        of: Of::All,
        kinds: &[Kind::WRONG_METHOD],
    },
    Common {
        name: "BodyTimeout",
        of: Of::WithBody,
        kinds: &[Kind::BODY_TIMEOUT],
    },
    Common {
        name: "TooLarge",
        of: Of::WithBody,
        kinds: &[Kind::TOO_LARGE],
    },
    Common {
        name: "WrongContentType",
        of: Of::WithBody,
        kinds: &[Kind::WRONG_TYPE],
    },
    Common {
        name: "WrongHost",
        of: Of::All,
        kinds: &[Kind::WRONG_HOST],
    },
    Common {
        name: "InvalidRequest",
        of: Of::WithBody,
        kinds: &[Kind::INVALID_REQUEST],
    },
    Common {
        name: "Failed",
        of: Of::All,
        kinds: &[Kind::INTERNAL, Kind::STORE_FAILED],
    },
    Common {
        name: "Unavailable",
        of: Of::WithStore,
        kinds: &[
            Kind::STORE_UNAVAILABLE,
            Kind::STARTING,
            Kind::STOPPING,
            Kind::NO_MEMORY,
        ],
    },
];

/// Operations that neither read nor write the store.
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

/// Names the common answers in every operation, and describes them under `components`.
pub(super) fn add(api: &mut Value) {
    for operation in operations(api) {
        let with_body = operation.contains_key("requestBody");
        let id = operation.get("operationId").and_then(Value::as_str);
        let with_store = !WITHOUT_STORE.contains(&id.unwrap_or_default());
        let Some(Value::Object(responses)) = operation.get_mut("responses") else {
            continue;
        };
        for common in &COMMON {
            let applies = match common.of {
                Of::All => true,
                Of::WithBody => with_body,
                Of::WithStore => with_store,
            };
            if applies {
                responses
                    .entry(common.status())
                    .or_insert_with(|| json!({"$ref": format!("#/components/responses/{}", common.name)}));
            }
        }
        for (status, response) in responses.iter_mut() {
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
    described.insert("Problem".to_owned(), problem("Anything else that goes wrong"));
    api["components"]["responses"] = Value::Object(described);
}

/// An answer that is a problem.
fn problem(description: &str) -> Value {
    json!({
        "description": description,
        "content": {problem::MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    })
}

/// The headers that an answer of this status has, besides those that its handler tells.
fn add_headers(status: &str, response: &mut Value) {
    let (name, schema, description) = match status {
        "405" => (
            "allow",
            json!({"type": "string"}),
            "The methods that the address takes",
        ),
        "429" | "503" => (
            "retry-after",
            json!({"type": "integer", "minimum": 0, "maximum": 4294967295_u32}),
            "In how many seconds to try again, where that is known",
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
    fn the_kinds_of_an_answer_have_its_status() {
        for common in &COMMON {
            for kind in common.kinds {
                assert_eq!(kind.status(), common.kinds[0].status(), "{}", common.name);
            }
        }
    }
}
