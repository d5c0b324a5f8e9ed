//! The API documentation: `/openapi.json` for programs and `/docs` (Swagger UI) for people.
//!
//! Both are embedded in the binary, so they work without internet access. `utoipa` derives the OpenAPI document from the
//! handlers and types. The modules here then correct what it cannot express.

mod common_responses;
mod graph_schema;
mod nullability;
mod operations;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use utoipa::{
    OpenApi,
    openapi::{self, RefOr, Schema},
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    response::problem::{self, ProblemBody, ProblemKind},
    view::{
        chunk::{ChunkView, MissedView},
        event::EventView,
    },
};

/// The content security policy of the docs page. Swagger UI needs inline styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(title = "Heddle"),
    tags(
        (name = "Graphs", description = "Create, check, draw and delete graphs"),
        (name = "Runs", description = "Start, list, read and delete runs"),
        (name = "Control", description = "Signal, cancel, pause, resume, retry, upgrade and fork runs"),
        (name = "History", description = "Read the steps of a run and the state after each, and compare states"),
        (name = "Export and import", description = "Move runs between servers"),
        (name = "Schedules", description = "Start runs at given times"),
        (name = "Plugins", description = "Register, inspect and remove plugins, and set their policies"),
        (name = "Tools", description = "List tools and call them outside of runs"),
        (name = "Health", description = "Probes for supervisors, monitors and load balancers"),
        (name = "Original API", description = "The routes of the original engine, with their original formats; they are stable"),
    ),
    components(schemas(EventView, ChunkView<'_>, MissedView, ProblemBody))
)]
struct Head;

/// Returns the document without routes: title, tags and common schemas.
pub(crate) fn head() -> openapi::OpenApi {
    let mut api = Head::openapi();
    api.info.description = Some(format!(
        "A workflow engine that runs every step in a WebAssembly sandbox. Create a graph, start a run, and watch its \
         events.\n\nErrors are problem details (RFC 9457, `{}`): `detail` is for people, `type` is for programs, and \
         `errors` has JSON pointers into the request's body. The schema `Problem` lists all types.",
        problem::MEDIA_TYPE
    ));
    let kinds: Vec<String> = ProblemKind::ALL
        .iter()
        .map(|kind| format!("- {}", kind.describe()))
        .collect();
    let components = api.components.get_or_insert_default();
    if let Some(RefOr::T(Schema::Object(problem))) = components.schemas.get_mut("Problem") {
        problem.description = Some(format!(
            "Problem details (RFC 9457). The types are:\n\n{}",
            kinds.join("\n")
        ));
    }
    api
}

/// Returns the corrected document as JSON text.
pub(crate) fn to_text(api: openapi::OpenApi) -> String {
    let mut api = serde_json::to_value(api).expect("the document has string keys");
    nullability::correct(&mut api);
    graph_schema::add(&mut api);
    nullability::add_bounds(&mut api);
    common_responses::add(&mut api);
    format!("{api:#}")
}

/// Returns the routes of the documentation for a document.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(text: String) -> Router<S> {
    let text: Arc<str> = text.into();
    let config = Config::from("/openapi.json")
        .use_base_layout()
        .validator_url("none")
        .display_request_duration(true);
    let page: Router<S> = SwaggerUi::new("/docs").config(config).into();
    page.layer(middleware::from_fn(with_policy))
        .route("/openapi.json", get(async move || document(text.to_string())))
}

fn document(text: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text)
}

async fn with_policy(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Map, Value};

    use super::operations::operations;

    fn described() -> Value {
        serde_json::from_str(&crate::openapi()).expect("the document is JSON")
    }

    /// Calls `visit` with the path and the value of every schema in the document.
    fn schemas(value: &Value, at: &str, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
        match value {
            Value::Object(members) => {
                let is_schema = members.contains_key("type") || members.contains_key("$ref");
                if is_schema && !at.ends_with("/properties") {
                    visit(at, members);
                }
                let inner = members
                    .iter()
                    .filter(|(name, _)| !["example", "examples", "enum"].contains(&name.as_str()));
                inner.for_each(|(name, value)| schemas(value, &format!("{at}/{name}"), visit));
            }
            Value::Array(all) => all
                .iter()
                .for_each(|value| schemas(value, &format!("{at}/-"), visit)),
            _ => {}
        }
    }

    #[test]
    fn objects_have_properties_and_numbers_have_bounds() {
        let api = described();
        let mut visited = 0;
        schemas(&api, "", &mut |at, schema| {
            visited += 1;
            let is = |kind: &str| match &schema.get("type") {
                Some(Value::Array(all)) => all.iter().any(|one| one == kind),
                one => one.is_some_and(|one| one == kind),
            };
            let has = |keyword: &str| schema.contains_key(keyword);
            assert!(
                !is("object") || has("properties") || has("additionalProperties"),
                "{at}"
            );
            assert!(!is("integer") || (has("minimum") && has("maximum")), "{at}");
            let name = at.rsplit('/').next().unwrap_or_default();
            if is("string") && (name == "run_id" || at.ends_with("/properties/last_run")) {
                assert_eq!(schema.get("format").and_then(Value::as_str), Some("uuid"), "{at}");
            }
            if [
                "status", "level", "severity", "overlap", "catch_up", "kind", "code", "merge",
            ]
            .contains(&name)
                && is("string")
            {
                assert!(has("enum"), "{at}");
            }
        });
        assert!(visited > 500, "{visited}");
    }

    #[test]
    fn operations_have_unique_ids_and_all_common_responses() {
        let mut api = described();
        let mut ids = BTreeSet::new();
        for operation in operations(&mut api) {
            let id = operation["operationId"].as_str().expect("an id").to_owned();
            let responses = operation["responses"].as_object().expect("responses");
            let mut expected = vec!["400", "403", "405", "421", "500", "default"];
            if operation.contains_key("requestBody") {
                expected.extend(["408", "413", "415", "422"]);
            }
            for status in expected {
                assert!(responses.contains_key(status), "{id} {status}");
            }
            for parameter in operation
                .get("parameters")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let kind = &parameter["schema"]["type"];
                assert!(!kind.is_array(), "{id} {parameter}");
                let is_run = parameter["name"] == "run_id";
                assert!(
                    !is_run || parameter["schema"]["format"] == "uuid",
                    "{id} {parameter}"
                );
            }
            assert!(ids.insert(id.clone()), "{id} is there twice");
        }
        assert!(ids.len() > 40, "{}", ids.len());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let api = described();
        schemas(&api, "", &mut |at, schema| {
            let Some(to) = schema.get("$ref").and_then(Value::as_str) else {
                return;
            };
            assert!(api.pointer(to.trim_start_matches('#')).is_some(), "{at}: {to}");
        });
    }
}
